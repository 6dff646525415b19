"""What there is to do."""

from calls.chores.chore import Chore
from calls.measuring.backlog import measure_next
from calls.measuring.courtesy import give_way


def measure() -> bool:
    # Each chore has a thread of its own: the others need not be as patient.
    give_way()
    return measure_next()


CHORES: tuple[Chore, ...] = (Chore("measuring", every=1.0, do=measure),)
