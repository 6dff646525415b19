"""What calls cost: Twilio is asked some minutes after their end, by one machine, and not for ever."""

import datetime as dt
import threading
from decimal import Decimal

import pytest
from django.db import close_old_connections, connection
from django.utils import timezone

from calls import rest
from calls.admin.cells import cost
from calls.chores import prices
from calls.chores.board import CHORES
from calls.chores.prices import Pricing
from calls.models import Call
from calls.recordings.retention import erase
from calls.rest.prices import amount
from simulator import ApiError, PlacedCall
from simulator.api import SETTLING
from tests.support.factories import make_call, make_staff


pytestmark = pytest.mark.django_db

ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
MINUTE = dt.timedelta(minutes=1)


def over(api, minutes=6, price="-0.01400", **facts):
    """A call that ended some minutes ago, and what Twilio knows of its price."""
    call = make_call(ended_at=timezone.now() - minutes * MINUTE, account_sid=ACCOUNT, **facts)
    api.calls[call.sid] = PlacedCall(ACCOUNT, {}, call.sid, "completed", price=price)
    return call


def asked(api):
    return [path.rpartition("/")[2].removesuffix(".json") for _, path, _ in api.requests]


def test_a_call_is_given_the_price_that_twilio_has_for_it(api):
    call = over(api)
    assert Pricing().ask() is False
    call.refresh_from_db()
    assert (call.price, call.price_unit) == (Decimal("-0.014"), "USD")
    assert call.price_asked_at is not None


def test_its_page_says_what_it_cost_whoever_looks_at_it(api, client):
    call = over(api)
    Pricing().ask()
    client.force_login(make_staff("view_call"))
    assert "0.014 USD" in client.get(f"/admin/calls/call/{call.pk}/change/").content.decode()


@pytest.mark.parametrize(
    ("price", "unit", "words"),
    [
        ("-0.01400", "USD", "0.014 USD"),
        ("-12.5", "JPY", "12.5 JPY"),
        ("0", "EUR", "0 EUR"),
        ("-0.0", "", "0"),
        ("2", "USD", "-2 USD"),
    ],
)
def test_a_price_is_shown_as_what_was_paid(price, unit, words):
    assert cost(Call(price=Decimal(price), price_unit=unit)) == words
    assert cost(Call()) == ""


def test_a_call_whose_price_is_known_is_not_asked_about_again(api):
    over(api)
    for _ in range(3):
        Call.objects.update(price_asked_at=None)
        Pricing().ask()
    assert len(api.requests) == 1


@pytest.mark.parametrize(("minutes", "asks"), [(4, 0), (6, 1), (2 * 24 * 60 - 1, 1), (2 * 24 * 60 + 1, 0)])
def test_it_is_asked_about_from_five_minutes_to_two_days_after_its_end(api, minutes, asks):
    over(api, minutes)
    Pricing().ask()
    assert len(api.requests) == asks


@pytest.mark.parametrize(
    ("minutes", "ago", "asks"), [(30, 9, 0), (30, 11, 1), (90, 11, 0), (600, 239, 0), (600, 241, 1)]
)
def test_while_twilio_does_not_know_it_is_asked_often_in_the_first_hour_and_seldom_after(api, minutes, ago, asks):
    over(api, minutes, None, price_asked_at=timezone.now() - ago * MINUTE)
    Pricing().ask()
    assert len(api.requests) == asks
    assert Call.objects.get().price is None


@pytest.mark.parametrize(
    "facts",
    [
        {"parameters": {"Simulated": "yes"}},
        {"status": "busy"},
        {"status": "in-progress"},
        {"sid": None},
        {"price": Decimal("-1")},
    ],
)
def test_a_call_that_is_not_twilios_or_costs_nothing_is_not_asked_about(api, facts):
    call = over(api)
    Call.objects.filter(pk=call.pk).update(**facts)
    Pricing().ask()
    assert api.requests == []


def test_a_call_of_another_account_is_not_asked_about(api):
    over(api)
    Call.objects.update(account_sid="AC" + "0" * 32)
    Pricing().ask()
    assert api.requests == []


def test_without_credentials_nobody_is_asked(api, settings):
    over(api)
    settings.TWILIO_ACCOUNT_SID = ""
    Pricing().ask()
    assert api.requests == []


def test_a_round_is_bounded_and_those_never_asked_about_come_first(api, monkeypatch):
    monkeypatch.setattr(prices, "ROUND", 2)
    over(api, 30, None, price_asked_at=timezone.now() - 20 * MINUTE)
    new = [over(api, minutes).sid for minutes in (20, 10)]
    Pricing().ask()
    assert sorted(asked(api)) == sorted(new)


def test_a_twilio_that_is_away_is_one_line_of_the_log_and_keeps_no_call_from_being_asked_about_later(api, caplog):
    for _ in range(3):
        over(api)
    pricing = Pricing()
    for code in (503, 429):
        api.refusals = [ApiError(code, 20429 if code == 429 else 20503, "No")]
        pricing.ask()
    assert Call.objects.filter(price=None).count() == 3
    Call.objects.update(price_asked_at=None)
    pricing.ask()
    assert Call.objects.filter(price=None).count() == 0
    assert [message.split()[0] for message in caplog.messages if "price" in message] == [
        "prices_wait:",
        "prices_come_again",
    ]


def test_a_call_that_twilio_does_not_know_is_named_once_and_keeps_no_other_from_its_price(api, caplog):
    for _ in range(2):
        make_call(ended_at=timezone.now() - 6 * MINUTE, account_sid=ACCOUNT)
    known = over(api, 10)
    Pricing().ask()
    assert Call.objects.get(pk=known.pk).price is not None
    assert [message.split()[0] for message in caplog.messages if "price" in message] == ["price_unknown"]


@pytest.mark.parametrize("mishap", ["break", "garbage"])
def test_half_an_answer_is_none(api, mishap):
    over(api)
    api.mishaps = [mishap]
    Pricing().ask()
    assert Call.objects.get().price is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-0.00850", Decimal("-0.008500")),
        ("0", Decimal(0)),
        (-0.5, Decimal("-0.5")),
        ("99999999", Decimal(99999999)),
        ("1e-9", Decimal(0)),
        *(
            (text, None)
            for text in (None, "", "free", "NaN", "sNaN", "Infinity", "-Infinity", "1e8", "1e999999999", "0x1", [])
        ),
    ],
)
def test_what_is_no_sum_is_not_stored(text, value):
    assert amount(text) == value


@pytest.mark.parametrize("price", ["NaN", "1e300", "<script>", "-99999999.999999"])
def test_whatever_twilio_says_is_stored_or_left_out(api, price):
    over(api, price=price)
    Pricing().ask()
    assert Call.objects.get().price in (None, Decimal("-99999999.999999"))


def test_a_call_that_is_erased_meanwhile_stays_erased(api, monkeypatch):
    call = over(api)
    real = Call.objects.filter(pk=call.pk)
    real.delete()
    assert rest.look_up_price(call) is True
    assert not Call.objects.exists()


def test_erasing_the_audio_keeps_the_price():
    call = make_call(price=Decimal("-1"), price_unit="USD")
    erase(call, audio_only=True, reason="asked for")
    call.refresh_from_db()
    assert (call.price, call.price_unit) == (Decimal(-1), "USD")


@pytest.mark.django_db(transaction=True)
def test_several_machines_ask_about_each_call_once(api):
    calls = [over(api) for _ in range(5)]

    def ask():
        Pricing().ask()
        close_old_connections()
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked(api)) == sorted(call.sid for call in calls)


def test_old_calls_without_a_price_cost_nothing():
    long_ago = timezone.now() - dt.timedelta(days=30)
    Call.objects.bulk_create(
        Call(sid=f"CAff{number:030x}", status="completed", ended_at=long_ago) for number in range(5000)
    )
    make_call(ended_at=timezone.now() - 6 * MINUTE)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    assert "call_unpriced" in Call.objects.unpriced(timezone.now())[:50].explain()


# --- the simulator's Twilio ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "price"),
    [
        ({}, "-0.02800"),
        ({"direction": "inbound"}, "-0.01700"),
        ({"duration": None}, "-0.01400"),
        ({"status": "busy"}, None),
        ({"ended": None}, None),
        ({"ended": dt.datetime.max.replace(tzinfo=dt.UTC)}, None),
        ({"price": "-9"}, "-9"),
    ],
)
def test_the_simulator_knows_the_price_some_time_after_the_end(facts, price):
    long_ago = dt.datetime.now(dt.UTC) - 2 * SETTLING
    call = PlacedCall(ACCOUNT, {}, status="completed", duration="61", ended=long_ago)
    for name, value in facts.items():
        setattr(call, name, value)
    assert call.as_json()["price"] == price


def test_asking_for_prices_is_a_chore():
    assert "prices" in {chore.name for chore in CHORES}
