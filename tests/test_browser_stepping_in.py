"""Stepping into a running call in a real browser: with the keyboard, once whatever is clicked, and until it ends."""

import pytest
from django.utils import timezone

from calls.media.audio import mulaw_to_pcm16, tone, wav_header
from calls.models import Call
from tests.support.browser import MARKS, page_of, violations, wait_until
from tests.support.factories import make_live_call, make_staff


pytestmark = MARKS
# Nobody holds these calls.
NOTHING = "Nothing was done: no stream of this call runs at the moment."
FOCUSED = "document.activeElement.textContent.trim()"


@pytest.fixture
def supervisor():
    return make_staff("view_call", "listen_call", "supervise_call", "place_call", "see_numbers")


def said(page, words=NOTHING):
    wait_until(page, f"document.querySelector('#call-step-in .call-said').textContent === {words!r}")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_all_of_it_is_done_with_the_keyboard(visit, supervisor, width, scheme):
    page = visit(page_of(make_live_call()), supervisor, width, scheme)
    page.focus("#call-step-in button:has-text('Clear')")
    page.keyboard.press("Enter")
    said(page)
    for word, first in (("Play a sound…", ""), ("Hang up after this…", "No, go back"), ("Redirect…", "")):
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUSED) == word
        page.keyboard.press("Space")
        wait_until(page, "document.querySelector('dialog[open]').contains(document.activeElement)")
        assert not first or page.evaluate(FOCUSED) == first
        assert violations(page) == []
        page.keyboard.press("Escape")
        wait_until(page, "!document.querySelector('dialog[open]')")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("+14155550123")
    page.keyboard.press("Enter")
    wait_until(page, "!document.querySelector('dialog[open]')")
    said(page)


def test_a_file_is_sent_once_however_often_it_is_clicked_and_nothing_is_done_after_the_end(visit, supervisor):
    call = make_live_call()
    page = visit(page_of(call), supervisor)
    page.click("text=Play a sound…")
    page.click("text=Play it to the caller")
    wait_until(page, "document.querySelector('dialog[open] .call-said').textContent === 'Choose a sound or a file.'")
    page.select_option("#call-step-play select", "shipped:beep")
    wav = wav_header(8000, 1) + mulaw_to_pcm16(tone(440, 1000))
    page.set_input_files("#call-step-play input[type=file]", {"name": "a.wav", "mimeType": "audio/wav", "buffer": wav})
    assert page.input_value("#call-step-play select") == ""
    page.dblclick("text=Play it to the caller")
    said(page)
    assert len([got for got in page.requests if "/step-in/play/" in got.url]) == 2
    page.click("text=Redirect…")
    Call.objects.filter(pk=call.pk).update(ended_at=timezone.now(), status="completed")
    wait_until(page, "!document.querySelector('dialog[open], #call-step-in button:not([hidden] *)')?.checkVisibility()")
    assert page.inner_text("#call-step-in").strip() == NOTHING
