"""recording.wav over the API: the admin's own, for programs; each download on record before its first byte."""

import pytest
from asgiref.sync import sync_to_async

from calls.media import audio
from calls.models import Call, RecordingAccess
from tests.support.factories import make_call, make_chunk, make_client, make_live_call, make_recording, make_stream


pytestmark = pytest.mark.django_db


@pytest.fixture
def call():
    return make_recording(seconds=1)


@pytest.fixture
def fetch(client):
    _, token = make_client("download_call")

    def fetch(call, query="", method="get", **headers):
        headers = {"Authorization": f"Bearer {token}", **headers}
        return getattr(client, method)(f"/api/v1/calls/{call.sid}/recording.wav{query}", headers=headers)

    return fetch


def test_the_whole_recording_is_a_stereo_wav(fetch, call):
    response = fetch(call)
    body = response.getvalue()
    assert (response.status_code, response["Content-Type"]) == (200, "audio/wav")
    assert response["Content-Length"] == str(len(body))
    assert body == audio.wav_header(8000, 2) + audio.stereo(audio.tone(440, 250) * 4, b"\xff" * 8000)


def test_one_lane_as_mulaw_is_what_was_stored(fetch, call):
    body = fetch(call, "?channel=inbound&encoding=mulaw").getvalue()
    assert body == audio.wav_header(8000, 1, "mulaw") + audio.tone(440, 250) * 4


def test_a_range_is_answered_with_206_and_its_bytes(fetch, call):
    whole = fetch(call).getvalue()
    response = fetch(call, Range="bytes=1000-1999")
    assert (response.status_code, response["Content-Range"]) == (206, "bytes 1000-1999/32044")
    assert response.getvalue() == whole[1000:2000]


def test_a_range_beyond_the_end_says_how_long_it_is(fetch, call):
    response = fetch(call, Range="bytes=32044-")
    assert (response.status_code, response["Content-Range"]) == (416, "bytes */32044")
    assert response.json()["error"]["code"] == "range"
    assert not RecordingAccess.objects.exists()


def test_head_has_the_length_and_is_not_a_download(fetch, call):
    response = fetch(call, method="head")
    assert (response["Content-Length"], response["Accept-Ranges"], response.content) == ("32044", "bytes", b"")
    assert not RecordingAccess.objects.exists()


def test_a_download_is_on_record_before_its_first_byte(client, call):
    program, token = make_client("download_call", name="archive")
    url, headers = f"/api/v1/calls/{call.sid}/recording.wav", {"Authorization": f"Bearer {token}"}
    response = client.get(url, headers=headers, REMOTE_ADDR="192.0.2.7")
    access = RecordingAccess.objects.get()
    assert (access.call, access.kind, access.detail) == (call, "download", "stereo pcm16")
    assert (access.client, access.who, access.user) == (program, "archive (API)", None)
    assert access.address == "192.0.2.7"
    response.close()


def test_a_download_that_goes_on_where_it_broke_off_is_the_same(fetch, call):
    for headers in ({}, {"Range": "bytes=1000-"}, {}):
        fetch(call, **headers)
    assert RecordingAccess.objects.count() == 2


def test_a_download_is_named_without_the_number_for_a_client_who_may_not_see_it(fetch, call):
    Call.objects.filter(pk=call.pk).update(from_number="+14155550123")
    assert fetch(call)["Content-Disposition"] == f'attachment; filename="call-{call.pk}-2026-03-14-150926.wav"'


@pytest.mark.parametrize("query", ["?channel=left", "?encoding=mp3", "?download=1", "?until=5", "?live=1"])
def test_what_it_cannot_be_is_refused(fetch, call, query):
    assert fetch(call, query).json()["error"]["code"] == "bad_parameter"
    assert not RecordingAccess.objects.exists()


def test_of_a_call_that_runs_what_is_there_is_sent(fetch):
    stream = make_stream(make_live_call(), length=8)
    make_chunk(stream, b"abcdefgh")
    assert fetch(stream.call, "?channel=inbound&encoding=mulaw").getvalue()[44:] == b"abcdefgh"


def test_a_call_without_a_recording_has_none(fetch):
    response = fetch(make_call())
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_a_download_costs_a_fixed_number_of_queries(fetch, call, django_assert_num_queries):
    fetch(call).getvalue()
    # The client, the call, its streams, what is on record, and the chunks.
    with django_assert_num_queries(5):
        fetch(call).getvalue()


@pytest.mark.django_db(transaction=True)
async def test_under_asgi_the_body_comes_in_pieces(async_client):
    call, token = await sync_to_async(_long_recording)()
    url = f"/api/v1/calls/{call.sid}/recording.wav"
    response = await async_client.get(url, headers={"Authorization": f"Bearer {token}"})
    assert response.is_async
    assert [len(piece) async for piece in response.streaming_content] == [32768, 262144, 25132]


def _long_recording():
    return make_recording(seconds=10), make_client("download_call")[1]
