"""The socket of the list of running calls: passes on what the processes that hold them tell once a second."""

from typing import Any, ClassVar

from calls.supervision.pages import Page
from calls.supervision.watchers import watchers


class ListPage(Page):
    """A Watcher. `figures`: by CallSid, and which calls have left their process. Rows are asked for over HTTP."""

    permissions: ClassVar[tuple[str, ...]] = ("calls.view_call", "calls.supervise_call")

    async def begin(self) -> None:
        watchers.add(self)

    def end(self) -> None:
        watchers.remove(self)

    def told(self, calls: list[dict[str, Any]], gone: list[str]) -> None:
        figures = {call["call"]: _as_json(call) for call in calls}
        self.say(type="figures", calls=figures, gone=gone)


def _as_json(call: dict[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in call.items() if name != "call"}
    return {**facts, "levels": [[*lane] for lane in call["levels"]]}
