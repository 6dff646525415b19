"""What a check is, and what comes of one."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from simulator.examine.facts import Facts

DOCS = "https://www.twilio.com/docs"
MESSAGES = f"{DOCS}/voice/media-streams/websocket-messages"
SENDING = f"{MESSAGES}#send-websocket-messages-to-twilio"
STREAM = f"{DOCS}/voice/twiml/stream"
TWIML = f"{DOCS}/voice/twiml"
SECURITY = f"{DOCS}/usage/security#validating-requests"
ERRORS = f"{DOCS}/api/errors"


# Of 48 bytes and more: no SID is as long.
_BASE64 = re.compile(r"([A-Za-z0-9+/]{24})[A-Za-z0-9+/]{40,}={0,2}")


class Verdict(StrEnum):
    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Judgement:
    """`says` is one sentence; `proof` are lines of what went over the wire."""

    verdict: Verdict
    says: str
    proof: tuple[str, ...] = ()


def passed(says: str) -> Judgement:
    return Judgement(Verdict.PASS, says)


def warned(says: str, *proof: str) -> Judgement:
    return Judgement(Verdict.WARN, says, proof)


def failed(says: str, *proof: str) -> Judgement:
    return Judgement(Verdict.FAIL, says, proof)


def untested(because: str) -> Judgement:
    return Judgement(Verdict.NOT_TESTED, because)


@dataclass(frozen=True)
class Check:
    """One question to a server. `needs` names the probes whose facts it reads, `page` is where Twilio says it."""

    id: str
    title: str  # what a server that passes does
    why: str  # what a caller or the owner suffers otherwise
    page: str
    needs: tuple[str, ...]
    judge: Callable[["Facts"], Judgement]


@dataclass(frozen=True)
class Result:
    check: Check
    judgement: Judgement

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    def as_dict(self) -> dict[str, Any]:
        check, judgement = self.check, self.judgement
        return {
            "id": check.id,
            "verdict": judgement.verdict.value,
            "title": check.title,
            "says": judgement.says,
            "proof": list(judgement.proof),
            "why": check.why,
            "page": check.page,
        }


def quoted(text: str, longest: int = 240) -> str:
    """A message on one line: of audio only its beginning, and its own middle left out if it is still long."""
    line = _BASE64.sub(r"\1…", " ".join(text.split()))
    if len(line) <= longest:
        return line
    half = longest // 2
    return f"{line[:half]} … {line[-half // 2 :]} ({len(text):,} characters)"


def check(id: str, title: str, *needs: str, why: str, page: str) -> Callable[[Callable[["Facts"], Judgement]], Check]:
    """Makes a check of a function that judges the facts of the probes it needs."""
    return lambda judge: Check(id, title, why, page, needs, judge)
