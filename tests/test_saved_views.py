"""Saved views of the list of calls: one's own and everybody's, what they hold, and whom they are shown to."""

import datetime as dt

import pytest
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, transaction
from django.http import QueryDict
from django.utils import timezone

from calls.admin.saved_views import query_of
from calls.models import SavedView, Tag
from tests.support.factories import make_call, make_staff, make_view


pytestmark = pytest.mark.django_db
LIST, VIEWS = "/admin/calls/call/", "/admin/calls/savedview/"


@pytest.fixture
def ada(client):
    """Looks at calls, and may do nothing else with views than have some."""
    user = make_staff("view_call", "see_numbers", username="ada")
    client.force_login(user)
    return user


@pytest.fixture
def boss(client):
    """Shares views with everybody."""
    user = make_staff("view_call", "see_numbers", "share_views", username="boss")
    client.force_login(user)
    return user


def views(client, address=LIST):
    response = client.get(address)
    assert response.status_code == 200
    return response.context["views"]


def names(client, whose="everybodys"):
    return [tab.name for tab in views(client)[whose]]


def save(client, name="Failed today", query="when=today&status=failed", **fields):
    return client.post(f"{VIEWS}add/", {"name": name, "query": query, **fields})


# --- saving and using -------------------------------------------------------------------------------------------------


def test_a_filtered_list_is_saved_under_a_name_and_opens_so(client, ada):
    link = views(client, f"{LIST}?status=failed&when=today&p=2")["save_url"]
    assert "Save this view…" in client.get(f"{LIST}?status=failed").content.decode()
    html = client.get(link).content.decode()
    assert "Filtered by <bdi>when: Today; status: Failed</bdi>" in html
    response = save(client)
    view = SavedView.objects.get()
    assert (view.user, view.created_by, view.query) == (ada, ada, "status=failed&when=today")
    assert response["Location"] == f"{LIST}?status=failed&when=today"
    assert names(client, "mine") == ["Failed today"]


def test_the_view_that_is_open_is_marked_in_whatever_order_its_filters_come(client, ada):
    make_view(query="status=failed&when=today", user=ada)
    shown = views(client, f"{LIST}?when=today&p=3&status=failed")
    assert [tab.is_current for tab in shown["mine"]] == [True]
    assert (shown["is_all"], shown["save_url"]) == (False, ""), "it is saved already"
    assert views(client)["is_all"]


def test_a_list_that_nothing_filters_has_nothing_to_save(client, ada):
    assert "call-views" not in client.get(LIST).content.decode()
    assert client.get(f"{VIEWS}add/").status_code == 403
    assert "Filter, sort or search the list of calls first" in save(client, query="p=2&e=1").content.decode()
    assert not SavedView.objects.exists()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("status=failed&p=3&e=1&_popup=1", "status=failed"),
        ("sid__startswith=CA&q=x", "q=x"),
        ("status=failed&status=busy", "status=busy"),
        ("q=%3Cb%3E%26&o=-3", "o=-3&q=%3Cb%3E%26"),
        ("status=&q=%20", ""),
        ("q=a%00b", "q=a%00b"),
    ],
)
def test_a_view_holds_what_filters_sorts_and_searches_and_nothing_else(given, kept):
    assert query_of(QueryDict(given)) == kept


def test_days_by_name_stay_what_they_are(client, ada):
    view = make_view(query="when=yesterday", user=ada)
    call = make_call(created_at=timezone.now() - dt.timedelta(days=1))
    make_call()
    tab = views(client)["mine"][0]
    assert [found.pk for found in client.get(tab.url).context["cl"].result_list] == [call.pk]
    assert view.query in tab.url


@pytest.mark.parametrize("others", [["billing"], []])
def test_a_view_of_a_deleted_tag_opens_and_says_so(client, ada, others):
    tag = Tag.objects.create(name="gone")
    view = make_view(query=f"tag={tag.pk}", user=ada)
    assert not views(client, f"{LIST}?{view.query}")["lacks_its_tag"]
    tag.delete()
    for name in others:
        Tag.objects.create(name=name)
    assert "has been deleted" in client.get(f"{LIST}?{view.query}").content.decode()


def test_the_list_costs_one_query_more_however_many_views_there_are(client, ada, django_assert_num_queries):
    client.get(LIST)
    for count in (0, 30):
        for number in range(count):
            make_view(f"view {number}", user=ada if number % 2 else None)
        # Session, user, two of permissions, the handlers, the tags, the views, the calls.
        with django_assert_num_queries(8):
            client.get(LIST)


def test_a_view_is_sorted_by_the_same_column_whoever_sees_which(client, boss):
    short, long = make_call(audio_samples=8000), make_call(audio_samples=80_000)
    link = views(client, f"{LIST}?o=3")["save_url"]
    assert link == f"{VIEWS}add/?query=o%3Dlength"
    save(client, query="o=length", everybodys="on")
    for permissions in (["view_call"], ["view_call", "listen_call", "change_call", "export_call"]):
        client.force_login(make_staff(*permissions))
        (tab,) = views(client)["everybodys"]
        response = client.get(tab.url)
        assert [call.pk for call in response.context["cl"].result_list] == [short.pk, long.pk]
        assert response.context["views"]["everybodys"][0].is_current


@pytest.mark.parametrize("order", ["-", "nonsense", "-99.when", "..", "when.length"])
def test_a_nonsensical_order_is_not_an_error(client, ada, order):
    assert client.get(f"{LIST}?o={order}").status_code == 200


def test_a_search_that_is_too_long_to_be_saved_is_said_to(client, ada):
    assert "at most 2000 characters" in save(client, query=f"q={'x' * 3000}").content.decode()


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_is_taken_once_for_each_user_and_once_for_everybody(client, boss):
    save(client, name="Failed")
    assert "There is a view of this name already." in save(client, name="failed").content.decode()
    assert save(client, name="Failed", everybodys="on").status_code == 302
    assert "There is a view of this name already." in save(client, name="FAILED", everybodys="on").content.decode()
    client.force_login(make_staff("view_call"))
    assert save(client, name="Failed").status_code == 302


@pytest.mark.parametrize("whose", ["mine", "everybodys"])
def test_the_database_keeps_names_apart(whose):
    user = make_staff() if whose == "mine" else None
    make_view("Failed", user=user)
    with pytest.raises(IntegrityError), transaction.atomic():
        make_view("failed", user=user)


def test_the_database_takes_no_view_of_everything():
    with pytest.raises(IntegrityError), transaction.atomic():
        make_view(query="")


def test_who_comes_second_with_a_name_is_told(client, ada, monkeypatch):
    make_view("Failed", user=ada)
    # As if the other one had been saved between the form's look and the database's.
    monkeypatch.setattr("django.db.models.query.QuerySet.exists", lambda self: False)
    response = save(client, name="Failed")
    assert response.status_code == 302
    monkeypatch.undo()
    assert "There is a view of this name already." in client.get(response["Location"] + "?query=q%3Dx").content.decode()


@pytest.mark.parametrize("name", ["", "x" * 61, "a\x00b"])
def test_a_name_that_is_none_is_refused(client, ada, name):
    assert save(client, name=name).status_code == 200
    assert not SavedView.objects.exists()


def test_a_name_is_shown_as_text(client, boss):
    save(client, name="<script>alert(1)</script>\u202e", everybodys="on")
    assert "<script>alert" not in client.get(LIST).content.decode()
    assert "<bdi>&lt;script&gt;" in client.get(LIST).content.decode()


# --- whose ------------------------------------------------------------------------------------------------------------


def test_everybodys_views_are_used_by_all_and_ones_own_by_nobody_else(client, boss):
    save(client, name="For all", everybodys="on")
    save(client, name="For me")
    assert (names(client), names(client, "mine")) == (["For all"], ["For me"])
    client.force_login(make_staff("view_call", "see_numbers"))
    assert (names(client), names(client, "mine")) == (["For all"], [])


def test_who_may_not_share_saves_for_nobody_else(client, ada):
    assert "For everybody" not in client.get(f"{VIEWS}add/?query=status%3Dfailed").content.decode()
    save(client, everybodys="on")
    assert SavedView.objects.get().user == ada


def test_a_view_is_renamed_and_deleted_by_its_owner(client, ada):
    view = make_view(user=ada)
    client.post(f"{VIEWS}{view.pk}/change/", {"name": "Lost", "query": "status=busy"})
    view.refresh_from_db()
    assert (view.name, view.query) == ("Lost", "status=failed"), "what it shows stays"
    client.post(f"{VIEWS}{view.pk}/delete/", {"post": "yes"})
    assert not SavedView.objects.exists()


@pytest.mark.parametrize("whose", ["another's", "everybody's"])
def test_who_may_not_neither_opens_nor_changes_nor_deletes_a_view(client, ada, whose):
    view = make_view(user=make_staff() if whose == "another's" else None)
    for page in ("change", "delete"):
        client.post(f"{VIEWS}{view.pk}/{page}/", {"name": "Mine now", "post": "yes"})
    client.post(VIEWS, {"action": "delete_selected", "_selected_action": [view.pk], "post": "yes"})
    assert SavedView.objects.get().name == "Failed"
    assert client.get(VIEWS).context["cl"].result_count == 0


def test_who_shares_changes_everybodys_views_and_takes_one_back(client, boss):
    view = make_view(created_by=make_staff())
    client.post(f"{VIEWS}{view.pk}/change/", {"name": "Failed", "everybodys": "on"})
    view.refresh_from_db()
    assert view.user is None
    client.post(f"{VIEWS}{view.pk}/change/", {"name": "Failed"})
    view.refresh_from_db()
    assert view.user == boss


def test_whoever_sees_no_calls_has_no_views(client):
    client.force_login(make_staff("share_views", "listen_call"))
    assert client.get(VIEWS).status_code == 403
    assert save(client).status_code == 403


def test_with_a_user_go_their_views_and_who_deletes_users_may(client, ada):
    view = make_view(user=ada)
    other = make_staff("view_call")
    other.user_permissions.add(*Permission.objects.filter(codename__in=["delete_user", "view_user"]))
    client.force_login(other)
    assert client.get(f"{VIEWS}{view.pk}/delete/").status_code == 302, "not by itself: it is not to be found"
    client.post(f"/admin/auth/user/{ada.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(pk=ada.pk).exists()
    assert not SavedView.objects.exists()


# --- what is hidden ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "query", "is_shown"),
    [
        ("Failed", "status=failed", True),
        ("Refunds", "q=said%3Arefund", True),
        ("A number", "q=%2B15550100077", False),
        ("A part of one", "q=0077", False),
        ("A name", "q=Grace+Hopper", False),
        ("A number that was said", "q=said%3A555+0100", False),
        ("+1 555 010 0077", "status=failed", False),
    ],
)
def test_everybodys_views_tell_nobody_what_is_hidden_from_them(client, boss, name, query, is_shown):
    make_view(name, query)
    assert names(client) == [name]
    client.force_login(make_staff("view_call", "listen_call", "share_views"))
    assert (names(client) == [name]) is is_shown
    assert client.get(VIEWS).context["cl"].result_count == is_shown


def test_whoever_may_not_read_comments_has_no_view_of_them(client, boss):
    make_view("Waiting", "comments=open")
    assert names(client) == []
    client.force_login(make_staff("view_call", "listen_call"))
    assert names(client) == ["Waiting"]


def test_ones_own_search_is_ones_own_to_see(client):
    user = make_staff("view_call")
    client.force_login(user)
    save(client, name="Hers", query="q=%2B15550100077")
    assert names(client, "mine") == ["Hers"]
