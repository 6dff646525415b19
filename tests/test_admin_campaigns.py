"""Campaigns in the admin: how they are going, row by row, the button that stops one, and the results as CSV."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.utils import timezone

from calls.models import Campaign, CampaignCall, RecordingAccess
from tests.support.campaigns import make_campaign, number
from tests.support.factories import make_call, make_staff


pytestmark = pytest.mark.django_db
LIST = "/admin/calls/campaign/"
Status = CampaignCall.Status


@pytest.fixture
def ops(client):
    user = make_staff("view_campaign", "place_call", "see_numbers", "export_call", username="ada")
    client.force_login(user)
    return user


@pytest.fixture
def viewer(client):
    user = make_staff("view_campaign")
    client.force_login(user)
    return user


def page(campaign, end="change/"):
    return f"{LIST}{campaign.pk}/{end}"


def text(client, path):
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def place(campaign, line, **facts):
    call = make_call(**facts)
    campaign.rows.filter(line=line).update(status=Status.PLACED, claimed_at=timezone.now(), call=call)
    return call


# --- the list


def test_without_a_campaign_the_list_says_which_command_makes_one(client, ops):
    assert "manage.py place_calls numbers.csv --handler survey --rate 1/s --at-once 20" in text(client, LIST)


def test_the_list_says_how_far_each_is(client, ops):
    campaign = make_campaign(4, seen_at=timezone.now())
    place(campaign, 2)
    html = text(client, LIST)
    assert "1 of 4" in html
    assert "Running" in html


@pytest.mark.parametrize("count", [1, 5])
def test_the_list_takes_as_many_queries_however_many_there_are(client, ops, django_assert_num_queries, count):
    for _ in range(count):
        make_campaign(3)
    with django_assert_num_queries(5):
        client.get(LIST)


@pytest.mark.parametrize(
    ("now", "facts", "word"),
    [
        (["seen_at"], {}, "Running"),
        ([], {}, "Interrupted"),
        (["stopped_at"], {"stop_reason": "No money."}, "Stopped"),
        (["finished_at"], {}, "Finished"),
    ],
)
def test_its_state_is_a_word(client, ops, now, facts, word):
    campaign = make_campaign(1, **facts, **dict.fromkeys(now, timezone.now()))
    assert f"{word}: 0 of 1 done" in text(client, page(campaign))


# --- the page


def test_a_page_counts_what_has_become_of_the_rows_and_shows_each(client, ops):
    campaign = make_campaign(3)
    call = place(campaign, 2, status="busy", data={"answer": "seven"})
    campaign.rows.filter(line=3).update(status=Status.FAILED, error="It is not a number.")
    html = text(client, page(campaign))
    for part in ("1 busy", "1 refused", "1 waiting", number(0), "order: 0", "answer: seven", "It is not a number."):
        assert part in html
    assert f'href="/admin/calls/call/{call.pk}/change/"' in html


def test_rows_of_one_outcome_can_be_looked_at(client, ops):
    campaign = make_campaign(3)
    place(campaign, 2, status="busy")
    html = text(client, page(campaign) + "?show=busy")
    assert number(0) in html
    assert number(1) not in html
    assert number(1) in text(client, page(campaign) + "?show=nonsense")


def test_many_rows_have_pages(client, ops, monkeypatch):
    monkeypatch.setattr("calls.admin.campaigns.ROWS", 2)
    campaign = make_campaign(5)
    assert "1–2 of 5" in text(client, page(campaign))
    html = text(client, page(campaign) + "?p=3")
    assert "5–5 of 5" in html
    assert number(4) in html


@pytest.mark.parametrize("count", [1, 30])
def test_a_page_takes_as_many_queries_however_many_rows_there_are(client, ops, django_assert_num_queries, count):
    campaign = make_campaign(count)
    for line in range(2, count + 2):
        place(campaign, line)
    # Session, user, permissions twice; the campaign, its counts, and its rows.
    with django_assert_num_queries(7):
        client.get(page(campaign))


def test_what_the_page_asks_for_is_kept_nowhere(client, ops):
    response = client.get(page(make_campaign(1), "now.json?show=waiting"))
    assert response["Cache-Control"] == "no-store, private"
    assert "0 of 1 done" in response.json()["html"]


def test_one_that_nobody_runs_says_how_to_go_on(client, ops):
    campaign = make_campaign(1)
    assert f"manage.py place_calls --resume {campaign.pk}" in text(client, page(campaign))


def test_who_may_not_see_numbers_sees_none(client, viewer):
    campaign = make_campaign(2, stopped_at=timezone.now(), stop_reason=f"{number(1)} is not verified.")
    campaign.rows.filter(line=2).update(columns={"other": number(1)}, error=f"{number(0)} is none.")
    html = text(client, page(campaign))
    assert number(0) not in html
    assert number(1) not in html
    assert "+14155550199" not in html
    assert "•0000" in html


def test_a_hostile_file_is_only_text(client, ops):
    campaign = make_campaign(1, name="<script>alert(1)</script>.csv")
    campaign.rows.update(columns={"<b>": "<img src=x>"})
    for path in (LIST, page(campaign)):
        html = text(client, path)
        assert "<script>alert" not in html
        assert "<img src=x>" not in html


@pytest.mark.parametrize("key", ["0", "x", "9" * 30])
def test_what_is_not_there_is_not_found(client, ops, key):
    assert client.get(f"{LIST}{key}/change/").status_code == 404


# --- stopping


def test_the_button_stops_it_and_that_is_on_record(client, ops):
    campaign = make_campaign(1, seen_at=timezone.now())
    assert ">Stop</button>" in text(client, page(campaign))
    response = client.post(page(campaign, "stop/"))
    assert response.headers["Location"] == page(campaign)
    assert said(response) == ["Stopped: nobody else is called. Calls that run go on."]
    campaign.refresh_from_db()
    assert (campaign.stopped_by, campaign.stopped_at is not None) == (ops, True)
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.change_message) == (ops, str(campaign.pk), "Stopped")
    assert "by ada" in text(client, page(campaign))


def test_what_was_stopped_is_not_stopped_again(client, ops):
    campaign = make_campaign(1, stopped_at=timezone.now())
    assert ">Stop</button>" not in text(client, page(campaign))
    assert said(client.post(page(campaign, "stop/"))) == ["It was not running any more."]
    assert not LogEntry.objects.exists()


def test_only_who_may_place_calls_stops_them(client, viewer):
    campaign = make_campaign(1)
    assert ">Stop</button>" not in text(client, page(campaign))
    assert client.post(page(campaign, "stop/")).status_code == 403
    assert Campaign.objects.get().stopped_at is None


def test_looking_at_it_stops_nothing(client, ops):
    campaign = make_campaign(1)
    assert client.get(page(campaign, "stop/")).status_code == 405


@pytest.mark.parametrize("end", ["change/", "now.json", "stop/", "results.csv"])
def test_whoever_may_not_see_campaigns_sees_none(client, end):
    client.force_login(make_staff("view_call", "export_call"))
    path = page(make_campaign(1), end)
    assert (client.post(path) if end == "stop/" else client.get(path)).status_code == 403


def test_whoever_may_place_calls_sees_them(client):
    client.force_login(make_staff("place_call"))
    assert client.get(page(make_campaign(1))).status_code == 200
    assert "Campaigns" in client.get("/admin/").content.decode()


def test_nobody_adds_changes_or_deletes_one(client, ops):
    campaign = make_campaign(1)
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(page(campaign), {"name": "x"}).status_code == 405
    assert client.get(page(campaign, "delete/")).status_code == 403


# --- results


def body(response):
    return b"".join(response.streaming_content).decode()


def test_the_results_are_downloaded_and_who_took_them_is_on_record(client, ops):
    campaign = make_campaign(2)
    call = place(campaign, 2, status="completed")
    response = client.get(page(campaign, "results.csv"))
    assert response["Content-Disposition"] == f'attachment; filename="campaign-{campaign.pk}.csv"'
    lines = body(response).splitlines()
    assert lines[1].startswith(f"2,'{number(0)},0,called,completed,{call.sid},")
    access = RecordingAccess.objects.get()
    assert (access.user, access.kind, access.detail) == (ops, "export", f"CSV of the results of campaign {campaign.pk}")


def test_results_without_numbers_are_for_whoever_may_not_see_them(client):
    client.force_login(make_staff("view_campaign", "export_call"))
    campaign = make_campaign(1)
    campaign.rows.update(columns={"order": number(0)}, error=f"{number(0)} is none")
    found = body(client.get(page(campaign, "results.csv")))
    assert number(0) not in found
    assert "•0000" in found


def test_results_are_for_whoever_may_export(client, viewer):
    campaign = make_campaign(1)
    assert "Results as CSV" not in text(client, page(campaign))
    assert client.get(page(campaign, "results.csv")).status_code == 403
    assert not RecordingAccess.objects.exists()
