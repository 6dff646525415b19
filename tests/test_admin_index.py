"""The index of the admin: our tables in sections, and what each group sees of them."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group

from calls.access.site import SECTIONS
from tests.support.factories import make_staff


pytestmark = pytest.mark.django_db


def sections(client, path="/admin/"):
    return {app["name"]: [row["object_name"] for row in app["models"]] for app in client.get(path).context["app_list"]}


def test_every_table_of_ours_has_its_section():
    registered = [model.__name__ for model in admin.site._registry if model._meta.app_label == "calls"]
    assert sorted(registered) == sorted(name for names in SECTIONS.values() for name in names)


def test_calls_come_first_and_others_tables_last(client):
    client.force_login(make_staff(is_superuser=True))
    assert list(sections(client)) == [*SECTIONS, "Authentication and Authorization"]
    assert sections(client)["Alerts"] == ["Alert", "AlertRule"]


def test_a_section_in_which_nothing_may_be_seen_is_not_there(client):
    user = make_staff()
    user.groups.add(Group.objects.get(name="Ops viewer"))
    client.force_login(user)
    assert sections(client) == {"Calls": ["Call", "SavedView", "Tag"], "Alerts": ["Alert", "AlertRule"]}


def test_our_own_page_has_them_in_that_order_under_one_heading(client):
    client.force_login(make_staff(is_superuser=True))
    assert sections(client, "/admin/calls/") == {"Calls": [name for names in SECTIONS.values() for name in names]}
