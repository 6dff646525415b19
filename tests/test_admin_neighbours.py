"""From one call to the next: as the list was filtered and sorted, and by number."""

import datetime as dt
from html import unescape
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from calls.admin.neighbours import beside
from calls.models import Call
from tests.support.factories import make_call, make_live_call, make_staff


pytestmark = pytest.mark.django_db


@pytest.fixture
def ops(client):
    user = make_staff("view_call", "change_call", "see_numbers", "place_call")
    client.force_login(user)
    return user


@pytest.fixture
def calls():
    """Five, the newest first; two of them at the very same moment, and one that nobody took."""
    moments = ("2026-03-05T00:00Z", "2026-03-04T00:00Z", "2026-03-03T00:00Z", "2026-03-03T00:00Z", "2026-03-01T00:00Z")
    made = [make_call(created_at=at, audio_samples=8000 * n) for n, at in reversed(list(enumerate(moments)))][::-1]
    Call.objects.filter(pk=made[1].pk).update(status="busy")
    return made


def page(call, filters=""):
    url = reverse("admin:calls_call_change", args=[call.pk])
    return f"{url}?_changelist_filters={quote(filters)}" if filters else url


def walk(client, call, filters=""):
    """The calls that one comes through by "Next" alone."""
    url, seen = page(call, filters), [call.pk]
    while url := client.get(url).context["next_url"]:
        seen.append(int(url.split("/")[4]))
    return seen


def test_next_leads_through_the_whole_list_each_call_once(client, ops, calls):
    assert walk(client, calls[0]) == [call.pk for call in calls]


def test_next_keeps_to_the_filter_that_one_came_from(client, ops, calls):
    assert walk(client, calls[0], "status=completed") == [calls[n].pk for n in (0, 2, 3, 4)]


def test_next_keeps_to_the_order_that_one_came_from(client, ops, calls):
    column = list(client.get("/admin/calls/call/").context["cl"].list_display).index("length")
    assert walk(client, calls[0], f"o={column}") == [call.pk for call in calls]
    assert walk(client, calls[4], f"o=-{column}") == [call.pk for call in reversed(calls)]


def test_previous_is_the_way_back(client, ops, calls):
    context = client.get(page(calls[3])).context
    assert context["previous_url"] == page(calls[2])
    assert client.get(page(calls[0])).context["previous_url"] == ""


def test_a_call_that_has_left_the_filter_still_knows_what_comes_next(client, ops, calls):
    assert client.get(page(calls[1], "status=completed")).context["next_url"] == page(calls[2], "status=completed")


@pytest.mark.parametrize("filters", ["nonsense=1", "o=99", "status=%00", "p=x", "q=%00"])
def test_a_list_that_does_not_exist_breaks_nothing(client, ops, calls, filters):
    assert client.get(page(calls[1], filters)).status_code == 200


def test_save_and_next_saves_and_goes_on_in_the_same_list(client, ops, calls):
    answer = client.post(page(calls[0], "status=completed"), {"notes": "listened", "_next": "Save and next"})
    assert answer["Location"] == page(calls[2], "status=completed")
    assert Call.objects.get(pk=calls[0].pk).notes == "listened"


def test_save_and_next_ends_in_the_list(client, ops, calls):
    answer = client.post(page(calls[4], "status=completed"), {"notes": "", "_next": "Save and next"})
    assert answer["Location"] == "/admin/calls/call/?status=completed"


FILTERED = "?_changelist_filters=status%3Din-progress%26q%3Dx"
FILTERED_LIST = "/admin/calls/call/?status=in-progress&q=x"


def test_a_call_leads_back_to_the_list_as_it_was_filtered(client, ops):
    html = client.get(page(make_live_call(), "status=in-progress&q=x")).content.decode()
    assert f'<a href="{FILTERED_LIST}">Calls</a>' in unescape(html)


@pytest.mark.parametrize("name", ["hang-up", "goodbye", "transfer", "history"])
def test_pages_of_a_call_keep_the_way_back_to_the_filtered_list(client, ops, name):
    call = make_live_call()
    url = f"/admin/calls/call/{call.pk}/{name}/{FILTERED}"
    assert url in unescape(client.get(page(call, "status=in-progress&q=x")).content.decode())
    html = unescape(client.get(url).content.decode())
    assert f'href="{FILTERED_LIST}"' in html
    assert f'href="/admin/calls/call/{call.pk}/change/{FILTERED}"' in html


def test_what_was_done_to_a_call_leads_back_to_its_page_with_the_filtered_list(client, ops, settings):
    settings.TWILIO_API_URL = "http://127.0.0.1:9"
    call = make_live_call()
    answer = client.post(f"/admin/calls/call/{call.pk}/hang-up/{FILTERED}")
    assert answer["Location"] == f"/admin/calls/call/{call.pk}/change/{FILTERED}"


@pytest.mark.django_db(transaction=True)
def test_erasing_keeps_the_way_back_to_the_filtered_list(client):
    client.force_login(make_staff("view_call", "erase_call"))
    call = make_call()
    url = f"/admin/calls/call/erase/{FILTERED}&call={call.pk}"
    assert url in unescape(client.get(page(call, "status=in-progress&q=x")).content.decode())
    assert f'href="/admin/calls/call/{call.pk}/change/{FILTERED}"' in unescape(client.get(url).content.decode())
    assert client.post(url, {"what": "all", "reason": "asked for"})["Location"] == FILTERED_LIST


def test_erasing_from_a_filtered_list_leads_back_to_it(client):
    client.force_login(make_staff("view_call", "erase_call"))
    calls = [
        make_live_call().pk,
        make_call(status="in-progress", notes="x").pk,
        make_call(status="in-progress", notes="x").pk,
    ]
    answer = client.post(FILTERED_LIST, {"action": "erase_selected", "_selected_action": calls[1:]})
    assert answer["Location"].count("&call=") == 2
    assert client.get(answer["Location"]).context["back_url"] == FILTERED_LIST


def test_who_may_not_change_calls_has_no_save_and_next(client, calls):
    client.force_login(make_staff("view_call"))
    assert b"Save and next" not in client.get(page(calls[0])).content


@pytest.mark.parametrize("ordering", ["-created_at", "created_at", "-audio_samples", "audio_samples"])
def test_the_database_looks_the_next_call_up_instead_of_sorting(ordering):
    start = make_call().created_at
    Call.objects.bulk_create(Call(created_at=start + dt.timedelta(n), audio_samples=80 * n) for n in range(3000))
    with CaptureQueriesContext(connection) as queries:
        beside(Call.objects.all(), ordering, Call.objects.get(audio_samples=80 * 1500), after=True)
    steps = plan(queries[-1]["sql"])
    assert "SEARCH calls_call USING" in steps or "Index Cond" in steps
    assert not [word for word in ("TEMP B-TREE", "Sort", "Seq Scan") if word in steps]


def plan(sql):
    """What the database would do, after it has counted what there is."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute(f"EXPLAIN {'QUERY PLAN' if connection.vendor == 'sqlite' else ''} {sql}")
        return " ".join(str(row[-1]) for row in cursor.fetchall())


def test_other_calls_with_the_number_are_listed_newest_first(client, ops):
    call = make_call(from_number="+14155550123")
    older = make_call(from_number="+14155550123", created_at="2026-01-01T00:00Z")
    back = make_call(from_number="+15550100002", to_number="+14155550123", created_at="2026-01-02T00:00Z")
    make_call(from_number="+14155550124")
    others = client.get(page(call)).context["others"]
    assert [other["url"] for other in others] == [page(back), page(older)]


def test_who_may_not_see_numbers_learns_of_no_other_calls(client):
    client.force_login(make_staff("view_call", "place_call"))
    content = client.get(page(make_call(from_number="+14155550123"))).content
    assert b"Other calls" not in content
    assert b"4155550123" not in content


def test_call_back_fills_in_both_numbers(client, ops):
    call = make_call(from_number="+14155550123", to_number="+14155550199")
    form = client.get(client.get(page(call)).context["call_back_url"])
    assert b'value="+14155550123"' in form.content
    assert b'value="+14155550199"' in form.content


@pytest.mark.parametrize(
    "number", ["anonymous", "+266696687", "266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"]
)
def test_a_caller_who_withholds_the_number_has_no_other_calls_and_is_not_called_back(client, ops, number):
    make_call(from_number=number)
    html = client.get(page(make_call(from_number=number))).content.decode()
    assert "Other calls" not in html
    assert "Call this number" not in html
