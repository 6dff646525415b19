"""The audit log: who came and who gave whom what, by whichever way; and all that is on record as JSON lines."""

import datetime as dt
import json
from io import StringIO

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.utils import timezone

from calls.access import auditing
from calls.models import AuditEntry, CallEvent, Erasure, RecordingAccess
from tests.support.factories import make_call, make_staff


pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"
AN_HOUR_AGO = timezone.now() - dt.timedelta(hours=1)


@pytest.fixture
def chief(client):
    chief = User.objects.create_superuser("chief", password="the right one")
    client.force_login(chief)
    return chief


def last():
    return AuditEntry.objects.order_by("pk").last()


def permission(name):
    return Permission.objects.get(content_type__app_label="calls", codename=name)


def test_a_login_and_its_end_are_on_record(client):
    User.objects.create_superuser("ops", password="the right one")
    client.post(LOGIN, {"username": "ops", "password": "the right one"}, REMOTE_ADDR="203.0.113.7")
    found = last()
    assert (found.event, found.who, found.address) == ("log_in", "ops", "203.0.113.7")
    client.post("/admin/logout/")
    assert (last().event, last().who) == ("log_out", "ops")


def test_a_failed_login_names_an_account_and_never_what_may_be_a_password(client):
    User.objects.create_superuser("ops", password="the right one")
    for name in ("OPS", "hunter2"):
        client.post(LOGIN, {"username": name, "password": "swordfish"})
    found = AuditEntry.objects.filter(event="log_in_failed").order_by("pk")
    assert [entry.about for entry in found] == ["ops", ""]
    assert "hunter2" not in str(found.values())
    assert "swordfish" not in str(found.values())


def test_a_throttled_login_is_on_record_once(client):
    User.objects.create_superuser("ops", password="the right one")
    for _ in range(12):
        client.post(LOGIN, {"username": "ops", "password": "wrong"}, REMOTE_ADDR="192.0.2.201")
    assert AuditEntry.objects.filter(event="log_in_throttled", about="ops").count() == 1


def test_who_gives_whom_a_group_in_the_admin_is_on_record(client, chief):
    user, group = make_staff(username="ops"), Group.objects.get(name="Ops listener")
    form = {"username": "ops", "is_active": "on", "is_staff": "on", "groups": [group.pk]}
    form |= {"date_joined_0": "2026-03-14", "date_joined_1": "12:00:00"}
    response = client.post(f"/admin/auth/user/{user.pk}/change/", form)
    assert response.status_code == 302
    found = AuditEntry.objects.get(event="groups_given")
    assert (found.who, found.about, found.detail) == ("chief", "ops", {"groups": ["Ops listener"]})


@pytest.mark.parametrize(
    ("act", "event", "about", "detail"),
    [
        (lambda u, g: u.user_permissions.add(permission("erase_call")), "permissions_given", "ops", "calls.erase_call"),
        (lambda u, g: g.permissions.clear(), "permissions_taken", "night", "calls.view_call"),
        (lambda u, g: u.groups.clear(), "groups_taken", "ops", "night"),
        (lambda u, g: g.user_set.remove(u), "groups_taken", "ops", "night"),
        (lambda u, g: g.user_set.clear(), "groups_taken", "ops", "night"),
        (lambda u, g: g.delete(), "group_deleted", "night", "ops"),
        (lambda u, g: u.delete(), "user_deleted", "ops", "command"),
    ],
)
def test_what_is_given_and_taken_is_on_record_whichever_end_it_is_done_at(act, event, about, detail):
    user, group = make_staff(username="ops"), Group.objects.create(name="night")
    group.permissions.add(permission("view_call"))
    user.groups.add(group)
    act(user, group)
    found = last()
    assert (found.event, found.about, found.detail["via"]) == (event, about, "command")
    assert detail in str(found.detail)


def test_a_changed_account_is_told_without_its_password():
    user = make_staff(username="ops")
    user.is_superuser = True
    user.set_password("swordfish")
    user.save()
    assert last().detail == {"is_superuser": [False, True], "password": ["…", "changed"], "via": "command"}


def test_what_is_on_record_is_neither_changed_nor_deleted(client, chief):
    entry = auditing.record("log_in", "ops")
    for act in (entry.save, entry.delete, AuditEntry.objects.all().delete, lambda: AuditEntry.objects.update(who="x")):
        with pytest.raises(TypeError):
            act()
    page = f"/admin/calls/auditentry/{entry.pk}/"
    assert [client.get(f"{page}{end}/").status_code for end in ("change", "delete")] == [200, 403]
    assert client.get("/admin/calls/auditentry/add/").status_code == 403


def test_the_list_costs_the_same_however_long_it_is(client, chief, django_assert_max_num_queries):
    for at in range(30):
        auditing.record("log_in", f"user-{at}", {"groups": ["a", "b"]})
    with django_assert_max_num_queries(6):
        assert "user-29" in client.get("/admin/calls/auditentry/?q=").content.decode()


def export(*arguments):
    out = StringIO()
    call_command("export_audit", *arguments, stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
def records():
    """One of each table, an hour ago, the last one first."""
    AuditEntry.objects.all()._raw_delete("default")
    user, call = make_staff(username="ops"), make_call(from_number="+14155550123")
    AuditEntry.objects.all()._raw_delete("default")
    when = [AN_HOUR_AGO + dt.timedelta(seconds=at) for at in range(5)]
    CallEvent.objects.create(call=call, source="control", kind="takeover", key="1", occurred_at=when[4], user=user)
    Erasure.objects.create(at=when[3], call_sid=call.sid, reason="asked for", user=user)
    LogEntry.objects.log_actions(user.pk, [call], CHANGE, change_message="Tagged as “refund”")
    LogEntry.objects.update(action_time=when[2])
    RecordingAccess.objects.create(at=when[1], call=call, call_sid=call.sid, user=user, kind="listen")
    AuditEntry.objects.create(at=when[0], event="log_in", user=user, who="ops", about="ops")
    return call


def test_all_that_is_on_record_is_exported_in_the_order_of_time(records):
    found = export()
    assert [row["event"] for row in found] == ["log_in", "listen", "changed", "erase", "takeover"]
    assert [row["id"].partition("-")[0] for row in found] == ["audit", "access", "admin", "erasure", "act"]
    assert {row["user"] for row in found} == {"ops"}
    assert "4155550123" not in str(found)


def test_an_export_goes_on_where_the_last_one_ended(records, tmp_path):
    state = str(tmp_path / "state.json")
    assert len(export("--state", state)) == 5
    assert export("--state", state) == []
    # The database was away: what is written late is not lost.
    Erasure.objects.create(at=AN_HOUR_AGO - dt.timedelta(hours=1), call_sid=records.sid, reason="late")
    assert [row["reason"] for row in export("--state", state)] == ["late"]


def test_what_happened_just_now_is_not_exported_yet_nor_what_was_written_behind_it(records, tmp_path):
    state = str(tmp_path / "state.json")
    Erasure.objects.create(call_sid=records.sid, reason="now")
    Erasure.objects.create(at=AN_HOUR_AGO, call_sid=records.sid, reason="behind it")
    assert len(export("--state", state)) == 5
    Erasure.objects.filter(reason="now").update(at=AN_HOUR_AGO)
    assert [row["reason"] for row in export("--state", state)] == ["now", "behind it"]


def test_an_export_can_have_two_ends(records):
    since, until = (AN_HOUR_AGO + dt.timedelta(seconds=at) for at in (1, 3))
    assert [row["event"] for row in export("--since", since.isoformat(), "--until", until.isoformat())] == [
        "listen",
        "changed",
    ]


def test_an_export_has_two_queries_a_table(records, django_assert_num_queries):
    with django_assert_num_queries(10):
        export()


def test_a_state_that_is_none_is_refused(tmp_path):
    (tmp_path / "state.json").write_text("[1]")
    with pytest.raises(CommandError, match="not what this command writes"):
        export("--state", str(tmp_path / "state.json"))


def test_a_state_that_cannot_be_noted_is_said_before_a_line_is_written(tmp_path, capsys):
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("export_audit", "--state", str(tmp_path / "none" / "state.json"))
    assert capsys.readouterr().out == ""
