"""The admin's login: guesses are let through at a rate, and nobody is locked out by somebody else's."""

import asyncio
import datetime as dt
import re
import threading
import time

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from calls.access import logins
from calls.access.logins import COOKIE, IMPATIENT, Guess, Rate, network, remember_browser
from calls.models import LoginLimit
from calls.process.pools import MOST_LOGIN, MOST_LOGINS_OF_ONE, MOST_STAFF_OF_ONE, Pools
from tests.conftest import HTTPS
from tests.support.factories import make_staff
from tests.support.servers import Server


LOGIN, LIST = "/admin/login/", "/admin/calls/call/"
STRANGER, HOME = "203.0.113.7", "198.51.100.20"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Nobody has guessed before."""
    monkeypatch.setattr(logins, "_impatient", {})


@pytest.fixture
def ops(db):
    return make_staff("view_call", username="ops", password="the right one")


def log_in(client, password, username="ops", address=STRANGER):
    form = {"username": username, "password": password, "next": LIST}
    return client.post(LOGIN, form, REMOTE_ADDR=address)


def guess(times, **facts):
    """The statuses that this many wrong passwords get, each in a new browser."""
    return [log_in(Client(headers=HTTPS), f"wrong {at}", **facts).status_code for at in range(times)]


def leave(client):
    """The session is over; the browser stays the same."""
    del client.cookies["sessionid"]


def test_five_guesses_are_let_through_and_then_one_a_minute(ops):
    assert guess(7) == [200] * 5 + [429] * 2


def test_who_guesses_too_fast_is_told_how_long_to_wait(ops, client):
    guess(5)
    response = log_in(client, "wrong")
    wait = int(response["Retry-After"])
    assert 50 < wait <= 60
    assert f"Too many attempts to log in. Wait {wait} seconds, then try again." in response.content.decode()


def test_a_throttled_password_is_not_even_looked_at(ops, client, monkeypatch):
    guess(5)
    monkeypatch.setattr("django.contrib.auth.authenticate", None)
    monkeypatch.setattr("django.contrib.admin.forms.AdminAuthenticationForm.clean", None)
    assert log_in(client, "the right one").status_code == 429


def test_a_guess_comes_back_after_a_minute(ops):
    guess(5)
    LoginLimit.objects.update(due=F("due") - dt.timedelta(seconds=60))
    assert guess(2) == [200, 429]


def test_an_address_has_ten_guesses_for_all_accounts(ops):
    assert [guess(1, username=f"user-{at}")[0] for at in range(12)] == [200] * 10 + [429] * 2


def test_an_account_has_twenty_guesses_from_all_addresses(ops):
    assert [guess(1, address=f"203.0.113.{at}")[0] for at in range(22)] == [200] * 20 + [429] * 2


def test_one_stranger_locks_nobody_out(ops, client):
    guess(50)
    assert log_in(client, "the right one", address=HOME).status_code == 302


def test_not_even_many_strangers_lock_out_a_browser_that_is_known(ops, client):
    log_in(client, "the right one", address=HOME)
    leave(client)
    [guess(1, address=f"203.0.113.{at}") for at in range(25)]
    assert guess(1, address="192.0.2.1") == [429]
    assert log_in(client, "the right one", address=HOME).status_code == 302


def test_a_known_browser_has_a_rate_too(ops, client):
    log_in(client, "the right one")
    leave(client)
    assert [log_in(client, "wrong").status_code for _ in range(12)] == [200] * 10 + [429] * 2


def test_a_browser_is_known_for_its_own_account_only(ops, client):
    log_in(client, "the right one")
    leave(client)
    make_staff(username="chief")
    assert [log_in(client, "wrong", username="chief").status_code for _ in range(6)] == [200] * 5 + [429]


def test_a_cookie_that_is_not_ours_makes_no_browser_known(ops, client):
    client.cookies[COOKIE] = "eyJ0IjoxfQ:1tL:forged"
    assert [log_in(client, "wrong").status_code for _ in range(6)] == [200] * 5 + [429]


def test_the_right_password_is_not_a_guess(ops):
    """An office of thirty people comes to work."""
    for at in range(30):
        make_staff(username=f"user-{at}", password="their own")
    found = [log_in(Client(headers=HTTPS), "their own", username=f"user-{at}").status_code for at in range(30)]
    assert found == [302] * 30


def test_the_right_password_forgives_the_wrong_ones_before(ops, client):
    guess(4)
    assert log_in(client, "the right one").status_code == 302
    assert guess(6) == [200] * 5 + [429]


def test_the_spelling_of_an_account_makes_no_other_one(ops):
    assert [guess(1, username=name)[0] for name in ("ops", "OPS", "Ops", "oPs", "opS", "ops")] == [200] * 5 + [429]


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
    ],
)
def test_an_address_counts_as_one_person_has_it(address, counted):
    assert network(address) == counted


def test_a_rate_lets_a_burst_through_at_once():
    rate, now = Rate(3, dt.timedelta(seconds=10)), timezone.now()
    assert rate.wait(now + dt.timedelta(seconds=20), now) <= dt.timedelta(0)
    assert rate.wait(now + dt.timedelta(seconds=21), now) == dt.timedelta(seconds=1)


def test_the_log_names_a_burst_once(ops, caplog):
    guess(30, address="192.0.2.77")
    [line] = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(r"login_throttled by address and account: address=192\.0\.2\.77 account=ops wait=\d+s", line)


def test_what_is_stored_names_nobody(ops):
    guess(3)
    assert not any("ops" in row.key or STRANGER in row.key for row in LoginLimit.objects.all())


def test_rows_of_the_past_are_gone_after_the_next_guess(ops):
    guess(5)
    LoginLimit.objects.update(due=timezone.now() - dt.timedelta(seconds=1))
    guess(1, address=HOME, username="another")
    assert LoginLimit.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_guesses_at_the_same_moment_are_counted_all(ops):
    start, found = threading.Barrier(8), []

    def one(at):
        start.wait(10)
        found.append(log_in(Client(headers=HTTPS), f"wrong {at}").status_code)
        connection.close()

    threads = [threading.Thread(target=one, args=[at]) for at in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(found) == [200] * 5 + [429] * 3


def test_who_does_not_stop_guessing_is_known_without_a_query(ops, django_assert_num_queries):
    guess(5 + IMPATIENT)
    with django_assert_num_queries(0):
        assert 50 < Guess(STRANGER, "OPS").impatience <= 60
        assert Guess(STRANGER, "somebody else").impatience == Guess(HOME, "ops").impatience == 0


def test_who_waits_after_a_few_refusals_gets_the_page(ops):
    guess(5 + IMPATIENT - 1)
    assert Guess(STRANGER, "ops").impatience == 0


def test_an_address_that_has_spent_its_guesses_needs_no_query_for_other_accounts(ops, django_assert_num_queries):
    [guess(1, username=f"user-{at}") for at in range(10 + IMPATIENT)]
    with django_assert_num_queries(0):
        assert 0 < Guess(STRANGER, "yet another").impatience <= 6
        assert Guess(HOME, "yet another").impatience == 0


def test_a_browser_that_is_known_waits_for_its_own_guesses_only(ops, client):
    log_in(client, "the right one")
    leave(client)
    guess(5 + IMPATIENT)
    known = client.cookies[COOKIE].value
    assert Guess(STRANGER, "ops", known).impatience == 0
    [log_in(client, "wrong") for _ in range(10 + IMPATIENT)]
    assert 0 < Guess(HOME, "ops", known).impatience <= 30


@pytest.mark.parametrize("spelled", [" ops", "ops\t", "\u00a0ops", "ｏｐｓ", "OPS"])
def test_an_account_is_the_one_that_the_form_takes_it_for(spelled):
    assert Guess(STRANGER, spelled).account == "ops"


# --- the threads


FORM = b"application/x-www-form-urlencoded"


def post(address, *body, cookie=b"", path=LOGIN, form=FORM, length=b"20"):
    """A POST, as a server hands it over."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0)

    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "client": [address, 1],
        "headers": [(b"cookie", cookie), (b"content-type", form), (b"content-length", length)],
    }, receive


def known_browser(account="ops"):
    """The cookie of a browser in which somebody has logged in before."""
    response = HttpResponse()
    remember_browser(response, User(username=account), secure=True)
    return f"a=b; {COOKIE}={response.cookies[COOKIE].value}".encode()


async def statuses(requests):
    """What requests get while those that are let in are not answered until all have come."""
    sent, all_there = [], asyncio.Event()

    async def application(scope, receive, send):
        await all_there.wait()
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        if "status" in message:
            sent.append(message["status"])

    pools = Pools(application)
    tasks = [asyncio.create_task(pools(scope, receive, send)) for scope, receive in requests]
    for _ in range(20):
        await asyncio.sleep(0)
    all_there.set()
    await asyncio.gather(*tasks)
    return sorted(sent)


async def test_one_address_has_two_logins_at_a_time():
    assert await statuses([post(STRANGER) for _ in range(4)]) == [200] * MOST_LOGINS_OF_ONE + [429] * 2


async def test_one_network_has_two_logins_at_a_time_however_many_addresses_it_has():
    assert await statuses([post(f"2001:db8::{at}") for at in range(10)]) == [200] * MOST_LOGINS_OF_ONE + [429] * 8


async def test_ten_logins_wait_at_a_time_and_no_more():
    assert await statuses([post(f"203.0.113.{at}") for at in range(12)]) == [200] * 10 + [429] * 2


async def test_a_browser_that_is_known_logs_in_while_strangers_have_every_place():
    strangers = [post(f"203.0.113.{at}") for at in range(10)]
    known = post(STRANGER, b"username=ops", cookie=known_browser())
    assert await statuses([*strangers, known]) == [200] * 11


async def test_one_browser_that_is_known_has_two_logins_at_a_time_from_wherever_it_asks():
    cookie = known_browser()
    logins = [post(f"203.0.113.{at}", b"username=ops", cookie=cookie) for at in range(4)]
    assert await statuses(logins) == [200] * MOST_LOGINS_OF_ONE + [429] * 2


async def test_a_browser_that_is_known_has_no_place_for_another_account():
    strangers = [post(f"203.0.113.{at}") for at in range(10)]
    known = post(HOME, b"username=else", cookie=known_browser())
    assert await statuses([*strangers, known]) == [200] * 10 + [429]


async def test_one_address_has_a_limited_number_of_requests_of_the_admin_at_a_time():
    requests = [post(f"2001:db8::{at}", path=LIST) for at in range(MOST_STAFF_OF_ONE + 2)]
    assert await statuses([*requests, post(HOME, path=LIST)]) == [200] * (MOST_STAFF_OF_ONE + 1) + [429] * 2


def long_notes(cookie):
    return post(STRANGER, cookie=cookie, path=f"{LIST}1/change/", length=b"990000")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cookie", [b"", b"sessionid=made-up", b"csrftoken=a; sessionid="])
async def test_long_notes_of_nobody_are_refused_before_they_are_parsed(cookie):
    assert await statuses([long_notes(cookie)]) == [413]


@pytest.fixture
def session(transactional_db, client):
    """The cookie of somebody who is logged in."""
    client.force_login(make_staff("view_call"))
    return f"a=b; sessionid={client.cookies['sessionid'].value}".encode()


async def test_staff_may_write_long_notes(session):
    assert await statuses([long_notes(session)]) == [200]


async def test_a_form_that_never_comes_to_an_end_keeps_no_place():
    half = b"x" * (MOST_LOGIN // 2 + 1)
    assert await statuses([post(STRANGER, half, half), post(STRANGER), post(STRANGER)]) == [200, 200, 413]


async def test_a_login_that_no_browser_would_send_is_not_parsed():
    assert await statuses([post(STRANGER, b"--x", form=b"multipart/form-data; boundary=x")]) == [415]


async def test_more_fields_than_django_reads_are_left_to_it():
    assert await statuses([post(STRANGER, b"&a" * 1001)]) == [200]


@pytest.fixture
def flood(monkeypatch):
    """A stranger has guessed at the account `ops`, and still does."""
    monkeypatch.setattr(logins, "_impatient", {(STRANGER, "ops"): (time.monotonic() + 60, IMPATIENT)})


async def test_a_flood_of_guesses_reaches_no_page(flood):
    forms = b"username=Ops&password=1", b"password=1&username=ops", b"username=+ops", b"username=ops&a=" + b"1" * 5000
    assert await statuses([post(STRANGER, form) for form in forms]) == [429] * 4


async def test_a_flood_with_a_cookie_that_is_not_ours_reaches_no_page(flood):
    cookies = [b"known-browser=x", known_browser("else"), known_browser() + b"x"]
    assert await statuses([post(STRANGER, b"username=ops", cookie=cookie) for cookie in cookies]) == [429] * 3


async def test_a_flood_holds_up_no_other_account_and_no_browser_that_is_known(flood):
    others = [post(STRANGER, b"username=else"), post(STRANGER, b"username=ops", cookie=known_browser())]
    assert await statuses([*others, post(HOME, b"username=ops")]) == [200, 200, 200]


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_a_server_process_has_the_login_and_the_pages_behind_it(tmp_path):
    """Calls are registered at the site that answers, whichever module has asked for it first."""
    with Server("uvicorn", tmp_path) as server:
        assert (server.get(LOGIN), server.get(LIST)) == (200, 302)
