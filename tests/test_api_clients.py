"""The API's clients: how a token lets one in, what a wrong one costs, and who makes them in the admin."""

import datetime as dt
import logging
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.db import IntegrityError, transaction
from django.utils import timezone

from calls.access import programs
from calls.admin.clients import ClientForm
from calls.models import ApiClient, RecordingAccess
from tests.support.factories import make_call, make_client, make_staff


pytestmark = pytest.mark.django_db
LIST, ADD = "/admin/calls/apiclient/", "/admin/calls/apiclient/add/"


@pytest.fixture(autouse=True)
def nobody_yet():
    """What this process remembers of tokens: nothing before a test, and nothing that others would wait for after it."""
    forget()
    yield
    forget()


def forget():
    for memory in (programs._known, programs._wrong, programs._logged):
        memory.clear()


@pytest.fixture
def ask(client):
    def ask(authorization, **extra):
        return client.get("/api/v1/calls", headers={"Authorization": authorization}, **extra)

    return ask


# --- being let in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_lets_its_client_in(ask, scheme):
    _, token = make_client()
    assert ask(f"{scheme} {token}").status_code == 200


def refused(response):
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="Callstream"'
    return response.json()["error"]["code"] == "unauthorized"


def test_without_one_nobody_is(client):
    assert refused(client.get("/api/v1/calls"))


def test_a_session_of_staff_is_no_token(client):
    client.force_login(make_staff("view_call", is_superuser=True))
    assert refused(client.get("/api/v1/calls"))


def wrong(token):
    key, secret = token[3:19], token[20:]
    yield from ("", "Bearer", "Bearer ", f"Basic {token}", f"Token {token}", f"Bearer  {token}", f"Bearer {token} ")
    yield from (f"Bearer {token}\n", f"Bearer {token[:-1]}", f"Bearer {token}A", f"Bearer cs_{key}_", "Bearer \0")
    yield f"Bearer cs_{key}_{secret[:-2]}{'AA' if secret[-2:] != 'AA' else 'BB'}"
    yield from (f"Bearer cs_{'0' * 16}_{secret}", f"Bearer cs_{key.upper()}é_{secret}", f"Bearer {secret}")


def test_whatever_is_not_the_token_is_refused(ask, monkeypatch):
    monkeypatch.setattr(programs, "WRONG_AT_ONCE", 100)
    _, token = make_client()
    for authorization in wrong(token):
        assert ask(authorization).status_code == 401, authorization


def test_a_token_in_the_query_is_no_token(client):
    _, token = make_client()
    for name in ("token", "access_token", "Authorization"):
        assert client.get("/api/v1/calls", {name: f"Bearer {token}"}).status_code == 401


def test_a_revoked_an_expired_and_a_renewed_token_are_refused(ask):
    now = timezone.now()
    _, revoked = make_client(is_active=False)
    _, expired = make_client(expires_at=now - dt.timedelta(seconds=1))
    _, lasting = make_client(expires_at=now + dt.timedelta(hours=1))
    client, old = make_client()
    new = programs.issue(client)
    client.save()
    found = [ask(f"Bearer {token}").status_code for token in (revoked, expired, lasting, old, new)]
    assert found == [401, 401, 200, 401, 200]


def test_nothing_that_is_kept_is_the_token(client):
    program, token = make_client()
    kept = " ".join(str(value) for value in ApiClient.objects.values_list().get())
    assert token[20:] not in kept
    assert len(token[20:]) == 43
    assert program.key == token[3:19]


def test_last_use_is_written_once_a_minute(ask, django_assert_num_queries):
    _, token = make_client()
    ask(f"Bearer {token}")
    first = ApiClient.objects.get().last_used_at
    assert first is not None
    # The client, and no calls: no tags are asked for.
    with django_assert_num_queries(2):
        ask(f"Bearer {token}")
    ApiClient.objects.update(last_used_at=first - dt.timedelta(seconds=61))
    ask(f"Bearer {token}")
    assert ApiClient.objects.get().last_used_at >= first


# --- wrong tokens ----------------------------------------------------------------------------------------------------


def guess(number):
    return f"Bearer cs_{number:016x}_{'A' * 43}"


def test_who_tries_many_wrong_tokens_is_told_to_wait_and_costs_no_query(ask, django_assert_num_queries):
    found = [ask(guess(number)).status_code for number in range(programs.WRONG_AT_ONCE + 2)]
    assert found == [401] * programs.WRONG_AT_ONCE + [429] * 2
    with django_assert_num_queries(0):
        response = ask(guess(99))
    assert response.json()["error"]["code"] == "too_many"
    assert 0 < int(response["Retry-After"]) <= programs.WRONG_COMES_BACK + 1


def test_another_address_does_not_wait(ask):
    for number in range(programs.WRONG_AT_ONCE + 1):
        ask(guess(number))
    assert ask(guess(1), REMOTE_ADDR="192.0.2.7").status_code == 401


def test_a_token_that_was_right_before_is_not_locked_out_by_its_neighbours(ask):
    _, token = make_client()
    _, unknown_yet = make_client()
    ask(f"Bearer {token}")
    for number in range(programs.WRONG_AT_ONCE + 1):
        ask(guess(number))
    assert ask(f"Bearer {token}").status_code == 200
    assert ask(f"Bearer {unknown_yet}").status_code == 429


def test_what_cannot_be_a_token_costs_no_query(ask, django_assert_num_queries):
    with django_assert_num_queries(0):
        ask("Bearer nonsense")


def test_a_flood_is_one_line_of_the_log_that_has_no_token(ask, caplog):
    _, token = make_client(is_active=False)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            ask(f"Bearer {token}", REMOTE_ADDR="192.0.2.9")
    [line] = caplog.messages
    assert line.startswith("api_refused a token that is revoked client=")
    assert "address=192.0.2.9" in line
    assert token[20:] not in line


def test_what_is_remembered_of_strangers_is_bounded(ask):
    for number in range(programs.MOST_LOGGED + 50):
        programs._count(f"192.0.2.{number}", "unknown")
    assert len(programs._wrong) == len(programs._logged) == programs.MOST_LOGGED


# --- the rows --------------------------------------------------------------------------------------------------------


def test_two_clients_have_different_names_and_keys():
    first, _ = make_client(name="billing")
    for facts in ({"name": "billing"}, {}):
        second = ApiClient(**{"name": "other", "key": first.key, "digest": "x", **facts})
        with pytest.raises(IntegrityError), transaction.atomic():
            second.save()


def test_a_client_without_a_digest_cannot_be_stored():
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiClient.objects.create(name="open", key="0" * 16)


def test_who_read_stays_on_record_when_the_client_is_gone():
    program, _ = make_client(name="billing")
    RecordingAccess.objects.create(kind="read", client=program, client_name=program.name)
    program.delete()
    assert RecordingAccess.objects.get().who == "billing (API)"


# --- in the admin ----------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(client):
    user = make_staff("manage_apiclients", "view_call", "listen_call")
    client.force_login(user)
    return user


def token_of(response):
    return re.search(r"cs_[0-9a-f]{16}_[\w-]{43}", response.content.decode())[0]


def test_a_new_clients_token_is_shown_once_and_works(client, ask, manager):
    response = client.post(ADD, {"name": "billing", "may_listen": "on", "is_active": "on"})
    assert "no-store" in response["Cache-Control"]
    token = token_of(response)
    program = ApiClient.objects.get()
    assert (program.created_by, program.permissions) == (manager, ["view_call", "listen_call"])
    assert ask(f"Bearer {token}").status_code == 200
    for path in (LIST, f"{LIST}{program.pk}/change/", f"{LIST}{program.pk}/history/"):
        assert token[20:] not in client.get(path).content.decode()
    assert token[20:] not in str(list(LogEntry.objects.values_list()))


def test_who_may_not_manage_clients_sees_and_makes_none(client):
    program, _ = make_client()
    client.force_login(make_staff("view_call", "listen_call", "download_call", "see_numbers"))
    for path in (LIST, ADD, f"{LIST}{program.pk}/change/", f"{LIST}{program.pk}/renew/"):
        assert client.get(path).status_code == 403
        assert client.post(path, {"name": "x"}).status_code == 403
    assert ApiClient.objects.count() == 1


@pytest.mark.parametrize("flag", ["may_download", "may_see_numbers"])
def test_nobody_gives_a_client_what_they_may_not_do(client, manager, flag):
    response = client.post(ADD, {"name": "billing", flag: "on", "is_active": "on"})
    assert "Nobody gives a client what they may not do themselves" in response.content.decode()
    program, _ = make_client(name="old")
    client.post(f"{LIST}{program.pk}/change/", {"name": "old", flag: "on", "is_active": "on"})
    assert ApiClient.objects.get().permissions == ["view_call"]


def test_who_may_not_view_calls_makes_no_client(client):
    client.force_login(make_staff("manage_apiclients"))
    client.post(ADD, {"name": "billing", "is_active": "on"})
    assert not ApiClient.objects.exists()


def test_taking_away_is_always_possible_and_giving_back_is_not(client, manager):
    program, _ = make_client("download_call")
    url, kept = f"{LIST}{program.pk}/change/", {"name": program.name, "may_download": "on"}
    for form, expected in [(kept, False), ({**kept, "is_active": "on"}, False)]:
        client.post(url, form)
        assert ApiClient.objects.get().is_active is expected


def test_nobody_makes_a_client_last_longer_that_may_do_more_than_they(client, manager):
    end = timezone.now() + dt.timedelta(days=1)
    program, _ = make_client("download_call", expires_at=end)
    form = {"name": "renamed", "may_download": "on", "is_active": "on"}
    client.post(f"{LIST}{program.pk}/change/", form)
    assert ApiClient.objects.get().expires_at == end


def test_a_client_may_be_renamed_by_who_may_do_less(client, manager):
    program, _ = make_client("download_call")
    client.post(f"{LIST}{program.pk}/change/", {"name": "renamed", "may_download": "on", "is_active": "on"})
    assert ApiClient.objects.get().name == "renamed"


def test_a_change_does_not_bring_an_older_token_back(client, ask, manager, monkeypatch):
    """Somebody makes a new token while somebody else's change of the name is checked."""
    program, _ = make_client()
    clean, found = ClientForm.clean, []

    def slowly(form):
        again = ApiClient.objects.get()
        found.append(programs.issue(again))
        again.save()
        return clean(form)

    monkeypatch.setattr(ClientForm, "clean", slowly)
    client.post(f"{LIST}{program.pk}/change/", {"name": "renamed", "is_active": "on"})
    assert ApiClient.objects.get().name == "renamed"
    assert ask(f"Bearer {found[0]}").status_code == 200


def test_a_new_token_is_asked_for_before_it_is_made(client, ask, manager):
    program, old = make_client("listen_call")
    url = f"{LIST}{program.pk}/renew/"
    assert "is refused from that moment on" in client.get(url).content.decode()
    assert ask(f"Bearer {old}").status_code == 200
    new = token_of(client.post(url))
    assert [ask(f"Bearer {token}").status_code for token in (old, new)] == [401, 200]
    assert LogEntry.objects.get().change_message == "Gave it a new token"


def test_nobody_makes_a_token_that_may_do_more_than_they(client, ask, manager):
    program, old = make_client("download_call")
    assert client.post(f"{LIST}{program.pk}/renew/").status_code == 403
    assert ask(f"Bearer {old}").status_code == 200


def test_the_list_revokes(client, ask, manager):
    program, token = make_client()
    client.post(LIST, {"action": "revoke", "_selected_action": [program.pk]})
    assert ask(f"Bearer {token}").status_code == 401
    assert LogEntry.objects.get().change_message == "Revoked"


def test_a_client_is_not_deleted(client, manager):
    program, _ = make_client()
    assert client.post(f"{LIST}{program.pk}/delete/", {"post": "yes"}).status_code == 403
    assert ApiClient.objects.exists()


@pytest.mark.parametrize("count", [1, 20])
def test_the_list_costs_the_same_however_many_there_are(client, manager, count, django_assert_num_queries):
    for number in range(count):
        make_client(created_by=manager, name=f"program {number:02}", last_used_at=timezone.now())
    client.get(LIST)
    # Session, user, two of permissions, and the clients.
    with django_assert_num_queries(5):
        assert client.get(LIST).status_code == 200


def test_hostile_names_are_text(client, manager):
    program, _ = make_client(name="<script>alert(1)</script>")
    for path in (LIST, f"{LIST}{program.pk}/change/", f"{LIST}{program.pk}/renew/"):
        assert "<script>alert" not in client.get(path).content.decode()


def test_staff_see_which_program_read_a_call(client):
    program, _ = make_client(name="billing")
    call = make_call()
    RecordingAccess.objects.create(call=call, call_sid=call.sid, kind="read", client=program, client_name="billing")
    client.force_login(make_staff("view_call", "view_recordingaccess"))
    for path in (f"/admin/calls/call/{call.pk}/change/", "/admin/calls/recordingaccess/"):
        assert "billing (API)" in client.get(path).content.decode()
    assert "billing (API)" in client.get("/admin/calls/recordingaccess/?q=Billing").content.decode()
    assert "billing (API)" not in client.get("/admin/calls/recordingaccess/?q=ada").content.decode()
