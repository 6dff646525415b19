"""The API as programs see it: shapes, permissions, pages, and what it answers to nonsense."""

import datetime as dt
import json
import random

import pytest
from django.db import OperationalError, connection

from calls.api.calls import _after, _filtered
from calls.api.parameters import CallFilters
from calls.api.v1 import api
from calls.models import RecordingAccess, Tag
from tests.support.factories import (
    START,
    make_call,
    make_client,
    make_digit,
    make_event,
    make_live_call,
    make_mark,
    make_recording,
    make_staff,
    make_stream,
    make_turn,
    make_utterance,
)


pytestmark = pytest.mark.django_db
EVERYTHING = ("listen_call", "download_call", "see_numbers")


@pytest.fixture
def ask(client):
    """Asks as a client that may do everything, or just what is named."""
    tokens = {}

    def ask(path, *, may=EVERYTHING, expect=200, token=None, **parameters):
        if token is None:
            token = tokens.get(may) or tokens.setdefault(may, make_client(*may)[1])
        url = f"/api/v1/{path}"
        response = client.get(url, parameters, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == expect, response.content
        return response.json()

    return ask


def sids(found):
    return [call["sid"] for call in found["calls"]]


def moment(text):
    return dt.datetime.fromisoformat(text)


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_a_call_in_the_list_has_these_facts(ask):
    call = make_call(
        sid="CA" + "1" * 32,
        caller_name="Ada",
        duration=61,
        audio_samples=480_000,
        first_audio_ms=310,
        response_ms=700,
        response_ms_max=1900,
        dead_air_ms=0,
        talk_over_ms=40,
        measured_at=START + dt.timedelta(minutes=2),
        price="-0.0085",
        price_unit="USD",
        data={"order": "A-17"},
    )
    call.tags.add(Tag.objects.create(name="refund"))
    assert ask("calls") == {
        "calls": [
            {
                "sid": "CA" + "1" * 32,
                "created_at": "2026-03-14T15:09:26Z",
                "answered_at": "2026-03-14T15:09:26Z",
                "ended_at": "2026-03-14T15:10:26Z",
                "direction": "inbound",
                "status": "completed",
                "from_number": "+15550100001",
                "to_number": "+15550100002",
                "caller_name": "Ada",
                "forwarded_from": "",
                "answered_by": "",
                "handler": "voicemail",
                "duration_s": 61,
                "recording_ms": 60_000,
                "has_warning": False,
                "was_interrupted": False,
                "first_audio_ms": 310,
                "response_ms": 700,
                "response_ms_max": 1900,
                "dead_air_ms": 0,
                "talk_over_ms": 40,
                "measured_at": "2026-03-14T15:11:26Z",
                "price": "-0.0085",
                "price_unit": "USD",
                "reviewed": False,
                "tags": ["refund"],
                "data": {"order": "A-17"},
            }
        ],
        "next": None,
    }


def test_one_call_has_its_streams_and_problems_too(ask):
    call = make_call(parameters={"FromCity": "Berlin"}, audio_samples=16_000)
    stream = make_stream(call, length=16_000, ended_at=call.ended_at, frames_received=90, frames_missing=10)
    found = ask(f"calls/{call.sid}")
    assert found["parameters"] == {"FromCity": "Berlin"}
    assert found["problems"] == [
        {
            "word": "audio missing",
            "text": "0.20 s of the caller's audio never came.",
            "advice": "The line lost it; the timeline shows where.",
            "is_warning": True,
        }
    ]
    assert found["streams"] == [
        {
            "sid": stream.sid,
            "name": "",
            "tracks": ["inbound"],
            "custom_parameters": {},
            "started_at": "2026-03-14T15:09:26Z",
            "ended_at": "2026-03-14T15:10:26Z",
            "end_reason": "",
            "start_ms": 0,
            "length_ms": 2000,
            "frames_received": 90,
            "frames_missing": 10,
            "frames_rejected": 0,
            "sequence_gaps": 0,
            "duplicates": 0,
            "timestamp_jumps": 0,
            "jitter_ms": 0.0,
            "handler_overruns": 0,
            "handler_failed": False,
        }
    ]


@pytest.fixture
def talk():
    """A call with two streams, the second one 10 s after the first."""
    call = make_call(audio_samples=160_000)
    make_stream(call, length=80_000, ended_at=call.ended_at)
    make_stream(call, after=10, length=80_000, ended_at=call.ended_at)
    return call


def test_turns_of_a_call_that_runs_are_not_told_yet(ask):
    call = make_live_call(turns_at=START)
    make_turn(make_stream(call))
    assert ask(f"calls/{call.sid}/turns")["turns"] == []


def test_turns_lie_on_the_clock_of_the_recording(ask, talk):
    first, second = talk.streams.all()
    make_turn(second, start=800, response_ms=420)
    make_turn(first, "caller", start=16_000, length=4_000, interrupted=True, talked_on_ms=120)
    assert ask(f"calls/{talk.sid}/turns") == {
        "turns": [
            {
                "stream": first.sid,
                "speaker": "caller",
                "start_ms": 2000,
                "end_ms": 2500,
                "response_ms": None,
                "interrupted": True,
                "talked_on_ms": 120,
            },
            {
                "stream": second.sid,
                "speaker": "us",
                "start_ms": 10_100,
                "end_ms": 11_100,
                "response_ms": 420,
                "interrupted": False,
                "talked_on_ms": None,
            },
        ],
        "next": None,
    }


def test_words_have_who_said_them_when(ask, talk):
    stream = talk.streams.last()
    make_utterance(stream, "a refund", start=8_000, track="outbound")
    assert ask(f"calls/{talk.sid}/words") == {
        "lines": [
            {
                "stream": stream.sid,
                "speaker": "us",
                "start_ms": 11_000,
                "end_ms": 11_900,
                "text": "a refund",
                "words": [
                    {"text": "a", "start_ms": 11_000, "end_ms": 11_400},
                    {"text": "refund", "start_ms": 11_500, "end_ms": 11_900},
                ],
            }
        ],
        "next": None,
    }


def test_marks_and_keys_have_their_moments(ask, talk):
    stream = talk.streams.last()
    make_mark(stream, position=4_000, outcome="played", returned_at=START)
    make_digit(stream, "7", 1500)
    [mark] = ask(f"calls/{talk.sid}/marks")["marks"]
    assert mark == {
        "stream": stream.sid,
        "name": "greeting",
        "at_ms": 10_500,
        "outcome": "played",
        "sent_at": "2026-03-14T15:09:36Z",
        "returned_at": "2026-03-14T15:09:26Z",
    }
    assert ask(f"calls/{talk.sid}/keys")["keys"] == [{"stream": stream.sid, "digit": "7", "at_ms": 11_500}]


def test_of_streams_that_run_at_once_one_is_heard(ask):
    call = make_call()
    first = make_stream(call, name="a", length=80_000)
    second = make_stream(call, name="b", bidirectional=False, length=80_000)
    for stream in (first, second):
        make_turn(stream, "caller", start=8_000)
        make_utterance(stream, start=8_000)
    assert [turn["stream"] for turn in ask(f"calls/{call.sid}/turns")["turns"]] == [first.sid]
    assert [line["stream"] for line in ask(f"calls/{call.sid}/words")["lines"]] == [first.sid]


@pytest.mark.parametrize("what", ["turns", "words", "marks", "keys"])
def test_a_call_without_a_stream_has_none_of_it(ask, what):
    [things, following] = ask(f"calls/{make_call().sid}/{what}").values()
    assert (things, following) == ([], None)


# --- who may what ----------------------------------------------------------------------------------------------------


PATHS = {
    "calls": None,
    "calls/{sid}": None,
    "calls/{sid}/turns": "listen_call",
    "calls/{sid}/words": "listen_call",
    "calls/{sid}/marks": "listen_call",
    "calls/{sid}/keys": "listen_call",
    "calls/{sid}/recording.wav": "download_call",
}


@pytest.mark.parametrize(("path", "needed"), [(path, needed) for path, needed in PATHS.items() if needed])
def test_without_the_permission_it_is_forbidden_and_the_answer_names_it(ask, path, needed):
    others = tuple(name for name in EVERYTHING if name != needed)
    found = ask(path.format(sid=make_recording().sid), may=others, expect=403)
    assert found == {"error": {"code": "forbidden", "message": f"This client lacks the permission {needed}."}}
    assert not RecordingAccess.objects.exists()


@pytest.mark.parametrize("path", ["calls", "calls/{sid}"])
def test_every_client_reads_calls(ask, path):
    ask(path.format(sid=make_call().sid), may=())


def test_who_may_not_see_numbers_gets_them_masked_everywhere(ask):
    call = make_call(
        caller_name="Ada Lovelace",
        from_number="+14155550123",
        forwarded_from="+14155550188",
        parameters={"CallerName": "Ada Lovelace", "From": "+14155550123"},
        data={"back": "+14155550123", "other": 14155550177},
    )
    call.tags.create(name="wants +14155550144")
    stream = make_stream(call, name="Ada Lovelace", custom_parameters={"who": "+1 415 555 0123"})
    make_mark(stream, name="for +14155550123")
    make_event(call, kind="handler-failed", source="stream", stream=stream, data={"error": "no +14155550199"})
    told = json.dumps(
        [ask(path, may=("listen_call",)) for path in ("calls", f"calls/{call.sid}", f"calls/{call.sid}/marks")]
    )
    for secret in ("Ada", "5550123", "555 0123", "5550188", "5550177", "5550199", "5550144"):
        assert secret not in told
    assert "0123" in told


def test_a_number_is_searched_for_by_those_who_may_see_it(ask):
    wanted = make_call(to_number="+14155550123")
    make_call()
    assert sids(ask("calls", number="+14155550123")) == [wanted.sid]
    assert "see_numbers" in ask("calls", may=(), number="+14155550123", expect=403)["error"]["message"]


# --- what is on record -----------------------------------------------------------------------------------------------


def test_words_that_were_read_are_on_record_once_in_half_an_hour(ask, talk):
    make_utterance(talk.streams.first())
    for _ in range(3):
        ask(f"calls/{talk.sid}/words")
    access = RecordingAccess.objects.get()
    assert (access.call, access.kind, access.detail, access.user) == (talk, "read", "words", None)
    assert access.client_name == access.client.name
    assert access.who == f"{access.client.name} (API)"


def test_no_words_are_nothing_that_was_read(ask, talk):
    ask(f"calls/{talk.sid}/words")
    assert not RecordingAccess.objects.exists()


# --- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "bca"),
        ({"order": "oldest"}, "acb"),
        ({"since": "2026-03-14T16:00:00Z"}, "bc"),
        ({"since": "2026-03-14T18:00:00+02:00"}, "bc"),
        ({"until": "2026-03-14T16:00:00Z"}, "a"),
        ({"ended": "false"}, "b"),
        ({"ended": "true"}, "ca"),
        ({"handler": "echo"}, "a"),
        ({"status": "busy"}, "c"),
        ({"direction": "outbound"}, "c"),
        ({"direction": "inbound"}, "ba"),
        ({"tag": "refund"}, "a"),
        ({"tag": "nobody's"}, ""),
        ({"has_recording": "true"}, "a"),
        ({"has_recording": "false"}, "bc"),
        ({"handler": "echo", "ended": "false"}, ""),
    ],
)
def test_calls_are_found_by(ask, query, expected):
    calls = {
        "a": make_call(handler="echo", audio_samples=8000),
        "b": make_live_call(created_at=START + dt.timedelta(hours=2)),
        "c": make_call(status="busy", direction="outbound-api", created_at=START + dt.timedelta(hours=1)),
    }
    calls["a"].tags.add(Tag.objects.create(name="refund"))
    names = {call.sid: name for name, call in calls.items()}
    assert "".join(names[sid] for sid in sids(ask("calls", **query))) == expected


def test_a_call_that_twilio_does_not_know_yet_is_not_listed(ask):
    make_call(sid=None, status="queued")
    assert sids(ask("calls")) == []


# --- pages -----------------------------------------------------------------------------------------------------------


def pages(ask, path, name, meanwhile=lambda: None, **query):
    found, cursor = [], {}
    while True:
        page = ask(path, **query, **cursor)
        found += page[name]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}
        meanwhile()


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_have_each_call_once_while_others_begin(ask, order):
    # Three at the same moment: only their keys tell them apart.
    known = [make_call(created_at=START + dt.timedelta(seconds=number // 3)) for number in range(10)]
    now = START + dt.timedelta(days=1)
    found = pages(ask, "calls", "calls", lambda: make_call(created_at=now), order=order, limit=3)
    seen = [call["sid"] for call in found if moment(call["created_at"]) < now]
    expected = [call.sid for call in known]
    assert seen == (expected[::-1] if order == "newest" else expected)
    assert len({call["sid"] for call in found}) == len(found)


def test_turns_come_in_pages(ask, talk):
    first, second = talk.streams.all()
    for number in range(5):
        make_turn(second, start=8000 * number, length=100)
        make_turn(first, "caller", start=8000 * number, length=100)
    found = pages(ask, f"calls/{talk.sid}/turns", "turns", limit=3)
    assert [turn["start_ms"] for turn in found] == [1000 * number for number in [*range(5), *range(10, 15)]]


def test_the_last_page_that_is_full_has_no_next(ask):
    make_call()
    assert ask("calls", limit=1)["next"] is None


def test_a_page_has_at_most_what_was_asked_for(ask):
    for _ in range(3):
        make_call()
    assert len(sids(ask("calls", limit=2))) == 2


def tampered(cursor):
    yield from (
        cursor[:-1],
        cursor[1:],
        cursor + "a",
        cursor.swapcase(),
        cursor.replace(":", "."),
        "",
        "x",
        "é\0",
        "::",
    )


def test_a_cursor_that_was_tampered_with_is_refused(ask):
    for _ in range(2):
        make_call()
    cursor = ask("calls", limit=1)["next"]
    for text in tampered(cursor):
        assert ask("calls", cursor=text, expect=400)["error"]["message"].startswith("cursor: ")


def test_a_cursor_is_good_for_its_own_list_only(ask, talk):
    other = make_call()
    for number in range(2):
        make_turn(talk.streams.first(), start=number * 8000)
    cursor = ask("calls", limit=1)["next"]
    turns = ask(f"calls/{talk.sid}/turns", limit=1)["next"]
    ask("calls", cursor=cursor, order="oldest", expect=400)
    ask(f"calls/{talk.sid}/turns", cursor=cursor, expect=400)
    ask(f"calls/{other.sid}/turns", cursor=turns, expect=400)
    ask(f"calls/{talk.sid}/words", cursor=turns, expect=400)


@pytest.mark.parametrize("count", [2, 30])
def test_a_page_costs_the_same_however_many_calls_it_has(ask, count, django_assert_num_queries):
    for _ in range(count):
        make_call().tags.add(Tag.objects.get_or_create(name="refund")[0])
    ask("calls")
    # The client, the calls, their tags.
    with django_assert_num_queries(3):
        assert len(sids(ask("calls"))) == count


def test_one_call_costs_seven_queries(ask, talk, django_assert_num_queries):
    ask("calls")
    with django_assert_num_queries(7):
        ask(f"calls/{talk.sid}")


# --- nonsense --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "0"}, "limit: Input should be greater than or equal to 1"),
        ({"limit": "201"}, "limit: Input should be less than or equal to 200"),
        ({"limit": "many"}, "limit: Input should be a valid integer, unable to parse string as an integer"),
        ({"since": "yesterday"}, "since: Input should be a valid datetime or date, input is too short"),
        ({"since": "2026-03-14T15:00:00"}, "since: Input should have timezone info"),
        ({"until": "9999-12-31T23:59:59-23:59"}, "until: is no time between 1970 and 2200"),
        ({"ended": "perhaps"}, "ended: Input should be a valid boolean, unable to interpret input"),
        ({"order": "random"}, "order: Input should be 'newest' or 'oldest'"),
        ({"handler": "a\0b"}, "handler: has a character that no text has"),
        ({"handler": ""}, "handler: String should have at least 1 character"),
        ({"tag": "x" * 256}, "tag: String should have at most 255 characters"),
    ],
)
def test_a_bad_parameter_is_named(ask, query, message):
    assert ask("calls", expect=400, **query) == {"error": {"code": "bad_parameter", "message": message}}


def test_a_parameter_that_does_not_exist_is_refused_rather_than_ignored(ask):
    message = ask("calls", handlr="echo", expect=400)["error"]["message"]
    assert message.startswith("handlr: there is no such parameter; there are ")
    assert "handler" in message


def test_one_call_takes_no_parameters(ask):
    message = ask(f"calls/{make_call().sid}", fields="sid", expect=400)["error"]["message"]
    assert message == "fields: there is no such parameter"


def test_a_parameter_that_is_given_twice_is_refused(client):
    _, token = make_client()
    response = client.get("/api/v1/calls?limit=1&limit=2", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "limit: is given more than once"


@pytest.mark.parametrize("sid", ["CA" + "0" * 32, "CA1", "1", "%00", "CA" + "Z" * 32, "..", "' OR 1=1"])
def test_an_unknown_call_is_not_found(ask, sid):
    for path in PATHS:
        if "{sid}" in path:
            assert ask(path.format(sid=sid), expect=404)["error"]["code"] == "not_found"


@pytest.mark.parametrize("path", ["", "v1", "v1/", "v1/call", "v1/calls/", "v2/calls", "v1/calls/x/y/z"])
def test_an_unknown_path_is_not_found_in_the_same_shape(client, path):
    response = client.get(f"/api/{path}")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nothing_can_be_changed(client, method):
    _, token = make_client(*EVERYTHING)
    call = make_call()
    headers = {"Authorization": f"Bearer {token}"}
    for path in PATHS:
        response = getattr(client, method)(f"/api/v1/{path.format(sid=call.sid)}", headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (405, "read_only")


def hostile(rng, cursors):
    values = [
        *("", "0", "-1", "1", "200", "1e3", "99999999999999999999", "true", "null", "NaN", "newest", "oldest"),
        *("2026-03-14T15:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1e400", "-62135596800"),
        *("\0", "😀", "é", "'", '"', "%", "_", "x" * 5000, "[]", "{}", "../", "completed", "busy", "inbound"),
        *("pcm16", "mulaw", "stereo", "outbound", "+14155550100", "\r\nX: y", "\u202e", "1_0", "٣", " 5 ", *cursors),
    ]
    names = [
        *("since", "until", "ended", "handler", "status", "direction", "number", "tag", "has_recording", "order"),
        *("limit", "cursor", "channel", "encoding", "download", "until", "token", "x\0y", "limit[]", "a b"),
    ]
    return {rng.choice(names): rng.choice(values) for _ in range(rng.randint(0, 4))}


@pytest.mark.parametrize("seed", range(3))
def test_no_query_is_an_error_of_ours(client, seed):
    rng = random.Random(seed)
    call = make_recording(seconds=1)
    make_turn(call.streams.get())
    _, token = make_client(*EVERYTHING)
    headers = {"Authorization": f"Bearer {token}"}
    first = client.get("/api/v1/calls?limit=1", headers=headers).json()["next"]
    for _ in range(100):
        path = rng.choice(list(PATHS)).format(sid=rng.choice([call.sid, call.sid, "CA\0", "é"]))
        query = hostile(rng, [first or "x"])
        response = client.get(
            f"/api/v1/{path}", query, headers={**headers, "Range": rng.choice(["", "bytes=0-9", "x"])}
        )
        assert response.status_code in (200, 206, 400, 404, 416), (path, query)
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"code", "message"}


def test_nothing_of_an_answer_is_kept_by_whoever_passes_it_on(client):
    _, token = make_client()
    response = client.get("/api/v1/calls", headers={"Authorization": f"Bearer {token}"})
    assert response["Cache-Control"] == "no-store, private"
    assert response["Content-Type"] == "application/json"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in response


# --- its documentation -----------------------------------------------------------------------------------------------


def test_the_document_names_every_path_and_how_to_be_let_in():
    document = api.get_openapi_schema()
    assert document["openapi"].startswith("3.")
    assert set(document["paths"]) == {f"/api/v1/{path}" for path in PATHS}
    assert document["components"]["securitySchemes"]["Token"] == {"type": "http", "scheme": "bearer"}
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert all(operation["security"] == [{"Token": []}] for operation in operations)
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))


def references(thing):
    if isinstance(thing, dict):
        yield from ([thing["$ref"]] if "$ref" in thing else [])
    for each in thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else []:
        yield from references(each)


def test_whatever_the_document_refers_to_is_in_it():
    document = api.get_openapi_schema()
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_what_is_answered_is_what_the_document_says(ask):
    call = make_call()
    for name, answer in (("CallFacts", ask("calls")["calls"][0]), ("WholeCall", ask(f"calls/{call.sid}"))):
        assert set(answer) == set(api.get_openapi_schema()["components"]["schemas"][name]["properties"])


@pytest.mark.parametrize("path", ["openapi.json", "docs"])
def test_strangers_do_not_read_the_documentation(client, path):
    assert client.get(f"/api/v1/{path}").status_code in (401, 302)
    client.force_login(make_staff(is_staff=False))
    assert client.get(f"/api/v1/{path}").status_code in (401, 302)


def test_staff_and_programs_read_the_documentation(client, ask):
    assert ask("openapi.json", may=())["info"]["title"] == "Callstream"
    client.force_login(make_staff())
    assert client.get("/api/v1/openapi.json").json()["info"]["title"] == "Callstream"
    page = client.get("/api/v1/docs")
    assert "swagger-ui" in page.content.decode()
    assert "script-src 'self'" in page["Content-Security-Policy"]


# --- a million calls -------------------------------------------------------------------------------------------------


def test_a_database_that_does_not_answer_in_time_is_an_answer_too(ask, caplog):
    _, token = make_client()
    ask("calls", token=token)
    with connection.execute_wrapper(gone):
        assert ask("calls/%0Aforged", token=token, expect=503)["error"]["code"] == "unavailable"
    assert "api_db '/api/v1/calls/\\nforged': canceling statement due to statement timeout" in caplog.messages


def gone(execute, sql, params, many, context):
    raise OperationalError("canceling statement due to statement timeout")


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, "call_newest"),
        ({"order": "oldest"}, "call_newest"),
        ({"handler": "echo"}, "call_by_handler"),
        ({"status": "busy"}, "call_by_status"),
    ],
)
def test_a_page_is_read_off_an_index(query, index):
    wanted = CallFilters.model_construct(**query)
    plan = _after(_filtered(wanted), wanted, (1_000_000, 5))[:50].explain()
    if connection.vendor == "sqlite":
        assert index in plan
        assert "TEMP B-TREE" not in plan
