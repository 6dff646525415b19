"""When a session is over before its time: what its user may do has changed, or there is a second factor to show.

Asked at each request of a browser (calls/middleware.py), and by open sockets every half a minute
(calls/supervision/browsers.py). What somebody may do is looked up for the page anyway: this costs no query more.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest


_RIGHTS = "rights"


def rights(user: User) -> str:
    """A digest of all that somebody may do. Of a superuser's, who may do everything, that they are one."""
    what = ["superuser"] if user.is_superuser else sorted(user.get_all_permissions())
    return hashlib.sha256("\n".join([f"{user.is_staff}", *what]).encode()).hexdigest()[:16]


def is_outdated(user: User, session: Mapping[str, Any]) -> bool:
    """Whether its user might do something else when they logged in: by permissions, groups, or what groups may do.

    A changed password ends sessions by Django's own doing, and so does an account that is not active any more.
    """
    return session.get(_RIGHTS) != rights(user)


def _begin(request: HttpRequest, user: User, **kwargs: Any) -> None:
    request.session[_RIGHTS] = rights(user)


def connect() -> None:
    user_logged_in.connect(_begin)
