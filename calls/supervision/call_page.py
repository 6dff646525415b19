"""The socket of a running call's page: tells when something of its call is new."""

from typing import Any

from django.contrib.auth.models import User

from calls.models import Call
from calls.supervision.followers import followers
from calls.supervision.pages import Page


class CallPage(Page):
    """A Follower. `changed` says: look again; `grown`: so many samples of that stream are there."""

    listens = False

    def find(self, user: User) -> bool:
        self.call_sid = Call.objects.filter(pk=self.arguments["pk"]).values_list("sid", flat=True).first() or ""
        return bool(self.call_sid)

    async def begin(self) -> None:
        followers.add(self)

    def end(self) -> None:
        followers.remove(self)

    def told(self, entry: dict[str, Any]) -> None:
        if entry["is_new"]:
            self.changed()
        else:
            self.say(type="grown", stream=entry["stream"], end=entry["end"])

    def changed(self) -> None:
        self.say(type="changed")
