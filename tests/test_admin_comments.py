"""Comments on moments of a call: who may write, read, resolve and delete them, and where they are found and go."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from calls.admin.comment_rows import saying
from calls.models import Call, Comment, Erasure
from calls.recordings.retention import Content, erase
from tests.conftest import HTTPS
from tests.support.factories import make_call, make_comment, make_recording, make_staff


pytestmark = pytest.mark.django_db
LIST = "/admin/calls/call/"
JSON = {"Accept": "application/json"}


@pytest.fixture
def ada(client):
    """May listen, and sees whole numbers."""
    user = make_staff("view_call", "listen_call", "see_numbers", username="ada")
    client.force_login(user)
    return user


@pytest.fixture
def call():
    """Of two hours, of which no audio is stored."""
    return make_call(audio_samples=7200 * 8000)


def own(comment):
    """The address of a comment."""
    return f"{LIST}{comment.call_id}/comments/{comment.pk}/"


def page(client, call):
    response = client.get(f"{LIST}{call.pk}/change/")
    assert response.status_code == 200
    return response.content.decode()


def write(client, call, text="Listen to this", at="1:23.4", **facts):
    return client.post(f"{LIST}{call.pk}/comments/", {"text": text, "at": at}, **facts)


def do(client, comment, what, **fields):
    return client.post(own(comment), {"do": what, **fields})


def found(client, **query):
    return {call.pk for call in client.get(LIST, query).context["cl"].result_list}


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_comment_lies_at_its_moment_with_who_and_when(client, ada, call):
    response = write(client, call)
    comment = Comment.objects.get()
    assert (comment.call, comment.at_samples, comment.text, comment.user) == (call, 667_200, "Listen to this", ada)
    assert response["Location"] == f"{LIST}{call.pk}/change/#comment-{comment.pk}"
    html = page(client, call)
    assert '<a class="call-at" href="#t=83.40"' in html
    assert '<bdi class="call-comment-who">ada</bdi>' in html
    assert '<bdi class="call-text">Listen to this</bdi>' in html


@pytest.mark.parametrize(
    ("typed", "samples"),
    [("", None), ("0", 0), ("83.4", 667_200), ("1:23,4", 667_200), ("1:02:03.5", 29_788_000), (" 0:07 ", 56_000)],
)
def test_a_moment_is_typed_as_people_write_it(client, ada, call, typed, samples):
    write(client, call, at=typed)
    assert Comment.objects.get().at_samples == samples


@pytest.mark.parametrize("typed", ["soon", "-1", "1:2:3:4", "٣", "1e9", "9" * 40, "nan"])
def test_a_moment_that_is_none_is_said_to_and_the_text_comes_back(client, ada, call, typed):
    html = write(client, call, text="a long story", at=typed).content.decode()
    assert "Write the moment like 1:23.4" in html
    assert "a long story" in html
    assert not Comment.objects.exists()


def test_a_moment_behind_the_end_is_said_to(client, ada, call):
    assert "The recording is only 2:00:00.0 long." in write(client, call, at="2:00:01.1").content.decode()
    assert write(client, call, at="2:00:00.9").status_code == 302


def test_a_script_is_told_in_a_word_what_is_wrong(client, ada, call):
    response = write(client, call, text=" \r\n ", headers=JSON)
    assert (response.status_code, response.json()["error"]) == (400, "Write something first.")


def test_lines_stay_lines_and_what_no_database_takes_is_replaced(client, ada, call):
    write(client, call, text="one\r\ntwo\x00\n")
    assert Comment.objects.get().text == "one\ntwo\ufffd"


def test_ten_thousand_characters_fit_and_no_more(client, ada, call):
    write(client, call, text="ä" * 10_000)
    assert len(Comment.objects.get().text) == 10_000
    assert "at most 10000 characters" in write(client, call, text="ä" * 10_001).content.decode()


def test_a_call_that_runs_or_has_no_recording_is_commented_on_too(client, ada):
    live = make_call(ended_at=None, status="in-progress")
    write(client, live, at="")
    assert live.comments.count() == 1
    assert "Listen to this" in page(client, live)


def test_a_call_that_was_erased_meanwhile_is_not_found(client, ada, call):
    pk = call.pk
    erase(call, "asked for")
    assert client.post(f"{LIST}{pk}/comments/", {"text": "too late", "at": ""}).status_code == 404


def test_a_post_from_elsewhere_is_refused(call):
    client = Client(enforce_csrf_checks=True, headers=HTTPS)
    client.force_login(make_staff("view_call", "listen_call"))
    assert write(client, call).status_code == 403


def test_the_way_back_keeps_the_list_as_it_was_filtered(client, ada, call):
    address = f"{LIST}{call.pk}/comments/?_changelist_filters=status%3Dbusy"
    response = client.post(address, {"text": "x", "at": ""})
    assert response["Location"].startswith(f"{LIST}{call.pk}/change/?_changelist_filters=status%3Dbusy#comment-")


# --- who ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("permissions", [["view_call"], ["listen_call"]])
def test_whoever_may_not_listen_neither_reads_nor_writes(client, call, permissions):
    client.force_login(make_staff(*permissions))
    comment = make_comment(call, "quoted")
    assert write(client, call).status_code == 403
    assert client.get(f"{LIST}{call.pk}/comments/", headers=JSON).status_code == 403
    assert do(client, comment, "resolve").status_code == 403
    assert Comment.objects.get().resolved_at is None


def test_whoever_may_not_listen_sees_nothing_of_comments(client, call):
    client.force_login(make_staff("view_call", "see_numbers"))
    make_comment(call, "a quote of hers")
    assert "a quote of hers" not in page(client, call)
    html = client.get(LIST).content.decode()
    assert "1 comment" not in html
    assert "With open comments" not in html
    assert found(client, q="a quote of hers") == set()
    other = make_call()
    assert found(client, comments="open") == {call.pk, other.pk}, "as if there were no such filter"


def test_a_comment_of_another_call_is_not_found(client, ada, call):
    comment = make_comment(make_call())
    assert client.post(f"{LIST}{call.pk}/comments/{comment.pk}/", {"do": "resolve"}).status_code == 404


def test_numbers_and_names_in_comments_are_hidden_from_those_who_do_not_see_them(client, ada):
    call = make_recording(caller_name="Grace Hopper")
    make_comment(call, "Call Grace Hopper back at +1 555 010 0077 or +15550100001")
    assert "+1 555 010 0077" in page(client, call)
    client.force_login(make_staff("view_call", "listen_call"))
    fresh = client.get(f"{LIST}{call.pk}/comments/", headers=JSON).json()["html"]
    for html in (page(client, call), fresh):
        assert "Call ••• back at" in html
        assert "010 0077" not in html
        assert "Hopper" not in html


def test_nothing_that_staff_write_becomes_markup(client, ada, call):
    make_comment(
        call, "</textarea><script>alert(1)</script>\u202egnp.exe", name="<img src=x onerror=alert(1)>", user=ada
    )
    html = page(client, call)
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert html.count("gnp.exe") == 3, "the text, the field that edits it, and what it was"


# --- resolving, changing, deleting ------------------------------------------------------------------------------------


def test_a_comment_is_resolved_by_anyone_who_may_listen_and_reopened(client, ada, call):
    comment = make_comment(call)
    assert do(client, comment, "resolve")["Location"] == f"{LIST}{call.pk}/change/#comment-{comment.pk}"
    comment.refresh_from_db()
    assert comment.resolved_by == ada
    assert "Resolved by ada" in page(client, call)
    do(client, comment, "reopen")
    comment.refresh_from_db()
    assert (comment.resolved_at, comment.resolved_by) == (None, None)


def test_of_two_who_resolve_it_is_the_firsts(client, ada, call):
    first = make_staff()
    comment = make_comment(call)
    comment.resolve(first, timezone.now())
    do(client, comment, "resolve")
    comment.refresh_from_db()
    assert comment.resolved_by == first


def test_ones_own_comment_is_changed(client, ada, call):
    comment = make_comment(call, "old\nlines", user=ada)
    do(client, comment, "change", text="new\r\nlines", was="old\r\nlines")
    comment.refresh_from_db()
    assert (comment.text, comment.edited_at is None) == ("new\nlines", False)
    assert "edited" in page(client, call)


def test_two_windows_lose_nothing_of_a_comment(client, ada, call):
    comment = make_comment(call, "the other window's", user=ada)
    html = do(client, comment, "change", text="mine", was="what it was").content.decode()
    assert "It says now: “the other window&#x27;s”" in html
    assert ">\nmine</textarea>" in html
    assert 'name="was" value="the other window&#x27;s"' in html, "who has read it may save again"
    comment.refresh_from_db()
    assert comment.text == "the other window's"


def test_what_somebody_has_resolved_is_not_changed_or_taken_back(client, ada, call):
    comment = make_comment(call, "as it was", user=ada, resolved_at=timezone.now())
    assert (
        "resolved this comment meanwhile" in do(client, comment, "change", text="new", was="as it was").content.decode()
    )
    do(client, comment, "delete")
    assert Comment.objects.get().text == "as it was"


def test_ones_own_comment_is_taken_back_without_a_trace(client, ada, call):
    do(client, make_comment(call, user=ada), "delete")
    assert not Comment.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("what", "resolved_at"), [("change", None), ("change", timezone.now()), ("delete", None)])
def test_other_peoples_comments_are_neither_changed_nor_deleted(client, ada, call, what, resolved_at):
    comment = make_comment(call, "theirs", user=make_staff(), resolved_at=resolved_at)
    response = do(client, comment, what, text="mine", was="theirs")
    assert (response.status_code, Comment.objects.get().text) == (403, "theirs")
    assert "Edit</summary>" not in page(client, call)


def test_who_sees_a_number_masked_does_not_write_the_mask(client, call):
    user = make_staff("view_call", "listen_call")
    client.force_login(user)
    comment = make_comment(call, "at +1 555 010 0077", user=user)
    assert "Edit</summary>" not in page(client, call)
    assert do(client, comment, "change", text="x", was="at +1 555 010 0077").status_code == 403


def test_who_may_deletes_another_persons_comment_and_that_is_on_record(client, call):
    client.force_login(make_staff("view_call", "listen_call", "delete_comment", username="boss"))
    comment = make_comment(call, "a secret", resolved_at=timezone.now())
    assert "Delete…</summary>" in page(client, call)
    do(client, comment, "delete")
    assert not Comment.objects.exists()
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.user.username) == (str(call.pk), "boss")
    history = client.get(f"{LIST}{call.pk}/history/").content.decode()
    assert "Deleted a comment of ada." in history
    assert "a secret" not in history


def test_what_is_done_to_a_comment_that_is_gone_is_not_found(client, ada, call):
    comment = make_comment(call, user=ada)
    client.post(own(comment), {"do": "delete"})
    assert do(client, comment, "resolve").status_code == 404


def test_who_had_to_log_in_first_is_led_to_the_page(client, ada, call):
    comment = make_comment(call)
    assert client.get(own(comment))["Location"] == f"{LIST}{call.pk}/change/#comment-{comment.pk}"
    assert client.get(f"{LIST}{call.pk}/comments/")["Location"] == f"{LIST}{call.pk}/change/#call-comments"


def test_a_comment_keeps_its_authors_name(client, ada, call):
    user = make_staff("view_call", "listen_call", username="grace")
    client.force_login(user)
    write(client, call)
    user.delete()
    client.force_login(ada)
    assert '<bdi class="call-comment-who">grace</bdi>' in page(client, call)
    assert Comment.objects.get().user is None


# --- the page and the list --------------------------------------------------------------------------------------------


def test_a_page_takes_only_what_is_new(client, ada, call):
    address = f"{LIST}{call.pk}/comments/"
    first = client.get(address, headers=JSON).json()
    assert client.get(address, {"version": first["version"]}, headers=JSON).json()["html"] == ""
    comment = make_comment(call, "and this")
    second = client.get(address, {"version": first["version"]}, headers=JSON).json()
    assert "and this" in second["html"]
    comment.resolve(ada, timezone.now())
    third = client.get(address, {"version": second["version"]}, headers=JSON)
    assert "1 resolved" in third.json()["html"]
    assert third["Cache-Control"] == "no-store, private"


def test_the_latest_come_last_and_resolved_ones_are_folded(client, ada, call):
    make_comment(call, "second word", at_samples=0)
    make_comment(call, "resolved word", resolved_at=timezone.now())
    make_comment(call, "third word")
    html = page(client, call)
    assert (
        html.index("call-resolved") < html.index("resolved word") < html.index("second word") < html.index("third word")
    )


def test_of_very_many_only_the_latest_are_shown(client, ada, call, monkeypatch):
    monkeypatch.setattr("calls.admin.comment_rows.MOST", 2)
    for number in range(3):
        make_comment(call, f"number {number}")
    html = page(client, call)
    assert ["number 0" in html, "number 1" in html, "number 2" in html] == [False, True, True]
    assert "Only the latest comments are shown." in html


def test_comments_cost_one_query_however_many_they_are(client, ada, call, django_assert_num_queries):
    address = f"{LIST}{call.pk}/comments/"
    client.get(address)
    for number in range(10):
        make_comment(
            call, user=ada, resolved_at=timezone.now() if number % 2 else None, resolved_by=[None, ada][number % 2]
        )
    # Session, user, two of permissions, the call.
    with django_assert_num_queries(6):
        client.get(address, headers=JSON)


def test_the_list_says_how_many_are_open_and_finds_their_calls(client, ada, call):
    make_comment(call)
    make_comment(call)
    make_comment(make_call(), resolved_at=timezone.now())
    html = client.get(LIST).content.decode()
    assert "2 comments</span>" in html
    assert "1 comment<" not in html
    assert found(client, comments="open") == {call.pk}


@pytest.mark.parametrize("typed", ["Kept WAITING", "kept"])
def test_a_call_is_found_by_what_a_comment_says(client, ada, call, typed):
    make_comment(call)
    make_comment(make_call(), "all is well")
    assert found(client, q=typed) == {call.pk}


def test_two_characters_find_a_comment_that_says_nothing_else(client, ada, call):
    make_comment(call, "OK")
    make_comment(make_call(), "looks good")
    assert found(client, q="ok") == {call.pk}


@pytest.mark.parametrize(("typed", "is_found"), [("reach her", True), ("0077", True), ("555 010 0077", False)])
def test_nobody_finds_a_number_in_a_comment_that_they_may_not_see(client, call, typed, is_found):
    client.force_login(make_staff("view_call", "listen_call"))
    make_comment(call, "reach her at +1 555 010 0077")
    assert (found(client, q=typed) == {call.pk}) is is_found


# --- where they go ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audio_only", [True, False])
def test_comments_go_with_the_audio_that_they_may_quote(call, audio_only):
    make_comment(call)
    other = make_comment(make_call())
    assert "1 comment" in Content.of([call]).lines(audio_only=audio_only)
    erase(call, "asked for", audio_only=audio_only)
    assert list(Comment.objects.all()) == [other]
    assert Erasure.objects.get().audio_only is audio_only


def test_who_erases_only_the_recording_is_told_that_comments_go_too(client, call):
    client.force_login(make_staff("view_call", "erase_call"))
    make_comment(call)
    html = client.get(f"{LIST}erase/?call={call.pk}").content.decode()
    assert "only the recording, and with it its words and the comments" in html


def test_a_call_that_gets_its_sid_late_keeps_its_comments():
    pending = make_call(sid=None, direction="outbound-api", status="queued", ended_at=None)
    comment = make_comment(pending)
    known = make_call(direction="outbound-api")
    Call.objects.claim(pending.pk, known.sid)
    comment.refresh_from_db()
    assert comment.call == known


def test_an_exported_call_has_its_comments(call, tmp_path):
    make_comment(call, "for the file")
    call_command("export_call", call.sid, "--to", str(tmp_path), verbosity=0)
    assert "for the file" in (tmp_path / f"{call.sid}.json").read_text()


# --- what the database holds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [{"text": ""}, {"resolved_by": 1}])
def test_the_database_takes_no_comment_that_makes_no_sense(call, facts):
    user = User.objects.create_user("eve")
    facts = {"resolved_by": user} if "resolved_by" in facts else facts
    with pytest.raises(IntegrityError), transaction.atomic():
        make_comment(call, **facts)


@pytest.fixture
def many(db):
    """Of three thousand calls each has a comment, and a few of those are open."""
    calls = Call.objects.bulk_create(Call(sid=f"CA5eed{number:028x}") for number in range(3000))
    now = timezone.now()
    Comment.objects.bulk_create(
        Comment(call=call, text=f"remark {number}", name="ada", resolved_at=None if number < 5 else now)
        for number, call in enumerate(calls)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE calls_comment")
        if connection.vendor == "postgresql":
            cursor.execute("SELECT gin_clean_pending_list('comment_search_text')")
    return calls


def test_the_database_names_the_index_of_each_question(many):
    assert "comment_by_call" in Comment.objects.filter(call=many[0]).order_by("-pk")[:501].explain()
    assert "comment_open" in Comment.objects.open().filter(call__in=many[:50]).order_by().values_list("call").explain()
    filtered = Call.objects.filter(pk__in=Comment.objects.open().order_by().values("call"))
    assert "comment_open" in filtered.order_by("-created_at", "-pk")[:51].explain()


@pytest.mark.postgres
@pytest.mark.parametrize("term", ["mark 2718", "ok"])
def test_the_database_names_the_index_of_a_search_in_comments(many, term):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "comment_search_text" in saying(term).explain()
