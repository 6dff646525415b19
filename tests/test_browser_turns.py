"""Who spoke when, and what the caller waited, on a call's page in a real browser: drawn, listed, and led to."""

import re
from itertools import pairwise

import pytest
from django.utils import timezone

from calls.media.audio import tone
from calls.models import Call, Turn
from tests.support.browser import MARKS, at, page_of, violations, wait_for_waveform, wait_until
from tests.support.factories import make_chunk, make_digit, make_recording, make_staff, make_turn, make_utterance


pytestmark = MARKS


@pytest.fixture
def ops():
    return make_staff("view_call", "change_call", "listen_call")


def measure(call):
    """What measuring leaves, as for the turns of `talk`."""
    figures = {"first_audio_ms": 1000, "response_ms": 2600, "response_ms_max": 4000}
    Call.objects.filter(pk=call.pk).update(measured_at=timezone.now(), dead_air_ms=4000, talk_over_ms=500, **figures)
    return call


def talk(call):
    """20 seconds: an answer after 1.2 s that the caller speaks into, and one after 4 s."""
    stream = call.streams.get()
    turn(stream, "us", 1, 4)
    turn(stream, "caller", 5, 8)
    turn(stream, "us", 9.2, 12, response_ms=1200, interrupted=True, talked_on_ms=500)
    turn(stream, "caller", 11.5, 14)
    turn(stream, "us", 18, 19.9, response_ms=4000)
    return call


def turn(stream, speaker, start, end, **facts):
    return make_turn(stream, speaker, start=round(start * 8000), length=round((end - start) * 8000), **facts)


def measured():
    return measure(talk(make_recording(seconds=20)))


def long_talk(seconds=1_000, every=5):
    """An answer every five seconds, of which every tenth takes 3 s."""
    call = make_recording(seconds=1, audio_samples=seconds * 8000)
    stream = call.streams.get()
    type(stream).objects.filter(pk=stream.pk).update(length=seconds * 8000)
    rows = []
    for number, second in enumerate(range(0, seconds, every)):
        wait = 3 if number % 10 == 5 else 0.5
        facts = {"stream": stream, "length": 8000}
        rows.append(Turn(speaker="caller", start=second * 8000, **facts))
        rows.append(Turn(speaker="us", start=round((second + 1 + wait) * 8000), response_ms=wait * 1000, **facts))
    Turn.objects.bulk_create(rows)
    return measure(call)


def wait_for_turns(page):
    wait_for_waveform(page)
    wait_until(page, "document.querySelector('.call-ribbon [data-of=outbound]').getAttribute('d')")


def drawn(page, kind, seconds=20):
    """Where the bars of a kind lie, in seconds from the left of a window of so many."""
    path = page.get_attribute(f'path[data-of="{kind}"]', "d") or ""
    width = page.evaluate("document.querySelector('.call-wave').clientWidth")
    bars = re.findall(r"M(-?[\d.]+) [\d.]+H(-?[\d.]+)", path)
    return [tuple(round(float(x) / width * seconds, 1) for x in bar) for bar in bars]


def numbers(page, kind="waited"):
    return page.locator(f".call-numbers-waited .call-{kind}").all_inner_texts()


def said(page):
    return page.inner_text(".call-said")


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_each_side_has_its_bars_where_it_spoke(visit, ops):
    page = visit(page_of(measured()), ops)
    wait_for_turns(page)
    assert drawn(page, "inbound") == [(5, 8), (11.5, 14)]
    assert drawn(page, "outbound") == [(1, 4), (9.2, 12), (18, 19.9)]
    assert drawn(page, "on") == [(11.5, 12)]


def test_a_wait_lies_between_the_two_with_its_number_and_its_tone(visit, ops):
    page = visit(page_of(measured()), ops)
    wait_for_turns(page)
    assert (drawn(page, "good"), drawn(page, "warn"), drawn(page, "bad")) == ([], [(8, 9.2)], [(14, 18)])
    assert numbers(page) == ["4.0 s", "1.2 s"]
    box, wave = page.locator(".call-waited.call-warn").bounding_box(), page.locator(".call-wave").bounding_box()
    assert (box["x"] + box["width"] / 2 - wave["x"]) / wave["width"] * 20 == pytest.approx(8.6, abs=0.1)


def test_dead_air_and_talk_over_lie_on_both_lanes(visit, ops):
    page = visit(page_of(measured()), ops)
    wait_for_turns(page)
    assert (drawn(page, "dead"), drawn(page, "over")) == ([(14, 18)], [(11.5, 12)])
    assert numbers(page, "dead") == ["dead air 4.0 s"]
    lanes, wave = page.locator(".call-stretches").bounding_box(), page.locator(".call-wave").bounding_box()
    assert lanes == wave


def test_how_long_we_talked_on_is_said_where_there_is_room(visit, ops):
    call = make_recording(seconds=20)
    turn(call.streams.get(), "us", 1, 12, interrupted=True, talked_on_ms=5000)
    page = visit(page_of(measure(call)), ops)
    wait_for_turns(page)
    assert numbers(page, "on") == ["talked on 5.0 s"]


def test_only_what_is_in_the_window_is_drawn(visit, ops):
    page = visit(page_of(measured()), ops)
    wait_for_turns(page)
    page.keyboard.press("+")
    wait_until(page, "document.querySelectorAll('.call-waited').length === 1")
    assert numbers(page) == ["1.2 s"]
    assert drawn(page, "inbound", 10) == [(5, 8)]


def test_from_afar_numbers_cover_no_numbers_and_the_slow_ones_have_theirs(visit, ops):
    page = visit(page_of(long_talk()), ops)
    wait_for_turns(page)
    assert set(numbers(page)) == {"3.0 s"}
    assert len(numbers(page)) == 20
    found = [number.bounding_box() for number in page.locator(".call-waited").all()]
    boxes = sorted((box["x"], box["x"] + box["width"]) for box in found)
    assert all(before[1] <= after[0] for before, after in pairwise(boxes))


def test_the_map_shows_where_the_slow_answers_are(visit, ops):
    page = visit(page_of(long_talk()), ops)
    wait_for_turns(page)
    found = page.get_attribute(".call-map-waits path", "d")
    assert [float(x) for x in re.findall(r"M([\d.]+)", found)] == [27.5 + 50 * number for number in range(20)]


def test_two_thousand_turns_are_a_handful_of_elements(visit, ops):
    page = visit(page_of(long_talk(seconds=5_000)), ops)
    wait_for_turns(page)
    assert Turn.objects.count() == 2000
    assert page.locator(".call-ribbon *, .call-stretches *, .call-numbers-waited *").count() < 60


def test_the_pointer_reads_what_has_no_room(visit, ops):
    page = visit(page_of(measured()), ops)
    wait_for_turns(page)
    box = page.locator(".call-wave").bounding_box()
    for second, text in [
        *((6.5, "Caller 3.0 s"), (8.5, "Waited 1.2 s"), (16, "Waited 4.0 s"), (2, "Us 3.0 s"), (0.5, "")),
        (11.8, "Us 2.8 s, interrupted, talked on 0.5 s · Caller 2.5 s"),
    ]:
        page.mouse.move(box["x"] + box["width"] * second / 20, box["y"] + 20)
        assert page.get_attribute(".call-hover", "data-about") == text


def test_the_ribbon_fits_a_small_dark_screen(visit, ops):
    page = visit(page_of(measured()), ops, width=390, scheme="dark")
    wait_for_turns(page)
    assert numbers(page) == ["4.0 s", "1.2 s"]
    assert page.locator(".call-wave").bounding_box()["height"] == 48 + 28 + 48


# --- the way to them --------------------------------------------------------------------------------------------------


def test_the_worst_response_is_one_click_away_and_heard_from_before_it(visit, ops):
    page = visit(page_of(measured()), ops)
    wait_for_turns(page)
    page.click('[data-figure="worst"] a')
    wait_until(page, "document.querySelector('audio').currentTime === 13")
    assert page.url.endswith("#t=13.00")


def test_w_goes_from_slow_answer_to_slow_answer(visit, ops):
    page = visit(page_of(long_talk()), ops)
    wait_for_turns(page)
    for key, second, words in [("w", 25, "1 of 20"), ("w", 75, "2 of 20"), ("W", 25, "1 of 20")]:
        page.keyboard.press(key)
        assert at(page) == pytest.approx(second, abs=0.01)
        assert said(page) == f"Waited 3.0 s: slow answer {words}"
    page.keyboard.press("W")
    assert said(page) == "No slow answer before this."
    page.get_by_role("button", name="Next slow answer").click()
    assert at(page) == pytest.approx(75, abs=0.01)


def test_w_is_a_letter_where_somebody_writes(visit, ops):
    page = visit(page_of(measured()), ops)
    wait_for_turns(page)
    page.focus("#id_notes")
    page.keyboard.type("wW")
    assert (page.input_value("#id_notes"), at(page)) == ("wW", 0)
    page.fill("#id_notes", "")


def test_a_call_in_which_nobody_waited_says_so(visit, ops):
    call = make_recording(seconds=20)
    turn(call.streams.get(), "us", 1, 4, response_ms=300)
    page = visit(page_of(measure(call)), ops)
    wait_for_turns(page)
    page.keyboard.press("w")
    assert said(page) == "No answer was slow."
    assert page.is_hidden(".call-slow")


def test_all_turns_are_a_table_that_the_keyboard_reads_and_follows(visit, ops):
    page = visit(page_of(measured()), ops)
    wait_for_turns(page)
    page.focus(".call-turns summary")
    page.keyboard.press("Enter")
    rows = page.locator(".call-turns tbody tr").all_inner_texts()
    assert [re.split(r"\s*\t\s*", row.strip()) for row in rows][2:4] == [
        ["0:09.2", "Us", "2.8 s", "1.2 s", "interrupted, talked on 0.5 s"],
        ["0:11.5", "Caller", "2.5 s"],
    ]
    page.focus(".call-turns tr:nth-child(3) .call-turn-wait a")
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('audio').currentTime === 7")
    assert page.inner_text(".call-turns .call-now-row").startswith("0:05.0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_conversation_is_accessible(visit, ops, scheme):
    page = visit(page_of(measured(), "#t=9.5"), ops, scheme=scheme)
    wait_for_turns(page)
    page.click(".call-turns summary")
    found = violations(page)
    page.set_viewport_size({"width": 390, "height": 900})
    assert found + violations(page) == []


# --- when they come ---------------------------------------------------------------------------------------------------


def test_turns_appear_by_themselves_some_seconds_after_the_end(visit, ops):
    call = make_recording(seconds=20, status="in-progress", ended_at=None)
    page = visit(page_of(call), ops)
    page.wait_for_selector("text=measured when the call is over")
    Call.objects.filter(pk=call.pk).update(status="completed", ended_at=timezone.now())
    page.wait_for_selector("text=is not measured yet", timeout=15_000)
    measure(talk(call))
    wait_until(page, "document.querySelectorAll('.call-waited').length === 2", 15)
    page.click('[data-figure="worst"] a')
    wait_until(page, "document.querySelector('audio').currentTime === 13")


def test_a_page_that_was_opened_right_after_the_end_waits_for_them_too(visit, ops):
    call = make_recording(seconds=20, ended_at=timezone.now())
    page = visit(page_of(call), ops)
    page.wait_for_selector("text=is not measured yet")
    measure(talk(call))
    wait_until(page, "document.querySelectorAll('.call-waited').length === 2", 15)


def test_a_call_that_nobody_measures_is_a_call_without_turns(visit, ops):
    page = visit(page_of(make_recording(seconds=20)), ops)
    wait_for_waveform(page)
    assert "manage.py measure_calls" in page.inner_text(".call-talk")
    assert page.is_hidden(".call-ribbon")
    assert not page.locator(".call-turns:visible, .call-slow:visible").count()
    page.keyboard.press("w")
    assert not [got for got in page.requests if "turns.json" in got.url or "follow.json" in got.url]


def test_turns_that_cannot_be_loaded_are_said_to_be_missing(visit, ops):
    call = measured()
    page = visit(page_of(make_recording(seconds=1)), ops)
    page.route("**/turns.json", lambda route: route.abort())
    page.goto(page_of(call))
    page.wait_for_selector("text=The turns could not be loaded.")
    page.problems.clear()  # the browser complains of what this is about


def test_who_may_not_listen_sees_the_figures(visit):
    page = visit(page_of(measured()), make_staff("view_call"))
    assert "4.0 s" in page.inner_text('[data-figure="worst"]')
    assert not page.locator(".call-talk a, .call-turns").count()
    assert not [got for got in page.requests if "turns.json" in got.url]


# --- together ---------------------------------------------------------------------------------------------------------


def chatty(seconds=600):
    """A line and a key every ten seconds."""
    call = make_recording(seconds=1, audio_samples=seconds * 8000)
    stream = call.streams.get()
    type(stream).objects.filter(pk=stream.pk).update(length=seconds * 8000)
    for second in range(0, seconds, 10):
        make_utterance(stream, f"line {second}", start=second * 8000, length=16_000)
        make_digit(stream, "5", timestamp_ms=second * 1000)
    return call


def in_sight(page, box, item):
    outer, inner = (page.locator(name).first.bounding_box() for name in (box, item))
    return outer["y"] <= inner["y"] <= outer["y"] + outer["height"] - inner["height"]


def zoomed(visit, ops):
    page = visit(page_of(chatty()), ops)
    wait_for_waveform(page)
    wait_until(page, "document.querySelectorAll('.call-line-said').length === 60")
    for _ in range(5):
        page.keyboard.press("+")
    return page


def test_wherever_somebody_goes_the_wave_the_words_and_the_timeline_go_together(visit, ops):
    page = zoomed(visit, ops)
    page.click('.call-timeline a[href="#t=400.00"]')
    wait_until(page, "document.querySelector('.call-axis').textContent.includes('6:40')")
    assert in_sight(page, ".call-words-box", ".call-heard")
    page.evaluate("document.querySelector('.call-timeline').parentElement.parentElement.scrollTop = 0")
    page.evaluate("document.querySelector('.call-line-said:nth-child(56)').scrollIntoView()")
    page.click(".call-line-said:nth-child(56) .call-line-text")
    wait_until(page, "document.querySelector('.call-axis').textContent.includes('9:10')")
    assert in_sight(page, "#call-timeline", ".call-timeline .call-now-row")
    page.evaluate("document.querySelector('audio').pause()")
    page.evaluate("document.querySelector('.call-words-box').scrollTop = 0")
    page.click(".call-wave")
    assert in_sight(page, ".call-words-box", ".call-line-said:nth-child(57)")


def test_what_is_looked_at_on_the_map_comes_into_sight_beside_it(visit, ops):
    page = zoomed(visit, ops)
    box = page.locator(".call-map").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + 8)
    wait_until(page, "document.querySelector('.call-axis').textContent.includes('5:00')")
    assert in_sight(page, ".call-words-box", ".call-line-said:nth-child(31)")
    assert in_sight(page, "#call-timeline", ".call-timeline tr:nth-child(31)")
    assert at(page) == 0, "looking is not moving"


def test_the_timeline_follows_what_plays_and_the_page_stays(visit, ops):
    page = visit(page_of(chatty(), "#t=399.5"), ops)
    wait_for_waveform(page)
    page.click(".call-toggle")
    wait_until(page, "document.querySelector('.call-timeline .call-now-row').dataset.at === '400.00'")
    assert in_sight(page, "#call-timeline", ".call-timeline .call-now-row")
    assert page.evaluate("scrollY") == 0


def test_turns_of_a_call_that_runs_appear_as_they_are_made(visit, ops):
    call = make_recording(seconds=20, status="in-progress", ended_at=None, turns_at=timezone.now())
    turn(call.streams.get(), "us", 1, 4)
    page = visit(page_of(call), ops)
    wait_for_turns(page)
    page.click(".call-turns summary")
    page.evaluate("document.querySelector('.call-turns tbody tr').dataset.kept = 'yes'")
    turn(call.streams.get(), "caller", 5, 8)
    make_chunk(call.streams.get(), tone(440, 1000), start=160_000)
    wait_until(page, "document.querySelectorAll('.call-turns tbody tr').length === 2")
    assert (len(drawn(page, "inbound")), len(drawn(page, "outbound"))) == (1, 1)
    assert page.locator(".call-turns tr[data-kept]").count() == 1
