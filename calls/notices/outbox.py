"""Where notices are put down, in the transaction of whoever has the news, until they have reached their receivers."""

from collections.abc import Iterable, Sequence
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
    receivers = list(Receiver.objects.active())
    if to is not None:
        wanted = {receiver.pk for receiver in to}
        receivers = [receiver for receiver in receivers if receiver.pk in wanted]
    else:
        receivers = wanting(kind, receivers)
    put([Notice(kind=kind, key=key, call=call, data=storable_json(data))], {kind: receivers})


def wanting(kind: str, receivers: Iterable[Receiver]) -> list[Receiver]:
    return [receiver for receiver in receivers if kind in receiver.kinds]


def put(notices: Sequence[Notice], receivers: dict[str, list[Receiver]]) -> None:
    """Stores those of the notices that nobody has stored before, each for the receivers of its kind.

    A receiver is told of nothing that was over before it was there (`Receiver.since`).
    """
    addressed = [notice for notice in notices if receivers.get(notice.kind)]
    if not addressed:
        return
    with transaction.atomic():
        Notice.objects.bulk_create(addressed, ignore_conflicts=True)
        # Another machine may have been faster with some; it has their deliveries too.
        stored = Notice.objects.in_bulk([notice.uuid for notice in addressed], field_name="uuid")
        Delivery.objects.bulk_create(
            Delivery(notice=notice, receiver=receiver)
            for notice in stored.values()
            for receiver in receivers[notice.kind]
            if receiver.since <= notice.at
        )
