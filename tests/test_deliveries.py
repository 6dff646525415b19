"""How notices come to their receivers: real ones, which may be away, refuse, or be killed in the middle."""

import base64
import datetime as dt
import hashlib
import hmac
import os
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest
from django.conf import settings as project
from django.db import connections
from django.db.models import F
from django.utils import timezone

from calls.chores.board import CHORES
from calls.models import Delivery, Receiver
from calls.notices import delivery as module
from calls.notices import signing
from calls.notices.delivery import AWAY, REFUSED, Postman, claim, note, pause, ping
from calls.notices.posting import Answer
from tests.support.factories import make_call, make_delivery, make_receiver
from tests.support.mailbox import Mailbox, Rogue
from tests.support.servers import DEADLINE, ROOT, database_url, until


pytestmark = pytest.mark.django_db(transaction=True)
GIVEN_UP, DELIVERED, WAITING = Delivery.Status.GIVEN_UP, Delivery.Status.DELIVERED, Delivery.Status.WAITING


@pytest.fixture(autouse=True)
def private(settings):
    settings.WEBHOOKS_MAY_BE_PRIVATE = True


@pytest.fixture
def box():
    with Mailbox() as box:
        yield box


def deliver() -> None:
    """All that is due, by one process."""
    postman = Postman()
    while postman.go_round():
        continue


def pass_time(**time: float) -> None:
    """Everything was that much longer ago."""
    by = dt.timedelta(**time)
    Delivery.objects.update(next_at=F("next_at") - by, give_up_at=F("give_up_at") - by)
    Receiver.objects.update(rests_until=F("rests_until") - by)


def ids() -> Counter[str]:
    return Counter(str(delivery.notice.uuid) for delivery in Delivery.objects.select_related("notice"))


def states() -> list[str]:
    return list(Delivery.objects.order_by("pk").values_list("status", flat=True))


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_what_is_due_is_delivered_and_its_answer_kept(box):
    box.status, box.body = 200, b"thanks"
    delivery = make_delivery(make_receiver(box.url))
    deliver()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts, delivery.answer_status) == (DELIVERED, 1, 200)
    assert delivery.delivered_at is not None
    [answer] = delivery.answers
    assert (answer["status"], answer["body"], answer["error"]) == (200, "thanks", "")


def test_a_webhook_says_what_happened_under_its_id(box):
    delivery = make_delivery(make_receiver(box.url))
    deliver()
    [letter] = box.letters
    notice = delivery.notice
    assert list(letter.content) == ["id", "type", "timestamp", "data"]
    assert (letter.content["id"], letter.id, letter.type) == (str(notice.uuid), str(notice.uuid), "call.ended")
    assert letter.headers["content-type"] == "application/json"
    assert letter.headers["user-agent"] == "Callstream-Webhooks/1"


def signed_with(letter, secret: str) -> str:
    """By the specification's own words, not by our code."""
    text = f"{letter.id}.{letter.headers['webhook-timestamp']}.".encode() + letter.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


def test_a_webhook_is_signed_as_standard_webhooks_has_it(box):
    receiver = make_receiver(box.url)
    make_delivery(receiver)
    deliver()
    [letter] = box.letters
    assert letter.headers["webhook-signature"] == signed_with(letter, receiver.secret)
    sent = dt.datetime.fromtimestamp(int(letter.headers["webhook-timestamp"]), dt.UTC)
    assert abs(timezone.now() - sent) < dt.timedelta(minutes=1)


def test_while_secrets_rotate_both_of_them_sign(box):
    receiver = make_receiver(box.url)
    old = receiver.secret
    receiver.change_secret()
    make_delivery(receiver)
    deliver()
    [letter] = box.letters
    assert receiver.secret != old
    assert letter.headers["webhook-signature"].split() == [signed_with(letter, each) for each in (receiver.secret, old)]
    Receiver.objects.update(old_secret_until=timezone.now())
    make_delivery(receiver)
    deliver()
    assert len(box.letters[1].headers["webhook-signature"].split()) == 1


def test_secrets_are_24_random_bytes_each():
    secrets = [make_receiver().secret for _ in range(20)]
    assert len(set(secrets)) == 20
    assert {len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) for secret in secrets} == {24}


def test_the_specifications_own_example_is_signed_alike():
    # From the tests of its libraries: https://github.com/standard-webhooks/standard-webhooks/tree/main/libraries
    body, secret = b'{"test": 2432232314}', "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = signing.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, [secret])
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_oldest_is_sent_first(box):
    receiver = make_receiver(box.url)
    for _ in range(12):
        make_delivery(receiver)
    claimed = [delivery.pk for _ in range(3) for delivery in claim(receiver, timezone.now(), 4)]
    assert claimed == sorted(Delivery.objects.values_list("pk", flat=True))


def test_whoever_is_told_without_numbers_gets_none(box):
    call = make_call(caller_name="Anna Smith")
    for with_numbers in (True, False):
        delivery = make_delivery(make_receiver(box.url, with_numbers=with_numbers))
        delivery.notice.call = call
        delivery.notice.data = {"call": {"from_number": call.from_number, "caller_name": "Anna Smith"}}
        delivery.notice.save()
        deliver()
    whole, masked = (letter.content["data"]["call"] for letter in box.letters)
    assert (whole["from_number"], whole["caller_name"]) == (call.from_number, "Anna Smith")
    assert (masked["from_number"], masked["caller_name"]) == ("+•••••••0001", "•••")


# --- away ------------------------------------------------------------------------------------------------------------


def test_a_receiver_that_is_away_for_an_hour_gets_every_webhook_once():
    box = Mailbox()
    receiver = make_receiver(box.url)
    for minute in range(60):
        make_delivery(receiver)
        deliver()
        pass_time(minutes=1)
        assert minute or Receiver.objects.get().failing_since
    assert states() == [WAITING] * 60
    with box:
        pass_time(seconds=1.2 * AWAY[-1])
        deliver()
    assert states() == [DELIVERED] * 60
    assert Counter(box.ids) == ids()
    assert set(Counter(box.ids).values()) == {1}
    receiver.refresh_from_db()
    assert (receiver.failures, receiver.failing_since, receiver.rests_until) == (0, None, None)


def test_one_that_is_away_is_looked_for_now_and_then_and_not_by_each_webhook():
    receiver = make_receiver(Mailbox().url)
    for _ in range(30):
        make_delivery(receiver)
    for _ in range(25 * 4):
        deliver()
        pass_time(minutes=15)
    assert states() == [GIVEN_UP] * 30
    assert 90 < sum(Delivery.objects.values_list("attempts", flat=True)) < 110


def test_one_dead_receiver_holds_up_no_other(box):
    with Rogue(lambda line: rogue.over.wait()) as rogue:
        for _ in range(5):
            make_delivery(make_receiver(rogue.url))
            make_delivery(make_receiver(box.url))
        postman = Postman()
        while len(box.letters) < 5:
            postman.go_round()
        assert states().count(DELIVERED) < 6
    while postman.go_round():
        continue
    assert states().count(DELIVERED) == 5


def test_of_several_requests_that_fail_at_once_one_counts():
    receiver = make_receiver()
    for _ in range(4):
        note(make_delivery(receiver), Answer(error="Nobody listens there."))
    receiver.refresh_from_db()
    assert receiver.failures == 1


# --- refused ---------------------------------------------------------------------------------------------------------


def test_what_is_refused_comes_again_later_and_holds_up_nothing(box):
    receiver = make_receiver(box.url)
    bad, good = make_delivery(receiver), make_delivery(receiver)
    box.answer = lambda letter: 500 if letter.id == str(bad.notice.uuid) else None
    deliver()
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.status, bad.answer_status, bad.error, good.status) == (WAITING, 500, "It answered 500.", DELIVERED)
    assert dt.timedelta(seconds=4) < bad.next_at - bad.last_at < dt.timedelta(seconds=7)
    assert Receiver.objects.get().failing_since is None
    pass_time(seconds=6.5)
    box.answer = lambda letter: None
    deliver()
    bad.refresh_from_db()
    assert (bad.status, bad.attempts, [answer["status"] for answer in bad.answers]) == (DELIVERED, 2, [500, 204])


def test_what_is_refused_for_a_day_is_given_up_and_can_be_sent_again(box):
    box.status = 500
    delivery = make_delivery(make_receiver(box.url))
    hours = 0.0
    while delivery.status == WAITING:
        deliver()
        pass_time(hours=1.2)
        hours += 1.2
        delivery.refresh_from_db()
    assert 24 < hours < 27
    deliver()
    assert len(box.letters) == delivery.attempts
    box.status = 204
    delivery.send_again()
    deliver()
    delivery.refresh_from_db()
    assert (delivery.status, set(box.ids)) == (DELIVERED, {str(delivery.notice.uuid)})


@pytest.mark.parametrize(("steps", "last"), [(AWAY, 600), (REFUSED, 3600)])
def test_the_pauses_grow_to_ten_minutes_for_who_is_away_and_to_an_hour_for_what_is_refused(steps, last):
    pauses = [pause(steps, times).total_seconds() for times in range(1, 9)]
    for length, least in zip(pauses, [*steps, last, last, last][:8], strict=True):
        assert least <= length <= 1.2 * least


def test_of_very_many_tries_the_last_are_kept():
    delivery = make_delivery()
    for number in range(module.MOST_ANSWERS + 5):
        note(delivery, Answer(400, body=str(number), error="It answered 400."))
    delivery.refresh_from_db()
    assert (len(delivery.answers), delivery.answers[-1]["body"]) == (module.MOST_ANSWERS, "54")


def test_a_redirect_is_a_refusal(box):
    box.status, box.headers = 301, {"Location": "http://169.254.169.254/"}
    make_delivery(make_receiver(box.url))
    deliver()
    assert "redirects are not followed" in Delivery.objects.get().error
    assert states() == [WAITING]


def test_whoever_answers_410_is_switched_off(box):
    box.status = 410
    receiver = make_receiver(box.url)
    for _ in range(6):
        make_delivery(receiver)
    deliver()
    receiver.refresh_from_db()
    assert (receiver.is_active, set(states())) == (False, {GIVEN_UP})
    assert "410" in receiver.switched_off
    assert len(box.letters) <= module.MOST_OF_ONE


def test_a_receiver_that_is_switched_off_is_sent_nothing_until_it_is_on_again(box):
    receiver = make_receiver(box.url, is_active=False)
    make_delivery(receiver)
    deliver()
    assert box.letters == []
    Receiver.objects.update(is_active=True)
    deliver()
    assert len(box.letters) == 1


def test_a_private_address_is_refused_and_said(settings, box):
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    make_delivery(make_receiver(box.url))
    deliver()
    assert "WEBHOOKS_MAY_BE_PRIVATE" in Delivery.objects.get().error
    assert box.letters == []


# --- several at once, and deaths -------------------------------------------------------------------------------------


def test_two_machines_at_once_send_nothing_twice(box):
    receiver = make_receiver(box.url)
    for _ in range(40):
        make_delivery(receiver)
    start = threading.Barrier(2)

    def work() -> None:
        start.wait()
        deliver()
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deliver()
    assert Counter(box.ids) == ids()


def test_what_was_claimed_is_nobody_elses_until_the_claim_is_old(box):
    receiver = make_receiver(box.url)
    make_delivery(receiver)
    assert len(claim(receiver, timezone.now(), 4)) == 1
    deliver()
    assert box.letters == []
    pass_time(seconds=module.LEASE)
    deliver()
    assert states() == [DELIVERED]


def test_what_was_erased_on_its_way_is_not_missed(box):
    delivery = make_delivery(make_receiver(box.url))
    delivery.notice.delete()
    note(delivery, Answer(204))
    assert not Delivery.objects.exists()


def test_an_answer_that_could_not_be_noted_is_noted_later(box, monkeypatch):
    make_delivery(make_receiver(box.url))
    postman = Postman()

    def fails(*_: object) -> None:
        raise LookupError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(module, "note", fails)
        with pytest.raises(LookupError):
            list(iter(postman.go_round, False))
    while postman.go_round():
        continue
    assert (len(box.letters), states()) == (1, [DELIVERED])


def test_one_that_cannot_be_sent_for_a_defect_of_ours_keeps_no_other_from_being_noted(box, monkeypatch):
    bad, good = (make_receiver(f"{box.url}&{name}") for name in ("bad", "good"))
    make_delivery(bad)
    make_delivery(good)

    def post(url: str, *letter: object) -> Answer:
        return 1 / 0 if url == bad.url else Answer(204)

    monkeypatch.setattr(module, "post", post)
    postman = Postman()
    with pytest.raises(ZeroDivisionError):
        list(iter(postman.go_round, False))
    while postman.go_round():
        continue
    assert states() == [WAITING, DELIVERED]


def start_chores(**environment: str) -> subprocess.Popen[bytes]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.Popen(
        [sys.executable, "manage.py", "do_chores"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            **known,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": database_url(),
            "PUBLIC_URL": project.PUBLIC_URL,
            "WEBHOOKS_MAY_BE_PRIVATE": "true",
            **environment,
        },
    )


@pytest.mark.process
def test_a_kill_in_the_middle_loses_nothing_and_repeats_under_the_same_id(box):
    receiver = make_receiver(box.url)
    for _ in range(60):
        make_delivery(receiver)
    half = threading.Event()
    box.answer = lambda letter: half.set() if len(box.letters) >= 25 else None
    first = start_chores()
    try:
        assert half.wait(DEADLINE)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert WAITING in states()
    pass_time(seconds=module.LEASE)
    second = start_chores()
    try:
        until(lambda: set(states()) == {DELIVERED}, "everything to be delivered")
    finally:
        second.terminate()
        assert second.wait(DEADLINE) == 0
    assert set(box.ids) == set(ids())
    assert len(box.ids) <= 60 + module.MOST_OF_ONE


@pytest.mark.process
def test_two_processes_that_do_chores_send_nothing_twice(box):
    receiver = make_receiver(box.url)
    for _ in range(80):
        make_delivery(receiver)
    both = [start_chores() for _ in range(2)]
    try:
        until(lambda: set(states()) == {DELIVERED}, "everything to be delivered")
    finally:
        for one in both:
            one.terminate()
        assert [one.wait(DEADLINE) for one in both] == [0, 0]
    assert Counter(box.ids) == ids()


def test_the_board_has_them():
    assert {"tell", "deliver", "forget-notices"} <= {chore.name for chore in CHORES}


# --- a test ----------------------------------------------------------------------------------------------------------


def test_a_ping_is_sent_at_once_and_not_kept(box):
    receiver = make_receiver(box.url)
    answer = ping(receiver)
    [letter] = box.letters
    assert (answer.status, letter.type, letter.content["data"]) == (204, "ping", {"receiver": receiver.name})
    assert letter.headers["webhook-signature"] == signed_with(letter, receiver.secret)
    assert not Delivery.objects.exists()
