"""The whole way on this machine alone: the sound of a call into pocketsphinx, and its words into rows."""

import pytest

from calls.models import Utterance
from calls.sounds import sound
from calls.speech import sphinx
from tests.support import line as line_module
from tests.support.line import Line, until


QUIET = b"\xff" * 8000
# "Thank you. Goodbye.", of which it hears "and give goodbye". The last word begins 0.84 s after the beginning.
THANKS, GOODBYE_AT = sound("thanks"), 0.84


async def pieces(*sounds):
    """As a call brings them."""
    audio = b"".join(sounds)
    for at in range(0, len(audio), 1600):
        yield audio[at : at + 1600]


async def heard(*sounds):
    return [each async for each in sphinx.transcribe(pieces(*sounds)) if each.text]


async def test_it_understands_a_sentence_and_says_when_each_word_was_said():
    [said] = await heard(QUIET, THANKS, QUIET)
    word, start, end = said.words[-1]
    assert (word, end) == ("goodbye", said.end)
    assert abs(start - 1 - GOODBYE_AT) <= 0.06


@pytest.mark.parametrize("rest", [0, 100])
async def test_what_is_said_up_to_the_last_sample_is_understood(rest):
    # Its frames are of 240 samples: with and without a broken one at the end.
    [said] = await heard(THANKS[: 42 * 240 + rest])
    assert said.text.endswith("goodbye")


async def test_a_silence_divides_two_sentences():
    assert len(await heard(THANKS, QUIET, THANKS, QUIET)) == 2


async def test_silence_is_told_so_that_it_need_not_be_sent_again():
    told = [each async for each in sphinx.transcribe(pieces(QUIET * 4))]
    assert {each.text for each in told} == {""}
    assert 2.0 < told[-1].end < 4.0


async def test_a_process_that_dies_is_a_failure(monkeypatch, tmp_path):
    program = tmp_path / "dies.py"
    program.write_text("raise SystemExit(3)")
    monkeypatch.setattr(sphinx, "PROGRAM", program)
    with pytest.raises(ConnectionError):
        await heard(QUIET)
    assert not sphinx.running


async def test_a_transcript_that_nobody_wants_any_more_leaves_no_process():
    transcript = sphinx.transcribe(pieces(QUIET * 4))
    await anext(transcript)
    [process] = sphinx.running
    await transcript.aclose()
    assert process.returncode is not None
    assert not sphinx.running


async def test_the_machine_is_not_given_more_of_them_than_it_carries(monkeypatch):
    monkeypatch.setattr(sphinx, "MOST", 0)
    with pytest.raises(ConnectionError, match="0 lanes at once"):
        await heard(QUIET)


@pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
@pytest.mark.usefixtures("process")
async def test_the_words_of_a_call_are_written_down_while_it_runs(settings, monkeypatch):
    # It steps back behind all else that this machine does.
    monkeypatch.setattr(line_module, "PATIENCE", 60)
    settings.TRANSCRIBER = "pocketsphinx"
    settings.STREAM_HANDLERS = {"listens": "tests.test_sphinx.listens"}
    async with Line("listens") as line:
        for at in range(0, len(said := QUIET + THANKS + QUIET), 160):
            line.say(said[at : at + 160])
        row = await until(Utterance.objects.first)
    word, start, _ = row.words[-1]
    assert word == "goodbye"
    assert abs(start - 8000 * (1 + GOODBYE_AT)) <= 480


async def listens(stream):
    async for _ in stream:
        pass
