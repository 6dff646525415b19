"""How often a password may be tried: by address, by account, and by both together, whichever worker is asked.

A stranger must not be able to lock somebody out by guessing, so nothing is ever locked: guesses are let through at a
rate. One address spends an account's guesses at a tenth of the rate at which they come back, and a browser in which
somebody has logged in before has guesses of its own for that account, which no stranger can spend
(https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies).

A guess is counted before the password is checked, and is given back if it was right: many at once are counted too, and
what is refused costs no hash.
"""

import datetime as dt
import ipaddress
import logging
import math
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction
from django.http import HttpResponseBase
from django.utils import timezone
from django.utils.crypto import salted_hmac

from calls.access import auditing
from calls.access.auditing import Event
from calls.addresses import ADMIN
from calls.models import LoginLimit


logger = logging.getLogger(__name__)

COOKIE = "known-browser"
COOKIE_AGE = dt.timedelta(days=90)
# A refusal is logged if there has been none of its kind for this many seconds.
QUIET = 60.0
# Kinds of refusals that are remembered as logged.
MOST_LOGGED = 1000
# Refusals in a row after which somebody who still does not wait gets a line of text instead of a page.
IMPATIENT = 10


@dataclass(frozen=True)
class Rate:
    """`burst` guesses at once, and then one each time that `every` has passed."""

    burst: int
    every: dt.timedelta

    def wait(self, due: dt.datetime, now: dt.datetime) -> dt.timedelta:
        """How long until one more is let through; `due` is when all of them will have come back."""
        return due - (self.burst - 1) * self.every - now


RATES = {
    # An office behind one address; whoever logs in with the right password does not count.
    "address": Rate(10, dt.timedelta(seconds=6)),
    "account": Rate(20, dt.timedelta(seconds=6)),
    "address and account": Rate(5, dt.timedelta(seconds=60)),
    "known browser": Rate(10, dt.timedelta(seconds=30)),
    # Each of them leaves a session behind, and asks the provider.
    "single sign-on": Rate(20, dt.timedelta(seconds=6)),
}


class Guess:
    """One try of a password for an account, from wherever the request comes."""

    def __init__(self, address: str, username: str, cookie: str = "") -> None:
        """`cookie` is the value of COOKIE, if the browser has one."""
        self.address = network(address)
        # As the form has it, which strips names.
        self.account = User.normalize_username(username).strip()[:254].casefold()
        #: The browser's own number, if somebody has logged in to this account there before.
        self.known = _known_browser(cookie, self.account)
        if self.known:
            named = {"known browser": self.known}
        else:
            both = f"{self.address} {self.account}"
            named = {"address": self.address, "account": self.account, "address and account": both}
        #: What is limited, by the key of its row: a row tells nobody who tried what.
        self.limits = {_key(what, value): what for what, value in named.items()}

    def take(self) -> int:
        """0 if the password may be tried; if not, the seconds until it may."""
        now = timezone.now()
        wait = self._refused(LoginLimit.objects.filter(key__in=self.limits), now) or self._count(now)
        LoginLimit.objects.filter(due__lt=now).delete()
        return wait

    def _count(self, now: dt.datetime) -> int:
        # Rows are made and locked in one order, lest two guesses wait for each other.
        keys = sorted(self.limits)
        with transaction.atomic():
            LoginLimit.objects.bulk_create((LoginLimit(key=key, due=now) for key in keys), ignore_conflicts=True)
            rows = LoginLimit.objects.select_for_update().filter(key__in=keys).order_by("key")
            due = {row.key: row.due for row in rows}
            if wait := self._refused([LoginLimit(key=key, due=at) for key, at in due.items()], now):
                return wait
            counted = [
                LoginLimit(key=key, due=max(due.get(key, now), now) + RATES[self.limits[key]].every) for key in keys
            ]
            LoginLimit.objects.bulk_create(counted, update_conflicts=True, unique_fields=["key"], update_fields=["due"])
        return 0

    def _refused(self, rows: Iterable[LoginLimit], now: dt.datetime) -> int:
        waits = ((RATES[self.limits[row.key]].wait(row.due, now).total_seconds(), row.key) for row in rows)
        refusing = sorted((wait, key) for wait, key in waits if wait > 0)
        if not refusing:
            return 0
        for who, wait in {self._who(key): wait for wait, key in refusing}.items():
            _note_impatience(who, wait)
        wait, key = refusing[-1]
        self._log(key, math.ceil(wait))
        return math.ceil(wait)

    def _who(self, key: str) -> tuple[str, str]:
        """Whose patience is counted where a limit refuses: an address without a guess has none for any account."""
        return (self.known or self.address, "" if self.limits[key] == "address" else self.account)

    @property
    def impatience(self) -> int:
        """The seconds that whoever floods this process with guesses has to wait; 0 for everybody else.

        A page costs 5 ms of a core that carries calls, and some queries. This costs neither.
        """
        found = (_impatient.get(self._who(key), (0.0, 0)) for key in self.limits)
        until = max((until for until, refused in found if refused >= IMPATIENT), default=0.0)
        return max(0, math.ceil(until - time.monotonic()))

    def _log(self, key: str, seconds: int) -> None:
        """Once per burst: a log with thousands of refusals a minute is what a flood is for."""
        now = time.monotonic()
        if _refusals.pop(key, -QUIET) <= now - QUIET:
            what, account = self.limits[key], ascii(self.account)[1:-1]
            logger.warning(
                "login_throttled by %s: address=%s account=%s wait=%ds", what, self.address, account[:150], seconds
            )
            auditing.record_account(Event.LOG_IN_THROTTLED, self.account, {"by": what})
        _refusals[key] = now
        while len(_refusals) > MOST_LOGGED:
            _refusals.pop(next(iter(_refusals)), None)

    def give_back(self) -> None:
        """The password was right: this was no guess, and neither were this person's typing errors before it."""
        for key, what in self.limits.items():
            _impatient.pop(self._who(key), None)
            row = LoginLimit.objects.filter(key=key)
            if what in ("address", "account"):
                if found := row.first():
                    row.filter(due=found.due).update(due=found.due - RATES[what].every)
            else:
                row.delete()


class Arrival(Guess):
    """Somebody who sets out for single sign-on, and may be anybody."""

    def __init__(self, address: str) -> None:
        super().__init__(address, "")
        self.limits = {_key("single sign-on", self.address): "single sign-on"}


#: When each kind of refusal was last seen, by its key.
_refusals: dict[str, float] = {}


#: Who goes on guessing at an account, or ("") at any, while it has to wait: until when it has to, and how often it was
#: refused.
_impatient: dict[tuple[str, str], tuple[float, int]] = {}


def _note_impatience(who: tuple[str, str], seconds: float) -> None:
    _, refused = _impatient.pop(who, (0.0, 0))
    _impatient[who] = (time.monotonic() + seconds, refused + 1)
    while len(_impatient) > MOST_LOGGED:
        _impatient.pop(next(iter(_impatient)), None)


def network(address: str) -> str:
    """The addresses that one person has: IPv6 is handed out by the /64."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def remember_browser(response: HttpResponseBase, user: User, *, secure: bool) -> None:
    """Somebody has logged in here: guesses from this browser for this account are counted apart from strangers'."""
    value = signing.dumps([user.get_username().casefold(), secrets.token_hex(8)], salt="calls.browser")
    response.set_cookie(
        COOKIE, value, max_age=COOKIE_AGE, path=f"/{ADMIN}login/", secure=secure, httponly=True, samesite="Lax"
    )


def _known_browser(cookie: str, account: str) -> str:
    """What the cookie of a browser says, if it is for this account: its own number."""
    try:
        known, number = signing.loads(cookie, salt="calls.browser", max_age=COOKIE_AGE)
    except (signing.BadSignature, ValueError):
        return ""
    return f"{known} {number}" if known == account else ""


def _key(what: str, value: str) -> str:
    return salted_hmac("calls.logins", f"{what}: {value}", algorithm="sha256").hexdigest()
