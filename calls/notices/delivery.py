"""Brings notices to their receivers: several at once, again and again for a day, and never two machines the same one.

A delivery that is claimed is due again after LEASE: if its process is killed meanwhile, it is sent once more, under the
same id. A receiver that is away rests, and with it all that waits for it; one try after each rest shows whether it is
back. What it refuses by an answer has times of its own, and holds up nothing else.
"""

import datetime as dt
import json
import logging
import random
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from calls.models import Delivery, Notice, Receiver
from calls.notices import facts, signing
from calls.notices.posting import GONE, Answer, post


logger = logging.getLogger(__name__)

# Requests at once, and those to one receiver.
MOST, MOST_OF_ONE = 16, 4
# Seconds after which a claim is nobody's any more: far more than a request can take, its name's look-up included.
LEASE = 120
# Seconds until the next try of what a receiver has refused, the last one again and again ...
REFUSED = (5, 30, 120, 600, 1800, 3600)
# ... and until the next look at one that was away: for all that waits for it, so that this can be more often.
AWAY = (5, 30, 120, 300, 600)
# What is kept of tries.
MOST_ANSWERS = 50
USER_AGENT = "Callstream-Webhooks/1"
_AWAY_TOO_LONG = "The receiver has been away for too long."


def payload(notice: Notice, *, with_numbers: bool) -> dict[str, Any]:
    """What a receiver is told."""
    data = notice.data if with_numbers else facts.masked(notice.data, notice.call)
    return {"id": str(notice.uuid), "type": notice.kind, "timestamp": facts.moment(notice.at), "data": data}


def letter(receiver: Receiver, what: dict[str, Any]) -> Callable[[], Answer]:
    """What sends it, once it is called; by then nothing is asked of the database."""
    body = json.dumps(what, ensure_ascii=False, separators=(",", ":")).encode()
    now = timezone.now()
    signed = signing.headers(what["id"], int(now.timestamp()), body, receiver.secrets(now))
    headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **signed}
    return partial(post, receiver.url, headers, body)


def ping(receiver: Receiver) -> Answer:
    """Sends a test at once, and waits for what comes of it. It is not kept."""
    now = facts.moment(timezone.now())
    what = {"id": str(uuid.uuid4()), "type": "ping", "timestamp": now, "data": {"receiver": receiver.name}}
    return letter(receiver, what)()


class Postman:
    """What this process has under way. All of the database's work is done in the thread that calls `go_round`."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._under_way: dict[Future[Answer], Delivery] = {}

    def go_round(self) -> bool:
        """Sends what is due, and notes what has come of what was sent. Whether there may be more to do at once."""
        now = timezone.now()
        busy = Counter(delivery.receiver_id for delivery in self._under_way.values())
        for receiver in Receiver.objects.awake(now):
            # Until one that was away has answered, one request is enough.
            room = min((1 if receiver.failures else MOST_OF_ONE) - busy[receiver.pk], MOST - len(self._under_way))
            for delivery in claim(receiver, now, room):
                self._send(delivery, receiver)
        began = bool(self._under_way)
        wait(self._under_way, timeout=1, return_when=FIRST_COMPLETED)
        for future in [future for future in self._under_way if future.done()]:
            self._take_in(future)
        return began

    def _take_in(self, future: Future[Answer]) -> None:
        if error := future.exception():
            # A defect of ours. It is sent again when its claim is old, and must not keep others from being noted.
            del self._under_way[future]
            raise error
        note(self._under_way[future], future.result())
        # Only now: if the database is away, it comes again.
        del self._under_way[future]

    def _send(self, delivery: Delivery, receiver: Receiver) -> None:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(MOST, thread_name_prefix="webhook")
        what = payload(delivery.notice, with_numbers=receiver.with_numbers)
        self._under_way[self._executor.submit(letter(receiver, what))] = delivery


def claim(receiver: Receiver, now: dt.datetime, most: int) -> list[Delivery]:
    """The oldest that are due to it, and this process's from now on: of two that ask at once, each row has one."""
    if most <= 0:
        return []
    due = Delivery.objects.due(now).filter(receiver=receiver).select_related("notice__call")[:most]
    lease = now + dt.timedelta(seconds=LEASE)
    return [
        delivery
        for delivery in due
        if Delivery.objects.waiting().filter(pk=delivery.pk, next_at=delivery.next_at).update(next_at=lease)
    ]


def note(delivery: Delivery, answer: Answer) -> None:
    """Writes down what came of a try, and when there is to be another one."""
    with transaction.atomic():
        receiver = Receiver.objects.select_for_update().filter(pk=delivery.receiver_id).first()
        current = Delivery.objects.select_for_update().filter(pk=delivery.pk).first()
        if receiver is None or current is None:  # erased or deleted meanwhile
            return
        now = timezone.now()
        if answer.is_away:
            _rest(receiver, answer, now)
        elif receiver.failures:
            receiver.save(update_fields=receiver.wake())
            logger.warning("webhooks_again receiver=%s answers", receiver.pk)
        _note_try(current, receiver, answer, now)
        if answer.status == GONE:
            _switch_off(receiver)


def _note_try(delivery: Delivery, receiver: Receiver, answer: Answer, now: dt.datetime) -> None:
    delivery.attempts += 1
    delivery.last_at, delivery.answer_status, delivery.error = now, answer.status, answer.error
    said = {"at": facts.moment(now), "status": answer.status, "error": answer.error, "body": answer.body}
    delivery.answers = [*delivery.answers, {**said, "seconds": answer.seconds}][-MOST_ANSWERS:]
    if answer.is_good:
        delivery.status, delivery.delivered_at = Delivery.Status.DELIVERED, now
    elif now >= delivery.give_up_at:
        delivery.status = Delivery.Status.GIVEN_UP
        logger.warning("webhook_given_up delivery=%s: %s", delivery.pk, answer.error)
    elif answer.is_away:
        assert receiver.rests_until, "_rest has said until when"
        delivery.next_at = receiver.rests_until
    else:
        delivery.next_at = now + pause(REFUSED, delivery.attempts)
    delivery.save()


def pause(steps: Sequence[int], times: int) -> dt.timedelta:
    """Until the next try after so many; a little longer each time, so that not all receivers of one host get theirs
    at once."""
    return dt.timedelta(seconds=steps[min(times, len(steps)) - 1] * random.uniform(1, 1.2))


def _rest(receiver: Receiver, answer: Answer, now: dt.datetime) -> None:
    """Of several requests that were under way when it went away, the first one counts."""
    if receiver.rests_until and receiver.rests_until > now:
        return
    if not receiver.failures:
        receiver.failing_since = now
        logger.warning("webhooks_wait receiver=%s: %s", receiver.pk, answer.error)
    receiver.failures += 1
    receiver.rests_until = now + pause(AWAY, receiver.failures)
    receiver.save(update_fields=["failures", "failing_since", "rests_until"])
    # Not those that are under way: a claim has moved them on.
    late = receiver.deliveries.waiting().filter(give_up_at__lte=now, next_at__lte=now)
    if count := late.update(status=Delivery.Status.GIVEN_UP, error=_AWAY_TOO_LONG):
        logger.warning("webhooks_given_up receiver=%s: %d that waited for a day", receiver.pk, count)


def _switch_off(receiver: Receiver) -> None:
    """As Standard Webhooks has it for 410: it is told nothing more until somebody switches it on again."""
    receiver.is_active, receiver.switched_off = False, f"It answered {GONE}: it wants no more webhooks."
    receiver.save(update_fields=["is_active", "switched_off"])
    receiver.deliveries.waiting().update(status=Delivery.Status.GIVEN_UP, error=receiver.switched_off)
    logger.warning("webhooks_switched_off receiver=%s: it answered %d", receiver.pk, GONE)
