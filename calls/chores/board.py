"""What there is to do."""

from calls.chores.chore import Chore
from calls.notices.delivery import Postman
from calls.notices.keeping import forget_old
from calls.notices.telling import tell


CHORES: tuple[Chore, ...] = (
    Chore("tell", 2.0, tell),
    Chore("deliver", 1.0, Postman().go_round),
    Chore("forget-notices", 3600.0, forget_old),
)
