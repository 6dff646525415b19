"""What went wrong with a call, in words; and that its warning, its chip and its page agree."""

import datetime as dt

import pytest

from calls.models import Call
from calls.summaries.problems import problems
from calls.summaries.stream_errors import STREAM_ERRORS, stream_error_code
from calls.summaries.summary import summarise
from tests.support.factories import START, make_call, make_event, make_staff, make_stream
from tests.support.webhooks import CALL, COMPLETED, INCOMING, STARTED, post


pytestmark = pytest.mark.django_db
LIST = "/admin/calls/call/"
FAILED = {**STARTED, "StreamEvent": "stream-error", "StreamError": "31920 Handshake Error"}
ANSWERED = {**COMPLETED, "CallStatus": "in-progress", "SequenceNumber": "2"}


def words(call):
    return [problem.word for problem in problems(call, call.streams.all(), call.events.all())]


def sentences(call):
    return [problem.text for problem in problems(call, call.streams.all(), call.events.all())]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("31920", 31920),
        ("31920 Handshake Error", 31920),
        ("Error - 31910", 31910),
        ("Stream - WebSocket - Handshake Error", 31920),
        ("Stream - TLS Error: certificate expired", 31910),
        ("31999", 31999),
        ("131920", None),
        ("", None),
        ("something new", None),
    ],
)
def test_the_code_of_a_stream_error_is_found_however_it_is_written(said, code):
    assert stream_error_code(said) == code


@pytest.mark.parametrize("code", STREAM_ERRORS)
def test_every_code_is_said_in_words_with_what_to_do(code):
    call = make_call()
    event = make_event(call, kind="stream-error", source="stream-status", data={"StreamError": str(code)})
    (problem,) = [found for found in problems(call, [], [event]) if "no audio" not in found.word]
    assert str(code) in problem.text
    assert problem.text.endswith(".")
    assert problem.advice.endswith(".")


def test_an_error_that_nobody_knows_is_passed_on():
    call = make_event(make_call(), kind="stream-error", data={"StreamError": "quantum flux"}).call
    assert sentences(call) == ["Twilio reported an error of the stream: quantum flux."]


def test_what_was_tried_five_times_is_said_once():
    call = make_call()
    for _ in range(5):
        make_event(call, kind="stream-error", data={"StreamError": "31920"})
    (sentence,) = sentences(call)
    assert sentence.endswith("That happened 5 times.")


@pytest.mark.parametrize("code", ["31921", "31903"])
def test_how_we_end_a_stream_ourselves_is_not_a_problem(code):
    stream = make_stream(end_reason="handler", ended_at=START, length=8000)
    make_event(stream.call, kind="stream-error", data={"StreamError": code, "StreamSid": stream.sid})
    assert words(stream.call) == []


def test_a_handler_that_failed_is_told_with_its_line_and_what_to_write_instead():
    stream = make_stream(handler_failed=True)
    data = {"error": "TypeError: no", "line": "handlers/desk.py:7 in desk", "advice": "Write `async for`, not `for`."}
    make_event(stream.call, kind="handler-failed", stream=stream, occurred_at=START, data=data)
    (problem,) = problems(stream.call, [stream], stream.call.events.all())
    assert problem.text.startswith("The handler failed after 0.0 s, at handlers/desk.py:7 in desk. TypeError: no. ")
    assert problem.advice == "Write `async for`, not `for`."


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (
            "handler-returned-at-once",
            {"seconds": 0.02},
            "The handler returned after 0.02 s, and the caller was hung up on",
        ),
        ("await-forgotten", {"what": "MediaStream.play", "line": "handlers/desk.py:7"}, "at handlers/desk.py:7: Media"),
        (
            "prepare-failed",
            {"error": "OSError: no", "line": "handlers/desk.py:7"},
            "at handlers/desk.py:7: OSError: no.",
        ),
        ("prepare-failed", {"error": "it was not done after 2 s"}, "was not there: it was not done after 2 s."),
    ],
)
def test_a_handlers_mistakes_are_sentences(kind, data, said):
    call = make_event(make_call(), kind=kind, data=data).call
    assert any(said in sentence for sentence in sentences(call))


def test_a_connection_that_broke_off_is_one():
    stream = make_stream(end_reason="disconnect", ended_at=START, length=8000)
    make_event(stream.call, kind="stream-error", data={"StreamError": "31903", "StreamSid": stream.sid})
    assert words(stream.call) == ["stream broke off"]


def test_a_failed_handler_is_quoted_and_said_when_and_what_the_caller_heard():
    stream = make_stream(handler_failed=True, end_reason="error", ended_at=START, length=8000)
    at = START + dt.timedelta(seconds=3.2)
    make_event(stream.call, kind="handler-failed", stream=stream, occurred_at=at, data={"error": "ValueError: no menu"})
    assert sentences(stream.call) == [
        "The handler failed after 3.2 s. ValueError: no menu. The caller heard an apology."
    ]


def test_a_failed_monitor_is_no_harm_to_the_caller():
    stream = make_stream(bidirectional=False, handler_failed=True, ended_at=START, length=8000)
    make_event(stream.call, kind="handler-failed", stream=stream, data={"error": "ValueError"})
    assert sentences(stream.call)[0].endswith("The call itself went on.")


def test_a_caller_who_is_sent_to_a_dial_instead_heard_no_apology(settings):
    settings.FAILED_HANDLER_TWIML = "<Response><Dial>+14155550100</Dial></Response>"
    stream = make_stream(handler_failed=True, ended_at=START, length=8000)
    make_event(stream.call, kind="handler-failed", stream=stream, data={"error": "ValueError"})
    assert "FAILED_HANDLER_TWIML" in sentences(stream.call)[0]


def test_two_streams_at_once_are_not_a_reconnection():
    stream = make_stream(length=8000, ended_at=START)
    make_stream(stream.call, bidirectional=False, name="monitor", length=8000, ended_at=START)
    assert words(stream.call) == []
    make_stream(stream.call, after=50, length=8000, ended_at=START)
    assert words(stream.call) == ["reconnected"]


def test_erased_audio_was_there():
    assert words(make_stream(length=8000, ended_at=START).call) == []


# --- the call's row and the staff's pages know it ---------------------------------------------------------------------


def the_call():
    return Call.objects.get(sid=CALL)


def test_a_stream_that_could_not_be_opened_is_a_warning(client):
    post(client, "/incoming", INCOMING)
    post(client, "/stream-status", FAILED)
    assert the_call().has_warning
    assert sentences(the_call()) == [
        "Twilio could not open the stream, so the caller reached nobody (31920): "
        "our server answered the handshake with something else than 101."
    ]


def test_an_unknown_handlers_apology_is_a_warning(client):
    post(client, "/incoming/pizzza", INCOMING)
    assert the_call().has_warning
    assert sentences(the_call()) == ["The caller heard an apology: there is no handler 'pizzza'."]


def broken(noun):
    raise ValueError("no number to dial")


def test_an_apology_for_a_document_that_failed_is_a_warning(client, monkeypatch):
    monkeypatch.setattr("calls.handlers.voicemail.twiml", broken, raising=False)
    post(client, "/incoming/voicemail", INCOMING)
    assert the_call().has_warning
    assert "ValueError: no number to dial" in sentences(the_call())[0]


def test_an_apology_after_too_many_broken_streams_is_a_warning(client):
    post(client, "/incoming", INCOMING)
    post(client, "/stream-ended?resumed=5", {**INCOMING, "CallStatus": "in-progress"})
    assert "streams in a row broke at once" in sentences(the_call())[0]
    assert the_call().has_warning


def test_a_call_that_there_was_no_room_for_is_a_warning(client, settings, monkeypatch):
    monkeypatch.setattr("calls.server.switchboard.Switchboard.is_full", True)
    post(client, "/incoming", INCOMING)
    assert the_call().has_warning
    assert words(the_call()) == ["refused"]


def test_a_call_that_was_picked_up_when_there_was_no_room_for_it_heard_an_apology(client, monkeypatch):
    monkeypatch.setattr("calls.server.switchboard.Switchboard.is_full", True)
    post(client, "/incoming", {**INCOMING, "Direction": "outbound-api", "CallStatus": "in-progress"})
    (problem,) = problems(the_call(), [], the_call().events.all())
    assert problem.text == "The other side heard an apology: as many calls are running as this server takes."
    assert problem.advice == "Start more workers, or raise MAX_STREAMS."


def test_a_server_that_was_held_up_is_a_problem_with_its_line():
    call = make_stream(length=8000, ended_at=START).call
    make_event(
        call,
        kind="loop-blocked",
        source="stream",
        data={"seconds": 5.0, "line": "shop.py:12", "by": "this call's handler"},
    )
    assert sentences(call) == [
        "All audio stood still for 5.0 s: this call's handler held the server up, in shop.py:12."
    ]


def test_words_that_are_missing_are_told_once_and_are_no_warning():
    call = make_stream(length=8000, ended_at=START).call
    for start in (1.0, 9.0):
        data = {"lane": "inbound", "start": start, "length": 2.0, "why": "the transcriber was too slow"}
        make_event(call, kind="words-missing", source="stream", data=data)
    [problem] = problems(call, call.streams.all(), call.events.all())
    assert problem.text == (
        "Some of what was said is not written down: the transcriber was too slow. That happened 2 times."
    )
    assert not problem.is_warning


def test_an_answered_call_of_which_nothing_was_recorded_is_a_warning(client):
    post(client, "/incoming", INCOMING)
    post(client, "/call-status", ANSWERED)
    assert not the_call().has_warning
    post(client, "/call-status", COMPLETED)
    assert the_call().has_warning
    assert words(the_call()) == ["no audio"]


def test_a_call_that_nobody_answered_lacks_nothing(client):
    post(client, "/incoming", INCOMING)
    post(client, "/call-status", {**COMPLETED, "CallStatus": "no-answer"})
    assert not the_call().has_warning


def test_a_slow_handler_is_a_warning():
    call = make_stream(handler_overruns=60, length=8000, ended_at=START).call
    summarise(call.pk, using="default")
    call.refresh_from_db()
    assert call.has_warning
    assert sentences(call) == ["The handler was too slow: 1.2 s of audio were dropped from its queue."]


def test_a_warning_of_an_event_outlives_the_end_of_a_good_stream(client):
    post(client, "/incoming", INCOMING)
    post(client, "/stream-status", {**FAILED, "StreamError": "31930"})
    call = the_call()
    make_stream(call, length=8000, ended_at=START)
    summarise(call.pk, using="default")
    call.refresh_from_db()
    assert call.has_warning


@pytest.fixture
def ops(client):
    user = make_staff("view_call", "change_call", "listen_call", "see_numbers")
    client.force_login(user)
    return user


def test_a_calls_page_says_it_at_its_head_with_what_to_do(client, ops):
    post(client, "/incoming/pizzza", INCOMING)
    html = client.get(f"{LIST}{the_call().pk}/change/").content.decode()
    assert "The caller heard an apology: there is no handler &#x27;pizzza&#x27;." in html
    assert "STREAM_HANDLERS" in html


def test_the_list_has_a_chip_and_the_filter_finds_it(client, ops):
    post(client, "/incoming/pizzza", INCOMING)
    make_stream(make_call(), length=8000, ended_at=START)
    response = client.get(LIST + "?flag=warning")
    assert [call.sid for call in response.context["cl"].result_list] == [CALL]
    assert ">not taken</span>" in response.content.decode()


def test_a_call_that_was_not_taken_is_not_green(client, ops):
    post(client, "/incoming/pizzza", INCOMING)
    post(client, "/call-status", COMPLETED)
    html = client.get(LIST).content.decode()
    assert '<span class="call-status call-quiet">Completed</span>' in html


def test_a_number_in_an_exception_is_masked_for_those_who_may_not_see_it(client):
    client.force_login(make_staff("view_call"))
    stream = make_stream(handler_failed=True, length=8000)
    make_event(stream.call, kind="handler-failed", stream=stream, data={"error": "KeyError: '+15550100001'"})
    for address in (LIST, f"{LIST}{stream.call_id}/change/"):
        html = client.get(address).content.decode()
        assert "5550100001" not in html
        assert "KeyError" in html


def test_what_a_dead_process_had_is_not_put_down_to_the_line():
    stream = make_stream(make_call(), frames_missing=25, end_reason="interrupted")
    (missing,) = [problem for problem in problems(stream.call, [stream], []) if problem.word == "audio missing"]
    assert missing.advice == "The line lost it, or our process when it died; the timeline shows where."
