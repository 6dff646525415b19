"""Calls over real HTTP and real WebSockets, to daphne and to uvicorn, and what is recorded of them.

Callers talk in real time, for 6 s where nothing of a recording may be lost.
"""

import asyncio
import base64
import http.client
import random
import socket

import pytest
from django.contrib.auth.models import User
from django.test import Client

from benchmark.callers import opening
from calls.media.audio import SILENCE, WAV_HEADER_SIZE, mulaw_to_pcm16, tone
from calls.models import Call, CallEvent, Stream
from simulator.webhooks import Web
from tests.support.callers import Calls, place
from tests.support.child import HANDLERS
from tests.support.masking import masked
from tests.support.recorded import lane, stored_to_the_end, verify
from tests.support.servers import SPEECH, Server, until


pytestmark = [pytest.mark.process, pytest.mark.clock, pytest.mark.django_db(transaction=True)]

MEDIA = (
    '{{"event":"media","sequenceNumber":"{}","media":{{"track":"inbound","chunk":"{}","timestamp":"{}",'
    '"payload":"{}"}},"streamSid":"{}"}}'
)
STOP = '{{"event":"stop","sequenceNumber":"102","streamSid":"{}","stop":{{"accountSid":"{}","callSid":"{}"}}}}'
SECOND = 8000
QUIET = SILENCE * SECOND
#: What may be on its way when a caller hangs up, in samples: the two ends then differ about whether it was heard.
ON_ITS_WAY = 800


@pytest.fixture(scope="module")
def servers(django_db_setup, tmp_path_factory):
    """Both servers, on one database. No test ends them."""
    folder, own = tmp_path_factory.mktemp("servers"), {"STREAM_HANDLERS": HANDLERS}
    with Server("runserver", folder, **own) as daphne, Server("uvicorn", folder, **own) as uvicorn:
        yield [daphne, uvicorn]


def on_both(servers, *scenarios):
    """One call of each scenario to each server, all at once; the reports server by server."""
    calls = [[Calls(server, **scenario) for scenario in scenarios] for server in servers]
    reports = [[call.result()[0] for call in of_one] for of_one in calls]
    assert [report.errors for of_one in reports for report in of_one if report.errors] == []
    stored_to_the_end([report for of_one in reports for report in of_one])
    verify()
    return reports


def fetch(server, report, **headers):
    """(status, headers, body) of the call's recording over HTTP, for a member of staff who is logged in."""
    browser = Client()
    browser.force_login(User.objects.get_or_create(username="ada", is_staff=True, is_superuser=True)[0])
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    key = Call.objects.get(sid=report.call_sid).pk
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", f"/admin/calls/call/{key}/recording.wav", headers={"Cookie": cookie, **headers})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def channels(wav):
    """The left and the right samples of a stereo PCM16 file, as PCM16."""
    body = wav[WAV_HEADER_SIZE:]
    return [b"".join(body[at : at + 2] for at in range(first, len(body), 4)) for first in (0, 2)]


def said(audio, samples):
    """What the caller said, as long as the recording is."""
    return mulaw_to_pcm16(audio + SILENCE * (samples - len(audio)))


def test_the_left_channel_is_what_the_caller_said_sample_for_sample(servers):
    speech = {"handler": "echo", "audio": SPEECH[: 6 * SECOND], "linger": 0.5}
    for server, (report,) in zip(servers, on_both(servers, speech), strict=True):
        status, headers, wav = fetch(server, report)
        assert (status, headers["Content-Length"]) == (200, str(len(wav)))
        left, _ = channels(wav)
        assert len(report.sent) >= 6 * SECOND
        assert left == said(report.sent, len(left) // 2)


def test_the_right_channel_of_an_echo_is_what_the_caller_heard(servers):
    for _, (report,) in zip(
        servers, on_both(servers, {"handler": "echo", "audio": SPEECH[:12000], "linger": 0.5}), strict=True
    ):
        stream = Stream.objects.get(sid=report.stream_sids[0])
        stored = b"".join(bytes(chunk.payload) for chunk in stream.chunks.filter(track="outbound"))
        heard = b"".join(audio for _, audio in report.heard)
        assert abs(len(stored) - len(heard)) <= ON_ITS_WAY
        assert stored.startswith(heard) or heard.startswith(stored)


def test_a_caller_who_hangs_up_hears_nothing_of_what_was_still_to_be_said(servers):
    for _, (report,) in zip(
        servers, on_both(servers, {"handler": "talks_on", "audio": SPEECH * 2, "hang_up_after": 2.0}), strict=True
    ):
        stream = Stream.objects.select_related("call").get(sid=report.stream_sids[0])
        heard = sum(len(audio) for _, audio in report.heard)
        assert abs(stream.heard - heard) <= ON_ITS_WAY
        assert abs(stream.length - max(heard, len(report.sent))) <= ON_ITS_WAY
        assert (stream.frames_missing, stream.end_reason, stream.call.has_warning) == (0, "stop", False)
        (unheard,) = stream.gaps.all()
        assert (unheard.reason, unheard.length) == ("cleared", 72_000 - stream.heard)


def test_a_forgotten_await_is_in_the_log_and_on_the_call_with_its_line(servers):
    for server, (report,) in zip(
        servers, on_both(servers, {"handler": "forgets", "audio": SPEECH[:4000], "silence_timeout": 0}), strict=True
    ):
        (event,) = Stream.objects.get(sid=report.stream_sids[0]).events.filter(kind="await-forgotten")
        assert event.data["what"] == "MediaStream.play"
        assert event.data["line"].startswith("tests/support/child.py:")
        assert server.log.count(f"await_forgotten call={report.call_sid} at {event.data['line']}: ") == 1


def test_the_recording_is_played_by_ranges_while_the_call_runs(servers):
    for server in servers:
        calls = Calls(server, handler="echo", audio=SPEECH, hang_up_after=20.0).talk(1.5)
        (call,) = calls.calls
        status, headers, body = fetch(server, call.report, Range=f"bytes={WAV_HEADER_SIZE}-{WAV_HEADER_SIZE + 3999}")
        assert (status, len(body), headers["Content-Length"]) == (206, 4000, "4000")
        assert headers["Content-Range"].startswith("bytes 44-4043/")
        assert body[0::4] == mulaw_to_pcm16(SPEECH[:1000])[0::2]
        assert fetch(server, call.report, Range="bytes=99999999-")[0] == 416
        reports = calls.hang_up().result()
        assert reports[0].errors == []
        stored_to_the_end(reports)
    verify()


def test_ten_calls_at_once_keep_their_audio_apart(servers):
    reports = place(servers[0], 10, handler="echo", audio=SPEECH[:12000], linger=0.5)
    for report in reports:
        stream = Stream.objects.get(call__sid=report.call_sid)
        assert lane(stream, "inbound") == report.sent
    verify()


def test_a_key_or_a_word_cuts_voicemails_greeting_and_hash_ends_the_message(servers):
    key = {"handler": "voicemail", "audio": b"", "dtmf": ((0.6, "5"), (2.4, "#"))}
    word = {"handler": "voicemail", "audio": QUIET[:4800] + SPEECH[:SECOND], "dtmf": ((2.4, "#"),)}
    for reports in on_both(servers, key, word):
        for report, by, digits in zip(reports, ("key", "speech"), (["5", "#"], ["#"]), strict=True):
            stream = Stream.objects.get(call__sid=report.call_sid)
            assert report.clears == 1
            assert report.ended.startswith("the server hung up")
            assert [event.data["by"] for event in stream.events.filter(kind="barge-in")] == [by]
            assert [key.digit for key in stream.dtmf.all()] == digits
            # The greeting's mark, cleared; those of the beep and the thanks, heard.
            assert [mark.outcome for mark in stream.marks.all()] == ["cleared", "played", "played"]
            assert [outcome for _, outcome in report.marks] == ["cleared", "played", "played"]
            assert stream.handler_finished_at
            assert (stream.end_reason, stream.call.status) == ("handler", "completed")


async def opening_of(scenario):
    async with Web(scenario.server, scenario.auth_token) as web:
        return await opening(web, scenario)


def frames(call):
    """100 frames of a caller, one in seven of them in fragments around a ping, `stop` and a close, all as one."""
    yield masked(call.start)
    for number in range(100):
        audio = base64.b64encode(bytes([number + 1]) * 160).decode()
        text = MEDIA.format(number + 2, number + 1, 120 + 20 * number, audio, call.stream_sid).encode()
        if number % 7:
            yield masked(text)
        else:
            yield masked(text[:150], 0x01) + masked(b"are you there", 0x89) + masked(text[150:], 0x80)
    yield masked(STOP.format(call.stream_sid, call.account_sid, call.call_sid).encode()) + masked(b"", 0x88)


def speak_in_pieces(server, chance):
    """A stream whose frames arrive in pieces of any size; its StreamSid."""
    call = asyncio.run(opening_of(server.scenario(handler="echo")))
    octets = b"".join(frames(call))
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall(call.handshake)
        assert line.recv(4096).startswith(b"HTTP/1.1 101")
        while octets:
            size = chance.choice([1, 2, 3, 9, 200, 391, 392, 2000])
            line.sendall(octets[:size])
            octets = octets[size:]
        while line.recv(65536):
            pass
    return call.stream_sid


def test_frames_that_arrive_in_pieces_of_any_size_are_all_recorded(servers):
    spoken = b"".join(bytes([number + 1]) * 160 for number in range(100))
    for server in servers:
        sid = speak_in_pieces(server, random.Random(7))
        stream = until(lambda sid=sid: Stream.objects.filter(sid=sid, ended_at__isnull=False).first(), "its end")
        assert lane(stream, "inbound") == spoken
        assert (stream.end_reason, stream.frames_rejected, stream.sequence_gaps) == ("stop", 0, 0)
    verify()


#: How far what a handler is told may be from what its caller heard, in ms.
TOLD = 40


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_each_interruption_a_handler_knows_how_much_its_caller_has_heard(servers, seed):
    moments = random.Random(seed)
    keys = tuple((at + moments.uniform(0.3, 1.3), "5") for at in (0.5, 2.0, 3.5))
    reports = on_both(servers, {"handler": "converses", "dtmf": keys, "audio": QUIET * 8})
    for report in (report for of_one in reports for report in of_one):
        heard = report.streams[0].heard_audio
        told = CallEvent.objects.filter(call__sid=report.call_sid, kind="said").values_list("data", flat=True)
        assert [data["outcome"] for data in told] == ["cleared"] * 3 + ["played"]
        apart = [abs(data["heard_ms"] - heard.count(data["value"]) / 8) for data in told]
        assert max(apart) <= TOLD, (apart, list(told))


def test_what_is_taken_back_is_heard_once_from_its_first_sample_to_its_last(servers):
    reports = on_both(servers, {"handler": "takes_back", "dtmf": ((0.8, "1"), (2.1, "2")), "audio": QUIET * 7})
    for report in (report for of_one in reports for report in of_one):
        recorded = lane(Stream.objects.get(sid=report.stream_sids[0]), "outbound").replace(SILENCE, b"")
        assert recorded == tone(440, 3000).replace(SILENCE, b"")
        heard = report.streams[0].heard_audio.replace(SILENCE, b"")
        assert abs(len(heard) - len(recorded)) <= 2 * 8 * TOLD
