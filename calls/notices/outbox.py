"""Where notices are put down, in the transaction of whoever has the news, until they have reached their receivers."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from calls.media.storable import storable_json
from calls.models import Call, Delivery, Notice, Receiver


def notify(
    kind: str, data: dict[str, Any], key: str, *, call: Call | None = None, to: Iterable[Receiver] | None = None
) -> None:
    """Stores a notice for every active receiver that wants this kind, or for those of `to` that are active.

    `kind` is one of `Notice.Kind`; `key`, at most 100 characters, says which of its kind this is: the second notice
    with the same one is none. `data` is anything that JSON knows. It is sent after the transaction is committed; with
    nobody to tell, nothing is stored.
    """
    active = list(Receiver.objects.active())
    chosen = None if to is None else {receiver.pk for receiver in to}
    receivers = wanting(kind, active) if chosen is None else [each for each in active if each.pk in chosen]
    put([(Notice(kind=kind, key=key, call=call, data=storable_json(data, 6)), receivers)])


def wanting(kind: str, receivers: Iterable[Receiver]) -> list[Receiver]:
    return [receiver for receiver in receivers if kind in receiver.kinds]


def put(news: Iterable[tuple[Notice, list[Receiver]]]) -> None:
    """Stores those of the notices that nobody has stored before, each for its receivers. One for nobody is none."""
    addressed = {notice.uuid: (notice, receivers) for notice, receivers in news if receivers}
    if not addressed:
        return
    with transaction.atomic():
        Notice.objects.bulk_create((notice for notice, _ in addressed.values()), ignore_conflicts=True)
        # Another machine may have been faster with some; it has their deliveries too.
        stored = Notice.objects.in_bulk(addressed, field_name="uuid")
        Delivery.objects.bulk_create(
            Delivery(notice=notice, receiver=receiver, kind=notice.kind)
            for uuid, notice in stored.items()
            for receiver in addressed[uuid][1]
        )
