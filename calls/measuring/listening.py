"""From two lanes to a conversation: who is heard in each, and when."""

from calls.measuring import edges, playback, voices
from calls.measuring.lanes import Lane
from calls.media.conversation import Conversation, common, converse, joined, without
from calls.media.turns import Span


def listen(caller: Lane, our: Lane, unknown: list[Span], *, somebody_else: list[Span], answered: int) -> Conversation:
    """Of two lanes. In the second one `somebody_else` speaks there, and all the rest is what was heard of a handler."""
    heard = callers(caller), ours(our, somebody_else)
    return conversation(*heard, unknown, answered=answered, length=caller.samples)


def callers(lane: Lane) -> list[Span]:
    """Where somebody is heard who speaks."""
    return joined(edges.refined(lane, voices.spans(lane)), 0)


def ours(lane: Lane, somebody_else: list[Span]) -> list[Span]:
    """Where we are heard."""
    if not somebody_else:
        return playback.sounds(lane)
    heard = common(callers(lane), somebody_else)
    return joined([*without(playback.sounds(lane), somebody_else), *heard], 0)


def conversation(
    caller: list[Span], our: list[Span], unknown: list[Span], *, answered: int, length: int
) -> Conversation:
    """Of what was heard of both, as far as it is known."""
    known = without([Span(0, length)], unknown)
    return converse(common(caller, known), common(our, known), unknown, answered=answered, length=length)
