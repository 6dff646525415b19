"""recording.wav: ranges as browsers ask for them, whole and while the call runs."""

import pytest
from asgiref.sync import sync_to_async

from calls.files.ranges import Unsatisfiable, byte_range
from calls.media import audio
from calls.models import Call, RecordingAccess
from calls.recordings.rendering import Recording
from tests.support.factories import (
    make_call,
    make_chunk,
    make_live_call,
    make_recording,
    make_staff,
    make_stream,
    recording_url,
)


pytestmark = pytest.mark.django_db


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
    response = client.get(recording_url(call))
    body = response.getvalue()
    assert (response.status_code, response["Content-Type"]) == (200, "audio/wav")
    assert response["Content-Length"] == str(len(body)) == str(44 + 8000 * 4)
    assert body[:44] == audio.wav_header(8000, 2)
    assert body[44:] == audio.stereo(audio.tone(440, 250) * 4, b"\xff" * 8000)


def test_a_range_is_answered_with_206_and_its_bytes(client, listener, call):
    whole = client.get(recording_url(call)).getvalue()
    response = client.get(recording_url(call), headers={"Range": "bytes=1000-1999"})
    assert response.status_code == 206
    assert response["Content-Range"] == "bytes 1000-1999/32044"
    assert response.getvalue() == whole[1000:2000]


def test_a_range_beyond_the_end_is_answered_with_416(client, listener, call):
    response = client.get(recording_url(call), headers={"Range": "bytes=32044-"})
    assert (response.status_code, response["Content-Range"]) == (416, "bytes */32044")
    assert not RecordingAccess.objects.exists()


def test_head_has_the_length_and_no_body_and_is_not_a_listen(client, listener, call):
    response = client.head(recording_url(call))
    assert (response["Content-Length"], response["Accept-Ranges"], response.content) == ("32044", "bytes", b"")
    assert not RecordingAccess.objects.exists()


def test_if_range_with_another_version_gets_the_whole(client, listener, call):
    etag = client.head(recording_url(call))["ETag"]
    headers = {"Range": "bytes=0-9", "If-Range": etag}
    assert client.get(recording_url(call), headers=headers).status_code == 206
    assert client.get(recording_url(call), headers={**headers, "If-Range": '"other"'}).status_code == 200


def test_a_running_calls_recording_has_no_version(client, listener):
    stream = make_stream(make_live_call(), length=8)
    make_chunk(stream, b"abcdefgh")
    response = client.get(recording_url(stream.call), headers={"Range": "bytes=0-9", "If-Range": '"any"'})
    assert response.status_code == 200
    assert "ETag" not in response


def test_a_running_call_can_be_asked_for_as_long_as_it_was(client, listener):
    stream = make_stream(make_live_call(), length=8)
    make_chunk(stream, b"abcdefgh")
    assert client.get(recording_url(stream.call, "?until=5&encoding=mulaw")).getvalue()[44::2] == b"abcde"


@pytest.mark.parametrize("until", ["", "-1", "x", "٣"])
def test_nonsense_for_until_is_the_whole(client, listener, call, until):
    assert client.get(recording_url(call, f"?until={until}"))["Content-Length"] == "32044"


def test_one_lane_as_mulaw_is_what_was_stored(client, listener, call):
    body = client.get(recording_url(call, "?channel=inbound&encoding=mulaw")).getvalue()
    assert body == audio.wav_header(8000, 1, "mulaw") + audio.tone(440, 250) * 4


def test_a_call_without_audio_is_an_empty_wav(client, listener):
    assert client.get(recording_url(make_call())).getvalue() == audio.wav_header(0, 2)


def test_nothing_of_a_recording_is_kept_by_browsers_or_proxies(client, listener, call):
    response = client.get(recording_url(call))
    assert response["Cache-Control"] == "no-store, private"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response["Content-Security-Policy"]


def test_an_unknown_call_is_not_found(client, listener):
    assert client.get("/admin/calls/call/987654/recording.wav").status_code == 404


def test_a_recording_cannot_be_posted_to(client, listener, call):
    assert client.post(recording_url(call)).status_code == 405


@pytest.mark.parametrize(("may_see", "ending"), [(["see_numbers"], "-14155550123"), ([], "")])
def test_a_download_is_named_by_when_it_was_and_the_number_for_those_who_may_see_it(client, call, may_see, ending):
    client.force_login(make_staff("download_call", *may_see))
    Call.objects.filter(pk=call.pk).update(from_number="+14155550123")
    named = f'attachment; filename="call-{call.pk}-2026-03-14-150926{ending}.wav"'
    assert client.get(recording_url(call, "?download=1"))["Content-Disposition"] == named


def test_a_range_costs_a_fixed_number_of_queries(client, listener, django_assert_num_queries):
    call = make_recording(seconds=3)
    client.get(recording_url(call), headers={"Range": "bytes=64044-"})
    # Session, user, two of permissions, the call, its streams, "listened recently?", the chunks, and what is sent
    # of them: a row, locked in a transaction, and changed.
    with django_assert_num_queries(12):
        client.get(recording_url(call), headers={"Range": "bytes=0-999"}).getvalue()


@pytest.mark.django_db(transaction=True)
async def test_under_asgi_the_body_comes_in_pieces(async_client):
    user, call = await sync_to_async(_long_recording)()
    await async_client.aforce_login(user)
    response = await async_client.get(recording_url(call))
    sizes = [len(piece) async for piece in response.streaming_content]
    assert response.is_async
    assert sizes == [32768, 262144, 25132]


def _long_recording():
    return make_staff("listen_call"), make_recording(seconds=10)


def test_the_length_on_the_page_is_the_files(client, listener, call):
    assert Recording.of(call).wav().size == int(client.head(recording_url(call))["Content-Length"])
