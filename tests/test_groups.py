"""The groups that a fresh database has, and the policy that every page of the admin carries."""

import pytest
from django.contrib.auth.models import Group, User


def permissions(name):
    return set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))


@pytest.mark.django_db
def test_a_fresh_database_has_the_three_groups():
    assert {"Ops viewer", "Ops listener", "Ops admin"} <= set(Group.objects.values_list("name", flat=True))


@pytest.mark.django_db
def test_viewers_do_not_hear_and_listeners_do_not_erase():
    assert "listen_call" not in permissions("Ops viewer")
    assert "listen_call" in permissions("Ops listener")
    assert "erase_call" not in permissions("Ops listener")
    assert "erase_call" in permissions("Ops admin")


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/", "/admin/calls/call/", "/admin/calls/tag/", "/admin/auth/user/"])
def test_every_page_of_the_admin_runs_our_own_files_only(client, path):
    client.force_login(User.objects.create_superuser("ada"))
    policy = client.get(path)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_sign_in_page_runs_our_own_files_only(client, db):
    assert "script-src 'self'" in client.get("/admin/login/")["Content-Security-Policy"]
