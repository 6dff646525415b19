"""What is done beside the calls: whether anybody does the chores, and whether webhooks reach their receivers."""

import datetime as dt
from collections.abc import Iterator

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from calls import vault
from calls.chores.office import take_lock
from calls.management.diagnosis.finding import Finding
from calls.measuring.backlog import RECENT, measurable
from calls.models import Call, Delivery
from calls.store import rotation


# A call that is over for longer is measured, unless nobody does it, or this machine has not had a moment for it.
MEASURED_AFTER = dt.timedelta(minutes=5)
WAITS_LONG = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)


def examine() -> Iterator[Finding]:
    try:
        yield check_chores()
        yield from check_webhooks()
        yield check_keys()
    except DatabaseError:
        # Why it does not answer is a finding already.
        yield Finding("skip", "Chores, webhooks and keys were not looked at: that takes the database.")


def check_chores() -> Finding:
    is_done_here = _is_done_here()
    if call := _forgotten():
        hint = "Start a server without CHORES=false, or `manage.py do_chores`."
        if is_done_here:
            hint = "Look for chore_waits, chore_failed and chores_ended in the log. Measuring waits for a free core."
        what = f"{call} ended more than five minutes ago, and nobody measures it."
        return Finding("warn", f"Nobody does the chores: {what}", hint)
    if is_done_here:
        return Finding("ok", "The chores are done by a server process of this machine.")
    reason = "no server runs" if settings.CHORES else "CHORES is false"
    return Finding("skip", f"No server process of this machine does the chores ({reason}); no call waits for them.")


def _is_done_here() -> bool:
    """Whether a server process holds the lock. One that looks for it at this very moment does so again in 10 s."""
    try:
        lock = take_lock()
    except OSError:  # that SPOOL_DIR cannot be written to is a finding of the system checks
        return False
    if lock:
        lock.close()
    return lock is None


def _forgotten() -> Call | None:
    """The last call that ought to be measured by now, if nobody has begun to."""
    now = timezone.now()
    due = measurable(Call.objects.all()).filter(ended_at__range=(now - RECENT, now - MEASURED_AFTER))
    call = due.order_by("-ended_at").first()
    return call if call and not (call.measured_at or call.measuring_since) else None


def check_webhooks() -> Iterator[Finding]:
    now = timezone.now()
    waiting = Delivery.objects.waiting().filter(notice__created_at__lt=now - WAITS_LONG).count()
    # A delivery is given up when its day is over, or before.
    given_up = Delivery.objects.filter(status=Delivery.Status.GIVEN_UP, give_up_at__gt=now - DAY).count()
    if waiting:
        hint = "Webhook receivers, in the admin, says which of them are away, and their webhooks what they answered."
        yield Finding("warn", f"Webhooks that have waited for more than an hour: {waiting}.", hint)
    if given_up:
        hint = "When their receiver works again, choose them in the admin's list of webhooks and send them again."
        yield Finding("warn", f"Webhooks that were given up within a day: {given_up}.", hint)
    if not waiting and not given_up:
        yield Finding("ok", "No webhook waits for long, and none was given up within a day.")


def check_keys() -> Finding:
    """Whether what is sealed can be opened. The system checks say whether RECORDING_KEYS can be read."""
    try:
        known = vault.names()
    except vault.NotAKey:
        return Finding("skip", "Keys of recordings were not looked at: RECORDING_KEYS cannot be read.")
    if missing := sorted(rotation.names_in_use() - set(known)):
        return Finding(
            "FAIL",
            f"Recordings are sealed with keys that RECORDING_KEYS does not have: {', '.join(missing)}",
            "Put them back, behind the first one. Without them these recordings cannot be heard.",
        )
    if not known:
        return Finding("skip", "RECORDING_KEYS is not set: recordings are stored plain.")
    return Finding("ok", f"Recordings are sealed with the key {known[0]}, and all that were sealed can be opened.")
