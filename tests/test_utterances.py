"""Calls are found by what was said in them."""

import pytest
from django.db import connection

from calls.models import Call, Utterance, utterances
from tests.support.factories import make_call, make_stream, make_utterance


pytestmark = pytest.mark.django_db


def said(text, **facts):
    return make_utterance(make_stream(make_call()), text, **facts).stream.call


@pytest.mark.parametrize("words", ["refund", "REFUND", "a refund", "fun", "want"])
def test_a_call_is_found_by_any_part_of_what_was_said(words):
    call = said("I want a refund please")
    said("we fear nothing", track="outbound")
    assert list(Call.objects.said(words)) == [call]


def test_refund_finds_refunds_and_no_other_call():
    call = said("are refunds possible")
    said("we are found")
    assert list(Call.objects.said("refund")) == [call]


def test_a_call_that_says_it_twice_is_found_once():
    stream = make_stream()
    make_utterance(stream, "refund")
    make_utterance(stream, "a refund", start=80_000)
    assert list(Call.objects.said("refund")) == [stream.call]


def test_what_like_takes_for_any_letter_is_only_itself():
    said("a hundred")
    call = said("100% sure")
    assert list(Call.objects.said("0%")) == [call]


def test_languages_without_spaces_are_searched_too():
    call = said("我要退款")
    assert list(Call.objects.said("退款")) == [call]
    assert list(Call.objects.said("要退款")) == [call]


def test_without_an_index_only_the_newest_are_read(monkeypatch):
    monkeypatch.setattr(utterances, "MOST_READ", 1)
    said("no")
    newest = said("no way")
    assert list(Call.objects.said("no")) == [newest]


@pytest.mark.postgres
def test_the_search_has_an_index():
    with connection.cursor() as cursor:
        # Of a table that is nearly empty, any other way is cheaper.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
    assert "utterance_search_text" in Utterance.objects.saying("refund").explain()
