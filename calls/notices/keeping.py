"""How long notices are kept: what was delivered or given up is of interest for some weeks, and holds numbers."""

import datetime as dt

from django.db.models import Exists, OuterRef
from django.utils import timezone

from calls.models import Delivery, Notice, Receiver


KEPT = dt.timedelta(days=30)
# Notices, or deliveries, that one transaction deletes.
SLICE = 500


def forget_old() -> bool:
    """Deletes some notices that are old enough, with their deliveries; whether there may be more."""
    now = timezone.now()
    # Somebody may have had an old one sent again.
    waiting = Delivery.objects.waiting().filter(notice=OuterRef("pk"), give_up_at__gt=now)
    old = Notice.objects.filter(~Exists(waiting), created_at__lt=now - KEPT).order_by("created_at")
    some = list(old.values_list("pk", flat=True)[:SLICE])
    Notice.objects.filter(pk__in=some).delete()
    return len(some) == SLICE


def forget_receiver(receiver: Receiver) -> None:
    """Deletes it with all that it was told, a little at a time: that may be very much."""
    while some := list(receiver.deliveries.values_list("pk", flat=True)[:SLICE]):
        Delivery.objects.filter(pk__in=some).delete()
    receiver.delete()
