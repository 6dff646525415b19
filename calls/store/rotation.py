"""Which keys of RECORDING_KEYS are in use, and putting what others have wrapped under the first one."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import StrIndex, Substr

from calls import vault
from calls.models import QuarantinedRow, Stream


# Keys that one transaction wraps anew.
BATCH = 500


@dataclass
class Rotation:
    """What came of it."""

    wrapped: int = 0
    #: Keys that could not be unwrapped: why, and of how many.
    failed: dict[str, int] = field(default_factory=dict)

    def note(self, error: vault.Unreadable) -> None:
        self.failed[str(error)] = self.failed.get(str(error), 0) + 1


def names_in_use(streams: QuerySet[Stream] | None = None) -> set[str]:
    """The names of the keys that streams, or these, and refused rows are sealed with."""
    sealed = (Stream.objects.all() if streams is None else streams).exclude(sealing_key="")
    name = Substr("sealing_key", 1, StrIndex("sealing_key", Value(":")) - 1)
    found = set(sealed.order_by().annotate(key_name=name).values_list("key_name", flat=True).distinct())
    if streams is None:
        found |= {vault.wrapping_key(bytes(data)) for data in _quarantined().values_list("data", flat=True).iterator()}
    return found - {""}


def to_be_wrapped() -> QuerySet[Stream]:
    """Streams whose key another one than the first has wrapped.

    Not those that run: their workers may have been started before the first key was.
    """
    return Stream.objects.filter(~Q(sealing_key__startswith=f"{vault.names()[0]}:"), ended_at__isnull=False).exclude(
        sealing_key=""
    )


def wrap_anew(rotation: Rotation) -> Iterator[int]:
    """Puts all keys under the first one, a transaction for some; gives how many each of them looked at.

    Interrupted, it goes on where it stopped when it is begun again.
    """
    last = 0
    while streams := list(to_be_wrapped().filter(pk__gt=last).order_by("pk").only("sid", "sealing_key")[:BATCH]):
        last = streams[-1].pk
        with transaction.atomic():
            for stream in streams:
                _wrap_stream(stream, rotation)
        yield len(streams)
    for row in _quarantined().iterator(chunk_size=100):
        _wrap_row(row, rotation)


def _wrap_stream(stream: Stream, rotation: Rotation) -> None:
    try:
        key = vault.rewrap(stream.sealing_key, stream.sid)
    except vault.Unreadable as error:
        rotation.note(error)
        return
    # Only what is still as it was read: it may have been erased since.
    unchanged = Stream.objects.filter(pk=stream.pk, sealing_key=stream.sealing_key)
    rotation.wrapped += unchanged.update(sealing_key=key)


def _quarantined() -> QuerySet[QuarantinedRow]:
    return QuarantinedRow.objects.order_by("pk")


def _wrap_row(row: QuarantinedRow, rotation: Rotation) -> None:
    try:
        if vault.wrapping_key(bytes(row.data)) in ("", vault.names()[0]):
            return
        data = vault.rewrap_box(bytes(row.data))
    except vault.Unreadable as error:
        rotation.note(error)
        return
    rotation.wrapped += QuarantinedRow.objects.filter(pk=row.pk).update(data=data)
