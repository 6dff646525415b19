"""A scenario's file made into the calls that it stands for."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from yaml.nodes import MappingNode

from simulator.dialled import Dialled
from simulator.scenario import Scenario
from simulator.scenarios.including import assembled
from simulator.scenarios.judging import Script
from simulator.scenarios.language import Callee, File, Line, Outbound, Server, Webhooks
from simulator.scenarios.matrix import combinations
from simulator.scenarios.nodes import child, like, scalar, without
from simulator.scenarios.problems import Place, Problem, ScenarioError
from simulator.scenarios.reading import read
from simulator.scenarios.steps import End, Step
from simulator.scenarios.variables import named, substituted
from simulator.spoken import spoken
from simulator.wellformed import NO_ACCOUNT


VOICE_URL = "voice_url"


@dataclass(frozen=True, kw_only=True)
class WrittenScenario(Scenario):
    """One call of a scenario's file. `outbound`: the server places it, so it is played by `play`."""

    outbound: Outbound | None = None
    place: Place


def variables_of(path: Path) -> set[str]:
    """The names that `variables` of `load` can be of; ScenarioError as there."""
    root = assembled(Path(path))
    return {VOICE_URL, *named(root), *(name for one in combinations(root) for name in one.variables)}


def load(path: Path, variables: Mapping[str, str] | None = None, auth_token: str = "") -> list[Scenario]:
    """The calls of a file, one for each combination of its matrix; ScenarioError names every problem and its line.

    `variables` outweigh those of the file; of them `voice_url` is called where the file names nothing. `auth_token`
    signs what the file has no token for. Sentences are spoken here, so it may block for some 50 ms each.
    """
    root = assembled(Path(path))
    problems, scenarios = list[Problem](), list[Scenario]()
    for combination in combinations(root):
        try:
            given = {**combination.variables, **(variables or {})}
            file = read(_addressed(substituted(combination.tree, given), given.get(VOICE_URL)), File)
            name = file.name or Path(path).stem
            label = f" [{combination.label}]" if combination.label else ""
            scenarios.append(_scenario(file, name + label, _token(file.server, auth_token)))
        except ScenarioError as error:
            problems += error.problems
    if problems:
        raise ScenarioError(problems)
    return scenarios


def _addressed(tree: MappingNode, url: str | None) -> MappingNode:
    """A file that does not say what it calls calls what the command line says."""
    server = child(tree, "server") or MappingNode(tree.tag, [], tree.start_mark, tree.end_mark)
    if url is None or child(tree, "outbound") is not None or not isinstance(server, MappingNode):
        return tree
    if child(server, VOICE_URL) is not None:
        return tree
    address = like(server, [*server.value, (scalar(server, VOICE_URL), scalar(server, url))])
    named: MappingNode = like(tree, [*without(tree, "server").value, (scalar(tree, "server"), address)])
    return named


def _scenario(file: File, name: str, token: str) -> Scenario:
    if problems := list(_problems(file, token)):
        raise ScenarioError(problems)
    script = Script(file.steps, file.expect)
    return WrittenScenario(
        name=name,
        place=file.place,
        from_number=file.from_,
        to_number=file.to,
        dial=tuple(Dialled(one.outcome, one.lasting) for one in file.dial),
        callee_audio=_says(file.callee),
        silence_timeout=file.silence_timeout,
        script=script,
        judge=script.judge,
        outbound=file.outbound,
        auth_token=token,
        **_server(file.server),
        **_way(file.line, file.webhooks),
    )


def _server(server: Server) -> dict[str, Any]:
    public = urlsplit(server.public_url or server.voice_url or server.address or "")
    return {
        "public_url": f"{public.scheme}://{public.netloc}",
        "url": server.voice_url or "",
        "server": server.address or "",
        "insecure": server.insecure,
        "account_sid": server.account_sid or os.environ.get("TWILIO_ACCOUNT_SID") or NO_ACCOUNT,
        "status_callback": server.status_callback is not None,
        "status_url": server.status_callback or "",
    }


def _way(line: Line, webhooks: Webhooks) -> dict[str, Any]:
    """How sound and requests reach the server."""
    loss, jitter, burst = line.faults
    return {
        "drop": loss,
        "jitter": jitter,
        "burst": burst,
        "seed": line.seed,
        "repeat_webhook": webhooks.repeat,
        "callbacks": webhooks.callbacks,
        "last_stream_event": webhooks.last_stream_event,
        "extra": webhooks.parameters or {},
    }


def _problems(file: File, token: str) -> Iterator[Problem]:
    """What only the whole file shows."""
    if file.outbound is None and file.server.voice_url is None:
        yield Problem(
            file.server.place if file.server.place.line else file.place,
            "`server` needs `voice_url`: write it, or give --voice-url",
        )
    if file.outbound is not None and file.server.voice_url is not None:
        yield Problem(file.outbound.place, "the server places the call, with a Url of its own: leave `voice_url` out")
    if not file.steps:
        yield Problem(file.place, "a scenario needs `steps`: what the caller does")
    if not token:
        told = "there is no token to sign with: set TWILIO_AUTH_TOKEN, or give --auth-token; the server's own"
        yield Problem(file.place, told)
    for step in file.steps:
        yield from _unspeakable(step)
    for step, after in zip(file.steps, file.steps[1:], strict=False):
        if isinstance(step, End):
            yield Problem(after.place, "nothing can follow `hang_up`; what is expected after it goes under `expect:`")


def _unspeakable(step: Step) -> Iterator[Problem]:
    try:
        step.sounds()
    except ValueError as error:
        yield Problem(step.place, f"`{step.says()}` cannot be said: {error}")


def _token(server: Server, given: str) -> str:
    token = server.auth_token or given or os.environ.get("TWILIO_AUTH_TOKEN", "")
    return token.partition(",")[0].strip()


def _says(callee: Callee | None) -> bytes:
    if callee is None:
        return b""
    return spoken(callee.say) if callee.say else callee.play.audio if callee.play else b""
