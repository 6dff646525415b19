"""Which calls are to be measured, and whose turn it is to do so."""

import datetime as dt
import logging

from django.db import InterfaceError, OperationalError
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from calls.measuring.measurement import measure
from calls.models import Call, Stream
from calls.models.call_queries import CallQuerySet


logger = logging.getLogger(__name__)

# What is older is left to `manage.py measure_calls`: an upgrade must not begin with all calls of the past.
RECENT = dt.timedelta(days=1)
# Whoever has begun a call that long ago has died, or has failed with it: somebody may try again.
CLAIMED = dt.timedelta(minutes=10)

#: Calls of which the log has said that they cannot be measured.
_told: set[int] = set()


def measure_next(*, gives_way: bool = False) -> bool:
    """Measures one of the calls that ended within a day, the last one first. Whether there was one.

    One that cannot be measured is put off for ten minutes, and keeps no other from being measured. Raises what a
    database raises that is away.
    """
    call = _claim()
    if call is None:
        return False
    try:
        kept = measure(call, gives_way=gives_way)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        if call.pk not in _told:
            logger.exception("measuring_failed call=%s; tried again in 10 minutes", call)
        _told.add(call.pk)
        return True
    if not kept:
        # There is more of it by now; but one that is being erased is to be left alone.
        grown = Call.objects.filter(pk=call.pk).exclude(audio_samples=call.audio_samples)
        grown.update(measuring_since=None)
    return True


def measurable(calls: CallQuerySet) -> CallQuerySet:
    """Those that are over and have a recording, with no stream that goes on."""
    live = Stream.objects.live().filter(call=OuterRef("pk"))
    return calls.ended().filter(~Exists(live), audio_samples__gt=0)


def _claim() -> Call | None:
    now = timezone.now()
    free = Q(measuring_since=None) | Q(measuring_since__lt=now - CLAIMED)
    due = measurable(Call.objects.unmeasured()).filter(free, ended_at__gt=now - RECENT)
    for call in due.order_by("-ended_at")[:10]:
        # Another machine may have taken it since.
        if Call.objects.filter(free, pk=call.pk, measured_at=None).update(measuring_since=now):
            return call
    return None
