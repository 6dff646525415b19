"""What the list of calls makes of the figures of a conversation: columns, order, filters, neighbours and exports."""

import csv
import datetime as dt
import io
import re
from urllib.parse import quote

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from calls.admin.sorting import halves
from calls.models import Call
from tests.support.factories import START, make_call, make_staff


pytestmark = pytest.mark.django_db
LIST, LIST_QUERIES = "/admin/calls/call/", 12
FIGURES = {
    "first_audio": "first_audio_ms",
    "response": "response_ms",
    "worst": "response_ms_max",
    "dead_air": "dead_air_ms",
}


@pytest.fixture
def ops(client):
    user = make_staff("view_call", "change_call", "export_call", "see_numbers")
    client.force_login(user)
    return user


def make_measured(**figures):
    return make_call(audio_samples=8000, measured_at=START, **figures)


def listed(client, **query):
    response = client.get(LIST, query)
    assert response.status_code == 200
    return [call.pk for call in response.context["cl"].result_list]


def column(client, name):
    return client.get(LIST).context["cl"].list_display.index(name)


def cell(client, name):
    found = re.search(rf'<td class="field-{name}">(.*?)</td>', client.get(LIST).content.decode())
    return found[1] if found else None


# --- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ms", "words"),
    [("first_audio", 640, "0.6 s"), ("response", 900, "0.9 s"), ("worst", 12_400, "12 s"), ("dead_air", 0, "0.0 s")],
)
def test_the_list_says_how_long_callers_waited(client, ops, name, ms, words):
    make_measured(**{FIGURES[name]: ms})
    assert f'title="{ms:,} ms">{words}</span>' in cell(client, name)


@pytest.mark.parametrize("name", FIGURES)
def test_what_was_not_measured_is_a_dash(client, ops, name):
    make_call()
    assert cell(client, name).endswith(">–</span>")


@pytest.mark.parametrize(
    ("name", "ms", "tone"),
    [
        *[("worst", 1000, "good"), ("worst", 2000, "warn"), ("worst", 2100, "bad")],
        *[("dead_air", 4999, "good"), ("dead_air", 5000, "warn"), ("dead_air", 15_000, "bad")],
    ],
)
def test_a_bad_figure_has_a_tone(client, ops, name, ms, tone):
    make_measured(**{FIGURES[name]: ms})
    assert f"call-wait call-{tone}" in cell(client, name)


def test_a_list_that_is_sorted_by_a_figure_costs_a_fixed_number_of_queries(client, ops, django_assert_max_num_queries):
    order = f"-{column(client, 'response')}"
    for number in range(20):
        make_measured(response_ms=number)
        make_call()
    # As any list, one for whether they are few, and one for the calls that come last.
    with django_assert_max_num_queries(LIST_QUERIES + 2):
        listed(client, o=order)


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_calls_without_a_figure_come_last_in_both_directions(client, ops, name):
    slow, old, fast, new = (make_call(**{FIGURES[name]: ms}) for ms in (900, None, 300, None))
    number = column(client, name)
    assert listed(client, o=f"-{number}") == [slow.pk, fast.pk, new.pk, old.pk]
    assert listed(client, o=number) == [fast.pk, slow.pk, new.pk, old.pk]


def test_pages_of_a_sorted_list_have_each_call_once(client, ops, monkeypatch):
    monkeypatch.setattr("calls.admin.calls.CallAdmin.list_per_page", 3)
    made = [make_call(response_ms=ms).pk for ms in (900, None, 300, None, 300, 500, None, None)]
    order = f"-{column(client, 'response')}"
    pages = [listed(client, o=order, p=page) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [3, 3, 2, 0]
    assert [pk for page in pages for pk in page] == [made[n] for n in (0, 5, 4, 2, 7, 6, 3, 1)]


def test_a_sorted_list_stays_filtered(client, ops):
    wanted = [make_call(handler="echo", response_ms=ms).pk for ms in (300, 900, None)]
    make_call(response_ms=500)
    assert listed(client, handler="echo", o=column(client, "response")) == wanted


def test_of_several_columns_the_first_one_counts_and_no_header_says_otherwise(client, ops):
    slow, fast = make_call(response_ms=900, dead_air_ms=1), make_call(response_ms=300, dead_air_ms=2)
    response, dead_air = column(client, "response"), column(client, "dead_air")
    page = client.get(LIST, {"o": f"0.{response}.{dead_air}"})
    assert [call.pk for call in page.context["cl"].result_list] == [fast.pk, slow.pk]
    assert len(re.findall(r'class="[^"]*\bsorted\b', page.content.decode())) == 1


@pytest.mark.parametrize("descending", [True, False])
def test_next_and_previous_lead_through_a_list_sorted_by_a_figure(client, ops, descending):
    for ms in (900, None, 300, 300, None, 500):
        make_call(response_ms=ms)
    filters = f"o={'-' * descending}{column(client, 'response')}"
    order = listed(client, o=filters.removeprefix("o="))
    assert walk(client, order[0], filters, "next_url") == order
    assert walk(client, order[-1], filters, "previous_url") == order[::-1]


def test_next_of_a_call_that_was_measured_meanwhile_is_the_one_behind_its_place(client, ops):
    slow, fast, waiting = make_call(response_ms=900), make_call(response_ms=300), make_call()
    Call.objects.filter(pk=waiting.pk).update(response_ms=500)
    filters = f"o=-{column(client, 'response')}"
    assert walk(client, slow.pk, filters, "next_url") == [slow.pk, waiting.pk, fast.pk]


def walk(client, pk, filters, way):
    url, seen = f"{reverse('admin:calls_call_change', args=[pk])}?_changelist_filters={quote(filters)}", [pk]
    while url := client.get(url).context[way]:
        seen.append(int(url.split("/")[4]))
    return seen


# --- filters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "yes", "no"),
    [
        ({"response": "2"}, {"response_ms_max": 2000}, {"response_ms_max": 1999}),
        ({"response": "10"}, {"response_ms_max": 10_000, "response_ms": 1}, {"response_ms": 12_000}),
        ({"response": "1.5-2"}, {"response_ms_max": 2000}, {"response_ms_max": 2001}),
        ({"response": "-0.25"}, {"response_ms_max": 250}, {"response_ms_max": 251}),
        ({"response": "2.345"}, {"response_ms_max": 2345}, {"response_ms_max": 2344}),
        ({"first_audio": "1"}, {"first_audio_ms": 1000}, {"first_audio_ms": 999}),
        ({"dead_air": "0.001"}, {"dead_air_ms": 2000}, {"dead_air_ms": 0}),
        ({"dead_air": "15"}, {"dead_air_ms": 15_000}, {}),
        ({"median": "0.9-"}, {"response_ms": 900, "response_ms_max": 900}, {"response_ms_max": 5000}),
    ],
)
def test_a_filter_finds_calls_by_their_figure(client, ops, query, yes, no):
    wanted = make_measured(**yes)
    make_measured(**no)
    assert listed(client, **query) == [wanted.pk]


def test_what_is_still_to_be_measured_is_found(client, ops):
    call = make_call(audio_samples=8000)
    make_call()
    make_call(audio_samples=8000, ended_at=None)
    make_measured()
    assert listed(client, response="none") == [call.pk]


def test_what_was_not_measured_is_sorted_by_time(client, ops):
    new, old = (make_call(audio_samples=8000, created_at=START - dt.timedelta(days=n)) for n in (0, 1))
    assert listed(client, response="none", o=column(client, "response")) == [new.pk, old.pk]


def test_a_figure_is_filtered_with_handler_and_day(client, ops):
    facts = {"handler": "echo", "response_ms_max": 3000}
    wanted = make_call(**facts)
    make_call(**facts | {"handler": "survey"})
    make_call(**facts, created_at=START - dt.timedelta(days=1))
    make_call(**facts | {"response_ms_max": 2000})
    query = {"handler": "echo", "since": "2026-03-14", "until": "2026-03-14", "response": "2.5"}
    assert listed(client, **query) == [wanted.pk]


@pytest.mark.parametrize("typed", ["x", "-", "1-2-3", "-1-", "1e9", "9999999", "1.2345", "٣", " 1", "1\n", "nan"])
@pytest.mark.parametrize("name", ["response", "first_audio", "dead_air", "median"])
def test_a_malformed_figure_leads_back_to_the_list(client, ops, name, typed):
    assert client.get(LIST, {name: typed})["Location"] == f"{LIST}?e=1"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"response": "2.5"}, "2.5 s or more"),
        ({"response": "1-2"}, "1 to 2 s"),
        ({"dead_air": "-7"}, "At most 7 s"),
        ({"response": "2"}, "Worst 2 s or more"),
    ],
)
def test_a_typed_figure_is_named_among_the_filters(client, ops, query, words):
    html = client.get(LIST, query).content.decode()
    assert re.findall(rf'<li class="selected">\s*<a[^>]*>{words}</a></li>', html)


# --- export -----------------------------------------------------------------------------------------------------------


def test_an_export_has_the_figures_and_the_cost_behind_what_it_had(client, ops):
    make_measured(first_audio_ms=640, response_ms=900, response_ms_max=3200, dead_air_ms=0, talk_over_ms=150)
    Call.objects.update(price="-0.008500", price_unit="USD")
    data = b"".join(client.get(LIST + "export.csv").streaming_content).decode("utf-8-sig")
    head, row = csv.reader(io.StringIO(data))
    assert head[18] == "file in a ZIP"
    assert row[19:] == ["640", "900", "3200", "0", "150", "0.0085", "USD"]


def test_an_export_leaves_empty_what_nobody_knows(client, ops):
    make_call()
    data = b"".join(client.get(LIST + "export.csv").streaming_content).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(data)))[1][19:] == [""] * 7


# --- at any size ------------------------------------------------------------------------------------------------------


@pytest.fixture
def many_calls():
    """Five thousand, a tenth of them not measured."""
    start = timezone.now()
    Call.objects.bulk_create(
        Call(
            created_at=start - dt.timedelta(minutes=number),
            ended_at=start,
            audio_samples=8000,
            handler="echo" if number % 20 == 0 else "voicemail",
            **({} if number % 10 == 9 else dict.fromkeys(FIGURES.values(), number * 7 % 5000)),
        )
        for number in range(5000)
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE calls_call")


INDEXES = {
    "first_audio_ms": "call_by_first_audio",
    "response_ms": "call_by_response",
    "response_ms_max": "call_by_worst_response",
    "dead_air_ms": "call_by_dead_air",
}


def test_each_order_is_that_of_an_index(many_calls, monkeypatch):
    monkeypatch.setattr("calls.admin.sorting.FEW", 1000)
    for field, index in INDEXES.items():
        for way in ("", "-"):
            plan = halves(Call.objects.all(), way + field)[0][100:151].explain()
            assert index in plan, way + field
            assert not re.search("sort|b-tree", plan, re.IGNORECASE), way + field


def test_the_order_of_a_handlers_calls_is_that_of_an_index_too(many_calls, monkeypatch):
    monkeypatch.setattr("calls.admin.sorting.FEW", 100)
    for field in INDEXES:
        plan = halves(Call.objects.filter(handler="echo"), f"-{field}")[0][:51].explain()
        assert "call_by_handler_" in plan, field
        assert not re.search("sort|b-tree", plan, re.IGNORECASE), field


@pytest.mark.postgres
def test_few_calls_are_not_looked_for_among_all(many_calls):
    having, _ = halves(Call.objects.filter(status="busy"), "-response_ms")
    assert "call_by_response" not in having[:51].explain()


def test_calls_with_a_rare_figure_are_looked_up(many_calls):
    for field, index in INDEXES.items():
        rare = Call.objects.filter(**{f"{field}__gte": 4995}).order_by("-created_at", "-pk")
        assert index in rare[:51].explain(), field
