"""How long callers waited, on the overview: percentiles by handler and day, each with its calls."""

import datetime as dt
import re
from collections import Counter
from html import unescape

import pytest
from django.utils import timezone

from calls.admin.filters import midnight
from calls.admin.responses import STEP, busiest, counted, percentile, responses
from calls.models import Call
from tests.support.factories import make_call, make_staff


pytestmark = pytest.mark.django_db


@pytest.fixture
def ops(client):
    client.force_login(make_staff("view_call"))


def make_answered(*waits, days_ago=0, **facts):
    """A call for each median response in ms, at noon of that day."""
    noon = midnight(-days_ago) + dt.timedelta(hours=12)
    return [make_call(**{"created_at": noon, "response_ms": ms, "response_ms_max": ms, **facts}) for ms in waits]


def charts():
    return responses(Call.objects.filter(created_at__gte=midnight(-6)))["charts"]


def listed(client, link):
    return {call.pk for call in client.get(link).context["cl"].result_list}


@pytest.mark.parametrize(
    ("waits", "share", "ms"), [([500], 0.5, 500), (range(0, 2000, 10), 0.5, 1000), (range(0, 2000, 10), 0.95, 1900)]
)
def test_a_percentile_is_right_to_a_step(waits, share, ms):
    assert abs(percentile(Counter(wait // STEP for wait in waits), share) - ms) <= STEP


def test_each_handler_has_a_chart_the_busiest_first():
    make_answered(300, handler="echo")
    make_answered(700, 800, handler="voicemail")
    assert [(chart.name, chart.calls) for chart in charts()] == [("voicemail", 2), ("echo", 1)]


def test_all_but_the_five_busiest_handlers_share_a_chart():
    for number in range(8):
        make_answered(*[500] * (8 - number), handler=f"h{number}", days_ago=number % 7)
    names = [chart.name for chart in charts()]
    assert names == ["h0", "h1", "h2", "h3", "h4", "other handlers"]
    assert charts()[-1].calls == 3 + 2 + 1


def test_handlers_that_are_as_busy_keep_their_places():
    week = {0: Counter({1: 1})}
    assert [name for name, _ in busiest({"b": week, "a": week})] == ["a", "b"]


def test_a_day_without_measured_calls_has_no_point():
    make_answered(500, days_ago=6)
    make_answered(700)
    make_call(created_at=timezone.now())
    (chart,) = charts()
    assert [bool(day) for day in chart.days] == [True, *[False] * 5, True]
    assert {share for share, _, _ in chart.lines} == {"half", "most"}


def test_days_are_those_of_the_time_zone():
    with timezone.override("Asia/Tokyo"):
        make_answered(500, created_at=midnight(-1) + dt.timedelta(hours=23, minutes=59))
        make_answered(500, created_at=midnight(0) + dt.timedelta(minutes=1))
        (week,) = counted(Call.objects.all()).values()
        assert {number: steps.total() for number, steps in week.items()} == {5: 1, 6: 1}


def test_a_point_leads_to_the_calls_of_its_handler_and_day(client, ops):
    wanted = make_answered(*range(500, 700, 10), days_ago=2)
    make_answered(600, days_ago=3)
    make_answered(600, days_ago=2, handler="echo")
    day = charts()[0].days[4]
    assert listed(client, day["half"].link) == {call.pk for call in wanted}


def test_the_upper_point_leads_to_the_slowest_of_them(client, ops):
    *_, slow = make_answered(*[500] * 19, 4000, days_ago=2)
    day = charts()[0].days[4]
    assert abs(day["most"].ms - 500) <= STEP
    assert listed(client, day["most"].link) == {slow.pk}


def test_a_point_of_other_handlers_says_among_which_calls_its_own_are():
    for number in range(6):
        make_answered(*[500] * (6 - number), handler=f"h{number}")
    titles = {chart.name: chart.days[6]["half"].title for chart in charts()}
    assert [name for name, title in titles.items() if title.endswith("; among those of all handlers")] == [
        "other handlers"
    ]


def test_points_lie_inside_of_their_chart():
    make_answered(50, 700, 3900)
    make_answered(700_000, handler="slow")
    points = [point for chart in charts() for day in chart.days for point in day.values()]
    assert all(0 <= point.x <= 100 and 0 <= point.y <= 100 for point in points)


def test_what_is_drawn_is_in_a_table_for_those_who_use_a_keyboard(client, ops):
    make_answered(600)
    html = client.get("/admin/").content.decode()
    drawn = re.findall(r'<a class="call-(?:half|most-of)" href="([^"]*)" tabindex="-1">', html)
    (table,) = re.findall(r'<details class="call-wait-table">.*?</details>', html, re.DOTALL)
    assert len(drawn) == 2
    assert set(drawn) == set(re.findall(r'<td><a href="([^"]*)"', table) + re.findall(r', <a href="([^"]*)"', table))
    assert "95 % 0.6 s" in unescape(table)


def test_a_week_without_measured_calls_says_so(client, ops):
    make_call(created_at=timezone.now())
    make_answered(500, days_ago=8)
    assert "No call of this week was measured yet." in client.get("/admin/").content.decode()


def test_a_handlers_name_is_only_text(client, ops):
    make_answered(500, handler='<b>"&x=1')
    html = client.get("/admin/").content.decode()
    assert "<b>" not in html
    assert "handler=%3Cb%3E%22%26x%3D1" in html
