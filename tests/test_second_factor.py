"""The second factor: who is asked for it, what is closed until it is shown, and what a code is good for."""

import re

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from calls.models import AuditEntry
from tests.conftest import HTTPS
from tests.support.factories import make_recording, make_staff, recording_url


pytestmark = pytest.mark.django_db
PAGE, LIST = "/admin/second-factor/", "/admin/calls/call/"


@pytest.fixture
def user():
    return make_staff("view_call", "listen_call", username="ops", password="the right one")


@pytest.fixture
def device(user):
    """What the user's telephone has."""
    device = TOTPDevice.objects.create(user=user, name="app", confirmed=True)
    recovery = StaticDevice.objects.create(user=user, name="recovery codes")
    StaticToken.objects.create(device=recovery, token="abcd2345")
    return device


def code(device, steps=0):
    """What the app shows, that many half minutes from now."""
    return f"{totp(device.bin_key, t0=-30 * steps):06}"


def wrong(device):
    return f"{(int(code(device)) + 500_000) % 1_000_000:06}"


def log_in(client):
    form = {"username": "ops", "password": "the right one", "next": LIST}
    return client.post("/admin/login/", form)


def asked(response):
    return response.status_code == 302 and response["Location"].startswith(PAGE)


def events():
    return list(AuditEntry.objects.order_by("pk").values_list("event", flat=True))


def test_who_has_set_one_up_is_asked_for_it_before_any_page(client, device):
    log_in(client)
    assert [asked(client.get(path)) for path in (LIST, "/admin/", "/api/v1/docs")] == [True] * 3


def test_a_code_lets_in_to_where_somebody_was_going(client, device):
    log_in(client)
    assert client.post(PAGE, {"code": code(device), "next": LIST})["Location"] == LIST
    assert client.get(LIST).status_code == 200
    assert events()[-1] == "factor_used"


@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example", "javascript:1"])
def test_a_code_leads_to_no_other_site(client, device, where):
    log_in(client)
    assert client.post(PAGE, {"code": code(device), "next": where})["Location"] == "/admin/"


def test_a_code_is_taken_once(client, device):
    seen = code(device)
    log_in(client)
    client.post(PAGE, {"code": seen})
    thief = Client(headers=HTTPS)
    log_in(thief)
    assert thief.post(PAGE, {"code": seen}).status_code == 403
    assert asked(thief.get(LIST))


def test_a_wrong_code_lets_nobody_in_and_the_next_has_to_wait(client, device):
    log_in(client)
    assert client.post(PAGE, {"code": wrong(device)}).status_code == 403
    response = client.post(PAGE, {"code": code(device)})
    assert (response.status_code, "You may try again in" in response.content.decode()) == (403, True)
    assert events()[-1] == "factor_failed"


def test_ten_wrong_codes_make_the_next_wait_for_a_quarter_of_an_hour(client, device):
    TOTPDevice.objects.update(throttling_failure_count=10, throttling_failure_timestamp="2026-03-14T00:00Z")
    log_in(client)
    client.post(PAGE, {"code": wrong(device)})
    found = client.post(PAGE, {"code": code(device)}).content.decode()
    assert int(re.search(r"again in (\d+) seconds", found)[1]) > 900


def test_a_recovery_code_lets_in_once(client, device):
    for outcome in (302, 403):
        client.cookies.clear()
        log_in(client)
        assert client.post(PAGE, {"code": " ABCD2345"}).status_code == outcome
    assert not StaticToken.objects.exists()


def test_audio_waits_for_the_code_too(client, device):
    call = make_recording(seconds=1)
    log_in(client)
    assert asked(client.get(recording_url(call)))
    assert client.post(f"{LIST}{call.pk}/played/", {"range": "0-1"}).status_code == 403


def test_a_session_ends_to_be_whole_when_its_device_is_gone(client, device, user, settings):
    settings.REQUIRE_SECOND_FACTOR = "listeners"
    log_in(client)
    client.post(PAGE, {"code": code(device)})
    call_command("reset_second_factor", "ops")
    assert asked(client.get(LIST))
    assert events()[-1] == "factor_reset"


@pytest.mark.parametrize(
    ("mode", "permission", "is_asked"),
    [
        ("off", "listen_call", False),
        ("listeners", "view_tag", False),
        ("listeners", "download_call", True),
        ("listeners", "supervise_call", True),
        ("all", "view_tag", True),
    ],
)
def test_who_needs_one_is_led_to_set_it_up(client, settings, mode, permission, is_asked):
    settings.REQUIRE_SECOND_FACTOR = mode
    client.force_login(make_staff("view_call", permission))
    assert asked(client.get(LIST)) == is_asked


def test_a_second_factor_is_set_up_with_a_code_and_gives_recovery_codes(client, user, settings):
    settings.REQUIRE_SECOND_FACTOR = "listeners"
    log_in(client)
    page = client.get(PAGE).content.decode()
    device = TOTPDevice.objects.get()
    assert "<svg" in page
    assert "style=" not in page[page.index("<svg") : page.index("</svg>")]
    found = client.post(PAGE, {"code": code(device), "next": LIST})
    assert found["Cache-Control"].startswith("no-store, private")
    assert set(re.findall(r"<code>(\w{8})</code>", found.content.decode())) == set(
        StaticToken.objects.values_list("token", flat=True)
    )
    assert client.get(LIST).status_code == 200


def test_who_has_one_cannot_be_given_another_by_whoever_knows_the_password(client, device):
    log_in(client)
    client.get(PAGE)
    other = TOTPDevice.objects.create(user=device.user, name="app", confirmed=False)
    assert client.post(PAGE, {"code": code(other)}).status_code == 403
    assert TOTPDevice.objects.filter(confirmed=True).get() == device


def test_it_is_removed_with_a_code(client, device):
    log_in(client)
    client.post(PAGE, {"code": code(device, -1)})
    client.post(PAGE, {"code": code(device), "remove": "1"})
    assert not TOTPDevice.objects.exists()
    assert events()[-1] == "factor_removed"


def test_a_program_needs_none(client, settings):
    from tests.support.factories import make_client

    settings.REQUIRE_SECOND_FACTOR = "all"
    _, token = make_client()
    assert client.get("/api/v1/calls", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_nobody_is_reset_who_has_none(user):
    with pytest.raises(CommandError, match="has no second factor"):
        call_command("reset_second_factor", "ops")


def test_a_page_without_it_has_the_queries_that_it_always_had(client, django_assert_num_queries):
    client.force_login(make_staff("view_call"))
    # The session, the user, and what they may do: by themselves and by their groups.
    with django_assert_num_queries(4):
        client.get("/admin/jsi18n/")
