"""Stepping into a running call from its page: a call in this process, asked by the admin's views over the layer."""

import asyncio
import re

import pytest
from asgiref.sync import sync_to_async
from django.contrib.messages import get_messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from calls.media.audio import mulaw_to_pcm16, tone, wav_header
from calls.models import Call, Sound
from calls.server.control import NoAnswer, NotLive, Objection, Remote
from calls.supervision import work
from tests.support.factories import make_call, make_live_call, make_staff, make_stream
from tests.support.line import Line, stored, until


pytestmark = pytest.mark.django_db
SCRIPT = {"Accept": "application/json"}
WAV = wav_header(8000, 1) + mulaw_to_pcm16(tone(440, 1000))


@pytest.fixture
def supervisor(client):
    user = make_staff("view_call", "supervise_call", "see_numbers", username="ada")
    client.force_login(user)
    return user


class Asked:
    """What a call would be asked for, where none runs; and the answer."""

    def __init__(self):
        self.acts, self.answer = [], {"cleared_ms": 1240, "waits_ms": 0}

    async def ask(self, remote, act, **facts):
        self.acts.append((remote.call_sid, act, facts))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def asked(monkeypatch):
    """The process that holds the call is elsewhere, and takes the letters; its acts have tests of their own."""
    asked = Asked()
    monkeypatch.setattr(Remote, "_ask", lambda remote, act, **facts: asked.ask(remote, act, **facts))
    return asked


def url(call, name):
    return reverse("admin:calls_call_step_in", args=[call.pk, name])


def do(client, call, name, **fields):
    """As the page's script does it."""
    response = client.post(url(call, name), fields, headers=SCRIPT)
    assert response.status_code == 200
    return response.json()


def page(client, call):
    return client.get(reverse("admin:calls_call_change", args=[call.pk])).content.decode()


def said(response):
    return [(message.level_tag, str(message)) for message in get_messages(response.wsgi_request)]


# --- whom it is for ---------------------------------------------------------------------------------------------------


def test_the_panel_stands_on_a_running_calls_page_and_on_no_other(client, supervisor):
    assert 'id="call-step-in"' in page(client, make_live_call())
    for call in (make_call(), make_live_call(sid=None, status="queued")):
        assert 'id="call-step-in"' not in page(client, call)


@pytest.mark.parametrize("permissions", [("view_call", "listen_call", "place_call"), ("supervise_call",)])
@pytest.mark.parametrize("name", ["clear", "play", "hang-up", "redirect", "dance"])
def test_nobody_else_learns_that_a_call_exists(client, asked, permissions, name):
    client.force_login(make_staff(*permissions))
    known = client.post(url(make_live_call(), name))
    unknown = client.post(f"/admin/calls/call/999/step-in/{name}/")
    assert (known.status_code, unknown.status_code, asked.acts) == (403, 403, [])


def test_the_panel_is_not_shown_to_who_may_place_calls_only(client):
    client.force_login(make_staff("view_call", "place_call"))
    assert 'id="call-step-in"' not in page(client, make_live_call())


def test_a_form_of_another_site_does_nothing(supervisor, asked):
    other = Client(enforce_csrf_checks=True, headers={"X-Forwarded-Proto": "https"})
    other.force_login(supervisor)
    assert other.post(url(make_live_call(), "clear")).status_code == 403
    assert asked.acts == []


def test_a_call_that_we_only_listen_to_offers_nothing_that_its_caller_would_hear(client, supervisor):
    call = make_live_call()
    make_stream(call, bidirectional=False)
    found = re.findall(r'id="(call-listen|call-takeover|call-step-in)"', page(client, call))
    assert found == ["call-listen"]


def test_an_act_that_does_not_exist_is_not_found(client, supervisor):
    assert client.post(url(make_live_call(), "dance")).status_code == 404
    assert client.post("/admin/calls/call/999/step-in/clear/").status_code == 404


def test_a_page_with_the_panel_costs_one_query_more_however_many_sounds_there_are(
    client, django_assert_max_num_queries
):
    client.force_login(make_staff("view_call", "supervise_call", "view_sound"))
    call = make_live_call()
    page(client, call)
    with django_assert_max_num_queries(100) as queries:
        page(client, call)
    before = len(queries)
    for number in range(20):
        Sound.objects.create(name=f"Sound {number}", payload=b"\xff", samples=1)
    with django_assert_max_num_queries(before) as queries:
        assert "Sound 19" in page(client, call)
    assert not any('"calls_sound"."payload"' in query["sql"] for query in queries)


# --- what is asked, and what is said ----------------------------------------------------------------------------------


def test_what_plays_is_cleared(client, supervisor, asked):
    call = make_live_call()
    assert do(client, call, "clear") == {"tone": "good", "words": "Done: 1.2 s were cleared."}
    assert asked.acts == [(call.sid, "clear", {})]
    asked.answer = {"cleared_ms": 0}
    assert do(client, call, "clear")["words"] == "Nothing was playing."


def test_a_sound_that_ships_is_played(client, supervisor, asked):
    words = do(client, make_live_call(), "play", sound="shipped:beep")["words"]
    assert words == "Done: the caller hears “beep” (0.5 s) now."
    [(_, act, facts)] = asked.acts
    assert (act, facts["name"], len(facts["audio"])) == ("play", "beep", 4000)


def test_a_prepared_sound_is_played_behind_what_plays(client, asked):
    client.force_login(make_staff("view_call", "supervise_call", "view_sound"))
    made = Sound.objects.create(name="Hold the line", payload=tone(440, 1000), samples=8000)
    asked.answer = {"waits_ms": 3210}
    words = do(client, make_live_call(), "play", sound=f"own:{made.pk}")["words"]
    assert words == "Done: the caller hears “Hold the line” (1.0 s) in 3.2 s, after what is playing."
    assert asked.acts[0][2] == {"audio": tone(440, 1000), "name": "Hold the line"}


def test_a_prepared_sound_is_for_who_may_see_it(client, supervisor, asked):
    made = Sound.objects.create(name="Hold the line", payload=b"\xff", samples=1)
    call = make_live_call()
    assert "Hold the line" not in page(client, call)
    assert do(client, call, "play", sound=f"own:{made.pk}")["is_form"]
    assert asked.acts == []


def test_an_uploaded_file_is_played_under_its_name(client, supervisor, asked):
    do(client, make_live_call(), "play", file=SimpleUploadedFile("news.wav", WAV))
    assert (asked.acts[0][2]["name"], len(asked.acts[0][2]["audio"])) == ("news.wav", 8000)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Choose a sound or a file."),
        ({"sound": "own:17"}, "Somebody has deleted this sound meanwhile."),
        ({"sound": "shipped:caller"}, "Somebody has deleted this sound meanwhile."),
        ({"file": b"GIF89a"}, "This is not a sound file that can be read here: it has to be WAV or MP3."),
        ({"file": WAV, "sound": "shipped:beep"}, "Choose a sound or a file, not both."),
    ],
)
def test_what_cannot_be_played_is_said_and_nobody_is_asked(client, supervisor, asked, fields, words):
    if "file" in fields:
        fields = {**fields, "file": SimpleUploadedFile("news.wav", fields["file"])}
    assert do(client, make_live_call(), "play", **fields) == {"tone": "bad", "words": words, "is_form": True}
    assert asked.acts == []


@pytest.mark.parametrize(("waits", "words"), [(0, "now"), (2000, "in 2.0 s, after what is playing")])
def test_a_call_is_hung_up_after_what_plays(client, supervisor, asked, waits, words):
    asked.answer = {"waits_ms": waits}
    call = make_live_call()
    assert do(client, call, "hang-up")["words"] == f"Done: the call ends {words}."
    assert asked.acts == [(call.sid, "hang-up", {})]


def test_a_caller_is_connected_to_a_number_however_it_is_written(client, supervisor, asked):
    words = do(client, make_live_call(), "redirect", where="number", number="+1 (415) 555-0123", handler="x")["words"]
    assert words == "Done: the caller is connected to +14155550123 now."
    [(_, act, facts)] = asked.acts
    assert (act, facts["number"]) == ("dial", "+14155550123")


def test_who_sees_no_numbers_is_not_told_one_either(client, asked):
    client.force_login(make_staff("view_call", "supervise_call"))
    words = do(client, make_live_call(), "redirect", where="number", number="+14155550123")["words"]
    assert words == "Done: the caller is connected to +•••••••0123 now."


def test_a_caller_is_handed_over_to_another_handler(client, supervisor, asked):
    call = make_live_call()
    words = do(client, call, "redirect", where="handler", handler="voicemail", number="nonsense")["words"]
    assert words == "Done: the caller is connected to the handler voicemail now."
    assert asked.acts == [(call.sid, "hand-over", {"handler": "voicemail"})]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"where": "number"}, "To which number?"),
        ({"where": "number", "number": "+1 415 555"}, "“+1 415 555” cannot be called: it has too few digits."),
        ({"where": "handler"}, "To which handler?"),
        (
            {"where": "handler", "handler": "nobody"},
            "Select a valid choice. nobody is not one of the available choices.",
        ),
        ({}, "This field is required."),
    ],
)
def test_a_caller_is_connected_to_nobody_that_is_not_there(client, supervisor, asked, fields, words):
    found = do(client, make_live_call(), "redirect", **fields)
    assert (found["is_form"], found["words"].startswith(words), asked.acts) == (True, True, [])


@pytest.mark.parametrize(
    ("error", "tone", "words"),
    [
        (NotLive("the call has ended meanwhile"), "warn", "Nothing was done: the call has ended meanwhile."),
        (
            NoAnswer("the process that holds this call has not answered within 3 s"),
            "warn",
            "No answer: the process that holds this call has not answered within 3 s. "
            "It may have been done, or not; the timeline will say.",
        ),
        (Objection("this stream plays nothing"), "bad", "Not done: this stream plays nothing."),
    ],
)
def test_whether_it_reached_the_call_is_said(client, supervisor, asked, error, tone, words):
    asked.answer, call = error, make_live_call()
    assert do(client, call, "clear") == {"tone": tone, "words": words}
    [(level, message)] = said(client.post(url(call, "clear")))
    assert (level, message) == ({"warn": "warning", "bad": "error"}[tone], words)


def test_a_call_that_was_never_placed_is_asked_for_nothing(client, supervisor, asked):
    words = do(client, make_live_call(sid=None, status="queued"), "clear")["words"]
    assert (words, asked.acts) == ("Nothing was done: this call has not begun.", [])


# --- without a script -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["play", "hang-up", "redirect"])
def test_without_a_script_a_page_asks(client, supervisor, name):
    html = client.get(url(make_live_call(), name)).content.decode()
    assert re.search(r"<strong>[A-Z][a-z ]+\?</strong>", html)
    assert "No, go back" in html
    assert ('enctype="multipart/form-data"' in html) == (name == "play")


def test_without_a_script_the_calls_page_says_what_came_of_it(client, supervisor, asked):
    call = make_live_call()
    response = client.post(f"{url(call, 'clear')}?_changelist_filters=q%3Dx", {"click": "1"})
    back = reverse("admin:calls_call_change", args=[call.pk])
    assert response.headers["Location"] == f"{back}?_changelist_filters=q%3Dx"
    assert said(response) == [("success", "Done: 1.2 s were cleared.")]


def test_without_a_script_what_is_wrong_is_said_on_the_page(client, supervisor, asked):
    response = client.post(url(make_live_call(), "redirect"), {"where": "number", "number": "+1 415 555"})
    assert "cannot be called: it has too few digits" in response.content.decode()


def test_a_second_click_plays_nothing_twice(client, supervisor, asked):
    call = make_live_call()
    click = re.search(r'name="click" value="(\w+)"', client.get(url(call, "play")).content.decode())[1]
    for _ in range(2):
        response = client.post(url(call, "play"), {"sound": "shipped:beep", "click": click})
    assert len(asked.acts) == 1
    assert said(response)[-1] == ("warning", "You have done this just now; the timeline says what came of it.")


# --- a call that runs -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("process")
@pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
async def test_a_running_call_is_cleared_and_its_timeline_says_by_whom(async_client):
    user = await sync_to_async(make_staff)("view_call", "supervise_call", username="ada")
    await async_client.aforce_login(user)
    works = work.start()
    async with Line() as line:
        await line.sync()
        call = await until(lambda: Call.objects.filter(sid=line.call_sid, streams__lease_owner__gt="").first())
        response = await async_client.post(url(call, "clear"), headers=SCRIPT)
        assert response.json()["tone"] == "good"
        event = await until(lambda: call.events.filter(source="control").select_related("user").first())
        assert (event.kind, event.user) == ("clear", user)
    response = await async_client.post(url(call, "clear"), headers=SCRIPT)
    assert response.json()["words"].startswith("Nothing was done: ")
    for each in works:
        each.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    assert await stored(lambda: call.events.filter(source="control", kind="clear").exists())
