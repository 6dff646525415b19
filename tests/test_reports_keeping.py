"""What is kept of each call: a file, and in memory the sound of those that the page shows."""

import wave

import pytest

from simulator.reports.keeping import FEW, SHOWN, Keeper, file_name
from tests.support.results import LATE, planned, result


MANY = FEW + 1


def unshown(*errors, **changes):
    return result(*errors, shown=False, **changes)


def test_of_a_few_calls_all_are_shown():
    kept = Keeper(FEW, None).keep(unshown())
    assert kept.shown
    assert kept.sound is not None


def test_of_many_calls_those_that_failed_are_shown_and_the_others_let_go_of_their_sound():
    keeper = Keeper(MANY, None)
    good, bad = keeper.keep(unshown()), keeper.keep(unshown(LATE))
    assert (good.shown, good.sound) == (False, None)
    assert bad.shown
    assert bad.sound is not None


def test_of_calls_that_fail_without_end_the_first_are_shown():
    keeper = Keeper(1000, None)
    kept = [keeper.keep(unshown(LATE)) for _ in range(SHOWN + 2)]
    assert [each.shown for each in kept[-3:]] == [True, False, False]
    assert kept[-1].sound is None
    assert kept[-1].measured.response_ms


def test_every_call_has_its_file(tmp_path):
    kept = Keeper(MANY, tmp_path).keep(unshown(plan=planned("order", 7)))
    assert kept.wav == str(tmp_path / "0007-order.wav")
    with wave.open(kept.wav) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 8000, 16000)


def test_a_call_without_a_stream_has_none(tmp_path):
    assert Keeper(1, tmp_path).keep(unshown(streams=[])).wav == ""
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said_and_the_calls_go_on(tmp_path):
    keeper = Keeper(1, tmp_path / "nowhere")
    assert keeper.keep(unshown()).wav == ""
    assert keeper.trouble == f"--save {tmp_path}/nowhere/0001-order.wav: No such file or directory"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("order [line: lossy 3 %]", "0001-order-line-lossy-3.wav"),
        ("../../etc/passwd", "0001-etc-passwd.wav"),
        ("Grüße\x00", "0001-Gr-e.wav"),
        ("…", "0001-call.wav"),
        ("a" * 300, f"0001-{'a' * 60}.wav"),
    ],
)
def test_a_name_is_one_that_every_file_system_takes(name, file):
    assert file_name(result(plan=planned(name))) == file
