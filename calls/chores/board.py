"""What there is to do."""

from functools import partial

from calls.alerts.mailing import post
from calls.alerts.watching import watch
from calls.chores.chore import Chore
from calls.chores.prices import pricing
from calls.chores.running import Following
from calls.measuring.backlog import measure_next
from calls.notices.delivery import Postman
from calls.notices.keeping import forget_old
from calls.notices.telling import tell
from calls.recorder.attendance import forget_workers
from calls.recordings.pruning import pruning
from calls.store.merging import merge_next


CHORES: tuple[Chore, ...] = (
    Chore("measure", every=1.0, do=partial(measure_next, gives_way=True)),
    # It rests by itself; apart from what is over, of which an hour may be measured.
    Chore("running-turns", every=0.5, do=Following().go_round),
    Chore("tell", every=2.0, do=tell),
    Chore("deliver", every=1.0, do=Postman().go_round),
    Chore("merge", every=10.0, do=merge_next),
    Chore("prune", every=3600.0, do=pruning.go_round),
    Chore("forget-notices", every=3600.0, do=forget_old),
    Chore("forget-workers", every=3600.0, do=forget_workers),
    Chore("watch", every=30.0, do=watch),
    # Apart from the watch, which a mail server that does not answer must not hold up.
    Chore("mail", every=10.0, do=post.send),
    Chore("prices", every=30.0, do=pricing.ask),
)
