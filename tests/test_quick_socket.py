"""The quick way to and from a real socket: what Twilio gets, in its order, and that nothing follows a close."""

import asyncio
import os
import socket
import ssl

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.sockets.frames import framed
from tests.support.masking import masked
from tests.support.quick import FRAME, QuickPhone, need_build
from tests.support.tls import certificate
from tests.support.wired import HANDSHAKE, Wired, until, wired


need_build()

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def run(coroutine, loop):
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(coroutine)


def frame_of(number):
    """One of 250 that are told apart by their audio."""
    return bytes([number]) * 160


def on_the_wire(stream, *frames):
    return b"".join(framed(stream._live.protocol.media(frame)) for frame in frames)


@LOOPS
def test_frames_leave_as_pythons_do(loop):
    async def main():
        async with wired() as wire:
            frames = [frame_of(number) for number in range(50)]
            for frame in frames:
                await wire.stream.play(frame, wait=False)
            expected = on_the_wire(wire.stream, *frames)
            assert await wire.received(expected[-200:]) == expected

    run(main(), loop)


OTHERS = st.sampled_from(["frame"] * 6 + ["mark", "short", "long", "clear", "pcm"])


async def say(stream, what):
    if what == "mark":
        await stream.mark("here")
    elif what == "clear":
        await stream.clear()
    elif what == "pcm":
        await stream.play(b"\x10\x20" * 160, encoding="pcm16", wait=False)
    else:
        await stream.play(FRAME * {"frame": 1, "short": 0, "long": 3}[what] or b"\x55" * 80, wait=False)


@LOOPS
@settings(deadline=None, max_examples=40)
@given(said=st.lists(OTHERS, max_size=12))
def test_whatever_is_said_leaves_in_its_order(loop, said):
    async def heard(is_quick):
        async with wired(is_quick=is_quick) as wire:
            for what in said:
                await say(wire.stream, what)
            playback = wire.live.hearing.playback
            books = (playback.sent, playback.marks_sent, len(playback._segments), playback._sealed)
            await wire.stream.mark("end")
            await asyncio.sleep(0.06 if "short" in said or "pcm" in said else 0)
            return books, await wire.received(b'"name":"end"}}')

    assert run(heard(True), loop) == run(heard(False), loop)


@LOOPS
def test_what_the_kernel_does_not_take_follows_in_its_order(loop):
    async def main():
        async with wired(buffer=1) as wire:
            frames = [frame_of(number) for number in range(200)]
            for frame in frames:
                await wire.stream.play(frame, wait=False)
            assert wire.protocol.transport.get_write_buffer_size()
            expected = on_the_wire(wire.stream, *frames)
            assert await wire.received(expected[-300:]) == expected

    run(main(), loop)


@LOOPS
def test_nothing_overtakes_what_waits_in_the_transport(loop):
    async def main():
        async with wired() as wire:
            wire.protocol.transport.write(b"before")
            await wire.stream.play(FRAME, wait=False)
            expected = b"before" + on_the_wire(wire.stream, FRAME)
            assert await wire.received(expected[-200:]) == expected

    run(main(), loop)


@LOOPS
def test_an_encrypted_socket_is_written_to_by_its_transport(loop, tmp_path):
    async def main():
        context = certificate("localhost", tmp_path)
        trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        wire = Wired()
        (reader, writer), _ = await asyncio.gather(
            asyncio.open_connection(sock=wire.there, ssl=trust, server_hostname="localhost"), wire.open(ssl=context)
        )
        writer.write(HANDSHAKE)
        await wire.has_begun.wait()
        await reader.readuntil(b"\r\n\r\n")
        for number in range(3):
            await wire.stream.play(frame_of(number), wait=False)
        assert wire.live.path.say(FRAME) is None
        expected = on_the_wire(wire.stream, *map(frame_of, range(3)))
        assert await reader.readexactly(len(expected)) == expected
        writer.transport.abort()
        await wire.gone()

    run(main(), loop)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


async def flying(number):
    """A phone whose stream is being talked to, frame after frame."""
    phone = QuickPhone.talking(number)
    await phone.stream.play(FRAME, wait=False)
    assert phone.live.voice.chunks
    return phone


async def test_a_frame_is_at_the_socket_at_once(pair):
    phone = await flying(pair[0].fileno())
    playing = phone.live.path.say(FRAME)
    assert playing is phone.live.voice.chunks
    assert pair[1].recv(1000) == framed(phone.protocol.media(FRAME))


async def test_a_frame_is_in_the_books(pair):
    phone = await flying(pair[0].fileno())
    phone.live.path.say(frame_of(7))
    playback = phone.live.hearing.playback
    assert (playback.sent, playback.pending, len(playback._segments)) == (320, 320, 1)
    assert playback._segments[0].audio == FRAME + frame_of(7)


async def test_a_frame_after_a_silence_begins_where_the_clock_is(pair):
    phone = await flying(pair[0].fileno())
    phone.later(1000)
    phone.live.path.say(FRAME)
    starts = [segment.start for segment in phone.live.hearing.playback._segments]
    assert starts[1] - starts[0] >= 8000


async def test_a_frame_behind_a_mark_is_a_piece_of_its_own(pair):
    phone = await flying(pair[0].fileno())
    phone.live.hearing.playback._sealed = True
    assert phone.live.path.say(FRAME)
    assert len(phone.live.hearing.playback._segments) == 2


@pytest.mark.parametrize("audio", [FRAME[:-1], FRAME * 2, b"", bytearray(FRAME), memoryview(FRAME), "a" * 160, None])
async def test_whatever_is_no_frame_is_pythons(pair, audio):
    phone = await flying(pair[0].fileno())
    assert phone.live.path.say(audio) is None
    assert phone.live.hearing.playback.sent == 160


async def test_a_frame_that_waits_for_the_transport_is_pythons(pair):
    phone = await flying(pair[0].fileno())
    phone.waiting = 1
    assert phone.live.path.say(FRAME) is None


async def test_a_socket_without_a_number_is_not_written_to():
    phone = await flying(-1)
    assert phone.live.path.say(FRAME) is None
    assert phone.written == []


async def test_a_frame_beyond_what_twilio_may_have_is_pythons(pair):
    phone = await flying(pair[0].fileno())
    for _ in range(499):
        assert phone.live.path.say(FRAME)
    assert phone.live.path.say(FRAME) is None


async def test_nothing_is_said_when_the_stream_is_over(pair):
    phone = await flying(pair[0].fileno())
    phone.live.lifetime.fall_silent()
    assert phone.live.path.say(FRAME) is None


async def test_nothing_is_said_while_a_person_talks(pair):
    phone = await flying(pair[0].fileno())
    phone.live.speaking.hold()
    assert phone.live.path.say(FRAME) is None


async def test_nothing_is_said_after_the_path_was_closed(pair):
    phone = await flying(pair[0].fileno())
    phone.live.path.close()
    assert phone.live.path.say(FRAME) is None
    with pytest.raises(BlockingIOError):
        pair[1].recv(1)


async def test_a_socket_that_is_gone_is_told_by_the_transport(pair):
    phone = await flying(pair[0].fileno())
    pair[1].close()
    assert phone.live.path.say(FRAME)
    assert phone.written == [framed(phone.protocol.media(FRAME))]


async def test_the_rest_of_a_frame_that_the_kernel_took_in_part_is_the_transports():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        theirs, _ = server.accept()
        phone = await flying(ours.fileno())
        said = []
        while not phone.written:
            phone.live.hearing.playback.heard = phone.live.hearing.playback.sent
            said.append(frame_of(len(said) % 250))
            assert phone.live.path.say(said[-1])
        ours.shutdown(socket.SHUT_WR)
        with theirs, theirs.makefile("rb") as came:
            expected = b"".join(framed(phone.protocol.media(frame)) for frame in said)
            assert came.read() + phone.written[0] == expected


async def test_a_path_closed_by_the_question_what_waits_writes_nothing(pair):
    phone = await flying(pair[0].fileno())

    def ask():
        phone.live.path.close()
        return 0

    phone.live.path.open(pair[0].fileno(), ask, phone.written.append, phone.hear)
    assert phone.live.path.say(FRAME) is None
    assert phone.written == []


CLOSES = {
    "peer's close": lambda wire: wire.there.send(masked((1000).to_bytes(2, "big"), first=0x88)),
    "unmasked": lambda wire: wire.there.send(b"\x81\x05hello"),
    "reserved bit": lambda wire: wire.there.send(masked(b"r" * 300, first=0xC1)),
    "no utf-8": lambda wire: wire.there.send(masked(b"\xff" * 300)),
    "shutdown": lambda wire: wire.protocol.shutdown(),
    "keepalive": lambda wire: wire.protocol.keepalive_timeout(),
    "end of file": lambda wire: wire.there.shutdown(socket.SHUT_WR),
    "abort": lambda wire: wire.protocol.transport.abort(),
    "gone": lambda wire: wire.there.close(),
}


@LOOPS
@pytest.mark.parametrize("how", CLOSES)
def test_whatever_closes_the_socket_closes_the_path(loop, how):
    async def main():
        async with wired() as wire:
            assert wire.is_open
            CLOSES[how](wire)
            await until(lambda: not wire.is_open)
            assert wire.live.path.say(FRAME) is None

    run(main(), loop)


@LOOPS
def test_our_close_closes_the_path_at_once(loop):
    async def main():
        async with wired() as wire:
            await wire.live.socket.close(1000)
            assert not wire.is_open

    run(main(), loop)


@LOOPS
def test_a_number_that_is_anothers_by_now_gets_nothing(loop):
    async def main():
        async with wired() as wire:
            number, (reading, writing) = wire.ours.fileno(), os.pipe()
            os.set_blocking(reading, False)
            wire.protocol.transport.abort()
            await until(lambda: wire.ours.fileno() == -1)
            os.dup2(writing, number)
            assert wire.live.path.say(FRAME) is None
            with pytest.raises(BlockingIOError):
                os.read(reading, 1)
            for each in (reading, writing, number):
                os.close(each)

    run(main(), loop)


@LOOPS
def test_a_handler_that_answers_each_frame_does_it_within_the_read(loop):
    async def main():
        async with wired() as wire:

            async def echo():
                async for media in wire.stream.media():
                    await wire.stream.play(media.payload, wait=False)

            wire.stream.skip()
            task = asyncio.create_task(echo())
            await asyncio.sleep(0)
            await wire.hear(wire.media() + wire.media())
            expected = on_the_wire(wire.stream, FRAME, FRAME)
            assert await wire.received(expected[-300:]) == expected
            task.cancel()

    run(main(), loop)


@LOOPS
def test_frames_cut_anywhere_are_heard(loop):
    async def main():
        async with wired() as wire:
            frames = b"".join(wire.media() for _ in range(7))
            for at in range(0, len(frames), 250):
                wire.there.send(frames[at : at + 250])
                await asyncio.sleep(0.001)
            await until(lambda: wire.live.tape.frames_received == 8)
            assert wire.live.protocol.sequence_gaps == 0
            assert wire.is_open

    run(main(), loop)
