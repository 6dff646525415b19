"""What there is to do."""

from calls.chores.chore import Chore
from calls.measuring.backlog import measure_next


CHORES: tuple[Chore, ...] = (Chore("measuring", every=1.0, do=measure_next),)
