"""The list of running calls: which are on it, what it says of them, to whom, and at what cost."""

import datetime as dt
import re
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from calls.admin.live import heading
from calls.models import Call, Stream, Tag
from tests.support.factories import make_call, make_event, make_live_call, make_staff, make_stream


pytestmark = pytest.mark.django_db
LIVE, ROWS = "/admin/calls/call/live/", "/admin/calls/call/live/rows.json"
LIST = "/admin/calls/call/"
# Session, user, two of permissions; the calls that run in three, the handlers and tags to filter by, those calls, their
# latest events in two, their tags, their streams, and which of these are held.
QUERIES = 15
LEASE_OVER = dt.timedelta(seconds=20)


@pytest.fixture
def supervisor(client):
    user = make_staff("view_call", "supervise_call", "see_numbers")
    client.force_login(user)
    return user


def ago(**span):
    return timezone.now() - dt.timedelta(**span)


def on_line(**facts):
    """A call whose stream a process holds."""
    call = make_live_call(**{"created_at": ago(minutes=5), **facts})
    make_stream(call, lease_owner="worker")
    return call


def listed(client, query=""):
    return [pk for pk, _ in client.get(f"{ROWS}{query}").json()["rows"]]


def row(client):
    [(_, html)] = client.get(ROWS).json()["rows"]
    return unescape(html)


# --- who may see it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("permissions", [("view_call",), ("supervise_call",), ()])
@pytest.mark.parametrize("path", [LIVE, ROWS])
def test_it_takes_both_permissions(client, permissions, path):
    client.force_login(make_staff(*permissions))
    assert client.get(path).status_code == 403


def test_who_is_logged_out_is_asked_to_log_in(client):
    assert client.get(ROWS).status_code == 302


def test_nothing_can_be_posted_to_it(client, supervisor):
    assert client.post(LIVE).status_code == 405


def test_the_list_and_the_index_lead_to_it_with_the_number_that_runs(client, supervisor):
    on_line()
    assert f'<a href="{LIVE}">Live calls (1)</a>' in client.get(LIST).content.decode()
    assert f'<a href="{LIVE}"' in client.get("/admin/").content.decode()


def test_who_may_not_see_it_sees_no_link(client):
    client.force_login(make_staff("view_call"))
    for path in (LIST, "/admin/"):
        assert LIVE not in client.get(path).content.decode()


# --- which calls -----------------------------------------------------------------------------------------------------


def test_a_call_that_is_over_is_not_on_it(client, supervisor):
    make_call()
    call = on_line()
    assert listed(client) == [call.pk]


def test_the_newest_call_comes_first(client, supervisor):
    old, new = on_line(created_at=ago(minutes=2)), on_line(created_at=ago(minutes=1))
    assert listed(client) == [new.pk, old.pk]


def test_a_call_whose_process_has_died_leaves_before_anybody_cleans_up(client, supervisor):
    call = make_live_call(created_at=ago(minutes=5))
    make_stream(call, lease_owner="dead", lease_at=timezone.now() - LEASE_OVER)
    assert listed(client) == []


def test_a_call_that_another_process_took_over_stays(client, supervisor):
    call = make_live_call(created_at=ago(minutes=5))
    make_stream(call, lease_owner="dead", lease_at=timezone.now() - LEASE_OVER)
    make_stream(call, lease_owner="worker")
    assert listed(client) == [call.pk]


@pytest.mark.parametrize(
    ("age", "facts", "is_there"),
    [
        ({"seconds": 5}, {}, True),
        ({"minutes": 5}, {}, False),
        ({"minutes": 5}, {"direction": "outbound-api", "answered_at": None}, True),
        ({"minutes": 15}, {"direction": "outbound-api", "answered_at": None}, False),
        ({"hours": 2}, {"dialing": True}, True),
        ({"hours": 25}, {"dialing": True}, False),
    ],
)
def test_a_call_without_a_stream_stays_for_as_long_as_that_can_be(client, supervisor, age, facts, is_there):
    call = make_live_call(created_at=ago(**age), **facts)
    assert listed(client) == [call.pk] * is_there


@pytest.mark.parametrize(
    ("reason", "seconds", "is_finished", "is_there"),
    [
        ("disconnect", 0, False, True),
        ("dial", 0, False, True),
        ("disconnect", 60, False, False),
        ("disconnect", 0, True, False),
        ("interrupted", 0, False, False),
        ("stop", 0, False, False),
    ],
)
def test_a_call_waits_for_its_next_stream_for_a_moment(client, supervisor, reason, seconds, is_finished, is_there):
    call, ended_at = make_live_call(created_at=ago(minutes=5)), ago(seconds=seconds)
    finished = {"handler_finished_at": ended_at} if is_finished else {}
    make_stream(call, end_reason=reason, ended_at=ended_at, **finished)
    assert listed(client) == [call.pk] * is_there


# --- what it says of them --------------------------------------------------------------------------------------------


def test_a_row_says_who_called_whom_with_what_and_leads_to_the_call(client, supervisor):
    call = on_line(handler="pizza", caller_name="Ada")
    call.tags.add(Tag.objects.create(name="vip"))
    html = row(client)
    for part in ("+15550100001", "+15550100002", "pizza", '<bdi class="call-name">Ada</bdi>', "vip", "In progress"):
        assert part in html
    assert f'href="/admin/calls/call/{call.pk}/change/"' in html
    assert f'href="/admin/calls/call/{call.pk}/change/#listen"' in html


def test_numbers_and_names_are_hidden_from_who_may_not_see_them(client):
    client.force_login(make_staff("view_call", "supervise_call"))
    on_line(caller_name="Ada")
    html = row(client)
    assert "+•••••••0001" in html
    assert not re.search("15550100|Ada", html)


def test_the_last_event_stands_in_words(client, supervisor):
    call = on_line()
    make_event(call, kind="in-progress", occurred_at=ago(minutes=2))
    make_event(call, kind="barge-in", source="stream", occurred_at=ago(minutes=1))
    make_event(call, kind="ringing", occurred_at=ago(minutes=3))
    assert ">The caller interrupted us</td>" in row(client)


@pytest.mark.parametrize(
    ("reason", "dialing", "words"),
    [
        ("dial", True, "with somebody else"),
        ("stop", True, "on hold, or with somebody else"),
        ("disconnect", False, "connecting again"),
        ("", False, "not connected yet"),
    ],
)
def test_a_row_says_where_a_caller_is_whose_stream_is_away(client, supervisor, reason, dialing, words):
    call = make_live_call(created_at=timezone.now(), dialing=dialing)
    if reason:
        make_stream(call, end_reason=reason, ended_at=timezone.now())
    assert f'">{words}</span></td>' in row(client)


def test_a_row_whose_stream_runs_says_nothing_of_the_kind(client, supervisor):
    on_line()
    assert "call-live-away" not in row(client)


def test_a_name_that_is_html_is_text(client, supervisor):
    on_line(caller_name="<script>alert(1)</script>", handler="<b>")
    [(_, html)] = client.get(ROWS).json()["rows"]
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "<b>" not in html


def test_the_page_has_the_same_rows_and_their_number_above_them(client, supervisor):
    on_line()
    on_line()
    html = client.get(LIVE).content.decode()
    assert html.count("<tr data-pk=") == 2
    assert '<h1 id="call-live-title">2 live calls</h1>' in html


def test_a_page_without_calls_says_so(client, supervisor):
    assert "No call is running." in client.get(LIVE).content.decode()


@pytest.mark.parametrize(
    ("count", "total", "words"),
    [(0, 0, "No live calls"), (1, 1, "1 live call"), (3, 12, "3 of 12 live calls"), (1, 12, "1 of 12 live calls")],
)
def test_the_heading_counts_what_is_shown_of_what_runs(count, total, words):
    assert heading(count, total) == words


# --- filters ---------------------------------------------------------------------------------------------------------


def test_filters_are_those_of_the_history(client, supervisor):
    tag = Tag.objects.create(name="vip")
    pizza, out, plain = on_line(handler="pizza"), on_line(direction="outbound-api"), on_line()
    plain.tags.add(tag)
    assert listed(client, "?handler=pizza") == [pizza.pk]
    assert listed(client, "?direction=outbound") == [out.pk]
    assert listed(client, f"?tag={tag.pk}") == [plain.pk]
    assert client.get(f"{ROWS}?handler=pizza").json()["title"] == "1 of 3 live calls"


def test_a_part_of_a_number_is_found_among_running_calls_only(client, supervisor):
    make_call(from_number="+14155550123")
    call = on_line(from_number="+14155550123")
    on_line()
    assert listed(client, "?q=415555") == [call.pk]


def test_a_chosen_filter_says_so_and_can_be_taken_back(client, supervisor):
    on_line(handler="pizza")
    html = client.get(f"{LIVE}?handler=pizza&o=wait").content.decode()
    assert "<summary>Handler: <bdi>pizza</bdi></summary>" in html
    assert 'href="?o=wait"' in html
    assert 'data-by="wait"' in html


def test_a_filter_without_calls_offers_all_of_them(client, supervisor):
    on_line()
    assert "No running call matches." in client.get(f"{LIVE}?handler=nobody").content.decode()


def test_an_address_that_means_nothing_leads_to_the_whole_list(client, supervisor):
    assert client.get(f"{LIVE}?when=today").url == f"{LIVE}?e=1"
    assert client.get(f"{ROWS}?when=today").status_code == 400


# --- at what cost ----------------------------------------------------------------------------------------------------


def test_it_costs_the_same_for_one_call_and_for_many(client, supervisor, django_assert_num_queries):
    make_live_call(created_at=ago(minutes=5), dialing=True)
    for _ in range(30):
        call = on_line()
        make_event(call)
        make_stream(call, ended_at=timezone.now())
        call.tags.add(Tag.objects.get_or_create(name="billing")[0])
    with django_assert_num_queries(QUERIES):
        assert len(listed(client)) == 31
    with django_assert_num_queries(QUERIES):
        client.get(LIVE)
    Call.objects.filter(dialing=False).exclude(pk=call.pk).delete()
    with django_assert_num_queries(QUERIES):
        assert len(listed(client)) == 2


def test_the_calls_that_run_are_found_by_indexes_of_what_runs():
    assert "call_live" in Call.objects.live().order_by().values_list("pk", "created_at").explain()
    assert "stream_live" in Stream.objects.held(dt.timedelta(seconds=14)).values_list("call").explain()


def test_filters_look_at_the_calls_that_run_and_not_at_all_of_a_handler(client, supervisor):
    for _ in range(20):
        on_line()
    for query in ("", "?handler=voicemail", "?direction=inbound"):
        with CaptureQueriesContext(connection) as queries:
            assert len(listed(client, query)) == 20
        [of_list] = [one["sql"] for one in queries if '"calls_call"."caller_name"' in one["sql"]]
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {'QUERY PLAN' if connection.vendor == 'sqlite' else ''} {of_list}")
            assert not re.search("call_by|call_newest", str(cursor.fetchall()))
