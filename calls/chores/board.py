"""What there is to do."""

from calls.alerts.mailing import post
from calls.alerts.watching import watch
from calls.chores.chore import Chore
from calls.chores.prices import pricing
from calls.notices.delivery import Postman
from calls.notices.keeping import forget_old
from calls.notices.telling import tell


CHORES: tuple[Chore, ...] = (
    Chore("tell", 2.0, tell),
    Chore("deliver", 1.0, Postman().go_round),
    Chore("forget-notices", 3600.0, forget_old),
    Chore("watch", 30.0, watch),
    # Apart from the watch, which a mail server that does not answer must not hold up.
    Chore("mail", 10.0, post.send),
    Chore("prices", 30.0, pricing.ask),
)
