"""Why a call ended, in plain words: from its status, its streams, and what was said of it."""

import datetime as dt

import pytest
from django.contrib.auth.models import User

from calls.admin.why import ending
from calls.models import Call, CallEvent, Stream, Worker


AT = dt.datetime(2026, 3, 14, 14, 3, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
WORKERS = {"one": Worker(host="web-1", pid=7, seen_at=AT - SECOND), "two": Worker(host="web-2", pid=7, seen_at=AT)}


def call(status="completed", **facts):
    began = AT - 60 * SECOND
    facts = {"from_number": "+14155550177", "created_at": began, "answered_at": began, "ended_at": AT, **facts}
    return Call(status=status, **facts)


def stream(end_reason, *, began=AT - 60 * SECOND, ended=AT, owner="one", **facts):
    told = {"name": "pizza", "started_at": began, "ended_at": ended, "end_reason": end_reason, "lease_owner": owner}
    return Stream(sid="MZ1", **{**told, **facts})


def event(kind, *, at=AT, user=None, **data):
    return CallEvent(kind=kind, occurred_at=at, data=data, user=user)


def why(call, *streams, events=(), whole=True):
    found = ending(call, streams, events, WORKERS, whole=whole)
    return None if found is None else (found.text, found.tone)


LOST = ", and no other one took the call over."


@pytest.mark.parametrize(
    ("reason", "facts", "text", "tone"),
    [
        ("stop", {}, "The caller hung up.", "good"),
        ("disconnect", {}, "The caller hung up.", "good"),
        ("handler", {}, "Our handler pizza had finished, and hung up.", "good"),
        ("interrupted", {}, f"Worker web-1:7 died (last heard of at 14:02:59){LOST}", "bad"),
        ("interrupted", {"owner": "?"}, f"The worker died (noticed at 14:03:00){LOST}", "bad"),
        # It lives: others had taken it for dead.
        ("interrupted", {"ended": AT - 9 * SECOND}, f"The worker died (noticed at 14:02:51){LOST}", "bad"),
        ("shutdown", {}, f"Worker web-1:7 was shut down at 14:03:00, as a deploy does{LOST}", "bad"),
        ("error", {"handler_failed": True}, "Our handler pizza failed.", "bad"),
        ("dial", {}, "The caller had been connected to another number, and did not come back.", "good"),
        (
            *("disconnect", {"ended": AT - 30 * SECOND, "close_code": 1006}),
            "The connection between Twilio and us broke off at 14:02:30 with code 1006, and none took its place.",
            "bad",
        ),
    ],
)
def test_its_last_stream_says_how(reason, facts, text, tone):
    assert why(call(), stream(reason, **facts)) == (text, tone)


@pytest.mark.parametrize(
    ("status", "events", "text"),
    [
        ("busy", [], "Never answered: the line was busy."),
        (
            *("busy", [event("refused", answer="refused: full")]),
            "Turned away with a busy tone: as many calls were running as the worker takes.",
        ),
        ("no-answer", [], "Never answered: nobody picked up."),
        ("failed", [event("failed", SipResponseCode="404")], "It could not be put through (SIP 404)."),
        ("canceled", [], "Called off before it was answered."),
        ("completed", [], "It was answered, and no stream of it was ever opened."),
        (
            *("completed", [event("stream-error", StreamError="31902")]),
            "Twilio could not open a stream at 14:03:00: nothing listens at our address (Twilio's error 31902).",
        ),
        (
            *("completed", [event("incoming", answer="apologised: there is no handler 'pizza'")]),
            "The caller heard an apology: there is no handler 'pizza'.",
        ),
        ("completed", [event("presumed-over", reason="nothing for 60 s")], "Taken for over: nothing for 60 s."),
    ],
)
def test_a_call_without_a_stream_says_why_it_has_none(status, events, text):
    assert why(call(status), events=events)[0] == text


def test_a_call_that_runs_has_no_end():
    assert why(call("in-progress", ended_at=None), stream("", ended=None)) is None


def test_staff_who_hung_up_are_named_unless_the_call_went_on():
    asked = event("hang-up", at=AT - SECOND, user=User(username="ada"))
    assert why(call(), stream("stop"), events=[asked]) == ("ada hung up at 14:02:59.", "quiet")
    assert why(call(), stream("stop", began=AT - SECOND / 2), events=[asked])[0] == "The caller hung up."


def test_a_handlers_own_words_are_told_and_numbers_in_them_only_to_who_may_see_them():
    failed = event("handler-failed", error="KeyError: '+14155550177'", line="handlers/pizza.py:4")
    answered = event("stream-ended", answer="apologised: the handler failed")
    own = "Our handler pizza failed: KeyError: '+14155550177', at handlers/pizza.py:4."
    assert why(call(), stream("error"), events=[failed, answered])[0] == own
    assert "+14155550177" not in why(call(), stream("error"), events=[failed, answered], whole=False)[0]


def test_a_call_that_was_moved_says_so():
    first = stream("interrupted", began=AT - 60 * SECOND, ended=AT, absent=9600)
    text, tone = why(call(ended_at=AT + 60 * SECOND), first, stream("stop", began=AT + SECOND, ended=AT, owner="two"))
    assert text == (
        "The caller hung up. Before that worker web-1:7 died (last heard of at 14:02:59), and worker web-2:7 went on "
        "after 1.2 s."
    )
    assert tone == "good"


def test_of_a_call_that_we_placed_the_other_side_is_told():
    assert why(call(direction="outbound-api"), stream("stop"))[0] == "The other side hung up."
