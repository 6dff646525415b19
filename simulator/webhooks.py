"""What Twilio does to every request and socket: signs it as the public address, and tries again if nobody answers."""

import re
import uuid
from collections.abc import Mapping
from typing import Self, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

from twilio.request_validator import RequestValidator

from simulator.carrier import Answer as Answer
from simulator.carrier import CallFailed as CallFailed
from simulator.carrier import Carrier, Connection, Listener
from simulator.carrier import Refused as Refused
from simulator.carrier import Unreachable as Unreachable
from simulator.tcp import Tcp


# https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
CONNECT_ATTEMPTS = 2


def signed_url(url: str) -> str:
    """The address as Twilio signs it: no userinfo, no fragment, and with https no port.

    https://www.twilio.com/docs/usage/security#validating-requests
    """
    scheme, netloc, path, query, _ = urlsplit(url)
    host = netloc.rpartition("@")[2]
    if scheme == "https":
        host = re.sub(r":\d+$", "", host)
    return urlunsplit((scheme, host, path, query, ""))


class Web:
    """`async with Web(…) as web`: webhooks and sockets of one call, at `server` or wherever `carrier` carries them."""

    def __init__(self, server: str, auth_token: str, insecure: bool = False, carrier: Carrier | None = None) -> None:
        self._carrier = carrier or Tcp(server, insecure)
        self._validator = RequestValidator(auth_token)

    async def __aenter__(self) -> Self:
        await self._carrier.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._carrier.__aexit__(None, None, None)

    def sign(self, url: str, parameters: Mapping[str, str]) -> str:
        return cast(str, self._validator.compute_signature(signed_url(url), dict(parameters)))

    async def request(self, url: str, parameters: Mapping[str, str], method: str = "POST") -> Answer:
        """One signed webhook. Repeated once if there is no connection; CallFailed if there is no answer in 15 s."""
        form: dict[str, str] | None = dict(parameters)
        if method.upper() == "GET":
            url += ("&" if urlsplit(url).query else "?") + urlencode(parameters)
            form = None
        headers = {"X-Twilio-Signature": self.sign(url, form or {}), "I-Twilio-Idempotency-Token": str(uuid.uuid4())}
        for _ in range(CONNECT_ATTEMPTS - 1):
            try:
                return await self._carrier.exchange(method, url, form, headers)
            except Unreachable:
                continue
        return await self._carrier.exchange(method, url, form, headers)

    async def socket(self, url: str, listener: Listener, heartbeat: float | None = None) -> Connection:
        """The upgraded socket; Refused says why not. `heartbeat`: seconds of quiet after which it pings."""
        return await self._carrier.upgrade(url, {"x-twilio-signature": self.sign(url, {})}, listener, heartbeat)
