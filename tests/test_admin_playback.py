"""recording.wav: ranges as browsers ask for them, who may have it, and that every listen is on record first."""

import datetime as dt

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission
from django.urls import reverse

from calls.admin.playback import Unsatisfiable, byte_range
from calls.media import audio
from calls.models import Call, RecordingAccess
from calls.recordings.timeline import Recording
from tests.support.factories import make_call, make_chunk, make_live_call, make_recording, make_staff, make_stream


pytestmark = pytest.mark.django_db


def url(call, query=""):
    return reverse("admin:calls_call_recording", args=[call.pk]) + query


@pytest.fixture
def listener(client):
    user = make_staff("view_call", "listen_call")
    client.force_login(user)
    return user


@pytest.fixture
def call():
    return make_recording(seconds=1)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-", (0, 99)),
        ("bytes=10-19", (10, 19)),
        ("bytes=90-200", (90, 99)),
        ("bytes=-10", (90, 99)),
        ("bytes=-500", (0, 99)),
        ("bytes=99-99", (99, 99)),
        ("", None),
        ("bytes=-", None),
        ("bytes=20-10", None),
        ("bytes=0-1,5-6", None),
        ("frames=0-1", None),
        ("bytes=١-٢", None),
        ("bytes=1_0-", None),
    ],
)
def test_a_range_is_read_as_rfc_9110_has_it(header, expected):
    assert byte_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end_cannot_be_satisfied(header):
    with pytest.raises(Unsatisfiable):
        byte_range(header, 100)


def test_the_whole_recording_is_a_stereo_wav(client, listener, call):
    response = client.get(url(call))
    body = response.getvalue()
    assert (response.status_code, response["Content-Type"]) == (200, "audio/wav")
    assert response["Content-Length"] == str(len(body)) == str(44 + 8000 * 4)
    assert body[:44] == audio.wav_header(8000, 2)
    assert body[44:] == audio.stereo(audio.tone(440, 250) * 4, b"\xff" * 8000)


def test_a_range_is_answered_with_206_and_its_bytes(client, listener, call):
    whole = client.get(url(call)).getvalue()
    response = client.get(url(call), headers={"Range": "bytes=1000-1999"})
    assert response.status_code == 206
    assert response["Content-Range"] == "bytes 1000-1999/32044"
    assert response.getvalue() == whole[1000:2000]


def test_a_range_beyond_the_end_is_answered_with_416(client, listener, call):
    response = client.get(url(call), headers={"Range": "bytes=32044-"})
    assert (response.status_code, response["Content-Range"]) == (416, "bytes */32044")
    assert not RecordingAccess.objects.exists()


def test_head_has_the_length_and_no_body_and_is_no_listen(client, listener, call):
    response = client.head(url(call))
    assert (response["Content-Length"], response["Accept-Ranges"], response.content) == ("32044", "bytes", b"")
    assert not RecordingAccess.objects.exists()


def test_if_range_with_another_version_gets_the_whole(client, listener, call):
    etag = client.head(url(call))["ETag"]
    headers = {"Range": "bytes=0-9", "If-Range": etag}
    assert client.get(url(call), headers=headers).status_code == 206
    assert client.get(url(call), headers={**headers, "If-Range": '"other"'}).status_code == 200


def test_a_running_calls_recording_has_no_version(client, listener):
    stream = make_stream(make_live_call(), length=8)
    make_chunk(stream, b"abcdefgh")
    response = client.get(url(stream.call), headers={"Range": "bytes=0-9", "If-Range": '"any"'})
    assert response.status_code == 200
    assert "ETag" not in response


def test_a_running_call_can_be_asked_for_as_long_as_it_was(client, listener):
    stream = make_stream(make_live_call(), length=8)
    make_chunk(stream, b"abcdefgh")
    assert client.get(url(stream.call, "?until=5&encoding=mulaw")).getvalue()[44::2] == b"abcde"


@pytest.mark.parametrize("until", ["", "-1", "x", "٣"])
def test_nonsense_for_until_is_the_whole(client, listener, call, until):
    assert client.get(url(call, f"?until={until}"))["Content-Length"] == "32044"


def test_one_lane_as_mulaw_is_what_was_stored(client, listener, call):
    body = client.get(url(call, "?channel=inbound&encoding=mulaw")).getvalue()
    assert body == audio.wav_header(8000, 1, "mulaw") + audio.tone(440, 250) * 4


def test_a_call_without_audio_is_an_empty_wav(client, listener):
    assert client.get(url(make_call())).getvalue() == audio.wav_header(0, 2)


def test_nothing_of_a_recording_is_kept_by_browsers_or_proxies(client, listener, call):
    response = client.get(url(call))
    assert response["Cache-Control"] == "no-store, private"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response["Content-Security-Policy"]


def test_whoever_may_only_view_calls_hears_nothing(client, call):
    client.force_login(make_staff("view_call", "download_call"))
    assert client.get(url(call)).status_code == 403
    assert client.head(url(call)).status_code == 403


def test_whoever_may_only_listen_downloads_nothing(client, listener, call):
    assert client.get(url(call, "?download=1")).status_code == 403


def test_who_is_not_logged_in_is_asked_to(client, call):
    assert client.get(url(call)).status_code == 302


def test_who_is_no_staff_is_asked_to_log_in_as_staff(client, call):
    client.force_login(make_staff("listen_call", is_staff=False))
    assert client.get(url(call)).status_code == 302


def test_an_unknown_call_is_not_found(client, listener):
    assert client.get("/admin/calls/call/987654/recording.wav").status_code == 404


def test_a_recording_cannot_be_posted_to(client, listener, call):
    assert client.post(url(call)).status_code == 405


@pytest.mark.parametrize(("may_see", "ending"), [(["see_numbers"], "-14155550123"), ([], "")])
def test_a_download_is_named_by_when_it_was_and_the_number_for_those_who_may_see_it(client, call, may_see, ending):
    client.force_login(make_staff("download_call", *may_see))
    Call.objects.filter(pk=call.pk).update(from_number="+14155550123")
    named = f'attachment; filename="call-{call.pk}-2026-03-14-150926{ending}.wav"'
    assert client.get(url(call, "?download=1"))["Content-Disposition"] == named


def test_a_listen_is_on_record_before_the_first_byte(client, listener, call):
    response = client.get(url(call), REMOTE_ADDR="192.0.2.7")
    access = RecordingAccess.objects.get()
    assert (access.call, access.user, access.kind) == (call, listener, "listen")
    assert (access.address, access.detail) == ("192.0.2.7", "stereo pcm16")
    response.close()


def test_a_players_ranges_are_one_listen(client, listener, call):
    for first in (0, 1000, 0, 20000):
        client.get(url(call), headers={"Range": f"bytes={first}-"})
    assert RecordingAccess.objects.count() == 1


def test_half_an_hour_later_it_is_another_listen(client, listener, call):
    client.get(url(call))
    RecordingAccess.objects.update(at=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=31))
    client.get(url(call))
    assert RecordingAccess.objects.count() == 2


def test_two_people_are_two_listens(client, listener, call):
    client.get(url(call))
    client.force_login(make_staff("listen_call"))
    client.get(url(call))
    assert RecordingAccess.objects.values("user").distinct().count() == 2


def test_every_download_is_on_record_and_its_continuation_is_the_same(client, call):
    client.force_login(make_staff("download_call"))
    for headers in ({}, {"Range": "bytes=1000-"}, {}):
        client.get(url(call, "?download=1"), headers=headers)
    assert list(RecordingAccess.objects.values_list("kind", flat=True)) == ["download", "download"]


def test_a_range_costs_a_fixed_number_of_queries(client, listener, call, django_assert_num_queries):
    client.get(url(call))
    # Session, user, two of permissions, the call, its streams, "listened lately?", the chunks, and what is sent
    # of them: a row, locked in a transaction, and changed.
    with django_assert_num_queries(12):
        client.get(url(call), headers={"Range": "bytes=0-999"}).getvalue()


@pytest.mark.django_db(transaction=True)
async def test_under_asgi_the_body_comes_in_pieces(async_client):
    user, call = await sync_to_async(_long_recording)()
    await async_client.aforce_login(user)
    response = await async_client.get(url(call))
    sizes = [len(piece) async for piece in response.streaming_content]
    assert response.is_async
    assert sizes == [32768, 262144, 25132]


def _long_recording():
    return make_staff("listen_call"), make_recording(seconds=10)


def test_the_length_on_the_page_is_the_files(client, listener, call):
    assert Recording.of(call).wav().size == int(client.head(url(call))["Content-Length"])


def ranges():
    return [access.ranges for access in RecordingAccess.objects.order_by("pk")]


def test_what_was_sent_to_be_heard_is_on_record_before_it_is_sent(client, listener):
    response = client.get(url(make_recording(seconds=40)))
    pieces = iter(response.streaming_content)
    assert ranges() == [[]]
    next(pieces)
    assert ranges() == [[[0, 15]]]
    assert sum(map(len, pieces)) > 32_000 * 30
    assert ranges() == [[[0, 40]]]


def test_ranges_that_were_heard_add_up(client, listener):
    call = make_recording(seconds=40)
    for first, last in [(10, 12), (30, 33), (11, 14)]:
        client.get(url(call), headers={"Range": f"bytes={44 + 32_000 * first}-{43 + 32_000 * last}"}).getvalue()
    assert ranges() == [[[10, 14], [30, 33]]]


def test_a_listener_who_jumps_all_over_the_place_leaves_a_list_of_a_hundred(client, listener):
    access = RecordingAccess.objects.create(kind="listen")
    for second in range(0, 500, 4):
        access.extend("ranges", second, second + 1)
    assert (len(access.ranges), access.ranges[0], access.ranges[-1]) == (100, [0, 101], [496, 497])


def test_the_calls_page_and_the_access_list_say_what_was_heard(client, listener):
    listener.user_permissions.add(Permission.objects.get(codename="view_recordingaccess"))
    call = make_recording(seconds=4)
    client.get(url(call), headers={"Range": "bytes=44-64043"}).getvalue()
    for path in (reverse("admin:calls_call_change", args=[call.pk]), "/admin/calls/recordingaccess/"):
        assert "0:00–0:02 sent" in client.get(path).content.decode()


def test_what_a_player_has_played_is_on_record_beside_what_was_sent(client, listener):
    call = make_recording(seconds=40)
    client.get(url(call)).getvalue()
    for ranges in (["0.0-4.2"], ["0.0-4.9", "30.1-33.0"]):
        assert client.post(reverse("admin:calls_call_played", args=[call.pk]), {"range": ranges}).status_code == 204
    access = RecordingAccess.objects.get()
    assert (access.played, access.ranges) == ([[0, 5], [30, 34]], [[0, 40]])
    assert "0:00–0:05, 0:30–0:34" in client.get(reverse("admin:calls_call_change", args=[call.pk])).content.decode()


@pytest.mark.parametrize("said", ["", "1", "x-y", "-1-2", "1e3-2", "9999999-9999999", "١-٢"])
def test_nonsense_of_a_player_is_not_on_record(client, listener, call, said):
    client.get(url(call)).getvalue()
    assert client.post(reverse("admin:calls_call_played", args=[call.pk]), {"range": said}).status_code == 204
    assert RecordingAccess.objects.get().played == []


def test_nobody_says_what_another_one_has_played(client, listener, call):
    client.get(url(call)).getvalue()
    played = reverse("admin:calls_call_played", args=[call.pk])
    for user, status in ((make_staff("view_call", "listen_call"), 204), (make_staff("view_call"), 403)):
        client.force_login(user)
        assert client.post(played, {"range": "0-5"}).status_code == status
    assert RecordingAccess.objects.get().played == []
