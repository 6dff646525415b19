"""What there is to do."""

from calls.chores.chore import Chore


CHORES: tuple[Chore, ...] = ()
