"""Legal holds: who may place and lift them, and that nothing erases a call that is under one."""

import datetime as dt
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection

from calls.models import Call, Erasure, LegalHold
from calls.recordings import holds
from calls.recordings.retention import erasable, erase
from tests.support.factories import make_call, make_client, make_recording, make_staff


pytestmark = pytest.mark.django_db(transaction=True)
HOLD, ERASE = "/admin/calls/call/hold/", "/admin/calls/call/erase/"


@pytest.fixture
def holder(client):
    user = make_staff("view_call", "hold_call", "erase_call", username="quinn")
    client.force_login(user)
    return user


def hold(call, user=None, reason="Case 4711"):
    return holds.place(call, user, reason)


def test_a_hold_is_placed_and_lifted_and_both_stay_on_record(client, holder):
    call = make_recording()
    response = client.post(f"{HOLD}?call={call.pk}", {"what": "place", "reason": "Case 4711"}, follow=True)
    assert "Under legal hold." in response.content.decode()
    assert "Held by quinn since" in response.content.decode()
    standing = call.holds.get()
    client.post(f"{HOLD}?call={call.pk}", {"what": str(standing.pk), "reason": "Settled"})
    standing.refresh_from_db()
    assert (standing.placed_by, standing.lifted_by, standing.lift_reason) == (holder, holder, "Settled")
    assert standing.lifted_at is not None
    said = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
    assert list(said) == ["Legal hold placed: Case 4711", "Legal hold lifted: Settled"]


def test_nobody_holds_or_lifts_without_the_permission(client):
    call = make_call()
    client.force_login(make_staff("view_call", "erase_call", "change_call"))
    assert client.post(f"{HOLD}?call={call.pk}", {"what": "place", "reason": "x"}).status_code == 403
    assert "Legal hold…" not in client.get(f"/admin/calls/call/{call.pk}/change/").content.decode()


def test_a_call_that_is_held_is_erased_by_nobody(client, holder):
    call, other = make_recording(), make_recording()
    hold(call, holder)
    page = client.get(f"{ERASE}?call={call.pk}&call={other.pk}").content.decode()
    assert "1 call is under legal hold, and is not erased before that is lifted." in page
    client.post(f"{ERASE}?call={call.pk}&call={other.pk}", {"what": "all", "reason": "x"})
    with pytest.raises(holds.OnHold, match=r"Held by quinn since .*: Case 4711"):
        erase(call, "x", audio_only=True)
    with pytest.raises(CommandError, match=r"is under legal hold: Held by quinn"):
        call_command("erase_call", call.sid, reason="x", yes=True, stdout=StringIO())
    assert list(Call.objects.all()) == [call]
    assert [erasure.call_sid for erasure in Erasure.objects.all()] == [other.sid]


def test_pruning_leaves_what_is_held_and_counts_it(holder):
    call, _ = make_recording(), make_recording()
    hold(call)
    hold(call, holder, "Another case")
    said = StringIO()
    call_command("prune_calls", older_than=dt.timedelta(days=1), verbosity=0, stdout=said)
    assert "Under legal hold, and not erased: 1 call." in said.getvalue()
    assert list(Call.objects.all()) == [call]
    holds.lift([call.holds.first()], None, "x")
    assert not erasable(Call.objects.all()).exists()
    holds.lift(call.holds.all(), None, "x")
    assert erasable(Call.objects.all()).exists()


def test_a_hold_outlives_its_call_and_comes_too_late_for_one_that_is_being_erased(holder):
    call = make_recording()
    hold(call, holder)
    holds.lift(call.holds.all(), holder, "Settled")
    Erasure.objects.create(call_sid=call.sid, reason="x")
    with pytest.raises(holds.BeingErased):
        hold(call)
    erase(call, "x")
    assert (LegalHold.objects.get().call, LegalHold.objects.get().call_sid) == (None, call.sid)


def test_the_list_finds_what_is_held_and_the_api_says_so(client, holder):
    call, other = make_call(), make_call()
    hold(call, holder)
    listed = client.get("/admin/calls/call/?held=yes").content.decode()
    assert (f"/{call.pk}/change/" in listed, f"/{other.pk}/change/" in listed) == (True, False)
    _, token = make_client()
    told = client.get(f"/api/v1/calls/{call.sid}", headers={"Authorization": f"Bearer {token}"}).json()["legal_holds"]
    assert [(one["placed_by"], one["reason"]) for one in told] == [("quinn", "Case 4711")]


def test_what_retention_looks_for_is_found_on_indexes():
    held = [make_call() for _ in range(3)]
    LegalHold.objects.bulk_create(LegalHold(call=call, reason="x") for call in held * 200)
    now = dt.datetime.now(dt.UTC)
    Call.objects.bulk_create(Call(sid=f"CA{number:032x}", ended_at=now) for number in range(10**6, 10**6 + 2000))
    connection.cursor().execute("ANALYZE")
    plan = erasable(Call.objects.filter(ended_at__lt=dt.datetime(2026, 4, 1, tzinfo=dt.UTC))).explain()
    assert "call_ended" in plan
    # PostgreSQL reads a table that is as small as this one whole.
    assert "INDEX hold_" in plan or connection.vendor == "postgresql"
