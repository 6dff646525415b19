"""A phone for any server: what was heard, and when, to the sample."""

import asyncio
import shutil

import aiohttp.web
import pytest
from aiohttp.test_utils import TestServer

from simulator.audio import SILENCE, tone
from simulator.phone import Account, NobodyToCall, Phone
from simulator.saying import heard as until_heard
from simulator.saying import hold, mark, press, silence, speech
from tests.support.answering import TWIML, Answering, echo, saying


A, B = tone(440, 1), tone(350, 1)


@pytest.fixture
def espeak():
    if not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is not installed")


@pytest.fixture
def phone():
    with Phone(account=Account(auth_token="t")) as phone:
        yield phone


async def test_what_is_played_after_a_second_is_heard_at_sample_8000(phone):
    call = await phone.at(Answering(saying(A, after=1.0))).call()
    assert call.heard_at_ms(A) == 1000
    assert call.heard[7000:8000] == SILENCE * 1000
    assert call.heard[8000:16000] == A


async def test_a_minute_of_echo_has_3000_frames_and_is_what_was_said(phone):
    call = await phone.at(Answering(echo)).call(says=tone(440, 60), seconds=60)
    assert call.ok
    assert (call.seconds, call.report.streams[0].frames_sent) == (60, 3000)
    assert call.heard[: 59 * 8000] == call.said[: 59 * 8000]


async def test_the_same_call_twice_is_the_same_call(phone):
    first, second = [await phone.at(Answering(echo)).call(says=[A, 0.7, B], keys="12") for _ in range(2)]
    assert first.heard == second.heard
    assert first.events("pressed") == second.events("pressed")


async def test_calls_at_once_do_not_hear_each_other(phone):
    first, second = await asyncio.gather(
        phone.at(Answering(echo)).call(says=A), phone.at(Answering(saying(B, after=0.5))).call()
    )
    assert (first.has_heard(A), first.has_heard(B)) == (True, False)
    assert second.heard_at_ms(B) == 500


async def test_keys_with_a_time_are_pressed_then(phone):
    call = await phone.at(Answering(echo)).call(says=A, keys=[(2.0, "1"), (0.5, "#")])
    assert [(event.at_ms, event.facts["digit"]) for event in call.events("pressed")] == [(500, "#"), (2000, "1")]
    assert call.keys == "#1"


async def test_keys_without_a_time_are_pressed_once_the_server_has_said_what_it_had_to(phone):
    call = await phone.at(Answering(saying(A, after=1.0))).call(keys="12")
    first, second = (event.at_ms for event in call.events("pressed"))
    assert 2000 < first < 4000
    assert second - first == 250 - 250 % 20


async def test_a_caller_waits_for_speech_and_interrupts_it(phone):
    call = await phone.at(Answering(saying(A * 4, after=1.0))).call(says=[speech(), 1.2, press("1")])
    assert [event.at_ms for event in call.events("pressed")] == [pytest.approx(2200, abs=40)]


async def test_a_caller_waits_until_the_server_is_silent(phone):
    call = await phone.at(Answering(saying(A, after=1.0))).call(says=[until_heard(), B])
    assert 2000 <= call.said.find(B) / 8 < 4000


async def test_a_caller_who_waits_for_nothing_goes_on(phone):
    call = await phone.at(Answering(saying(b"", after=60.0))).call(says=[speech(3.0), B], silence_timeout=0)
    assert call.said.find(B) / 8 == pytest.approx(3000, abs=40)


async def test_a_caller_waits_for_a_mark(phone):
    async def talk(line):
        await line.started()
        await line.say(A)
        await line.tell("mark", mark={"name": "asked"})
        while await line.message():
            pass

    call = await phone.at(Answering(talk)).call(says=[mark("asked"), B])
    assert call.marks == [("asked", "played")]
    assert call.said.find(B) / 8 == pytest.approx(1000, abs=40)


async def test_on_hold_nothing_comes_over_the_line(phone):
    call = await phone.at(Answering(echo)).call(says=[A, hold(2.0), B], seconds=6)
    assert call.report.streams[0].frames_sent == 200
    assert call.heard_at_ms(B) == 3000


async def test_a_caller_stays_while_the_server_is_silent_for_a_little(phone):
    call = await phone.at(Answering(saying(A, after=1.0))).call(says=[silence(5.0)])
    assert call.seconds > 7


async def test_what_was_never_heard_is_at_no_time(phone):
    call = await phone.at(Answering(saying(A))).call()
    at = call.heard_at_ms(B)
    assert [at < 0, at >= 0] == [False, False]
    assert not call.has_heard(B)


async def test_an_answer_is_timed(phone):
    async def talk(line):
        await line.started()
        await asyncio.sleep(1.5)
        await line.say(B)
        while await line.message():
            pass

    call = await phone.at(Answering(talk)).call(says=A)
    assert call.response_ms == pytest.approx(500, abs=2)


async def test_who_ends_a_call_is_known(phone):
    async def talk(line):
        await line.started()
        await line.say(A)
        await line.close()

    assert (await phone.at(Answering(talk)).call()).ended_by == "server"
    assert (await phone.at(Answering(echo)).call(says=A)).ended_by == "caller"


async def test_an_application_that_raises_fails_the_call_and_is_quoted(phone):
    async def talk(line):
        await line.started()
        raise ZeroDivisionError("no people to divide by")

    call = await phone.at(Answering(talk)).call()
    assert not call.ok
    assert "no people to divide by" in call.story()
    assert "answering.py" in call.story()
    assert call.ended_by == "error"


async def test_a_server_that_never_says_anything_fails_the_call_at_once(phone):
    call = await phone.at(Answering(saying(b"", after=3600))).call(seconds=60)
    assert "the server went silent" in call.errors[0]


async def test_a_call_tells_its_story_in_a_line_each(phone):
    call = await phone.at(Answering(saying(A, after=1.0))).call(keys=[(3.0, "1")])
    assert "  1.000 s  the caller hears something until   2.000 s" in call.story()
    assert "  3.000 s  pressed digit=1" in call.story()
    assert repr(call) == f"<PhoneCall {call.seconds:.1f} s, heard 1.00-2.00 s, ended by caller>"


async def test_a_call_is_saved_with_both_sides(phone, tmp_path):
    call = await phone.at(Answering(echo)).call(says=A)
    assert call.save(tmp_path / "call.wav").read_bytes()[:4] == b"RIFF"


async def test_a_phone_keeps_its_calls(phone):
    calls = [await phone.at(Answering(echo)).call(says=A) for _ in range(2)]
    assert phone.calls == calls


async def test_a_phone_without_anybody_to_call_says_what_to_do(phone):
    with pytest.raises(NobodyToCall, match="media_streams_app"):
        await phone.call()


async def test_several_keys_of_one_time_are_pressed_one_after_the_other(phone):
    call = await phone.at(Answering(echo)).call(keys=[(1.0, "12#")], seconds=3)
    assert [(event.facts["digit"], event.at_ms) for event in call.events("pressed")] == [
        ("1", 1000),
        ("2", 1260),
        ("#", 1500),
    ]


@pytest.mark.parametrize("keys", [["1"], [("1", 1.0)], [(1.0, 1)], 5])
async def test_keys_of_another_shape_are_told_theirs(phone, keys):
    with pytest.raises(TypeError, match="pairs of a second and keys"):
        await phone.at(Answering(echo)).call(keys=keys)


@pytest.mark.parametrize("dial", ["engaged", "completed:soon", ["completed:-1"]])
async def test_a_fate_that_no_dialled_number_has_is_refused(phone, dial):
    with pytest.raises(ValueError, match="write OUTCOME or OUTCOME:SECONDS"):
        await phone.at(Answering(echo)).call(dial=dial)


async def test_what_a_call_cannot_be_told_is_refused_and_what_it_can_be_is_named(phone):
    with pytest.raises(TypeError, match=r"a call has no dails; .*dial, "):
        await phone.at(Answering(echo)).call(dails="busy")


async def test_keys_that_no_phone_has_are_refused(phone):
    with pytest.raises(ValueError, match="no such key: x"):
        await phone.at(Answering(echo)).call(keys=[(1.0, "x")])


async def test_a_file_is_said(phone, tmp_path):
    path = (await phone.at(Answering(echo)).call(says=A)).save(tmp_path / "call.wav")
    with pytest.raises(ValueError, match="one channel"):
        await phone.at(Answering(echo)).call(says=path)


async def test_a_call_that_a_connection_holds_up_says_so(phone):
    async def talk(line):
        await line.started()
        async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await asyncio.sleep(0.1)
            await line.say(A)
            writer.close()
            await writer.wait_closed()
        while await line.message():
            pass

    call = await phone.at(Answering(talk)).call()
    assert "it went by real time: an open connection to ('127.0.0.1'" in call.story()


async def test_a_sentence_is_said(phone, espeak):
    call = await phone.at(Answering(echo)).call(says="Two pizzas, please.")
    assert call.heard_at_ms("Two pizzas, please.") == 0


async def test_in_real_time_a_call_takes_as_long_as_it_is(phone):
    began = asyncio.get_running_loop().time()
    call = await phone.at(Answering(saying(A))).call(seconds=1, real_time=True)
    assert asyncio.get_running_loop().time() - began >= 0.9
    assert call.ok


async def test_a_server_that_runs_is_called_over_tcp(phone):
    async def media(request):
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            heard = message.json()
            if heard["event"] == "media":
                sound = {"payload": heard["media"]["payload"]}
                await socket.send_json({"event": "media", "streamSid": heard["streamSid"], "media": sound})
        return socket

    async def voice(request):
        return aiohttp.web.Response(body=TWIML, content_type="text/xml")

    application = aiohttp.web.Application()
    application.add_routes([aiohttp.web.post("/voice", voice), aiohttp.web.get("/media", media)])
    async with TestServer(application) as server:
        call = await phone.at(str(server.make_url("/"))).call(says=A, seconds=1.5)
    assert call.ok
    assert call.speech
