"""Quiet hours by the clock of whoever is called: across zones, midnight and changes of the clocks."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from calls.campaigns.quiet import Place, QuietHours


NIGHT = QuietHours(dt.time(21), dt.time(8))
BERLIN, NEW_YORK, CALCUTTA, LONDON = "+493012345678", "+12125550100", "+919812345678", "+442071234567"
# A mobile phone in Russia may be in any of its zones, from Kaliningrad's to Kamchatka's.
RUSSIA = "+79161234567"


def utc(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [("21:00-08:00", dt.time(21), dt.time(8)), ("9:30 – 17:05", dt.time(9, 30), dt.time(17, 5))],
)
def test_hours_are_read_as_people_write_them(text, start, end):
    assert QuietHours.parse(text) == QuietHours(start, end)


def test_none_are_no_hours():
    assert QuietHours.parse("none") is None


@pytest.mark.parametrize("text", ["", "21-8", "21:00", "25:00-08:00", "21:60-08:00", "08:00-08:00", "always"])
def test_what_are_no_hours_is_said(text):
    with pytest.raises(ValueError, match="no hours such as 21:00-08:00, nor none"):
        QuietHours.parse(text)


@pytest.mark.parametrize(
    ("at", "quiet"), [("20:59", False), ("21:00", True), ("00:00", True), ("07:59", True), ("08:00", False)]
)
def test_the_night_has_midnight_in_it(at, quiet):
    assert NIGHT.hold(utc(f"2026-01-15T{at}"), dt.UTC) is quiet


@pytest.mark.parametrize(("at", "quiet"), [("11:59", False), ("12:00", True), ("13:59", True), ("14:00", False)])
def test_hours_within_a_day_end_on_it(at, quiet):
    assert QuietHours(dt.time(12), dt.time(14)).hold(utc(f"2026-01-15T{at}"), dt.UTC) is quiet


@pytest.mark.parametrize(
    ("number", "now", "free"),
    [
        (BERLIN, "2026-01-15T12:00", "2026-01-15T12:00"),
        (BERLIN, "2026-01-15T20:30", "2026-01-16T07:00"),  # 21:30 there
        (BERLIN, "2026-01-15T05:00", "2026-01-15T07:00"),  # 06:00 there
        (NEW_YORK, "2026-01-15T12:00", "2026-01-15T13:00"),
        (NEW_YORK, "2026-01-15T02:30", "2026-01-15T13:00"),  # 21:30 of the day before
        (CALCUTTA, "2026-01-15T20:00", "2026-01-16T02:30"),
        (LONDON, "2026-07-15T06:30", "2026-07-15T07:00"),  # in summer
    ],
)
def test_somebody_is_called_when_the_night_is_over_where_they_are(number, now, free):
    assert Place.of(number).free_from(utc(now), NIGHT) == utc(free)


def test_the_clocks_are_put_forward_in_that_night():
    # On 29 March 2026 at 1:00 UTC, so that 8:00 comes after 10 hours of quiet and not 11.
    assert Place.of(BERLIN).free_from(utc("2026-03-28T20:00"), NIGHT) == utc("2026-03-29T06:00")


def test_an_hour_that_is_there_twice_ends_twice():
    late = QuietHours(dt.time(21), dt.time(2, 30))
    assert Place.of(BERLIN).free_from(utc("2026-10-25T01:10"), late) == utc("2026-10-25T01:30")


def test_a_number_of_several_zones_is_called_when_none_of_them_is_quiet():
    place = Place.of(RUSSIA)
    assert len(place.zones) > 5
    free = place.free_from(utc("2026-01-15T12:00"), NIGHT)
    assert free == utc("2026-01-16T06:00")  # 8:00 in Kaliningrad, 18:00 in Kamchatka
    assert not any(NIGHT.hold(free, zone) for zone in place.zones)


def test_without_quiet_hours_everybody_is_called_now():
    assert Place.of(BERLIN).free_from(utc("2026-01-15T02:00"), None) == utc("2026-01-15T02:00")


def test_hours_that_leave_no_time_for_all_zones_are_told():
    nearly_always = QuietHours(dt.time(9), dt.time(8))
    assert Place.of(RUSSIA).free_from(utc("2026-01-15T12:00"), nearly_always) is None


def test_where_a_number_is_that_nobody_knows_the_settings_say(settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    place = Place.of("+88213300655")  # a satellite's
    assert (place.zones, place.is_known) == ((ZoneInfo("Asia/Tokyo"),), False)


def test_a_zone_that_this_machine_does_not_have_is_not_known_either(monkeypatch):
    monkeypatch.setattr("calls.campaigns.quiet.time_zones_for_number", lambda number: ("Asia/Atlantis",))
    assert not Place.of(BERLIN).is_known
