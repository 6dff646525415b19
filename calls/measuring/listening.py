"""From two lanes to a conversation: who is heard in each, and when."""

from calls.measuring import edges, playback, voices
from calls.measuring.lanes import Lane
from calls.media.conversation import Conversation, common, converse, joined, without
from calls.media.turns import Span


def listen(caller: Lane, ours: Lane, unknown: list[Span], *, somebody_else: list[Span], answered: int) -> Conversation:
    """Of two lanes. In the second one `somebody_else` speaks there, and all the rest is what was heard of a handler."""
    known = without([Span(0, caller.samples)], unknown)
    return converse(
        common(joined(edges.refined(caller, voices.spans(caller)), 0), known),
        common(_ours(ours, somebody_else), known),
        unknown,
        answered=answered,
        length=caller.samples,
    )


def _ours(lane: Lane, somebody_else: list[Span]) -> list[Span]:
    if not somebody_else:
        return playback.sounds(lane)
    heard = common(joined(edges.refined(lane, voices.spans(lane)), 0), somebody_else)
    return joined([*without(playback.sounds(lane), somebody_else), *heard], 0)
