"""The socket of a running call's page: tells when something of its call is new, and how its waveform goes on."""

import base64
from typing import Any

from django.contrib.auth.models import User

from calls.models import Call
from calls.supervision.followers import followers
from calls.supervision.pages import Page


class CallPage(Page):
    """A Follower. It says of its call:

    `changed`: look again, something is new. `grown`: `stream` has `end` samples by now, and `peaks`, for who may
    listen: the pieces that came since, each as lane (0 inbound, 1 outbound), first sample, a byte for each 20 ms in
    base64; all on the stream's own clock. A lost letter leaves a hole in them, and says `changed`.
    """

    listens = False
    call_sid = ""
    _may_listen = False

    def find(self, user: User) -> bool:
        self._may_listen = user.has_perm("calls.listen_call")
        if not self.call_sid:
            # A call that Twilio has not accepted yet is followed by looking (follow.json says when it has a socket).
            self.call_sid = Call.objects.sid_of(self.arguments["pk"])
            return bool(self.call_sid)
        # It may have been erased meanwhile.
        return Call.objects.filter(pk=self.arguments["pk"]).exists()

    async def begin(self) -> None:
        followers.add(self, draws=self._may_listen)
        # What happened between the page and its socket has told nobody.
        self.changed()

    def end(self) -> None:
        followers.remove(self)

    def told(self, entry: dict[str, Any]) -> None:
        grown = {"stream": entry["stream"], "end": entry["end"]}
        if self._may_listen:
            grown["peaks"] = [
                (lane, start, base64.b64encode(piece).decode()) for lane, start, piece in entry.get("peaks", ())
            ]
        self.say(type="grown", **grown)
        if entry["is_new"]:
            self.changed()

    def changed(self) -> None:
        self.say(type="changed")
