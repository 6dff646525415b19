"""The page of a run: what it says, and that a browser reads it as that, whatever a server sent."""

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from simulator.report import Event, Finding
from simulator.reports.details import EVENTS
from simulator.reports.page import AUDIO_BYTES, page
from tests.support.browser import violations
from tests.support.results import LATE, SILENCE, TOKEN, broken, eventful, late, planned, result, run, stream


TWIML = '<Response><Connect><Stream url="wss://h/connection"/></Connect></Response>'


def text_of(html):
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)).split())


class Reader(HTMLParser):
    """What a browser sees."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = set(), []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add((tag, *sorted(name for name, _ in attributes)))

    def handle_data(self, text):
        self.texts.append(text)


def failed(number=1, **changes):
    facts = {"twiml": [TWIML], "requests": [("http://h/voice", 200), ("http://h/after", 500)], "events": eventful()}
    return result(LATE, plan=planned(number=number), **{**facts, **broken(), **changes})


def test_it_says_what_was_tested_with_what_and_when():
    told = text_of(page(run(result())))
    assert told.startswith("the call went well: simulator")
    for fact in ("http://127.0.0.1:5000/voice", "orders.yaml", "2026-11-28 12:00:00 UTC", "9.5 s", "simulator 1.2.3"):
        assert fact in told


def test_the_headline_counts_the_calls_that_failed():
    assert '<h1 class="failed">2 of 3 calls failed</h1>' in page(run(result(), failed(2), failed(3)))
    assert '<h1 class="ok">all 2 calls went well</h1>' in page(run(result(), result()))


def test_a_failed_call_has_what_was_wrong_its_requests_its_twiml_and_its_log():
    told = text_of(page(run(failed())))
    assert f"What was wrong {LATE} orders.yaml:12" in told
    assert "http://h/after 500" in told
    assert '&lt;Stream url="wss://h/connection"/&gt;' in told
    assert "0.000 the caller hangs up" in told
    assert "pressed: digit 5" in told


def test_where_it_was_expected_is_in_the_picture_and_among_what_came_about():
    steps = [Event(0, "step", {"step": 0, "says": "say: Hi", "line": 5})]
    steps += [Event(900, "step", {"step": 1, "says": "expect speech", "line": 12})]
    html = page(run(failed(events=steps)))
    told = "step: expect speech, line 12; expected was heard speech within 1 s: nothing was heard"
    assert f"<title>2: {told}</title>" in html
    assert f"2! 0.900 s {told}" in text_of(html)
    assert "1 0.000 s step: say: Hi, line 5" in text_of(html)


def test_a_failed_call_has_a_picture_and_its_sound():
    html = page(run(failed()))
    assert 'aria-label="Waveform of 2.0 s: above the caller, below what the caller heard; 12 numbered events"' in html
    sound = b64decode(re.search(r'src="data:audio/wav;base64,([^"]+)"', html)[1])
    assert (sound[:4], sound[8:12], len(sound)) == (b"RIFF", b"WAVE", 44 + 2 * 16000)
    assert sound[44 + 2 * 12001 :][:4][1::2] != SILENCE * 2


def test_the_sound_is_the_file_beside_it_where_that_was_saved(tmp_path):
    call = replace(failed(), wav=str(tmp_path / "calls" / "0001-a b.wav"))
    html = page(run(call), tmp_path / "reports")
    assert 'src="../calls/0001-a%20b.wav"' in html
    assert "data:audio" not in html


def test_a_call_that_never_got_a_stream_has_no_picture_and_says_so():
    told = text_of(page(run(result("the webhook POST /voice was answered 403", streams=[]))))
    assert "There is no picture: the call never got a stream." in told
    assert "How long callers waited" not in told


def test_calls_that_went_well_among_many_are_counted_only():
    html = page(run(failed(1), *(result(plan=planned(number=n), shown=False) for n in range(2, 200))))
    assert html.count("<svg") == 1
    assert "1 of 199 calls failed" in html


def test_why_calls_failed_is_counted_with_links_to_them():
    others = [result(f"the socket broke after {n}.5 s", plan=planned(number=n)) for n in (3, 4, 5)]
    told = text_of(page(run(failed(1), failed(2), *others)))
    assert f"{LATE} 2 #1 #2" in told
    assert "the socket broke after 3.5 s 3 #3 #4 #5" in told


def test_more_failed_calls_than_are_shown_are_counted():
    told = text_of(page(run(failed(1), result(LATE, plan=planned(number=2), shown=False))))
    assert "1 more call failed; the page shows the first 1, --json has them all." in told


def test_a_page_of_long_calls_stays_small_and_says_what_it_leaves_out():
    minutes = [stream(said=SILENCE * 8000 * 60, heard=())]
    html = page(run(*(failed(n, streams=minutes) for n in range(1, 21))))
    assert len(html) < AUDIO_BYTES + 1_000_000
    assert "The sound of 18 calls would make this page too big: --save FOLDER keeps every WAV." in text_of(html)


def test_a_server_that_sends_marks_without_end_does_not_fill_it():
    told = text_of(page(run(failed(events=[Event(n, "mark", {"name": "x"}) for n in range(1000)]))))
    assert f"What came about; the first {EVENTS} of 1,000" in told
    assert f" {EVENTS + 1} " not in told


def test_a_simulator_that_was_late_warns_before_anything_else():
    told = text_of(page(run(replace(failed(), late=late(34)))))
    assert told.index("Beware: these figures are the simulator's") < told.index("How long callers waited")


@pytest.mark.parametrize("tag", ["</pre><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "]]>&lt;&amp;"])
def test_whatever_a_server_sends_stays_text(tag):
    call = failed(
        twiml=[tag], requests=[(tag, 200)], events=[Event(0, tag, {tag: tag})], findings=[Finding(tag, False, tag)]
    )
    hostile = replace(call, planned=planned(tag, file=tag), report=replace(call.report, errors=[tag], ended=tag))
    html = page(run(hostile))
    told = Reader(html)
    assert told.tags <= Reader(page(run(failed()))).tags
    assert tag in told.texts


def test_it_loads_nothing_and_tells_no_token():
    html = page(run(failed(twiml=['<Parameter name="token" value="s3cr3t"/>'], log=[TOKEN])))
    assert re.findall(r"<(?:script|link|iframe|img|object)\b", html) == []
    assert re.findall(r'(?:src|href)="(?!data:|#)', html) == []
    assert " style=" not in html
    assert "s3cr3t" not in html
    assert TOKEN not in html


def test_its_pictures_are_well_formed():
    for svg in re.findall(r"<svg.*?</svg>", page(run(failed())), re.DOTALL):
        assert ElementTree.fromstring(svg).get("role") == "img"


# --- In a browser


@pytest.fixture
def opened(chromium, tmp_path):
    """The page of a failed call and of a good one; it must end without a message in the console."""
    (tmp_path / "report.html").write_text(page(run(failed(1), failed(2), result(plan=planned(number=3)))))
    contexts, said = [], []

    def open_(scheme="light", width=1100):
        contexts.append(chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.goto((tmp_path / "report.html").as_uri())
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert said == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 390])
def test_it_is_accessible_and_fits(opened, scheme, width):
    tab = opened(scheme, width)
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(tab) == []


@pytest.mark.browser
def test_a_link_to_a_call_unfolds_it_by_keys_alone(opened):
    tab = opened()
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    tab.locator("a", has_text="#2").focus()
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.querySelectorAll('details.call[open]').length") == 1
    assert tab.locator("details.call[open] summary").first.inner_text().startswith("failed #2 order")


@pytest.mark.browser
def test_its_sound_can_be_played(opened):
    tab = opened()
    seconds = """new Promise((tell, fail) => { const sound = document.querySelector('audio');
        sound.onloadedmetadata = () => tell(sound.duration); sound.onerror = fail; sound.load(); })"""
    tab.evaluate("document.querySelector('audio').preload = 'metadata'")
    assert tab.evaluate(seconds) == pytest.approx(2.0)
