"""The admin in a real browser: hearing, seeking, the keyboard, markers, a running call, small and dark screens."""

import datetime as dt
import re
import time

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils import timezone
from playwright.sync_api import Error

from calls.alerts.watching import watch
from calls.media import audio
from calls.models import Call, Erasure, QuarantinedRow, RecordingAccess, Tag
from calls.server.hints import hints
from config.settings import BASE_DIR
from simulator import PhoneNumber, TwilioApi
from tests.support.browser import LIST, MARKS, at, eventful, page_of, violations, wait_for_waveform, wait_until
from tests.support.campaigns import make_campaign
from tests.support.factories import (
    make_call,
    make_chunk,
    make_client,
    make_digit,
    make_event,
    make_gap,
    make_mark,
    make_recording,
    make_rule,
    make_staff,
    make_stream,
    make_utterance,
)
from tests.support.servers import until


pytestmark = MARKS


@pytest.fixture(scope="module")
def scripts(chromium):
    """A page with our scripts that draw nothing."""
    page = chromium.new_page()
    for name in ("peaks", "silence"):
        page.add_script_tag(path=f"{BASE_DIR}/calls/static/calls/{name}.js")
    return page


@pytest.fixture
def ops():
    return make_staff(
        *("view_call", "change_call", "listen_call", "download_call", "export_call", "see_numbers"),
        *("view_tag", "add_tag"),
    )


def test_a_recording_plays_and_its_bytes_come_by_range(visit, ops):
    call = eventful()
    page = visit(page_of(call), ops)
    wait_for_waveform(page)
    assert not RecordingAccess.objects.exclude(kind="read").exists(), "looking is not listening"
    page.click(".call-toggle")
    wait_until(page, "document.querySelector('audio').currentTime > 0.3")
    assert page.get_attribute(".call-toggle", "aria-label") == "Pause"
    assert {got.status for got in page.requests if "recording.wav" in got.url} == {206}
    assert RecordingAccess.objects.filter(kind="listen", user=ops, call=call).count() == 1


def test_a_click_into_the_waveform_moves_there(visit, ops):
    page = visit(page_of(eventful()), ops)
    wait_for_waveform(page)
    box = page.locator(".call-wave").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    assert at(page) == pytest.approx(10, abs=0.1)
    assert page.inner_text(".call-now") == "0:10.0"
    page.click(".call-toggle")
    wait_until(page, "document.querySelector('audio').currentTime > 10.2")


def test_dragging_moves_along(visit, ops):
    page = visit(page_of(eventful()), ops)
    wait_for_waveform(page)
    box = page.locator(".call-wave").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 30, steps=4)
    assert page.inner_text(".call-now") == "0:15.0"
    page.mouse.up()
    assert at(page) == pytest.approx(15, abs=0.1)


def test_the_keyboard_does_it_all(visit, ops):
    page = visit(page_of(eventful()), ops)
    wait_for_waveform(page)
    for key, expected in [("ArrowRight", 5), ("ArrowRight", 10), ("ArrowLeft", 5), ("ArrowLeft", 0), ("ArrowLeft", 0)]:
        page.keyboard.press(key)
        assert at(page) == pytest.approx(expected, abs=0.01)
    page.keyboard.press(" ")
    wait_until(page, "!document.querySelector('audio').paused")
    page.keyboard.press(">")
    assert page.evaluate("document.querySelector('audio').playbackRate") == 1.25
    page.keyboard.press(" ")
    assert page.evaluate("document.querySelector('audio').paused")


def test_typing_a_note_is_not_a_command(visit, ops):
    page = visit(page_of(eventful()), ops)
    wait_for_waveform(page)
    page.fill("#id_notes", "rang")
    page.press("#id_notes", "End")
    page.keyboard.type(" twice <1> +nsp")
    assert page.evaluate("document.querySelector('audio').paused")
    assert page.input_value("#id_notes") == "rang twice <1> +nsp"
    assert (window(page), at(page), pressed(page, ".call-skip")) == ([0, 20], 0, "false")


def test_the_position_is_a_slider_for_those_who_do_not_see_it(visit, ops):
    page = visit(page_of(eventful()), ops)
    wait_for_waveform(page)
    page.focus(".call-wave")
    page.keyboard.press("End")
    slider = page.locator(".call-wave")
    assert (slider.get_attribute("aria-valuenow"), slider.get_attribute("aria-valuemax")) == ("20.0", "20.0")
    assert slider.get_attribute("aria-valuetext") == "0:20.0 of 0:20.0"


def test_markers_lie_where_things_happened(visit, ops):
    page = visit(page_of(eventful()), ops)
    places = page.eval_on_selector_all(
        ".call-marker", "found => Object.fromEntries(found.map(m => [m.dataset.kind + m.dataset.tone, m.style.left]))"
    )
    assert places == {
        **{"eventquiet": "0%", "clearedcleared": "17.5%", "markcleared": "27.5%", "keykey": "40%"},
        **{"gapwarn": "50%", "markplayed": "75%"},
    }
    region = page.locator(".call-region.call-cleared")
    assert (region.evaluate("r => r.style.left"), region.evaluate("r => r.style.width")) == ("17.5%", "10%")


def test_a_lossy_line_is_one_mark_that_opens_on_demand(visit, ops):
    call = make_recording(seconds=20)
    stream = call.streams.get()
    for number in range(40):
        make_gap(stream, start=number * 4_000, length=160, reason="sequence")
    page = visit(page_of(call), ops)
    assert page.locator('.call-marker[data-kind="gap"]').count() == 1
    assert not page.locator(".call-pieces").is_visible()
    page.click("text=Show the pieces")
    page.click(".call-pieces >> text=0:05.0")
    wait_until(page, "document.querySelector('audio').currentTime === 5")


def test_markers_lie_below_the_wave_even_where_there_is_no_map(visit, ops):
    page = visit(page_of(eventful()), ops)
    assert page.is_hidden(".call-map")
    wave, markers = (page.locator(name).bounding_box() for name in (".call-wave", ".call-markers"))
    assert markers["y"] >= wave["y"] + wave["height"]


def test_a_marker_leads_to_its_moment(visit, ops):
    page = visit(page_of(eventful()), ops)
    page.click('.call-marker[data-kind="key"]')
    wait_until(page, "document.querySelector('audio').currentTime === 8")
    assert page.url.endswith("#t=8.00")


def test_a_line_of_the_timeline_leads_there_again_and_again(visit, ops):
    page = visit(page_of(eventful()), ops)
    link = page.locator('.call-timeline a[href="#t=3.50"]')
    link.click()
    wait_until(page, "document.querySelector('audio').currentTime === 3.5")
    page.keyboard.press("ArrowRight")
    link.click()
    wait_until(page, "document.querySelector('audio').currentTime === 3.5")


def test_a_link_opens_at_its_moment(visit, ops):
    page = visit(page_of(eventful(), "#t=13.5"), ops)
    wait_until(page, "document.querySelector('.call-now').textContent === '0:13.5'")
    page.click(".call-toggle")
    wait_until(page, "document.querySelector('audio').currentTime > 13.6")


def test_a_moment_can_be_shared(visit, ops):
    page = visit(page_of(eventful()), ops)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.keyboard.press("ArrowRight")
    page.click(".call-share")
    page.wait_for_selector("text=Link copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    assert page.url.endswith("#t=5.0")


def test_a_lane_is_muted_and_the_other_goes_on(visit, ops):
    page = visit(page_of(eventful()), ops)
    wait_for_waveform(page)
    page.click(".call-toggle")
    page.click('[data-lane="inbound"]')
    assert page.get_attribute('[data-lane="inbound"]', "aria-pressed") == "false"
    assert page.locator(".call-lane.call-muted").count() == 1
    before = at(page)
    wait_until(page, f"document.querySelector('audio').currentTime > {before} + 0.3")
    page.keyboard.press("1")
    assert page.get_attribute('[data-lane="inbound"]', "aria-pressed") == "true"


def test_the_waveform_shows_who_spoke_when(visit, ops):
    page = visit(page_of(eventful()), ops)
    wait_until(page, "[...document.querySelectorAll('.call-lane path')].every(path => path.getBBox().height > 20)")
    loud, quiet = page.evaluate(
        """() => [100, 500].map(x => {
            const path = document.querySelector('.call-lane.call-outbound path');
            const point = path.ownerSVGElement.createSVGPoint();
            [point.x, point.y] = [x + 10.5, 25];
            return path.isPointInFill(point);
        })"""
    )
    assert (loud, quiet) == (True, False)


def window(page):
    """What the wave shows, in seconds, as the map's frame has it."""
    total = float(page.get_attribute(".call-wave", "aria-valuemax"))
    left, width = page.eval_on_selector(".call-frame", "f => [f.style.left, f.style.width].map(parseFloat)")
    return [round(left * total / 100, 1), round((left + width) * total / 100, 1)]


def wait_for_window(page, expected):
    until(lambda: page.wait_for_timeout(20) or window(page) == expected, f"the window {expected}")


def pressed(page, button):
    return page.get_attribute(button, "aria-pressed")


def asked_for_peaks(page):
    return [got.url.partition("?")[2] for got in page.requests if "peaks.json" in got.url]


def pauses(seconds=20, every=10):
    """A call in which the caller speaks for five seconds of every ten."""
    call = make_call(audio_samples=seconds * 8_000)
    stream = make_stream(call, length=seconds * 8_000, ended_at=call.ended_at)
    for start in range(0, seconds, every):
        make_chunk(stream, audio.tone(440, 5_000), start=start * 8_000)
    make_chunk(stream, audio.tone(440, 1_000), start=(seconds - 1) * 8_000, track="outbound")
    return call


def test_the_buttons_and_keys_zoom_at_the_playhead(visit, ops):
    page = visit(page_of(pauses(120), "#t=30"), ops)
    wait_for_waveform(page)
    page.get_by_role("button", name="Zoom in").click()
    wait_for_window(page, [15, 75])
    page.keyboard.press("+")
    wait_for_window(page, [22.5, 52.5])
    page.keyboard.press("-")
    wait_for_window(page, [15, 75])
    page.keyboard.press("0")
    wait_for_window(page, [0, 120])
    assert page.get_by_role("button", name="Zoom out").get_attribute("aria-disabled") == "true"


def test_nothing_is_nearer_than_ten_seconds(visit, ops):
    page = visit(page_of(pauses(120)), ops)
    for _ in range(6):
        page.keyboard.press("=")
    wait_for_window(page, [0, 10])
    assert page.get_by_role("button", name="Zoom in").get_attribute("aria-disabled") == "true"


def test_a_short_recording_has_no_zoom(visit, ops):
    page = visit(page_of(make_recording(seconds=19)), ops)
    wait_for_waveform(page)
    page.keyboard.press("+")
    assert not page.locator(".call-zoom:visible, .call-map:visible").count()
    assert window(page) == [0, 19]


def over_the_wave(page, share):
    box = page.locator(".call-wave").bounding_box()
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + 40)


def test_the_wheel_with_ctrl_zooms_where_the_pointer_is_and_without_it_scrolls_sideways(visit, ops):
    page = visit(page_of(pauses(120)), ops)
    wait_for_waveform(page)
    over_the_wave(page, 0.5)
    page.keyboard.down("Control")
    for _ in range(12):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    wait_for_window(page, [55, 65])
    page.mouse.wheel(page.locator(".call-wave").bounding_box()["width"], 0)
    wait_for_window(page, [65, 75])


def test_two_fingers_zoom_and_seek_nothing(visit, ops):
    page = visit(page_of(pauses(120)), ops)
    wait_for_waveform(page)
    box, touch = page.locator(".call-wave").bounding_box(), page.context.new_cdp_session(page)
    for kind, spread in [("touchStart", 0.1), ("touchMove", 0.2), ("touchEnd", None)]:
        shares = [] if spread is None else [0.5 - spread, 0.5 + spread]
        points = [{"x": box["x"] + box["width"] * x, "y": box["y"] + 30, "id": n} for n, x in enumerate(shares)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    wait_for_window(page, [30, 90])
    assert (at(page), page.inner_text(".call-now")) == (0, "0:00.0")


def test_markers_ticks_and_clicks_belong_to_the_window(visit, ops):
    call = pauses(120)
    for second in (5, 20, 100):
        make_digit(call.streams.get(), str(second)[0], timestamp_ms=second * 1000)
    page = visit(page_of(call), ops)
    page.keyboard.press("+")
    page.keyboard.press("+")
    wait_for_window(page, [0, 30])
    found = page.eval_on_selector_all(".call-marker", "all => all.map(m => [m.dataset.key, parseFloat(m.style.left)])")
    assert found == [["5", pytest.approx(100 / 6, abs=0.01)], ["2", pytest.approx(200 / 3, abs=0.01)]]
    assert page.locator(".call-axis span").all_inner_texts() == [f"0:{at:02}" for at in range(0, 31, 2)]
    over_the_wave(page, 0.5)
    assert page.get_attribute(".call-hover", "data-time").startswith("0:15.0")
    page.mouse.down()
    page.mouse.up()
    assert at(page) == pytest.approx(15, abs=0.05)


def test_the_window_turns_its_page_when_what_plays_leaves_it(visit, ops):
    page = visit(page_of(pauses(120)), ops)
    for _ in range(4):
        page.keyboard.press("+")
    wait_for_window(page, [0, 10])
    over_the_wave(page, 0.95)
    page.mouse.down()
    page.mouse.up()
    page.keyboard.press(" ")
    wait_for_window(page, [9, 19])


def test_a_moment_outside_the_window_brings_it_there(visit, ops):
    call = pauses(120)
    make_digit(call.streams.get(), "7", timestamp_ms=80_000)
    page = visit(page_of(call), ops)
    for _ in range(4):
        page.keyboard.press("+")
    wait_for_window(page, [0, 10])
    page.click('.call-timeline a[href="#t=80.00"]')
    wait_for_window(page, [79, 89])
    page.locator(".call-map").click(position={"x": 5, "y": 10})
    wait_for_window(page, [0, 10])
    page.keyboard.press("ArrowRight")
    wait_for_window(page, [84, 94])


def test_the_map_moves_the_window(visit, ops):
    page = visit(page_of(pauses(120)), ops)
    assert not page.locator(".call-map:visible").count(), "a short call shows it when it is zoomed"
    page.keyboard.press("+")
    wait_for_window(page, [0, 60])
    box = page.locator(".call-map").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10, steps=3)
    page.mouse.up()
    wait_for_window(page, [30, 90])
    page.mouse.click(box["x"] + box["width"] * 0.95, box["y"] + 10)
    wait_for_window(page, [60, 120])


def test_what_is_looked_at_is_loaded_once_and_no_finer_than_it_is_seen(visit, ops):
    page = visit(page_of(pauses(1_200, every=60)), ops)
    wait_for_waveform(page)
    until(lambda: page.wait_for_timeout(20) or len(asked_for_peaks(page)) == 2, "the whole call, 15 minutes at once")
    for keys in ("+++++++", "0", "+++++++"):
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_load_state("networkidle")
        until(lambda: page.wait_for_timeout(20) or len(asked_for_peaks(page)) == 3, "the part that is seen")
    assert asked_for_peaks(page)[2] == "from=0&until=655360&step=1"


@pytest.mark.parametrize(("known", "expected"), [(4, [7, 7, 9, 9]), (1, [7, 7, 7, 9]), (2, [7, 9, 7, 7])])
def test_other_scales_stand_in_for_peaks_that_are_still_to_come(scripts, known, expected):
    found = scripts.evaluate(
        """step => {
            const peaks = new CallPeaks("", {}), tile = peaks.make(step, 0, CallPeaks.size(step) * CallPeaks.FRAME);
            tile.inbound.set({ 4: [7, 9], 2: [7, 9, 7, 7], 1: [7, 1, 1, 7, 7, 1, 9, 1] }[step]);
            peaks.tiles.set(`${step}/0`, tile);
            return [...peaks.values("inbound", 0, 4, 2)];
        }""",
        known,
    )
    assert found == expected


@pytest.mark.parametrize(
    ("inbound", "outbound", "expected"),
    [
        ([9, *[0] * 10, 9], [0] * 12, [[0.5, 1.9]]),  # 0.3 s are left at either end
        ([9, *[1] * 10, 9], [1] * 12, [[0.5, 1.9]]),  # noise is silence
        ([9, *[2] * 10, 9], [0] * 12, []),
        ([9, *[0] * 10, 9], [0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0], []),  # the other one speaks
        ([9, *[0] * 7, 9], [0] * 9, []),  # a breath
        ([9, *[0] * 10], [0] * 11, [[0.5, 1.9]]),  # to the end
    ],
)
def test_silence_is_where_both_sides_are_quiet_for_long(scripts, inbound, outbound, expected):
    found = scripts.evaluate("([i, o]) => callSilences(i, o, 0.2)", [inbound, outbound])
    assert [[round(second, 2) for second in stretch] for stretch in found] == expected


def test_silence_is_skipped_on_demand_and_the_choice_is_kept(visit, ops):
    page = visit(page_of(pauses(70, every=60), "#t=4.8"), ops)
    wait_for_waveform(page)
    page.get_by_role("button", name="Skip silence").click()
    assert page.inner_text(".call-skips") == "skips 0:58"
    page.click(".call-toggle")
    wait_until(page, "document.querySelector('audio').currentTime > 59.6", 20)
    page.reload()
    assert pressed(page, ".call-skip") == "true"
    page.keyboard.press("s")
    assert (pressed(page, ".call-skip"), page.inner_text(".call-skips")) == ("false", "")


def test_a_running_call_skips_nothing_and_keeps_the_window(visit, ops):
    call = make_recording(seconds=40, status="in-progress", ended_at=None)
    page = visit(page_of(call), ops)
    wait_for_waveform(page)
    assert not page.locator(".call-skip:visible").count()
    make_chunk(call.streams.get(), audio.tone(440, 8_000), start=40 * 8_000)
    wait_until(page, "document.querySelector('.call-total').textContent === '0:48.0'")
    wait_for_window(page, [0, 48])
    page.keyboard.press("+")
    wait_for_window(page, [0, 24])
    make_chunk(call.streams.get(), audio.tone(440, 2_000), start=48 * 8_000)
    wait_until(page, "document.querySelector('.call-total').textContent === '0:50.0'")
    wait_for_window(page, [0, 24])


def test_n_and_p_go_from_event_to_event_and_take_no_focus(visit, ops):
    page = visit(page_of(eventful()), ops)
    wait_for_waveform(page)
    page.focus(".call-wave")
    for key, moment, row in [("n", 3.5, "Cleared"), ("n", 5.5, "Mark cleared"), ("n", 8, "Key 7"), ("p", 5.5, "Mark")]:
        page.keyboard.press(key)
        assert at(page) == pytest.approx(moment, abs=0.01)
        assert row in page.inner_text(".call-now-row")
    assert page.evaluate("document.activeElement.matches('.call-wave')")


def test_the_row_of_the_next_event_comes_into_sight_beside_the_wave(visit, ops):
    call = pauses(120)
    for second in range(40):
        make_digit(call.streams.get(), "5", timestamp_ms=second * 2_000)
    page = visit(page_of(call, "#t=70"), ops)
    page.get_by_role("button", name="Next event").click()
    assert at(page) == 72
    for seen in (".call-now-row", ".call-wave", ".call-after"):
        box = page.locator(seen).bounding_box()
        assert box["y"] >= 0, seen
        assert box["y"] + box["height"] <= 900, seen


def test_the_wave_stays_in_sight_however_far_below_it_the_event_stands(visit, ops):
    call = pauses(120)
    for second in range(30):
        make_utterance(call.streams.get(), start=second * 16_000, length=8_000)
        make_digit(call.streams.get(), "5", timestamp_ms=second * 2_000)
    page = visit(page_of(call, "#t=57"), ops)
    page.locator(".call-line-text").first.wait_for()
    page.set_viewport_size({"width": 1280, "height": 600})
    page.get_by_role("button", name="Next event").click()
    assert at(page) == 58
    assert page.locator(".call-wave").bounding_box()["y"] >= 0


def test_a_viewer_who_may_not_listen_sees_and_hears_nothing_of_it(visit):
    page = visit(page_of(eventful()), make_staff("view_call"))
    assert page.locator("audio, .call-wave, .call-toggle").count() == 0
    assert "not listen" in page.inner_text(".call-player")
    assert page.locator(".call-timeline tbody tr").count() == 6
    assert not [got for got in page.requests if "peaks.json" in got.url or "recording" in got.url]


def test_a_call_without_audio_says_so(visit, ops):
    page = visit(page_of(make_call()), ops)
    assert page.inner_text(".call-player") == "Nothing was recorded."
    page.keyboard.press(" ")


def test_a_running_call_is_followed(visit, ops):
    call = make_recording(seconds=12, status="in-progress", ended_at=None)
    stream = call.streams.get()
    page = visit(page_of(call), ops)
    wait_until(page, "document.querySelector('.call-total').textContent === '0:12.0'")
    make_digit(stream, "5", timestamp_ms=3_000)
    make_chunk(stream, audio.tone(440, 8000), start=96_000)
    wait_until(page, "document.querySelector('.call-total').textContent === '0:20.0'")
    assert page.locator('.call-marker[data-kind="key"]').count() == 1
    page.click('.call-timeline a[href="#t=3.00"]')
    page.click(".call-toggle")
    wait_until(page, "document.querySelector('audio').currentTime > 3.1")
    Call.objects.filter(pk=call.pk).update(status="completed", ended_at=timezone.now())
    page.wait_for_selector("#call-head >> text=Completed")


NOTE_STALLS = """() => {
    const audio = document.querySelector("audio");
    window.stalls = [];
    for (const name of ["waiting", "emptied"]) audio.addEventListener(name, () => stalls.push(name));
}"""


def speak(page, stream, start, pieces):
    """The caller goes on talking: a quarter of a second is there every quarter of a second."""
    begun = time.monotonic()
    for piece in range(pieces):
        make_chunk(stream, audio.tone(440, 250), start=start + piece * 2_000)
        page.wait_for_timeout(max(0, 250 * (piece + 1) - 1000 * (time.monotonic() - begun)))


def test_a_running_call_is_heard_without_stalling_and_to_its_end(visit, ops):
    call = make_recording(seconds=14, status="in-progress", ended_at=None)
    page, stream = visit(page_of(call), ops), call.streams.get()
    wait_for_waveform(page)
    page.click(".call-catch-up")
    speak(page, stream, 14 * 8_000, 20)
    wait_until(page, "document.querySelector('audio').currentTime > 4.1")
    page.evaluate(NOTE_STALLS)
    began = at(page)
    speak(page, stream, 19 * 8_000, 36)
    assert page.evaluate("stalls") == [], "it was opened again, or had to wait"
    assert at(page) > began + 5
    Call.objects.filter(pk=call.pk).update(status="completed", ended_at=timezone.now())
    wait_until(page, "document.querySelector('.call-catch-up').hidden")
    wait_until(page, "document.querySelector('audio').ended", 40)
    assert at(page) == pytest.approx(28, abs=0.1)


def test_a_call_that_ends_offers_what_can_be_done_with_it_now(visit):
    ops = make_staff("view_call", "change_call", "place_call", "erase_call", "see_numbers")
    call = make_call(from_number="+14155550123", status="in-progress", ended_at=None)
    page = visit(page_of(call, "?_changelist_filters=q%3Dx"), ops)
    assert page.locator(".call-links a").all_inner_texts()[:1] == ["Hang up"]
    page.fill("#id_notes", "half a sen")
    Call.objects.update(status="completed", ended_at=timezone.now())
    page.wait_for_selector("text=Call this number…")
    assert page.locator(".call-links a").all_inner_texts() == ["Who changed what", "Erase…"]
    assert "_changelist_filters=q%3Dx" in page.get_attribute(".call-links a >> nth=1", "href")
    assert page.input_value("#id_notes") == "half a sen"
    page.fill("#id_notes", "")


def test_a_listener_who_is_behind_catches_up_with_one_click(visit, ops):
    call = make_recording(seconds=20, status="in-progress", ended_at=None)
    page = visit(page_of(call), ops)
    page.click(".call-toggle")
    wait_until(page, "document.querySelector('audio').currentTime > 0.1")
    page.keyboard.press("l")
    wait_until(page, "document.querySelector('audio').currentTime > 15")
    page.evaluate("document.querySelector('audio').pause()")
    there = at(page)
    page.keyboard.press("ArrowLeft")
    wait_until(page, f"document.querySelector('audio').currentTime < {there - 4}")


def test_a_call_that_is_over_has_no_live_button(visit, ops):
    page = visit(page_of(make_recording(seconds=1)), ops)
    assert not page.locator(".call-catch-up:visible").count()


def test_a_hint_makes_the_page_look_at_once(visit, ops):
    call = make_recording(seconds=2, status="in-progress", ended_at=None)
    page = visit(page_of(call), ops)
    page.wait_for_timeout(2500)  # the first look is over, and the next one by itself far away
    looks = len([got for got in page.requests if "follow.json" in got.url])
    make_digit(call.streams.get(), "5", timestamp_ms=1_000)
    hints.add(call.sid)
    page.wait_for_selector(".call-timeline >> text=Key 5", timeout=2000)
    assert len([got for got in page.requests if "follow.json" in got.url]) == looks + 1


def test_a_running_calls_first_audio_appears_by_itself(visit, ops):
    call = make_call(status="in-progress", ended_at=None)
    page = visit(page_of(call), ops)
    assert page.inner_text(".call-player") == "Nothing was recorded yet."
    make_chunk(make_stream(call), audio.tone(440, 10_000))
    page.wait_for_selector(".call-stage:not([hidden])")
    page.click(".call-toggle")
    wait_until(page, "document.querySelector('audio').currentTime > 0.2")


# --- what was said ----------------------------------------------------------------------------------------------------


def lines(page):
    return page.locator(".call-line-text").all_inner_texts()


def wait_for_lines(page, count):
    wait_until(page, f"document.querySelectorAll('.call-line-said').length === {count}")


def go_to(page, second):
    page.evaluate(f"location.hash = 't={second}'")


def chat(seconds=120):
    """Both sides in turn, a line every two seconds."""
    call = make_recording(seconds=seconds)
    stream = call.streams.get()
    for second in range(0, seconds, 2):
        track = "outbound" if second % 4 else "inbound"
        make_utterance(stream, f"line {second}", start=second * 8_000, track=track)
    return call


def test_words_stand_under_the_wave_by_speaker_and_a_click_on_one_is_heard_from_there(visit, ops):
    page = visit(page_of(eventful()), ops)
    wait_for_lines(page, 2)
    assert page.locator(".call-line-who").all_inner_texts() == ["Us", "Caller"]
    page.hover(".call-line-said >> text=I want a refund")
    page.click(".call-one-word >> text=refund")
    wait_until(page, "!document.querySelector('audio').paused && document.querySelector('audio').currentTime >= 9.5")
    assert at(page) < 11


def test_the_word_that_is_heard_is_marked(visit, ops):
    page = visit(page_of(eventful(), "#t=9.6"), ops)
    page.wait_for_selector(".call-heard .call-word-now >> text=refund")
    go_to(page, 3.6)
    page.wait_for_selector(".call-heard .call-word-now >> text=help")
    assert page.locator(".call-word-now").count() == 1
    go_to(page, 15)
    wait_until(page, "!document.querySelector('.call-heard, .call-word-now')")


def test_a_line_without_times_of_words_is_heard_from_its_beginning(visit, ops):
    call = make_recording(seconds=20)
    make_utterance(call.streams.get(), "I want a refund", start=64_000, words=[])
    page = visit(page_of(call), ops)
    page.click(".call-line-text")
    wait_until(page, "document.querySelector('audio').currentTime >= 8")
    page.wait_for_selector(".call-heard")


def test_words_that_the_service_wrote_otherwise_than_the_line_are_found_in_it(visit, ops):
    call = make_recording(seconds=20)
    words = [["i", 0, 800], ["owe", 8_000, 800], ["twenty", 16_000, 800], ["euros", 24_000, 800], ["ok", 32_000, 800]]
    make_utterance(call.streams.get(), "I owe €20 Euros. OK?", length=40_000, words=words)
    page = visit(page_of(call), ops)
    page.hover(".call-line-text")
    assert page.locator(".call-one-word").all_inner_texts() == ["I", "owe", "Euros", "OK"]
    assert lines(page) == ["I owe €20 Euros. OK?"]


def test_the_keyboard_goes_from_line_to_line_and_hears_one(visit, ops):
    page = visit(page_of(chat(20)), ops)
    wait_for_lines(page, 10)
    assert page.locator('.call-line-at[tabindex="0"]').count() == 1
    page.focus('.call-line-at[tabindex="0"]')
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('audio').currentTime >= 4")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#t=4.00"


def test_what_is_heard_is_in_sight_unless_somebody_has_scrolled_away(visit, ops):
    page = visit(page_of(chat(), "#t=100.5"), ops)
    wait_for_lines(page, 60)
    heard = page.locator(".call-heard")
    heard.wait_for()
    box = page.locator(".call-words-box").bounding_box()
    assert box["y"] < heard.bounding_box()["y"] < box["y"] + box["height"]
    assert page.is_hidden(".call-words-now")
    page.evaluate("document.querySelector('.call-words-box').scrollTop = 0")
    page.click(".call-toggle")
    page.wait_for_selector(".call-heard >> text=line 102")
    page.keyboard.press(" ")
    assert page.evaluate("document.querySelector('.call-words-box').scrollTop") == 0
    page.click(".call-words-now")
    wait_until(page, "document.querySelector('.call-words-now').hidden")
    assert page.evaluate("document.querySelector('.call-words-box').scrollTop") > 0


def test_following_moves_the_words_and_not_the_page(visit, ops):
    page = visit(page_of(chat()), ops)
    wait_for_lines(page, 60)
    for second in (2.5, 30.5, 60.5, 90.5, 118.5):
        go_to(page, second)
        page.wait_for_selector(f".call-heard >> text=line {int(second) // 2 * 2}")
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("document.querySelector('.call-words-box').scrollTop") > 0


def test_words_of_a_running_call_appear_in_their_places(visit, ops):
    call = make_recording(seconds=12, status="in-progress", ended_at=None)
    stream = call.streams.get()
    page = visit(page_of(call), ops)
    page.wait_for_selector(".call-words-state >> text=no transcriber")
    make_utterance(stream, "I want a refund", start=64_000)
    make_chunk(stream, audio.tone(440, 1000), start=96_000)
    wait_for_lines(page, 1)
    make_utterance(stream, "How can I help?", start=16_000, track="outbound")
    stream.utterances.filter(start=64_000).update(text="I want a re-fund")
    make_chunk(stream, audio.tone(440, 1000), start=104_000)
    wait_for_lines(page, 2)
    wait_until(page, "document.querySelector('.call-lines').textContent.includes('re-fund')")
    assert lines(page) == ["How can I help?", "I want a re-fund"]
    assert page.is_hidden(".call-words-state")


def test_a_page_without_words_says_so_in_a_sentence(visit, ops):
    page = visit(page_of(make_recording(seconds=1)), ops)
    page.wait_for_selector("text=Nothing is written down: no transcriber is set up")


def test_what_is_missing_is_told_and_leads_there(visit, ops):
    call = eventful()
    lost = {"lane": "inbound", "start": 12.0, "length": 3.0, "why": "the service did not answer"}
    make_event(call, stream=call.streams.get(), source="stream", kind="words-missing", data=lost)
    page = visit(page_of(call), ops)
    page.click("text=Words of the caller are missing from 0:12 to 0:15: the service did not answer")
    wait_until(page, "document.querySelector('audio').currentTime === 12")


def test_a_search_for_what_was_said_leads_to_its_moment(visit, ops):
    eventful()
    page = visit(f"{LIST}?q=said:refund", ops)
    page.click("#result_list .field-parties a")
    page.wait_for_selector(".call-heard .call-word-now >> text=refund")
    assert at(page) == pytest.approx(9.5, abs=0.01)


def test_what_is_being_typed_survives_the_calls_news(visit, ops):
    call = make_recording(seconds=2, status="in-progress", ended_at=None)
    page = visit(page_of(call), ops)
    page.fill("#id_notes", "half a sen")
    make_digit(call.streams.get(), "5", timestamp_ms=1_000)
    page.wait_for_selector(".call-timeline >> text=Key 5")
    assert page.input_value("#id_notes") == "half a sen"


def test_notes_and_tags_are_saved(visit, ops):
    call = make_recording(seconds=2)
    Tag.objects.create(name="billing")
    page = visit(page_of(call), ops)
    page.fill("#id_notes", "Call back on Monday")
    page.click(".field-tags .select2-selection")
    page.click(".select2-results >> text=billing")
    page.check("#id_reviewed")
    page.click("input[name=_continue]")
    page.wait_for_selector("text=Saved.")
    call.refresh_from_db()
    assert (call.notes, call.reviewed, call.reviewed_by) == ("Call back on Monday", True, ops)
    assert call.tags.get().name == "billing"


def test_what_is_not_saved_is_marked_and_asked_about(visit, ops):
    page = visit(page_of(make_recording(seconds=2)), ops)
    assert page.locator("text=Not saved yet").count() == 0
    page.fill("#id_notes", "half a sen")
    page.wait_for_selector("text=Not saved yet")
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.get_by_role("link", name="Who changed what").click(no_wait_after=True)
    wait_until(page, "document.querySelector('#id_notes').value === 'half a sen'")
    page.wait_for_timeout(0)
    assert asked == ["beforeunload"]
    page.problems.clear()  # the question is what this is about
    page.fill("#id_notes", "")
    assert page.locator("text=Not saved yet").count() == 0
    page.get_by_role("link", name="Who changed what").click()
    page.wait_for_url("**/history/")


def test_notes_that_met_an_expired_login_are_offered_again(visit, ops):
    page = visit(page_of(make_recording(seconds=2)), ops)
    page.fill("#id_notes", "Call back\non Monday")
    cookies = page.context.cookies()
    page.context.clear_cookies(name="sessionid")
    page.click("input[name=_continue]")
    page.wait_for_url("**/login/**")
    page.context.add_cookies(cookies)
    page.goto(page_of(Call.objects.get()))
    page.click("text=Put it back")
    page.click("input[name=_continue]")
    page.wait_for_selector("text=Saved.")
    assert Call.objects.get().notes == "Call back\r\non Monday"
    assert page.locator("text=Put it back").count() == 0


def test_who_meets_other_notes_reads_both_and_saves_again(visit, ops):
    page = visit(page_of(make_recording(seconds=2)), ops)
    Call.objects.update(notes="Theirs,\nin two lines")
    page.fill("#id_notes", "Mine")
    page.click("input[name=_continue]")
    assert "Theirs are: “Theirs,\nin two lines”" in page.inner_text(".field-notes .errorlist")
    assert page.input_value("#id_notes") == "Mine"
    assert violations(page) == []
    page.click("input[name=_continue]")
    page.wait_for_selector("text=Saved.")
    assert Call.objects.get().notes == "Mine"


def test_the_list_plays_in_place_one_at_a_time(visit, ops):
    make_recording(seconds=5)
    make_recording(seconds=5)
    page = visit(LIST, ops)
    first, second = page.locator(".call-play").all()
    first.click()
    page.wait_for_selector('.call-play[aria-pressed="true"]')
    second.click()
    wait_until(page, "document.querySelectorAll('.call-play')[1].getAttribute('aria-pressed') === 'true'")
    assert first.get_attribute("aria-pressed") == "false"
    second.click()
    wait_until(page, "document.querySelectorAll('.call-play[aria-pressed=true]').length === 0")
    assert RecordingAccess.objects.count() == 2


def test_somebody_new_finds_yesterdays_call_and_where_the_caller_interrupted(visit, ops):
    call = eventful()
    yesterday = timezone.localtime() - dt.timedelta(days=1)
    Call.objects.filter(pk=call.pk).update(created_at=yesterday.replace(hour=15), from_number="+15557001234")
    make_recording(seconds=2, from_number="+15557001234")
    page = visit("/admin/", ops)
    page.click("text=Last 7 days")
    page.click("#changelist-filter >> text=Yesterday")
    page.fill("#searchbar", "555 700 12 34")
    page.keyboard.press("Enter")
    page.click("text=+15557001234")
    page.click(".call-timeline tr:has-text('Cleared') a")
    page.click(".call-toggle")
    wait_until(page, "document.querySelector('audio').currentTime > 3.6")


def test_typed_times_narrow_the_list(visit, ops):
    make_recording(seconds=1)
    make_recording(seconds=1, created_at="2026-01-01T00:00Z")
    page = visit(LIST, ops)
    page.fill("input[name=since]", "2026-03-14T12:00")
    page.click(".call-when button")
    page.wait_for_url("**since=2026*")
    page.wait_for_selector("#result_list tbody tr")
    assert page.locator("#result_list tbody tr").count() == 1
    assert page.input_value("input[name=since]") == "2026-03-14T12:00"


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_its_screen(visit, ops, width, scheme):
    call = eventful()
    make_call(from_number="sip:" + "a" * 250, handler="h" * 100, notes="n", has_warning=True)
    for path in ("/admin/", LIST, page_of(call)):
        page = visit(path, ops, width=width, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


@pytest.fixture
def twilio(settings):
    numbers = [PhoneNumber("+14155550199", friendly_name="Main line")]
    with TwilioApi(settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKENS[0], numbers).running() as api:
        settings.TWILIO_API_URL = api.url
        yield


def everywhere():
    """A path to every kind of page, with something on it."""
    call = eventful()
    Call.objects.filter(pk=call.pk).update(data={"order": "A-17"})
    make_event(call, kind="note", stream=call.streams.get(), data={"text": "asked for a refund", "position": 64_000})
    live = make_recording(seconds=2, status="in-progress", ended_at=None)
    make_call(from_number="sip:" + "a" * 250, caller_name="Ada", notes="n", has_warning=True, reviewed=True)
    make_call(created_at=timezone.now(), first_audio_ms=640, response_ms=900, response_ms_max=3200, dead_air_ms=20_000)
    call.tags.add(Tag.objects.create(name="billing"))
    user = make_staff("view_call")
    access = RecordingAccess.objects.create(call=call, user=user, kind="listen")
    erasure = Erasure.objects.create(call_sid=call.sid, reason="asked for", user=user)
    refused = QuarantinedRow.objects.create(kind="mark", reason="too long", data=b"x")
    number = LogEntry(
        user=user, object_repr="+14155550199", action_flag=CHANGE, change_message="VoiceUrl was https://x. Done."
    )
    number.content_type = ContentType.objects.get_for_model(Call)
    number.save()
    stream = call.streams.get()
    parts = {"stream": stream, "mark": stream.marks.first(), "dtmf": stream.dtmf.first(), "gap": stream.gaps.first()}
    parts["audiochunk"], parts["utterance"] = stream.chunks.first(), stream.utterances.first()
    rule = make_rule("calls", handler="echo")
    watch()
    about = {
        **parts,
        "alertrule": rule,
        "alert": rule.alerts.get(),
        "recordingaccess": access,
        "erasure": erasure,
        "quarantinedrow": refused,
        "tag": Tag.objects.get(),
        "apiclient": make_client(name="billing")[0],
        "campaign": make_campaign(3, seen_at=timezone.now()),
    }
    return [
        *(
            "/admin/",
            "/admin/calls/",
            LIST,
            f"{LIST}?q=ada&status=completed&o=-5",
            f"{LIST}?q=nobody",
            f"{LIST}?response=2.5&o=-8",
            f"{LIST}?q=said:refund",
        ),
        *(page_of(call), page_of(live), f"{LIST}{call.pk}/history/", f"{LIST}place/", f"{LIST}numbers/"),
        *(f"{LIST}{live.pk}/{name}/" for name in ("hang-up", "goodbye", "transfer")),
        *(f"/admin/calls/{name}/" for name in about),
        *(f"/admin/calls/{name}/{row.pk}/change/" for name, row in about.items()),
        *("/admin/calls/apiclient/add/", f"/admin/calls/apiclient/{about['apiclient'].pk}/renew/"),
        *(f"{LIST}erase/?call={call.pk}", f"{LIST}numbers/point/+14155550199/"),
        "/admin/calls/alertrule/add/",
        *("/admin/calls/tag/add/", f"/admin/calls/tag/{Tag.objects.get().pk}/delete/", "/admin/password_change/"),
        *(
            "/admin/auth/user/",
            f"/admin/auth/user/{user.pk}/change/",
            "/admin/auth/user/add/",
            "/admin/auth/group/add/",
        ),
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible(visit, twilio, scheme):
    """axe-core looks at each page in two widths, which takes it half a second and more: 15 s."""
    page = visit("/admin/", make_staff(is_superuser=True), scheme=scheme)
    found = []
    for path in [*everywhere(), "/admin/logout/", "/admin/login/"]:
        if path.endswith("logout/"):
            page.goto("/admin/")
            page.click("#logout-form button")
        else:
            page.goto(path)
        found += [(path, broken) for broken in violations(page)]
        page.set_viewport_size({"width": 360, "height": 900})
        found += [(path, "small", broken) for broken in violations(page)]
        page.set_viewport_size({"width": 1280, "height": 900})
    assert found == []


def test_a_running_call_keeps_up_in_the_list(visit, ops):
    call = make_recording(seconds=2, status="in-progress", ended_at=None, audio_samples=0, answered_at=timezone.now())
    page = visit(LIST, ops)
    page.check(".action-select")
    wait_until(page, "/^0:0[2-9]$/.test(document.querySelector('.call-running').textContent)")
    page.get_by_role("button", name="Play").click()
    page.wait_for_selector('.call-play[aria-pressed="true"]')
    Call.objects.filter(pk=call.pk).update(status="completed", ended_at=timezone.now(), audio_samples=16_000)
    page.wait_for_selector(".field-state >> text=Completed")
    assert (page.inner_text(".field-length"), page.is_checked(".action-select")) == ("0:02", True)
    assert page.locator(".call-running").count() == 0


def test_a_running_call_that_is_paused_in_the_list_goes_on_from_there(visit, ops):
    make_recording(seconds=8, status="in-progress", ended_at=None, audio_samples=0)
    page = visit(LIST, ops)
    button = page.get_by_role("button", name="Play")
    button.click()
    wait_until(page, "document.querySelector('audio').currentTime > 1")
    button.click()
    page.click("#searchbar")  # the focus alone would keep the button
    before = page.evaluate("document.querySelector('.call-play').dataset.seconds")
    wait_until(page, f"document.querySelector('.call-play').dataset.seconds !== '{before}'")
    button.click()
    wait_until(page, "!document.querySelector('audio').paused")
    assert at(page) > 1


def test_calls_that_come_meanwhile_are_told_of_and_push_nothing_away(visit, ops):
    make_recording(seconds=2, status="in-progress", ended_at=None)
    page = visit(LIST, ops)
    make_recording(seconds=1)
    page.wait_for_selector("text=This list has changed.")
    assert page.locator("#result_list tbody tr").count() == 1
    page.click("text=Reload it")
    page.wait_for_selector("#result_list tbody tr >> nth=1")


def test_an_action_that_lacks_its_tag_asks_for_it_and_keeps_the_selection(visit, ops):
    make_call()
    Tag.objects.create(name="billing")
    page = visit(LIST, ops)
    assert not page.is_visible("select[name=tag]")
    page.check(".action-select")
    page.select_option("select[name=action]", "put_tag")
    page.click("button[name=index]")
    assert page.evaluate("document.querySelector('select[name=tag]').validationMessage") == "Choose which tag."
    assert page.is_checked(".action-select")
    page.select_option("select[name=tag]", label="billing")
    page.click("button[name=index]")
    page.wait_for_selector("text=Tagged as “billing”: 1 call.")


def test_on_a_small_screen_the_filters_wait_above_the_calls(visit, ops):
    make_call()
    page = visit(LIST, ops, width=360)
    assert not page.is_visible("text=Last 7 days")
    page.click(".call-filters-toggle")
    top = page.locator("text=Last 7 days").bounding_box()["y"]
    assert top < page.locator("#result_list").bounding_box()["y"]


def test_on_a_small_screen_nothing_of_a_calls_page_is_cut_off(visit, ops):
    call = eventful()
    LogEntry.objects.log_actions(ops.pk, [call], CHANGE, change_message="x" * 80, single_object=True)
    page = visit(page_of(call), ops, width=360)
    page.click(".call-menu summary")
    for part in (
        ".call-menu ul",
        "#id_notes",
        ".field-tags .select2-container",
        ".field-tags .related-widget-wrapper-link",
    ):
        box = page.locator(part).first.bounding_box()
        assert box["x"] >= 0, part
        assert box["x"] + box["width"] <= 345, part  # that is 15 from the edge, where the page's own margin is
    page.goto(f"{LIST}{call.pk}/history/")
    assert page.locator("#change-history table").bounding_box()["width"] <= 360


def test_fifteen_calls_fit_on_an_ordinary_screen_and_no_time_wraps(visit, ops):
    for _ in range(20):
        make_recording(seconds=1, caller_name="Ada Lovelace")
    page = visit(LIST, ops)
    boxes = [line.bounding_box() for line in page.locator("#result_list tbody tr").all()]
    assert sum(box["y"] + box["height"] <= 900 for box in boxes) >= 15
    assert {line.evaluate("t => t.getClientRects().length") for line in page.locator(".field-when time").all()} == {1}


@pytest.mark.parametrize("where", ["page", "list"])
def test_what_was_played_is_on_record_and_not_what_was_loaded(visit, ops, where):
    call = make_recording(seconds=300)
    page = visit(page_of(call) if where == "page" else LIST, ops)
    button = ".call-toggle" if where == "page" else ".call-play"
    if where == "page":
        wait_for_waveform(page)
    page.click(button)
    wait_until(page, "document.querySelector('audio').currentTime > 1.2")
    with page.expect_request("**/played/"):
        page.click(button)
    access = until(lambda: RecordingAccess.objects.exclude(played=[]).first(), "the player's report")
    assert (access.call, access.user, access.played[0][0]) == (call, ops, 0)
    assert access.played[0][1] < 10


def test_a_play_button_says_who_called_whom_and_when(visit, ops):
    make_recording(seconds=1)
    page = visit(LIST, ops)
    name = "+15550100001 to +15550100002 14 Mar, 15:09:26"
    page.get_by_role("button", name=f"Play {name}", exact=True).wait_for()
    page.get_by_role("checkbox", name=f"Select {name}", exact=True).wait_for()


def test_all_keys_of_a_slider_move_it(visit, ops):
    page = visit(page_of(make_recording(seconds=60)), ops)
    wait_for_waveform(page)
    page.focus(".call-wave")
    for key, expected in [("ArrowUp", 5), ("PageUp", 35), ("ArrowDown", 30), ("PageDown", 0)]:
        page.keyboard.press(key)
        assert at(page) == pytest.approx(expected, abs=0.01)


def test_few_keys_lead_to_the_sound(visit, ops):
    page = visit(page_of(eventful()), ops)
    wait_for_waveform(page)
    stops = 0
    while not page.evaluate("document.activeElement.matches('.call-lane-name')"):
        page.keyboard.press("Tab")
        stops += 1
        assert stops < 15


def test_dark_is_dark_and_both_lanes_stay_apart(visit, ops):
    call = eventful()
    colours = {}
    for scheme in ("light", "dark"):
        page = visit(page_of(call), ops, scheme=scheme)
        read = "name => getComputedStyle(document.querySelector(name[0]))[name[1]]"
        wanted = {"page": ("body", "backgroundColor"), "caller": (".call-lane.call-inbound", "fill")}
        wanted["us"] = (".call-lane.call-outbound", "fill")
        colours[scheme] = {name: page.evaluate(read, list(what)) for name, what in wanted.items()}
    assert colours["light"]["page"] == "rgb(255, 255, 255)"
    assert max(map(int, re.findall(r"\d+", colours["dark"]["page"]))) < 40
    assert len({str(colour) for scheme in colours.values() for colour in scheme.values()}) == 6


def test_nothing_a_caller_wrote_runs(visit, ops):
    text = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
    call = make_recording(seconds=1, from_number=text, caller_name=text, handler=text, parameters={text: text})
    stream = call.streams.get()
    make_mark(stream, name=text)
    make_event(call, kind=text, data={text: text})
    page = visit(page_of(call), ops)
    wait_for_waveform(page)
    page.hover(".call-marker")
    visit(LIST, ops)


def test_an_injected_script_would_not_run(visit, ops):
    page = visit(page_of(make_recording(seconds=1)), ops)
    with pytest.raises(Error, match="Content Security Policy"):
        page.add_script_tag(content="window.ran = true")
    assert page.evaluate("window.ran") is None
    page.problems.clear()  # the refusal is what this is about


# --- the API ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_apis_documentation_asks_nobody_else_and_tries_a_request(visit, site, scheme):
    """Under the policy of our pages, and without the network."""
    call = make_call()
    page = visit("/api/v1/docs", make_staff("view_call"), scheme=scheme)
    page.click("text=Authorize")
    page.fill(".auth-container input", make_client()[1])
    page.click(".auth-btn-wrapper .authorize")
    page.click(".btn-done")
    page.click("text=Find calls")
    page.click("text=Execute")
    page.wait_for_selector(f".live-responses-table :text('{call.sid}')")
    assert {got.url.partition("/static/")[0] for got in page.requests if "/static/" in got.url} == {site}
    assert all(got.url.startswith((site, "data:", "blob:")) for got in page.requests)
    colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (colour == "rgb(28, 32, 34)") is (scheme == "dark")


def test_a_new_clients_token_is_seen_whole(visit):
    user = make_staff("manage_apiclients", "view_call")
    for width in (1280, 390):
        page = visit("/admin/calls/apiclient/add/", user, width=width)
        page.fill("#id_name", f"billing {width}")
        page.click("input[name=_save]")
        assert re.fullmatch(r"cs_[0-9a-f]{16}_[\w-]{43}", page.input_value("#token"))
        assert violations(page) == []


# --- alert rules -----------------------------------------------------------------------------------------------------


def test_the_form_of_a_rule_asks_for_what_its_metric_needs(visit):
    page = visit("/admin/calls/alertrule/add/", make_staff(is_superuser=True))
    seen = []
    for metric in ("response", "failures", "calls"):
        page.select_option("#id_metric", metric)
        shown = [page.locator(f".form-row.field-{name}").is_visible() for name in ("percentile", "least")]
        seen.append((page.inner_text("#alert-unit"), *shown))
    assert seen == [("s", True, True), ("%", False, True), ("calls", False, False)]
