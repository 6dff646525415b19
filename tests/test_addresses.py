"""Our own addresses: what they are made of, and that every place which spells one for itself means the same."""

import re
from pathlib import Path

import pytest
from django.conf import settings as project
from django.urls import resolve, reverse

from calls import addresses
from calls.process import bodies


@pytest.mark.parametrize(
    ("public", "socket"),
    [
        ("https://voice.example.org", "wss://voice.example.org/connection"),
        ("https://voice.example.org:8443", "wss://voice.example.org:8443/connection"),
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/connection"),
        ("https://http.example.org", "wss://http.example.org/connection"),
    ],
)
def test_the_public_url_alone_decides_where_the_socket_is(settings, public, socket):
    settings.PUBLIC_URL = public
    assert addresses.socket() == socket


def test_an_absolute_address_has_its_query_escaped(settings):
    settings.PUBLIC_URL = "https://voice.example.org"
    assert addresses.absolute("call-status") == "https://voice.example.org/call-status"
    assert addresses.absolute("stream-ended", handler="a b", resumed=2) == (
        "https://voice.example.org/stream-ended?handler=a+b&resumed=2"
    )


def test_a_handlers_webhook_is_named_after_it():
    assert (addresses.incoming(), addresses.incoming("a/b c")) == ("incoming", "incoming/a/b%20c")


@pytest.mark.parametrize(
    ("url", "is_ours", "is_incoming"),
    [
        ("https://voice.example.org/incoming", True, True),
        ("https://voice.example.org/incoming/echo?ref=17#rc=3", True, True),
        ("https://voice.example.org/incoming#rc=3", True, True),
        ("https://voice.example.org/incomings", True, False),
        ("https://voice.example.org/call-status", True, False),
        ("https://voice.example.org.evil.test/incoming", False, False),
        ("https://elsewhere.example.org/incoming", False, False),
        ("incoming", False, False),
        ("", False, False),
    ],
)
def test_an_address_is_told_from_others(url, is_ours, is_incoming):
    assert (addresses.is_ours(url), addresses.is_incoming(url)) == (is_ours, is_incoming)


@pytest.mark.parametrize(
    ("url", "is_near"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost", True),
        ("http://[::1]:8000/", True),
        ("http://127.0.0.1.example.org", False),
        ("https://voice.example.org", False),
        ("", False),
    ],
)
def test_an_address_is_of_this_machine_by_its_host(url, is_near):
    assert addresses.is_loopback(url) == is_near


WEBHOOKS = ["incoming", "incoming/echo", "call-status", "stream-status", "stream-ended"]


@pytest.mark.parametrize("path", WEBHOOKS)
def test_the_webhooks_are_where_twilio_console_and_readme_have_them(path):
    assert resolve(f"/{path}").func.__module__ == "calls.views"


@pytest.mark.parametrize("path", [*WEBHOOKS, "healthz", "healthz/ready"])
def test_what_twilio_and_health_checks_request_is_not_redirected(path):
    assert any(re.search(pattern, path) for pattern in project.SECURE_REDIRECT_EXEMPT)


def test_the_admin_is_where_its_cookies_limits_and_sockets_take_it_to_be():
    assert reverse("admin:index") == f"/{addresses.ADMIN}"


def test_the_proxy_knows_the_sockets_by_their_paths():
    caddyfile = (Path(project.BASE_DIR) / "deploy" / "Caddyfile").read_text()
    assert f"/{addresses.CONNECTION} /{addresses.CONNECTION}/ /live/*" in caddyfile


def test_the_proxy_lets_the_same_uploads_through_as_we_do():
    caddyfile = (Path(project.BASE_DIR) / "deploy" / "Caddyfile").read_text()
    assert set(re.findall(r"path_regexp \^(\S+)\$\n", caddyfile)) == {bodies.SOUNDS}
