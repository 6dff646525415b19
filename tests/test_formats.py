"""Formats by their names, and samples that are cut in two."""

import subprocess
import sys
from pathlib import Path

import pytest

from calls.media.audio import mulaw_to_pcm16
from calls.media.formats import RATES, from_mulaw, load, to_mulaw
from tests.support.servers import Server


EVERY_BYTE = bytes(range(256))


def converted(converter, *chunks):
    return b"".join(map(converter.convert, chunks)) + converter.flush()


def test_mulaw_of_a_telephone_stays_as_it_is():
    assert converted(to_mulaw("mulaw", 8000), EVERY_BYTE) == EVERY_BYTE
    assert converted(from_mulaw("mulaw", 8000), EVERY_BYTE) == EVERY_BYTE


def test_pcm16_of_a_telephone_changes_sample_by_sample():
    pcm16 = mulaw_to_pcm16(EVERY_BYTE)
    assert converted(from_mulaw("pcm16", 8000), EVERY_BYTE) == pcm16
    assert converted(to_mulaw("pcm16", 8000), pcm16) == EVERY_BYTE.replace(b"\x7f", b"\xff")


@pytest.mark.parametrize("rate", RATES)
def test_a_sample_may_be_cut_in_two(rate):
    pcm16 = EVERY_BYTE * 30
    pieces = [pcm16[at : at + 7] for at in range(0, len(pcm16), 7)]
    assert converted(to_mulaw("pcm16", rate), *pieces) == converted(to_mulaw("pcm16", rate), pcm16)


@pytest.mark.parametrize("rate", RATES)
def test_half_a_sample_at_the_end_is_dropped(rate):
    whole = b"\0\1" * 600
    assert converted(to_mulaw("pcm16", rate), whole + b"\0") == converted(to_mulaw("pcm16", rate), whole)


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_mulaw_may_have_another_rate_too(rate):
    wide = converted(from_mulaw("mulaw", rate), b"\x9a" * 8000)
    assert len(wide) == rate
    assert len(converted(to_mulaw("mulaw", rate), wide)) == 8000


def test_only_what_holds_something_back_has_an_end():
    assert [to_mulaw("pcm16", rate).holds for rate in RATES] == [False, True, True, True]
    assert [from_mulaw("pcm16", rate).holds for rate in RATES] == [False, True, True, True]


@pytest.mark.parametrize(("form", "why"), [(("mulaw", 8000), "not raw µ-law"), (("pcm16", 24000), "not raw 16-bit")])
def test_what_is_no_audio_is_not_converted(form, why):
    converter = to_mulaw(*form)
    with pytest.raises(ValueError, match=why):
        converter.convert(b"RIFF" + bytes(100))


def test_what_the_caller_says_is_not_examined():
    assert from_mulaw("mulaw", 8000).convert(b"RIFF") == b"RIFF"


@pytest.mark.parametrize("convert", [to_mulaw, from_mulaw])
@pytest.mark.parametrize(
    ("encoding", "rate", "why"),
    [
        ("mp3", 8000, "encoding is .*mulaw.*not 'mp3'"),
        (None, 8000, "encoding is .*not None"),
        ("pcm16", 44100, "rate is 8000, 16000, 24000 or 48000 .*not 44100"),
        ("pcm16", 24000.0, "not 24000.0"),
        ("pcm16", "24000", "not '24000'"),
    ],
)
def test_another_format_is_refused_by_its_name(convert, encoding, rate, why):
    with pytest.raises(ValueError, match=why):
        convert(encoding, rate)


def is_loaded(after):
    """Whether a new Python has numpy in memory after that."""
    program = f"import sys; from calls.media import formats; {after}; sys.exit('numpy' in sys.modules)"
    return bool(subprocess.run([sys.executable, "-c", program]).returncode)


def test_what_a_telephone_speaks_needs_no_library():
    assert not is_loaded(
        "formats.to_mulaw('mulaw', 8000).convert(b'x'); formats.from_mulaw('pcm16', 8000).convert(b'x')"
    )


def test_it_is_loaded_on_demand():
    load()
    assert is_loaded("formats.load()")


@pytest.mark.process
def test_a_server_has_loaded_it_before_calls_come(tmp_path, django_db_setup):
    with Server("uvicorn", tmp_path) as server:
        assert "soxr" in Path(f"/proc/{server.process.pid}/maps").read_text()
