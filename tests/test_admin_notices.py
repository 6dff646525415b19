"""The admin's receivers and webhooks: who may do what, what is shown, and what the buttons do."""

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils import timezone

from calls.admin import receivers
from calls.models import Call, Delivery, Notice, Receiver
from calls.notices.telling import tell
from tests.support.factories import make_call, make_delivery, make_receiver, make_recording, make_staff
from tests.support.mailbox import Mailbox


pytestmark = pytest.mark.django_db
RECEIVERS, DELIVERIES = "/admin/calls/receiver/", "/admin/calls/delivery/"
MANAGE = ("view_receiver", "add_receiver", "change_receiver", "delete_receiver")
WATCH = ("view_delivery", "view_call")
FORM = {"name": "CRM", "url": "https://hooks.example.org/calls?key=1", "kinds": ["call.ended"], "is_active": "on"}


@pytest.fixture
def manager(client):
    user = make_staff(*MANAGE, *WATCH, "send_delivery", "see_numbers")
    client.force_login(user)
    return user


def text(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


def page(row, what: str = "change") -> str:
    return reverse(f"admin:calls_{row._meta.model_name}_{what}", args=[row.pk])


# --- receivers -------------------------------------------------------------------------------------------------------


def test_a_receiver_is_made_and_its_secret_shown(client, manager):
    response = client.post(f"{RECEIVERS}add/", {**FORM, "with_numbers": "on"})
    receiver = Receiver.objects.get()
    assert response["Location"] == page(receiver, "secret")
    assert (receiver.url, receiver.kinds, receiver.with_numbers) == (FORM["url"], ["call.ended"], True)
    assert receiver.secret in text(client.get(response["Location"]))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.org/", "begin with https"),
        ("https://10.0.0.1/", "no public address"),
        ("https://a:b@hooks.example.org/", "signed instead"),
        ("nonsense", "begin with https"),
    ],
)
def test_an_address_that_nothing_is_sent_to_is_refused_in_the_form(client, manager, url, why):
    assert why in text(client.post(f"{RECEIVERS}add/", {**FORM, "url": url}))
    assert not Receiver.objects.exists()


def test_without_a_kind_there_is_nothing_to_tell(client, manager):
    assert "This field is required" in text(client.post(f"{RECEIVERS}add/", {**FORM, "kinds": []}))


def test_what_happens_while_it_is_off_is_never_told(client, manager):
    receiver = make_receiver(is_active=False, switched_off="It answered 410.", failures=3, rests_until=timezone.now())
    make_recording()
    client.post(page(receiver), {**FORM, "kinds": ["call.ended"]})
    receiver.refresh_from_db()
    tell()
    assert (receiver.is_active, receiver.switched_off, receiver.failures) == (True, "", 0)
    assert not Notice.objects.exists()


def test_a_change_that_is_none_of_it_loses_nothing(client, manager):
    receiver = make_receiver()
    since = receiver.since
    client.post(page(receiver), FORM)
    receiver.refresh_from_db()
    assert (receiver.name, receiver.since) == ("CRM", since)


def test_who_changes_a_receiver_does_not_undo_what_came_of_a_webhook_meanwhile(client, manager, monkeypatch):
    receiver = make_receiver()

    def while_it_is_read(url):
        Receiver.objects.update(is_active=False, switched_off="It answered 410")

    monkeypatch.setattr(receivers, "parse", while_it_is_read)
    client.post(page(receiver), {**FORM, "name": "Renamed"})
    assert list(Receiver.objects.values_list("name", "is_active")) == [("Renamed", False)]


def test_the_list_says_how_each_does_and_costs_the_same_for_many(client, manager, django_assert_num_queries):
    away = make_receiver(failing_since=timezone.now(), rests_until=timezone.now(), failures=1)
    make_receiver(is_active=False, switched_off="It answered 410: it wants no more webhooks.")
    for _ in range(3):
        make_delivery(away)
    client.get(RECEIVERS)
    with django_assert_num_queries(5):
        html = text(client.get(RECEIVERS))
    assert "Away" in html
    assert "it wants no more webhooks" in html
    assert f'<a href="{DELIVERIES}?receiver={away.pk}&status=waiting">3</a>' in html
    for _ in range(10):
        make_receiver()
    with django_assert_num_queries(5):
        client.get(RECEIVERS)


def test_who_may_only_view_receivers_sees_no_key_and_no_secret(client):
    receiver = make_receiver("https://hooks.example.org/calls?key=private")
    client.force_login(make_staff("view_receiver"))
    html = text(client.get(RECEIVERS)) + text(client.get(page(receiver)))
    assert "private" not in html
    assert receiver.secret not in html
    assert "Send a test" not in html
    for what in ("secret", "test"):
        assert client.post(page(receiver, what)).status_code == 403
    assert client.get(page(receiver, "secret")).status_code == 403
    assert client.post(page(receiver), FORM).status_code == 403


def test_who_may_not_see_numbers_cannot_lead_them_anywhere(client):
    client.force_login(make_staff(*MANAGE))
    client.post(f"{RECEIVERS}add/", {**FORM, "with_numbers": "on"})
    assert not Receiver.objects.get().with_numbers
    other = make_receiver(with_numbers=True)
    assert client.post(page(other), {**FORM, "name": "Mine", "url": "https://evil.example.org/"}).status_code == 403
    for what in ("secret", "test"):
        assert client.post(page(other, what)).status_code == 403
    own = Receiver.objects.get(name="CRM")
    client.post(page(own), {**FORM, "with_numbers": "on"})
    own.refresh_from_db()
    assert not own.with_numbers


def test_a_new_secret_leaves_the_old_one_a_day_and_both_are_on_record(client, manager):
    receiver = make_receiver()
    old = receiver.secret
    response = client.post(page(receiver, "secret"), follow=True)
    receiver.refresh_from_db()
    html = text(response)
    assert receiver.secret != old
    assert receiver.secret in html
    assert "The old secret signs as well until" in html
    assert "no-store" in response["Cache-Control"]
    said = [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]
    assert said == ["Made a new secret.", "Looked at the secret."]


def test_a_test_is_sent_and_its_answer_shown(client, manager, settings):
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    with Mailbox(200) as box:
        box.body = b"<b>hello</b>"
        receiver = make_receiver(box.url, failures=2, rests_until=timezone.now())
        html = text(client.post(page(receiver, "test"), follow=True))
    receiver.refresh_from_db()
    assert box.types == ["ping"]
    assert re.search(r"answered 200, after \d\.\d\d s\. It said: &lt;b&gt;hello", html)
    assert receiver.rests_until is None
    assert LogEntry.objects.get().get_change_message() == "Sent a test."


def test_a_test_that_fails_says_why(client, manager):
    receiver = make_receiver("https://127.0.0.1/")
    html = text(client.post(page(receiver, "test"), follow=True))
    assert "The test was not taken. 127.0.0.1 is no public address" in html


def test_a_receiver_is_deleted_with_what_it_was_told(client, manager):
    receiver, other = make_receiver(), make_delivery()
    for _ in range(3):
        make_delivery(receiver)
    html = text(client.get(page(receiver, "delete")))
    assert "webhooks: 3" in html.lower()
    client.post(page(receiver, "delete"), {"post": "yes"})
    assert list(Delivery.objects.all()) == [other]


# --- webhooks --------------------------------------------------------------------------------------------------------


def test_the_list_of_webhooks_costs_the_same_for_many(client, manager, django_assert_num_queries):
    make_receiver()
    make_recording()
    tell()
    client.get(DELIVERIES)
    with django_assert_num_queries(6):
        html = text(client.get(DELIVERIES))
    assert "recording.ready" in html
    for _ in range(20):
        make_delivery()
    with django_assert_num_queries(6):
        client.get(DELIVERIES)


def test_the_list_is_narrowed(client, manager):
    given_up = make_delivery(status="given_up", error="It answered 500.", attempts=28)
    waiting = make_delivery()
    call = make_call()
    of_call = make_delivery(notice=Notice.objects.create(kind="recording.ready", key="1", call=call))
    queries = {
        "status=given_up": given_up,
        f"receiver={waiting.receiver_id}": waiting,
        "kind=recording.ready": of_call,
        f"notice__call={call.pk}": of_call,
    }
    for query, found in queries.items():
        html = text(client.get(f"{DELIVERIES}?{query}"))
        assert re.findall(r"/admin/calls/delivery/(\d+)/change/", html) == [str(found.pk)], query
    assert "It answered 500, 28 tries" in text(client.get(f"{DELIVERIES}?status=given_up"))


def test_nonsense_in_the_address_is_no_error(client, manager):
    make_delivery()
    for query in ("receiver=x", "receiver=١", "status=lost", "kind=call.began"):
        assert client.get(f"{DELIVERIES}?{query}").status_code == 200


def test_a_webhooks_page_shows_what_is_sent_and_what_came_of_it(client, manager):
    make_receiver(kinds=["call.ended"], with_numbers=True)
    call = make_call()
    tell()
    answers = [
        {"at": "2026-03-14T15:09:26Z", "status": 500, "error": "It answered 500.", "body": "<b>", "seconds": 0.5}
    ]
    Delivery.objects.update(answers=answers, attempts=1)
    html = text(client.get(page(Delivery.objects.get())))
    assert str(Notice.objects.get().uuid) in html
    assert "&quot;from_number&quot;: &quot;+15550100001&quot;" in html
    assert "It answered 500, after 0.50 s</td><td>&lt;b&gt;</td>" in html
    assert page(call) in html


def test_whoever_may_not_see_numbers_sees_none_here(client):
    make_receiver(with_numbers=True)
    make_call(caller_name="ANNA SMITH", data={"back": "+1 555 010 0001"})
    tell()
    answers = [{"at": "", "status": 500, "error": "", "body": "no +15550100001 for anna smith", "seconds": 0.5}]
    Delivery.objects.update(answers=answers, error="It answered 302: this one to https://x.example.org/?+15550100001")
    client.force_login(make_staff(*WATCH))
    html = text(client.get(page(Delivery.objects.get()))) + text(client.get(DELIVERIES))
    assert "5550100001" not in html
    assert "555 010" not in html
    assert "SMITH" not in html.upper()
    assert "••" in html


def test_without_numbers_the_page_shows_what_is_really_sent(client, manager):
    make_receiver(kinds=["call.ended"], with_numbers=False)
    make_call()
    tell()
    assert "5550100001" not in text(client.get(page(Delivery.objects.get())))


def test_a_button_sends_it_again_under_the_same_id(client, manager):
    receiver = make_receiver(rests_until=timezone.now())
    delivery = make_delivery(receiver, status="given_up", attempts=28, give_up_at=timezone.now())
    assert "Send again" in text(client.get(page(delivery)))
    response = client.post(page(delivery, "send"), follow=True)
    delivery.refresh_from_db()
    receiver.refresh_from_db()
    assert "1 webhook is sent again, under the same id." in text(response)
    assert (delivery.status, delivery.give_up_at > timezone.now()) == ("waiting", True)
    assert list(Delivery.objects.due(timezone.now())) == [delivery]
    assert receiver.rests_until is None
    assert LogEntry.objects.get().get_change_message() == "Sent again."


def test_several_are_sent_again_from_the_list(client, manager):
    chosen = [make_delivery(status="given_up") for _ in range(3)]
    off = make_delivery(make_receiver(is_active=False), status="given_up")
    form = {"action": "send_again", "_selected_action": [row.pk for row in (*chosen, off)]}
    html = text(client.post(DELIVERIES, form, follow=True))
    assert "3 webhooks are sent again" in html
    assert "1 not sent: the receiver is switched off" in html
    assert Delivery.objects.waiting().count() == 3


def test_who_may_only_look_sends_nothing(client):
    delivery = make_delivery(status="given_up")
    client.force_login(make_staff(*WATCH))
    assert client.post(page(delivery, "send")).status_code == 403
    client.post(DELIVERIES, {"action": "send_again", "_selected_action": [delivery.pk]})
    assert "Send again" not in text(client.get(page(delivery))) + text(client.get(DELIVERIES))
    assert Delivery.objects.get().status == "given_up"


def test_a_get_sends_nothing(client, manager):
    delivery = make_delivery(status="given_up")
    assert client.get(page(delivery, "send")).status_code == 405
    assert client.get(page(delivery.receiver, "test")).status_code == 405


@pytest.mark.parametrize("address", [RECEIVERS, DELIVERIES])
def test_without_permission_there_is_nothing_to_see(client, address):
    client.force_login(make_staff("view_call"))
    assert client.get(address).status_code == 403


def test_ops_admins_may_do_all_of_it_and_others_nothing():
    names = {"view_receiver", "add_receiver", "change_receiver", "delete_receiver", "view_delivery", "send_delivery"}
    for group in Group.objects.all():
        held = names & set(group.permissions.values_list("codename", flat=True))
        assert held == (names if group.name == "Ops admin" else set())


def test_an_erased_calls_webhooks_are_gone_from_the_list(client, manager):
    make_receiver()
    make_recording()
    tell()
    Call.objects.all().delete()
    assert "Nothing here" in text(client.get(DELIVERIES))
