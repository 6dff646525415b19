"""Erasing calls on purpose, in the admin and by `erase_call`: shown before, with a reason, and a line stays."""

import threading
from io import StringIO

import pytest
from django.contrib.messages import get_messages
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from calls.models import AudioChunk, Call, Erasure, RecordingAccess, Review, Turn
from calls.recordings.retention import erase
from calls.reviews.answering import submit
from tests.support.factories import (
    make_digit,
    make_event,
    make_live_call,
    make_recording,
    make_review,
    make_staff,
    make_stream,
    make_turn,
)


pytestmark = pytest.mark.django_db(transaction=True)
LIST, ERASE = "/admin/calls/call/", "/admin/calls/call/erase/"


@pytest.fixture
def call():
    call = make_recording(seconds=40, notes="wants to be forgotten")
    make_digit(call.streams.get(), "7")
    make_event(call)
    return call


@pytest.fixture
def eraser(client):
    user = make_staff("view_call", "erase_call")
    client.force_login(user)
    return user


def url(*calls):
    return f"{ERASE}?" + "&".join(f"call={call.pk}" for call in calls)


def text(response):
    return response.content.decode()


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_what_would_go_and_what_stays_is_shown_first(client, eraser, call):
    html = text(client.get(url(call)))
    for line in ("40 s of recordings (0.3 MB stored)", "1 pressed key", "1 event", "1 note", "numbers, the name"):
        assert line in html
    assert "when, by whom and why; and who had listened to it" in html
    assert Call.objects.exists()


def test_no_query_sums_the_audio_of_several_calls_at_once(client, eraser, call):
    other = make_recording()
    with CaptureQueriesContext(connection) as queries:
        assert "42 s of recordings (0.3 MB stored)" in text(client.get(url(call, other)))
    assert sum("SUM(" in query["sql"] for query in queries) == 2


def test_a_call_is_erased_and_a_line_stays_with_who_and_why(client, eraser, call):
    RecordingAccess.objects.create(call=call, call_sid=call.sid, user=eraser, kind="listen")
    response = client.post(url(call), {"what": "all", "reason": "asked for"})
    assert (response["Location"], said(response)) == (LIST, ["1 call erased."])
    erasure = Erasure.objects.get()
    assert (erasure.call_sid, erasure.user, erasure.reason, erasure.audio_only) == (
        call.sid,
        eraser,
        "asked for",
        False,
    )
    assert not Call.objects.exists()
    assert RecordingAccess.objects.get().call_sid == call.sid


def test_only_the_recording_goes_if_that_is_chosen(client, eraser, call):
    response = client.post(url(call), {"what": "audio", "reason": "asked for"})
    assert response["Location"] == f"{LIST}{call.pk}/change/"
    assert (Call.objects.get().notes, AudioChunk.objects.count()) == ("wants to be forgotten", 0)
    assert Erasure.objects.get().audio_only


def test_what_reviewers_wrote_goes_with_the_audio_that_it_may_quote_and_their_scores_stay(client, eraser, call):
    review = make_review(call, answers=[5, True, "He said that his number is 42"])
    assert "1 reviewer&#x27;s answer in words" in text(client.get(url(call)))
    client.post(url(call), {"what": "audio", "reason": "asked for"})
    assert [answer.value for answer in review.answers.order_by("question__position")] == [5, True]
    assert Review.objects.get().score == 100


@pytest.mark.parametrize("form", [{"what": "all"}, {"what": "all", "reason": "  "}, {"reason": "asked for"}])
def test_without_a_reason_and_a_choice_nothing_is_erased(client, eraser, call, form):
    assert client.post(url(call), form).status_code == 200
    assert Call.objects.exists()
    assert not Erasure.objects.exists()


def test_several_calls_are_chosen_in_the_list(client, eraser, call):
    other = make_recording()
    form = {"action": "erase_selected", "_selected_action": [call.pk, other.pk]}
    where = client.post(LIST, form)["Location"]
    assert "Erase 2 calls" in text(client.get(where))
    client.post(where, {"what": "all", "reason": "asked for"})
    assert (Call.objects.count(), Erasure.objects.count()) == (0, 2)


def test_a_call_that_runs_is_not_erased(client, eraser, call):
    live = make_live_call()
    make_stream(live)
    assert "1 more call is still running" in text(client.get(url(call, live)))
    client.post(url(call, live), {"what": "all", "reason": "asked for"})
    assert Call.objects.get() == live


def test_a_running_call_alone_is_said_to_be_and_nothing_is_offered(client, eraser):
    live = make_live_call()
    for response in (client.get(url(live)), client.post(url(live), {"what": "all", "reason": "asked for"})):
        html = text(response)
        assert "This call is still running, and cannot be erased yet." in html
        assert 'type="submit"' not in html.partition('class="call-ask"')[2].partition("</form>")[0]
        assert "<h1>Erase: +" in html
    assert response.context["back_url"] == f"{LIST}{live.pk}/change/"
    assert Call.objects.get() == live


def test_a_call_that_is_gone_is_said_to_be(client, eraser):
    assert "There is no such call" in text(client.get(f"{ERASE}?call=1&call=x&call={'9' * 40}"))
    assert client.post(f"{ERASE}?call=1", {"what": "all", "reason": "asked for"}).status_code == 200


def test_without_the_permission_nothing_can_be_erased_or_is_offered(client, call):
    client.force_login(make_staff("view_call", "change_call", "listen_call", "download_call", "place_call"))
    assert client.post(url(call), {"what": "all", "reason": "asked for"}).status_code == 403
    assert "Erase…" not in text(client.get(f"{LIST}{call.pk}/change/")) + text(client.get(LIST))
    client.post(LIST, {"action": "erase_selected", "_selected_action": [call.pk]})
    assert Call.objects.exists()


def test_a_calls_page_leads_to_erasing_it_once_it_is_over(client, eraser, call):
    assert f'href="{url(call)}"' in text(client.get(f"{LIST}{call.pk}/change/"))
    assert "Erase…" not in text(client.get(f"{LIST}{make_live_call().pk}/change/"))


def test_whole_numbers_are_for_those_who_may_see_them(client, eraser, call):
    assert call.from_number not in text(client.get(url(call)))


# --- the command


def run(*arguments):
    out = StringIO()
    call_command("erase_call", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_what_would_go_and_changes_nothing(call):
    out = run(call.sid, "--reason", "asked for")
    assert "40 s of recordings" in out
    assert out.endswith("Nothing was changed. Say --yes to erase it.\n")
    assert Call.objects.exists()


def test_the_command_erases_by_callsid(call):
    out = run(call.sid, "--reason", "asked for", "--yes")
    assert out.endswith("Erased 1 call, 320000 bytes of audio.\n")
    assert (Call.objects.count(), Erasure.objects.get().reason) == (0, "asked for")


def test_the_command_erases_only_the_audio(call):
    assert "Erased the audio of 1 call" in run(call.sid, "--reason", "asked for", "--audio-only", "--yes")
    assert (Call.objects.count(), AudioChunk.objects.count()) == (1, 0)


def test_the_command_explains_what_it_cannot_erase(call):
    sid, live = call.sid, make_live_call()
    run(sid, "--reason", "asked for", "--yes")
    for wrong, why in ((sid, "was erased already"), (live.sid, "is still running"), ("CA1", "There is no call CA1")):
        with pytest.raises(CommandError, match=why):
            run(wrong, "--reason", "asked for", "--yes")
    with pytest.raises(CommandError, match="Give a reason"):
        run(live.sid, "--reason", " ", "--yes")


# --- at the same time as others --------------------------------------------------------------------------------------


@pytest.fixture
def meanwhile():
    """Does something in a thread of its own, with a connection of its own; the list holds what it raises."""
    threads, errors = [], []

    def does(what):
        try:
            what()
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    def start(what):
        threads.append(threading.Thread(target=does, args=[what]))
        threads[-1].start()
        while threads[-1].is_alive() and not somebody_waits():
            threads[-1].join(0.01)
        return errors

    yield start
    for thread in threads:
        thread.join()
    assert errors == []


def somebody_waits():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0


@pytest.mark.postgres
def test_whoever_measures_a_call_that_is_being_erased_and_who_erases_it_do_not_wait_for_each_other(call, meanwhile):
    make_turn(call.streams.get())
    with transaction.atomic():
        Call.objects.select_for_update().get(pk=call.pk)
        meanwhile(lambda: erase(call, "at the caller's request"))
        Turn.objects.filter(stream__call=call.pk).delete()


@pytest.mark.postgres
def test_whoever_submits_a_review_of_a_call_that_is_being_erased_and_who_erases_it_do_not_wait_for_each_other(
    call, meanwhile
):
    review = make_review(call, submitted_at=None, answers=[5, True])
    with transaction.atomic():
        Call.objects.select_for_update().get(pk=call.pk)
        meanwhile(lambda: submit(review))
        erase(call, "at the caller's request")
    assert not Review.objects.exists()
