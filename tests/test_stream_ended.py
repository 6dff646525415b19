"""The `action` of <Connect>: how the call goes on when its socket is closed."""

import datetime as dt

import pytest
from django.utils import timezone

from calls.models import Call, CallEvent
from calls.security import StreamToken
from calls.server.departures import Departure
from calls.server.switchboard import switchboard
from calls.webhooks.reconnecting import RECONNECTS
from tests.support.factories import make_live_call, make_stream
from tests.support.webhooks import CALL, INCOMING, document, post, token, verbs


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("process")]


def ended(client, *, resumed=0, handler="echo", handed=0, then="", **facts):
    form = {**INCOMING, "CallStatus": "in-progress", **facts}
    more = f"&handed={handed}" * bool(handed) + f"&then={then}" * bool(then)
    return post(client, f"/stream-ended?handler={handler}&resumed={resumed}{more}", form)


@pytest.fixture
def call():
    return make_live_call(sid=CALL, handler="echo")


def broken_stream(call, *, seconds=30, **facts):
    now = timezone.now()
    began = now - dt.timedelta(seconds=seconds)
    return make_stream(call, **{"started_at": began, "ended_at": now, "end_reason": "disconnect", **facts})


def departed(call, *, seconds=30, handed=0, ends=None, **facts):
    """A stream whose end somebody has asked for; by now they may have got another one."""
    dial = {"order": None, "ticket": None, "handler": "", "handed": handed, "by": "anna", **facts}
    return broken_stream(call, seconds=seconds, **{"end_reason": "dial", "dial": dial, **(ends or {})})


ORDER = {"number": "+14155550177", "timeout": 30, "caller_id": "+14155550199"}


def reconnects(response):
    return StreamToken.read(token(response)).resumed


# --- it is over -------------------------------------------------------------------------------------------------------


def test_a_finished_conversation_is_hung_up(client, call):
    broken_stream(call, end_reason="handler", handler_finished_at=timezone.now())
    assert verbs(ended(client)) == ["Hangup"]


def test_a_conversation_that_this_process_saw_finish_is_hung_up(client, call):
    switchboard.note_finished(CALL, "finished")
    assert verbs(ended(client)) == ["Hangup"]


def test_a_failed_handler_is_apologised_for(client, call):
    broken_stream(call, end_reason="error", handler_finished_at=timezone.now(), handler_failed=True)
    assert verbs(ended(client)) == ["Say", "Hangup"]


def test_a_failed_handler_ends_as_the_settings_say(client, call, settings):
    settings.FAILED_HANDLER_TWIML = "<Response><Dial>+14155550123</Dial></Response>"
    broken_stream(call, end_reason="error", handler_failed=True)
    assert verbs(ended(client)) == ["Dial"]


def test_a_handler_that_failed_once_its_stream_had_broken_has_failed_nobody(client, call):
    broken_stream(call, end_reason="disconnect", handler_failed=True)
    assert verbs(ended(client)) == ["Connect"]


@pytest.mark.parametrize("status", ["completed", "busy", "failed", "no-answer", "canceled"])
def test_a_call_that_is_over_is_not_connected_again(client, call, status):
    broken_stream(call)
    assert verbs(ended(client, CallStatus=status)) == ["Hangup"]
    assert Call.objects.get().status == status


def test_only_the_last_stream_says_whether_the_conversation_is_over(client, call):
    broken_stream(call, seconds=60, handler_finished_at=timezone.now())
    broken_stream(call, seconds=30)
    assert verbs(ended(client, resumed=1)) == ["Connect"]


def test_a_call_that_is_connected_again_still_knows_who_calls(client, call):
    Call.objects.update(caller_name="ANNA", forwarded_from="+14155550111")
    broken_stream(call)
    found = document(ended(client)).iter("Parameter")
    values = {each.get("name"): each.get("value") for each in found}
    assert (values["CallerName"], values["ForwardedFrom"]) == ("ANNA", "+14155550111")


# --- somebody has asked for it ----------------------------------------------------------------------------------------


def test_a_call_that_somebody_has_hung_up_is_over_whatever_became_of_its_stream(client, call):
    """The process may have died before the caller had heard what was playing."""
    departed(call, ends={"end_reason": "", "ended_at": None})
    assert verbs(ended(client)) == ["Hangup"]
    assert CallEvent.objects.get().data["answer"] == "hung up, as anna asked"


def test_a_call_whose_handler_failed_meanwhile_goes_on_as_somebody_has_asked(client, call):
    departed(call, handler="voicemail", ends={"handler_failed": True, "handler_finished_at": timezone.now()})
    assert verbs(ended(client)) == ["Connect"]


def test_the_process_in_which_it_failed_says_the_same(client, call):
    switchboard.note_departure(CALL, Departure(handler="voicemail"))
    switchboard.note_finished(CALL, "failed")
    assert verbs(ended(client)) == ["Connect"]


def test_a_call_that_is_handed_over_begins_anew_with_the_other_handler(client, call):
    departed(call, handler="voicemail")
    response = ended(client, resumed=2)
    made = StreamToken.read(token(response))
    assert (made.handler, made.resumed, made.handed) == ("voicemail", 0, 1)
    action = document(response).find("Connect").get("action")
    assert action == "https://voice.example.org/stream-ended?handler=voicemail&resumed=0&handed=1"
    assert CallEvent.objects.get().data["answer"] == "connected to voicemail, as anna asked"


def test_a_process_that_was_asked_knows_it_without_a_database(client, call):
    switchboard.note_departure(CALL, Departure(handler="voicemail"))
    assert StreamToken.read(token(ended(client))).handler == "voicemail"


def test_a_process_that_was_asked_for_an_earlier_handler_is_not_asked_again(client, call):
    switchboard.note_departure(CALL, Departure(handler="voicemail"))
    departed(call, seconds=60, handler="voicemail")
    broken_stream(call, handler_finished_at=timezone.now())
    assert verbs(ended(client, handler="voicemail", handed=1)) == ["Hangup"]


def test_a_stream_that_breaks_after_it_was_handed_over_is_connected_again(client, call):
    departed(call, seconds=60, handler="voicemail")
    broken_stream(call)
    made = StreamToken.read(token(ended(client, handler="voicemail", handed=1)))
    assert (made.handler, made.resumed, made.handed) == ("voicemail", 1, 1)


def test_a_call_may_be_handed_over_again(client, call):
    departed(call, seconds=60, handler="voicemail")
    departed(call, seconds=30, handler="echo", handed=1)
    made = StreamToken.read(token(ended(client, handler="voicemail", handed=1)))
    assert (made.handler, made.resumed, made.handed) == ("echo", 0, 2)


def test_a_handler_that_nobody_reaches_is_given_up_after_five_connections(client, call):
    """Those of the handler before it do not count, however many there were."""
    for _ in range(3):
        broken_stream(call, seconds=60)
    departed(call, handler="voicemail")
    for count in range(RECONNECTS):
        assert reconnects(ended(client, handler="voicemail", handed=1, resumed=count)) == count + 1
    assert verbs(ended(client, handler="voicemail", handed=1, resumed=RECONNECTS)) == ["Say", "Hangup"]


def test_a_handler_that_is_gone_by_then_is_an_apology(client, call):
    departed(call, handler="retired")
    assert verbs(ended(client)) == ["Say", "Hangup"]


def test_a_caller_is_connected_to_the_number_that_somebody_has_asked_for(client, call):
    departed(call, order=ORDER)
    dial = document(ended(client)).find("Dial")
    found = (dial.findtext("Number"), dial.get("timeout"), dial.get("callerId"))
    assert found == ("+14155550177", "30", "+14155550199")
    assert dial.get("action") == "https://voice.example.org/stream-ended?handler=echo&resumed=0&then=hang-up"
    call.refresh_from_db()
    assert call.dialing


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("completed", ["Hangup"]),
        ("answered", ["Hangup"]),
        ("busy", ["Say", "Hangup"]),
        ("no-answer", ["Say", "Hangup"]),
        ("failed", ["Say", "Hangup"]),
    ],
)
def test_the_call_is_over_when_whoever_was_dialled_is_done(client, call, status, found):
    departed(call, order=ORDER)
    assert verbs(ended(client, DialCallStatus=status, then="hang-up")) == found
    assert not Call.objects.get().dialing


def test_it_is_over_for_twilios_fallback_too(client, call):
    """No answer came from the action: https://www.twilio.com/docs/voice/api/call-resource (FallbackUrl)."""
    departed(call, order=ORDER)
    url = "https://voice.example.org/stream-ended?handler=echo&resumed=0&then=hang-up"
    form = {**INCOMING, "CallStatus": "in-progress", "ErrorCode": "11200", "ErrorUrl": url}
    assert verbs(post(client, "/incoming/echo", {**form, "DialCallStatus": "completed"})) == ["Hangup"]


def test_what_was_committed_by_a_version_before_is_understood(client, call):
    dial = {"order": ORDER, "ticket": [CALL, "key", "127.0.0.1:8000", None]}
    broken_stream(call, end_reason="dial", dial=dial)
    found = document(ended(client)).find("Dial")
    assert "outing=" in found.get("action")


# --- it goes on -------------------------------------------------------------------------------------------------------


def test_a_broken_stream_of_a_live_call_is_connected_again(client, call):
    broken_stream(call)
    response = ended(client)
    assert verbs(response) == ["Connect"]
    assert StreamToken.read(token(response)).handler == "echo"
    assert reconnects(response) == 1


def test_the_next_document_counts_on(client, call):
    broken_stream(call)
    action = document(ended(client, resumed=2)).find("Connect").get("action")
    assert action == "https://voice.example.org/stream-ended?handler=echo&resumed=3"


def test_each_connection_has_a_token_of_its_own(client, call):
    broken_stream(call)
    first, second = (StreamToken.read(token(ended(client))) for _ in range(2))
    assert first.nonce != second.nonce


def test_a_call_that_the_process_was_shut_down_under_is_connected_again(client, call):
    broken_stream(call, end_reason="shutdown")
    assert verbs(ended(client)) == ["Connect"]


def test_a_stream_whose_process_died_is_connected_again(client, call):
    broken_stream(call, ended_at=None, end_reason="")
    assert verbs(ended(client)) == ["Connect"]


def test_the_handler_is_the_calls_own_if_the_request_names_none(client, call):
    broken_stream(call)
    assert StreamToken.read(token(ended(client, handler=""))).handler == "echo"


def test_a_call_that_nobody_has_heard_of_is_connected_to_the_default_handler(client):
    assert StreamToken.read(token(ended(client, handler=""))).handler == "voicemail"


def test_streams_that_lived_long_are_connected_again_for_ever(client, call):
    for _ in range(12):
        broken_stream(call, seconds=30)
    assert reconnects(ended(client, resumed=11)) == 12


def rounds(client, *, streams_of=None):
    """How often in a row a call is connected again; with a call, each connection leaves a stream of 1 s."""
    for count in range(50):
        if streams_of is not None:
            broken_stream(streams_of, seconds=1)
        response = ended(client, resumed=count)
        if "Connect" not in verbs(response):
            assert verbs(response) == ["Say", "Hangup"]
            return count
        assert reconnects(response) == count + 1
    raise AssertionError("it never gives up")


def test_streams_that_break_at_once_are_given_up_after_five_connections(client, call, caplog):
    assert rounds(client, streams_of=call) == RECONNECTS == 5
    assert any(message.startswith(f"reconnect_given_up call={CALL}") for message in caplog.messages)


def test_handshakes_that_fail_are_given_up_after_five_too(client, call):
    assert rounds(client) == RECONNECTS


def test_a_long_stream_starts_the_count_again(client, call):
    for seconds in (1, 1, 1, 1, 30, 1):
        broken_stream(call, seconds=seconds)
    assert verbs(ended(client, resumed=5)) == ["Connect"]


def test_streams_that_were_left_for_another_number_have_not_broken(client, call):
    for seconds in range(9, 1, -1):
        broken_stream(call, seconds=seconds, end_reason="dial")
    broken_stream(call, seconds=1)
    assert verbs(ended(client, resumed=8)) == ["Connect"]


@pytest.mark.parametrize("resumed", ["", "-1", "x", "9" * 5000, "%C2%B2", "1%00"])
def test_a_count_that_is_not_a_number_is_the_first(client, call, resumed):
    broken_stream(call)
    assert verbs(ended(client, resumed=resumed)) in (["Connect"], ["Say", "Hangup"])


def test_a_draining_process_leaves_the_call_to_another(client, call):
    broken_stream(call)
    switchboard.draining = True
    assert verbs(ended(client)) == ["Pause", "Connect"]


def test_a_process_that_drains_alone_gives_a_call_up_after_five_tries(client, call):
    switchboard.draining = True
    assert rounds(client) == RECONNECTS


def test_a_draining_process_hangs_up_what_it_has_finished(client, call):
    switchboard.draining = True
    switchboard.note_finished(CALL, "finished")
    assert verbs(ended(client)) == ["Hangup"]


def test_a_handler_that_is_gone_is_an_apology(client, call):
    assert verbs(ended(client, handler="retired")) == ["Say", "Hangup"]
