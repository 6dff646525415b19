"""Many calls, so many at once: over a real socket, to a server in this process."""

import asyncio
from dataclasses import replace

from simulator.playing import Playing
from simulator.reports.results import Planned
from simulator.scenarios import load
from tests.support.desk import Desk
from tests.support.servers import free_port
from tests.test_simulator import TOKEN, echo, listen, scenario, serving


SILENCE = b"\xff" * 160


def plan(server, calls, **changes):
    one = replace(scenario(server, **changes), name="order")
    sids = {n: f"CA{n:032}" for n in range(1, calls + 1)}
    return [Planned("a.yaml", replace(one, call_sid=sid), n, n, calls) for n, sid in sids.items()]


async def play(server, calls, at_once, **changes):
    playing = Playing(plan(server, calls, **changes), at_once, lambda result: result)
    await playing.play()
    return playing


async def test_every_call_is_played_and_judged_in_the_order_of_the_plan():
    async with serving(echo) as server:
        playing = await play(server, calls=5, at_once=2)
    assert [result.status for result in playing.results] == ["ok"] * 5
    assert [result.report.call_sid[-1] for result in playing.results] == ["1", "2", "3", "4", "5"]
    assert (playing.alive, playing.frames) == ({}, 25)


async def test_no_more_calls_are_alive_than_are_to_be():
    alive, most = set(), []

    async def talk(line):
        alive.add(line)
        most.append(len(alive))
        await echo(line)
        alive.remove(line)

    async with serving(talk) as server:
        await play(server, calls=6, at_once=2)
    assert max(most) == 2


async def test_a_result_has_the_log_the_times_and_how_late_each_frame_was():
    async with serving(echo) as server:
        (result,) = (await play(server, calls=1, at_once=1)).results
    assert any("opened at" in line.text for line in result.log)
    assert len(result.late) >= 5
    assert result.took > 0
    assert result.began is not None


async def test_a_call_that_fails_is_told_with_its_reason():
    told = []
    async with serving(echo, incoming=[{"status": 500}]) as server:
        playing = Playing(plan(server, 2), 2, lambda result: result, told.append)
        await playing.play()
    assert [result.reason for result in told] == ["the webhook POST /incoming was answered 500"] * 2


def stumble(caller):
    yield SILENCE
    raise KeyError("a step that cannot be")


async def test_a_fault_of_the_simulator_is_one_calls_alone():
    async with serving(echo) as server:
        first, second = plan(server, 2)
        broken = replace(first, scenario=replace(first.scenario, script=stumble))
        playing = Playing([broken, second], 2, lambda result: result)
        await playing.play()
    assert [result.status for result in playing.results] == ["failed", "ok"]
    assert playing.results[0].reason == "the simulator itself failed: KeyError('a step that cannot be')"
    assert "stumble" in playing.results[0].log[-1].text


async def test_hanging_up_ends_the_calls_that_run_and_begins_no_more():
    speaking = asyncio.Semaphore(0)

    async def talk(line):
        await line.until("media")
        speaking.release()
        await listen(line)

    async with serving(talk) as server:
        playing = Playing(plan(server, 4, duration=60, silence_timeout=0), 2, lambda result: result)
        running = asyncio.create_task(playing.play())
        for _ in range(2):
            await speaking.acquire()
        playing.hang_up()
        await running
    assert [result.status for result in playing.results] == ["interrupted"] * 2 + ["not run"] * 2
    assert playing.interrupted


async def test_calls_that_the_server_places_come_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
    port, account = free_port(), "AC" + "0" * 32
    desk = Desk(api=(f"http://127.0.0.1:{port}", account, TOKEN))
    async with desk.served() as url:
        order = f"{{url: {url}/order, form: {{to: '+14155550199', from: '+14155550100'}}}}"
        (tmp_path / "called.yaml").write_text(
            f"server: {{account_sid: {account}}}\noutbound: {{order: {order}, api_port: {port}, rings: 0s}}\n"
            "steps: [wait: 100ms]\n"
        )
        (scenario,) = load(tmp_path / "called.yaml")
        playing = Playing([Planned("called.yaml", scenario, n, n, 3) for n in (1, 2, 3)], 3, lambda result: result)
        await playing.play()
    assert [result.report.errors for result in playing.results] == [[], [], []]
