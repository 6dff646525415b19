"""Single sign-on against a provider of its own: Authlib's, over HTTP, with RSA keys that it makes for each run."""

import base64
import hashlib
import time
import warnings
from urllib.parse import parse_qs, urlsplit

import flask
import oidc_provider_mock
import pytest
import requests
from authlib import jose
from django.contrib.auth.models import Group, User
from django.test import Client
from oidc_provider_mock._server import _threaded_server

from calls.models import AuditEntry, Identity
from tests.conftest import HTTPS
from tests.support.factories import make_staff


# The provider's own modules are deprecated in favour of others.
pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
LIST, LOGIN = "/admin/calls/call/", "/admin/login/"
CLAIMS = {"preferred_username": "ann", "email": "ann@example.org", "groups": ["ops", "sales"]}


class Provider:
    """What it answers may be spoiled: `token` changes the claims of an ID token, `header` its header."""

    def __init__(self):
        self.token = self.header = self.key = None
        self.app = oidc_provider_mock.app()
        self.app.debug = False
        self.asked = []
        self.app.before_request(lambda: self.asked.append((flask.request.path, flask.request.values.to_dict())))
        self.app.after_request(self.spoil)

    def spoil(self, response):
        if flask.request.path == "/oauth2/token" and (self.token or self.header or self.key):
            own = flask.g.oidc_provider_mock_storage.jwk
            answer = response.get_json()
            claims = dict(jose.jwt.decode(answer["id_token"], own))
            claims |= self.token or {}
            claims = {name: value for name, value in claims.items() if value is not None}
            header = self.header or {"alg": "RS256", "kid": own.as_dict().get("kid")}
            signed = jose.JsonWebToken([header["alg"]]).encode(header, claims, self.key or own)
            response.set_data(flask.json.dumps({**answer, "id_token": signed.decode()}))
        return response

    def says(self, sub="1", **claims):
        requests.put(f"{self.url}/users/{sub}", json={**CLAIMS, **claims}, timeout=5).raise_for_status()


@pytest.fixture(scope="module")
def running():
    """Its key takes a second to make."""
    provider = Provider()
    with warnings.catch_warnings(), _threaded_server(app=provider.app) as server:
        warnings.simplefilter("ignore", DeprecationWarning)
        provider.url = f"http://localhost:{server.server_port}"
        yield provider


@pytest.fixture
def provider(running, settings):
    settings.OIDC_ISSUER = running.url
    settings.OIDC_RP_CLIENT_ID, settings.OIDC_RP_CLIENT_SECRET = "callstream", "secret"
    settings.OIDC_GROUPS = {"ops": "Ops listener", "night": "Ops viewer"}
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "calls.access.sso.Backend"]
    running.token = running.header = running.key = None
    running.asked.clear()
    running.says()
    return running


def sign_in(client, sub="1"):
    """As a browser does it: there, logged in, and back."""
    there = client.get(f"/admin/sso/?next={LIST}")["Location"]
    back = urlsplit(requests.post(there, data={"sub": sub}, allow_redirects=False, timeout=5).headers["Location"])
    return client.get(f"{back.path}?{back.query}")


def is_in(client):
    return client.get(LIST).status_code == 200


def test_somebody_new_is_let_in_with_the_groups_that_the_claim_stands_for(client, provider):
    assert sign_in(client)["Location"] == LIST
    assert is_in(client)
    user = User.objects.get(username="ann")
    assert (user.is_staff, user.is_superuser, user.has_usable_password()) == (True, False, False)
    assert [group.name for group in user.groups.all()] == ["Ops listener"]
    assert not client.session.get_expire_at_browser_close()
    assert client.session.get_expiry_age() > 3600


def test_the_flow_has_a_state_a_nonce_and_pkce(client, provider):
    sign_in(client)
    asked = dict(provider.asked)
    there, token = asked["/oauth2/authorize"], asked["/oauth2/token"]
    verified = base64.urlsafe_b64encode(hashlib.sha256(token["code_verifier"].encode()).digest()).decode().rstrip("=")
    assert (there["code_challenge"], there["code_challenge_method"]) == (verified, "S256")
    assert min(len(there["state"]), len(there["nonce"])) >= 32


def test_a_group_that_the_claim_has_no_more_is_taken_and_ends_other_sessions(client, provider):
    sign_in(client)
    user = User.objects.get(username="ann")
    by_hand = Group.objects.create(name="by hand")
    user.groups.add(by_hand)
    provider.says(groups=["night"])
    other = Client(headers=HTTPS)
    sign_in(other)
    assert {group.name for group in user.groups.all()} == {"Ops viewer", "by hand"}
    assert (is_in(client), is_in(other)) == (False, True)


def test_who_has_no_group_of_ours_any_more_is_out(client, provider):
    sign_in(client)
    provider.says(groups=["sales"])
    assert sign_in(Client(headers=HTTPS))["Location"] == LOGIN
    user = User.objects.get(username="ann")
    assert (user.is_staff, user.groups.count()) == (False, 0)
    assert not is_in(client)


def test_a_stranger_there_leaves_no_account_here(client, provider):
    provider.says(groups=["sales"])
    page = client.get(sign_in(client)["Location"]).content.decode()
    assert "None of your groups there has access here." in page
    assert not User.objects.exists()


@pytest.mark.parametrize(("named", "is_chief"), [("", False), ("root", True)])
def test_a_claim_makes_a_superuser_only_where_a_setting_says_which(client, provider, settings, named, is_chief):
    settings.OIDC_SUPERUSERS = named
    provider.says(groups=["ops", "root"])
    sign_in(client)
    assert User.objects.get(username="ann").is_superuser == is_chief


def test_a_new_name_at_the_provider_is_the_same_person_here(client, provider):
    sign_in(client)
    provider.says(preferred_username="ann.married", email="other@example.org")
    sign_in(Client(headers=HTTPS))
    assert User.objects.get().username == "ann"


@pytest.mark.parametrize("facts", [{"password": "their own"}, {"is_superuser": True}], ids=["password", "superuser"])
def test_whoever_chooses_a_name_there_gets_nobody_elses_account(client, provider, facts):
    make_staff(username="ann", **{"password": None, **facts})
    page = client.get(sign_in(client)["Location"]).content.decode()
    assert "There is an account of this name already." in page
    assert not Identity.objects.exists()


def test_an_account_that_was_made_for_it_is_used(client, provider):
    user = make_staff(username="ann", password=None)
    sign_in(client)
    assert Identity.objects.get().user == user


def test_a_deactivated_account_is_not_let_in_and_a_session_of_it_ends(client, provider):
    sign_in(client)
    User.objects.update(is_active=False)
    assert not is_in(client)
    sign_in(client)
    assert not is_in(client)


SPOILED = {
    "another nonce": {"token": {"nonce": "x" * 32}},
    "no nonce": {"token": {"nonce": None}},
    "for another client": {"token": {"aud": "another"}},
    "for ours among others, and meant for another": {"token": {"aud": ["callstream", "another"], "azp": "another"}},
    "of another issuer": {"token": {"iss": "https://evil.example"}},
    "expired": {"token": {"exp": int(time.time()) - 120}},
    "never expires": {"token": {"exp": None}},
    "not signed": {"header": {"alg": "none"}},
    "signed with our secret": {"header": {"alg": "HS256"}, "key": "secret"},
    "signed with another key": {"key": jose.RSAKey.generate_key(2048, is_private=True)},
    "about somebody else": {"token": {"sub": "2"}},
}


def test_a_token_that_is_only_signed_once_more_is_taken(client, provider):
    """So that those below are refused for what is said of them."""
    provider.token = {"hobby": "chess"}
    sign_in(client)
    assert is_in(client)


@pytest.mark.parametrize("spoiled", SPOILED.values(), ids=SPOILED)
def test_a_token_is_refused_that_is(client, provider, spoiled):
    vars(provider).update(spoiled)
    response = sign_in(client)
    assert response["Location"] == LOGIN
    assert not is_in(client)
    assert not User.objects.exists()
    assert AuditEntry.objects.order_by("pk").last().event == "sso_refused"


def test_an_answer_belongs_to_the_browser_that_asked_and_is_used_once(client, provider):
    there = client.get("/admin/sso/")["Location"]
    back = urlsplit(requests.post(there, data={"sub": "1"}, allow_redirects=False, timeout=5).headers["Location"])
    thief = Client(headers=HTTPS)
    assert thief.get(f"{back.path}?{back.query}")["Location"] == LOGIN
    assert client.get(f"{back.path}?{back.query}")["Location"] == "/admin/"
    client.logout()
    assert client.get(f"{back.path}?{back.query}")["Location"] == LOGIN


def test_a_code_at_the_login_by_password_is_no_way_round(client, provider):
    client.get(f"{LOGIN}?code=x&state=y")
    response = client.post(f"{LOGIN}?code=x&state=y", {"username": "ann", "password": "x"})
    assert response.status_code == 200
    assert "/oauth2/token" not in dict(provider.asked)


def test_a_provider_that_is_away_is_said_so(client, settings):
    settings.OIDC_ISSUER, settings.OIDC_TIMEOUT = "http://127.0.0.1:9", 1
    page = client.get("/admin/sso/", follow=True).content.decode()
    assert "does not answer" in page


def test_passwords_can_be_switched_off(client, provider, settings):
    settings.PASSWORD_LOGIN = False
    page = client.get(LOGIN).content.decode()
    assert ("Log in with" in page, 'name="password"' in page) == (True, False)
    assert client.post(LOGIN, {"username": "ann", "password": "x"}).status_code == 403


@pytest.mark.parametrize(("trusted", "status"), [(False, 302), (True, 200)])
def test_the_providers_second_factor_counts_where_a_setting_says_so(client, provider, settings, trusted, status):
    settings.REQUIRE_SECOND_FACTOR, settings.OIDC_HAS_SECOND_FACTOR = "all", trusted
    sign_in(client)
    assert client.get(LIST).status_code == status


def test_who_logs_out_can_log_out_there_too(client, provider):
    sign_in(client)
    page = client.post("/admin/logout/").content.decode()
    assert "/admin/sso/leave/" in page
    there = urlsplit(client.get("/admin/sso/leave/")["Location"])
    assert there.path == "/oauth2/end_session"
    assert parse_qs(there.query)["post_logout_redirect_uri"] == ["https://voice.example.org/admin/login/"]


def test_without_an_issuer_there_is_no_such_page(client):
    assert [client.get(f"/admin/sso/{end}").status_code for end in ("", "callback/", "leave/")] == [404] * 3
    assert "Log in with" not in client.get(LOGIN).content.decode()
