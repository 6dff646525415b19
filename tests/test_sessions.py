"""A session ends when what its user may do has changed. Open sockets: tests/test_pages.py."""

import pytest
from django.contrib.auth.models import Group, Permission

from calls.models import AuditEntry
from tests.support.factories import make_staff


pytestmark = pytest.mark.django_db
LIST = "/admin/calls/call/"


def permission(name):
    return Permission.objects.get(content_type__app_label="calls", codename=name)


@pytest.fixture
def group():
    group = Group.objects.create(name="night shift")
    group.permissions.add(permission("view_call"), permission("listen_call"))
    return group


@pytest.fixture
def user(group):
    user = make_staff("view_tag", username="ops")
    user.groups.add(group)
    return user


CHANGES = {
    "a permission is given": lambda user, group: user.user_permissions.add(permission("download_call")),
    "a permission is taken": lambda user, group: user.user_permissions.clear(),
    "a group is taken": lambda user, group: user.groups.remove(group),
    "a group loses a permission": lambda user, group: group.permissions.remove(permission("listen_call")),
    "a group is gone": lambda user, group: group.delete(),
    "they are staff no more": lambda user, group: type(user).objects.update(is_staff=False),
    "they are active no more": lambda user, group: type(user).objects.update(is_active=False),
    "they are a superuser now": lambda user, group: type(user).objects.update(is_superuser=True),
    "their password is another one": lambda user, group: type(user).objects.update(password="!another"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_session_ends_at_the_next_request_when(client, user, group, change):
    client.force_login(user)
    assert client.get(LIST).status_code == 200
    change(user, group)
    assert client.get(LIST)["Location"].startswith("/admin/login/")
    assert client.get(LIST)["Location"].startswith("/admin/login/")


def test_a_session_goes_on_while_nothing_changes(client, user, group):
    client.force_login(user)
    user.save()
    group.save()
    Group.objects.create(name="another").permissions.add(permission("erase_call"))
    assert client.get(LIST).status_code == 200


def test_an_ended_session_is_told_and_on_record(client, user):
    client.force_login(user)
    user.groups.clear()
    assert "What you may do here has changed" in client.get(LIST, follow=True).content.decode()
    assert AuditEntry.objects.filter(event="session_ended", who="ops").count() == 1
