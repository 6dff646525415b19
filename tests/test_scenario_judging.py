"""What is expected of a call is judged by what was heard, to the sample, and told with its number and line."""

import random

import pytest

from simulator.audio import SILENCE, mono_wav, mulaw_of, pcm16_of
from simulator.report import Event, Report, StreamReport
from simulator.scenarios import load


MS = 8  # samples
LOUD = bytes([mulaw_of(8000), mulaw_of(-8000)])
SERVER = "server: {voice_url: http://127.0.0.1:5000/voice, auth_token: t0ken}\n"


def loud(ms):
    return LOUD * (ms * MS // 2)


def noise(ms, seed):
    dice = random.Random(seed)
    return bytes(mulaw_of(round(dice.gauss(0, 4000))) for _ in range(ms * MS))


def at(at_ms, kind, **facts):
    return Event(at_ms, kind, facts)


def steps(*begins):
    """The steps began then; the last one is the end of the script."""
    return [at(ms, "step", step=number) for number, ms in enumerate(begins)]


def call(heard=(), ms=10_000, said=(), events=(), ended="the caller hung up after 10.0 s", **more):
    """A call of one stream, in which that was heard and said: (ms, audio)."""
    sent = bytearray(SILENCE * ms * MS)
    for begin, audio in said:
        sent[begin * MS : begin * MS + len(audio)] = audio
    pieces = [(round(begin * MS), audio) for begin, audio in heard]
    stream = StreamReport("MZ1", ["inbound"], {}, sent=bytes(sent), heard=pieces, marks=more.pop("marks", []))
    return Report("CA1", streams=[stream], events=list(events), ended=ended, **more)


@pytest.fixture
def judged(tmp_path):
    """The findings on a call, each as (ok, text), or the one there is."""

    def judge(text, report):
        path = tmp_path / "pizza.yaml"
        path.write_text(SERVER + text)
        (scenario,) = load(path)
        scenario.judge(report)
        found = [(finding.ok, finding.found) for finding in report.findings]
        return found[0] if len(found) == 1 else found

    return judge


def step(expectation):
    return f"steps:\n  - wait: 1s\n  - expect: {expectation}\n"


def whole(expectation):
    return f"steps: [wait: 1s]\nexpect:\n  {expectation}\n"


# --- in a step, which begins after 1 s in these


@pytest.mark.parametrize(
    ("begin", "verdict"),
    [
        (1999.875, (True, "heard speech after 1 s, 1 s allowed (pizza.yaml:4)")),
        (2340, (False, "heard speech after 1.34 s, 1 s allowed (pizza.yaml:4)")),
        (900, (True, "heard speech after 0 s, 1 s allowed (pizza.yaml:4)")),
        (500, (False, "heard no speech, 1 s allowed (pizza.yaml:4)")),
    ],
)
def test_speech_is_counted_from_where_it_is_expected(judged, begin, verdict):
    assert judged(step("{speech: 1s}"), call([(begin, loud(400))], events=steps(0, 1000, 9000))) == verdict


@pytest.mark.parametrize(
    ("talk", "verdict"),
    [
        (800, (True, "was silent after 0.7 s, 1 s allowed (pizza.yaml:4)")),
        (1600, (False, "was silent after 1.5 s, 1 s allowed (pizza.yaml:4)")),
        (50, (True, "was silent after 0 s, 1 s allowed (pizza.yaml:4)")),
    ],
)
def test_silence_is_the_end_of_what_is_being_said(judged, talk, verdict):
    assert judged(step("{silence: 1s}"), call([(900, loud(talk))], events=steps(0, 1000, 9000))) == verdict


def test_a_pause_of_less_than_half_a_second_is_no_silence(judged):
    report = call([(900, loud(600)), (1900, loud(600))], events=steps(0, 1000, 9000))
    assert judged(step("{silence: 1s}"), report) == (False, "was silent after 1.5 s, 1 s allowed (pizza.yaml:4)")


@pytest.mark.parametrize(("begin", "ok"), [(3000, True), (2999, False), (900, False)])
def test_nothing_is_heard_for_so_long(judged, begin, ok):
    report = call([(begin, loud(400))], events=steps(0, 1000, 3000))
    found = "heard nothing" if ok else f"heard speech after {max(0, begin - 1000) / 1000:.2f}".rstrip("0.") + " s"
    assert judged(step("{nothing: 2s}"), report)[0] is ok, found


@pytest.fixture
def welcome(tmp_path):
    audio = noise(1500, "welcome")
    (tmp_path / "welcome.wav").write_bytes(mono_wav(audio))
    return audio


@pytest.mark.parametrize(
    ("begin", "verdict"),
    [
        (1250, (True, "heard welcome.wav (100 % like it) after 0.25 s, 1 s allowed (pizza.yaml:4)")),
        (2250, (False, "heard welcome.wav (100 % like it) after 1.25 s, 1 s allowed (pizza.yaml:4)")),
        (700, (True, "heard welcome.wav (100 % like it) after 0 s, 1 s allowed (pizza.yaml:4)")),
    ],
)
def test_a_sound_is_heard_in_time(judged, welcome, begin, verdict):
    report = call([(begin, welcome)], events=steps(0, 1000, 9000))
    assert judged(step("{sound: {file: welcome.wav, within: 1s}}"), report) == verdict


def test_another_sound_is_not_it_and_how_unlike_it_is_is_told(judged, welcome):
    ok, found = judged(step("{sound: welcome.wav}"), call([(1000, noise(1500, "other"))], events=steps(0, 1000, 9000)))
    assert not ok
    assert found.startswith("did not hear welcome.wav; what was most like it (")


def test_a_quiet_sound_is_the_same_sound(judged, welcome):
    quiet = bytes(mulaw_of(pcm16_of(byte) // 8) for byte in welcome)
    assert judged(step("{sound: welcome.wav}"), call([(1000, quiet)], events=steps(0, 1000, 9000)))[0]


def test_gaps_between_messages_are_not_in_the_sound(judged, welcome):
    """Of a server that sends 20 ms every 20.5 ms."""
    frames = [(1200 + number * 20.5, welcome[number * 160 : number * 160 + 160]) for number in range(75)]
    ok, found = judged(step("{sound: welcome.wav}"), call(frames, events=steps(0, 1000, 9000)))
    assert (ok, found) == (True, "heard welcome.wav (100 % like it) after 0.2 s, 10 s allowed (pizza.yaml:4)")


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        (
            [at(1500, "mark", name="hi", outcome="played")],
            (True, "mark 'hi' came back played after 0.5 s, 2 s allowed"),
        ),
        ([at(500, "mark", name="hi", outcome="played")], (True, "mark 'hi' came back played after 0 s, 2 s allowed")),
        ([at(1500, "mark", name="hi", outcome="cleared")], (False, "mark 'hi' came back cleared")),
        ([at(1500, "mark", name="ho", outcome="played")], (False, "mark 'hi' did not come back; ho did")),
        ([], (False, "mark 'hi' did not come back")),
    ],
)
def test_a_mark_comes_back(judged, events, verdict):
    report = call(events=[*steps(0, 1000), *events, *steps(0, 0, 9000)[2:]])
    ok, found = judged(step("{mark: {name: hi, within: 2s}}"), report)
    assert (ok, found.removesuffix(" (pizza.yaml:4)")) == verdict


def test_the_second_step_that_names_a_mark_waits_for_the_second_one(judged):
    text = "steps:\n  - expect: {mark: hi}\n  - expect: {mark: hi}\n"
    marks = [at(100, "mark", name="hi", outcome="played"), at(700, "mark", name="hi", outcome="cleared")]
    report = call(events=[*marks[:1], *steps(0, 500), marks[1], *steps(0, 0, 9000)[2:]])
    assert [ok for ok, _ in judged(text, report)] == [True, False]


def test_a_clear_is_counted_from_the_callers_words(judged):
    events = [*steps(0), at(400, "said", ms=900), at(700, "clear"), *steps(0, 1300, 9000)[1:]]
    assert judged(step("{clear: 500ms}"), call(events=events)) == (
        True,
        "a clear came after 0.3 s, 0.5 s allowed (pizza.yaml:4)",
    )


def test_a_clear_before_the_callers_words_is_none_of_theirs(judged):
    events = [*steps(0), at(300, "clear"), at(400, "said", ms=900), *steps(0, 1300, 9000)[1:]]
    assert judged(step("clear"), call(events=events)) == (False, "no clear came, 2 s allowed (pizza.yaml:4)")


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [
        ("the server hung up after 3.5 s", (True, "the server hung up after 2.5 s, 3 s allowed (pizza.yaml:4)")),
        ("the document was over", (True, "the server hung up after 2.5 s, 3 s allowed (pizza.yaml:4)")),
        (
            "the caller hung up after 3.5 s",
            (False, "the server had not hung up after 2.5 s, 3 s allowed (pizza.yaml:4)"),
        ),
    ],
)
def test_the_server_ends_the_call_in_time(judged, ended, verdict):
    assert judged(step("{hang_up: 3s}"), call(ms=3500, events=steps(0, 1000), ended=ended)) == verdict


def test_a_server_that_hangs_up_before_the_caller_expects_it_is_in_time(judged):
    text = "steps:\n  - press: 1#\n  - expect: {hang_up: 3s}"
    report = call(ms=400, events=steps(0), ended="the server hung up after 0.4 s")
    assert judged(text, report) == (True, "the server hung up after 0 s, 3 s allowed (pizza.yaml:4)")


def test_a_step_that_was_never_reached_is_a_failure(judged):
    text = "steps:\n  - wait: 5s\n  - press: 1\n  - wait: 1s\n  - expect: {speech: 1s}\n  - hang_up"
    report = call(ms=2000, events=steps(0), ended="the server hung up after 2.0 s")
    found = "the server hung up after 2.0 s, before `press: 1`, and 1 more step (pizza.yaml:4)"
    assert judged(text, report) == (False, found)
    assert report.errors == [f"every step is done: {found}"]


def test_waiting_and_hanging_up_may_be_missed(judged):
    report = call(ms=2000, events=steps(0), ended="the server hung up after 2.0 s")
    assert judged("steps: [wait: 5s, hold: 1s, hang_up]", report) == []


def test_an_interruption_needs_talk_and_may_expect_silence(judged):
    text = "steps:\n  - interrupt: {after: 1.2s, press: 1, silent_within: 200ms}\n"
    events = [*steps(0), at(1500, "interrupted", talked=1.21), at(1500, "pressed", digit="1"), *steps(0, 1520)[1:]]
    assert judged(text, call([(290, loud(1460))], events=events)) == [
        (True, "the server had talked for 1.21 s (pizza.yaml:3)"),
        (False, "the server talked on for 0.25 s, 0.2 s allowed (pizza.yaml:3)"),
    ]


def test_an_interruption_of_nothing_fails(judged):
    text = "steps:\n  - interrupt: {after: 1.2s, press: 1}\n"
    events = [*steps(0), at(9000, "interrupted", talked=0.0), at(9000, "pressed", digit="1"), *steps(0, 9020)[1:]]
    assert judged(text, call(events=events)) == (False, "the server had talked for 0 s (pizza.yaml:3)")


# --- of the whole call


SAID = [(0, loud(1000)), (4000, loud(500))]
HEARD = [(1400, loud(1000)), (5500, loud(500))]


@pytest.mark.parametrize(
    ("expectation", "verdict"),
    [
        ("speech: 1s", (False, "heard speech after 1.4 s, 1 s allowed")),
        ("speech: 2s", (True, "heard speech after 1.4 s, 2 s allowed")),
        ("nothing_heard: true", (False, "heard speech at 1.4 s")),
        ("response: 1s", (True, "2 responses, the slowest after 1 s, 1 s allowed")),
        ("response: {each: 900ms}", (False, "2 responses, the slowest after 1 s, 0.9 s allowed")),
        ("response: {median: 700ms}", (True, "2 responses, the median after 0.7 s, 0.7 s allowed")),
        ("heard: 1s", (False, "the server talked for 1.5 s, at most 1 s wanted")),
        (
            "heard: {at_least: 1s, at_most: 2s}",
            (True, "the server talked for 1.5 s, at least 1 s and at most 2 s wanted"),
        ),
        ("duration: {at_least: 20s}", (False, "the call took 10 s, at least 20 s wanted")),
        ("duration: 10s", (True, "the call took 10 s, at most 10 s wanted")),
        ("ended_by: caller", (True, "the caller hung up after 10.0 s")),
        ("ended_by: server", (False, "the caller hung up after 10.0 s")),
        ("streams: 1", (True, "the server opened 1 stream")),
        ("streams: 2", (False, "the server opened 1 stream")),
        ("twiml: <Connect>", (True, "a document has it")),
        (
            "twiml: <Dial>",
            (False, "no document has it; the last document is <Response> <Connect><Stream/></Connect></Response>"),
        ),
        ("dialled: '+1415'", (False, "dialled was nobody")),
        ("warnings: none", (False, "31931 Media Discarded")),
        ("marks: {hi: played}", (True, "mark 'hi' came back played and played")),
        ("marks: {ho: played}", (False, "mark 'ho' came back cleared")),
        ("marks: {hu: any}", (False, "mark 'hu' did not come back")),
    ],
)
def test_a_call_is_judged_as_a_whole(judged, expectation, verdict):
    marks = [("hi", "played"), ("hi", "played"), ("ho", "cleared")]
    facts = {
        "twiml": ["<Response>\n <Connect><Stream/></Connect></Response>"],
        "warnings": ["31931 Media Discarded"],
        "marks": marks,
    }
    ok, found = judged(whole(expectation), call(HEARD, said=SAID, events=steps(0, 1000), **facts))
    assert (ok, found.removesuffix(" (pizza.yaml:4)")) == verdict


@pytest.mark.parametrize(
    ("said", "heard", "why"),
    [
        (SAID, [], "nothing was heard"),
        ([], HEARD, "the caller said none"),
        (SAID, [(20, loud(500))], "all that was heard began before the caller's words, or while they were said"),
    ],
)
def test_words_that_nobody_answered_fail_a_response_time_and_say_why(judged, said, heard, why):
    report = call(heard, said=said, events=steps(0, 1000))
    assert judged(whole("response: 1s"), report) == (False, f"no words were answered: {why} (pizza.yaml:4)")


def test_a_sound_may_be_heard_at_any_time(judged, welcome):
    report = call([(5000, welcome)], events=steps(0, 1000))
    assert judged(whole("sounds: [welcome.wav]"), report) == (
        True,
        "heard welcome.wav at 5 s (100 % like it) (pizza.yaml:4)",
    )


def test_what_does_not_hold_is_an_error_of_the_call(judged):
    report = call(events=steps(0, 1000))
    judged(whole("streams: 2"), report)
    assert report.errors == ["2 streams: the server opened 1 stream (pizza.yaml:4)"]
    assert report.findings[0].line == 4


def test_a_failure_that_is_expected_is_none(judged):
    report = Report("CA1", errors=["the server rejected the call"])
    assert judged(whole("failure: rejected"), report) == (True, "the server rejected the call (pizza.yaml:4)")
    assert report.ok


@pytest.mark.parametrize(("errors", "found"), [([], "the call went well"), (["no server"], "no server")])
def test_another_failure_or_none_is_not_the_one_that_is_expected(judged, errors, found):
    report = Report("CA1", errors=errors)
    assert judged(whole("failure: rejected"), report) == (False, f"{found} (pizza.yaml:4)")
    assert not report.ok


def test_a_call_that_was_never_connected_is_judged_too(judged):
    report = Report("CA1", errors=["no server"])
    text = "steps: [expect: {speech: 1s}]\nexpect: {ended_by: server, response: 1s, duration: 2s, speech: 1s}"
    assert [ok for ok, _ in judged(text, report)] == [False, False, False, True]
    assert report.reason == "no server"
