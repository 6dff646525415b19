"""The account's phone numbers, and where they point."""

import re
from dataclasses import dataclass, replace
from typing import Any

from calls import addresses
from calls.rest.client import address, asked, twilio
from calls.rest.errors import RestError


@dataclass(frozen=True)
class Number:
    """One of the account's numbers as Twilio has it."""

    sid: str
    number: str
    name: str = ""
    voice_url: str = ""
    voice_method: str = ""
    voice_fallback_url: str = ""
    voice_fallback_method: str = ""
    status_callback: str = ""
    status_callback_method: str = ""
    application_sid: str = ""
    trunk_sid: str = ""

    @property
    def warnings(self) -> list[str]:
        """What keeps Twilio from asking the VoiceUrl."""
        overriding = {"The TwiML application": self.application_sid, "The SIP trunk": self.trunk_sid}
        return [
            f"{what} {sid} answers this number, and its VoiceUrl is ignored: take it off the number in the Console."
            for what, sid in overriding.items()
            if sid
        ]

    @property
    def falls_back_elsewhere(self) -> bool:
        """Whether somebody else is asked when our answer fails: what we point here keeps that."""
        return bool(self.voice_fallback_url) and not addresses.is_ours(self.voice_fallback_url)

    @property
    def leads_here(self) -> bool:
        return addresses.is_incoming(self.voice_url) and not self.warnings


@dataclass(frozen=True)
class Change:
    """A number before and after; with `dry_run` what it would be."""

    before: Number
    after: Number

    @property
    def fields(self) -> list[tuple[str, str, str]]:
        """(Twilio's name, before, after) of each field that we set."""
        names = {
            "VoiceUrl": "voice_url",
            "VoiceMethod": "voice_method",
            "VoiceFallbackUrl": "voice_fallback_url",
            "VoiceFallbackMethod": "voice_fallback_method",
            "StatusCallback": "status_callback",
            "StatusCallbackMethod": "status_callback_method",
        }
        return [(name, getattr(self.before, at), getattr(self.after, at)) for name, at in names.items()]

    @property
    def changes(self) -> bool:
        return any(before != after for _, before, after in self.fields)


def numbers() -> list[Number]:
    """All numbers of the account. https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource"""
    with asked() as account:
        return [_number(found) for found in account.incoming_phone_numbers.stream(page_size=1000)]


def configure_number(number: str, handler: str = "", *, fallback: str = "", dry_run: bool = False) -> Change:
    """Points a number's calls at us: `/incoming/<handler>`, and `/call-status` when they end.

    Twilio does not ask again for an answer that failed or did not come in time, but asks the fallback once: the same
    address, where another worker may answer by then, unless `fallback` is given or the number has one that is not ours.
    """
    voice = address(addresses.incoming(handler))
    wanted = {
        "voice_url": voice,
        "voice_method": "POST",
        "status_callback": address(addresses.CALL_STATUS),
        "status_callback_method": "POST",
    }
    before = _find(number)
    if fallback or not before.falls_back_elsewhere:
        wanted |= {"voice_fallback_url": fallback or voice, "voice_fallback_method": "POST"}
    if dry_run:
        return Change(before, replace(before, **wanted))
    with twilio() as account:
        return Change(before, _number(account.incoming_phone_numbers(before.sid).update(**wanted)))


def _find(number: str) -> Number:
    """Exactly this one: Twilio's own filter also finds parts of numbers."""
    exact = re.sub(r"[\s().-]", "", number)
    with asked() as account:
        found = [_number(each) for each in account.incoming_phone_numbers.stream(phone_number=exact)]
    for each in found:
        if each.number == exact:
            return each
    similar = f" Did you mean {' or '.join(each.number for each in found[:3])}?" if found else ""
    raise RestError(f"This account has no number {exact}: write it as the Console does, like +14155550100.{similar}")


def _number(found: Any) -> Number:
    return Number(
        sid=found.sid,
        number=found.phone_number,
        name=found.friendly_name or "",
        voice_url=found.voice_url or "",
        voice_method=found.voice_method or "",
        voice_fallback_url=found.voice_fallback_url or "",
        voice_fallback_method=found.voice_fallback_method or "",
        status_callback=found.status_callback or "",
        status_callback_method=found.status_callback_method or "",
        application_sid=found.voice_application_sid or "",
        trunk_sid=found.trunk_sid or "",
    )
