"""`manage.py seed_calls`: made-up calls with all that belongs to them."""

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Max, Sum

from calls.models import AudioChunk, Call, Stream, Turn, Utterance


pytestmark = pytest.mark.django_db


def seed(*words):
    call_command("seed_calls", *words, verbosity=0)


def test_seeding_makes_calls_with_all_that_belongs_to_them():
    seed("40", "--audio", "1", "--seconds", "6", "--live", "1")
    assert (Call.objects.count(), Call.objects.live().count()) == (40, 1)
    stream = Stream.objects.filter(ended_at__isnull=False, chunks__isnull=False).first()
    said = Utterance.objects.filter(stream=stream).aggregate(Sum("length"))
    assert AudioChunk.objects.filter(stream=stream).aggregate(Sum("length")) == said


@pytest.mark.parametrize("wrong", [["0"], ["5", "--audio", "2"], ["5", "--turns", "-1"]])
def test_seeding_refuses_what_makes_no_sense(wrong):
    with pytest.raises(CommandError):
        seed(*wrong)


def test_turns_lie_where_words_are():
    seed("30", "--words", "1", "--live", "0")
    turns = Turn.objects.values_list("stream", "start", "length")
    assert turns.count() > 20
    assert set(turns) <= set(Utterance.objects.values_list("stream", "start", "length"))


def test_the_figures_of_a_call_are_those_of_its_turns():
    seed("30", "--turns", "1", "--live", "0")
    measured = Call.objects.filter(measured_at__isnull=False).annotate(longest=Max("streams__turns__response_ms"))
    assert measured.count() > 10
    assert all(call.response_ms_max == call.longest for call in measured)
    assert not Utterance.objects.exists()


def test_made_up_calls_without_turns_have_figures_all_the_same():
    seed("60", "--live", "0")
    figures = Call.objects.filter(measured_at__isnull=False).values_list("first_audio_ms", "response_ms")
    assert len(figures) > 20
    assert not Turn.objects.exists()
    assert all(first for first, _ in figures)


def test_a_call_that_nobody_answered_costs_nothing_and_has_no_figures():
    seed("60", "--live", "2")
    others = Call.objects.exclude(status="completed")
    assert others.count() > 2
    assert not others.exclude(measured_at=None, price=None, response_ms=None, price_unit="").exists()
    assert not Call.objects.filter(status="completed", price__gte=0).exists()
