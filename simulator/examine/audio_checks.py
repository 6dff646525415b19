"""What the server's messages sound like, and how much of it there is."""

from collections.abc import Iterator

from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE
from simulator.examine import encoding
from simulator.examine.facts import Facts
from simulator.examine.traces import Trace, quote
from simulator.examine.verdicts import ERRORS, MESSAGES, SENDING, Judgement, check, failed, passed, untested, warned
from simulator.report import Traced


SILENT = "the server sent nothing on any stream"
NO_AUDIO = "the server sent no audio"
# Characters of one message. Twilio publishes no limit; half a minute of audio in one cannot be cleared but whole.
LARGE = 400_000


@check(
    "container",
    "Audio has no file header",
    "alone",
    "together",
    why="Twilio plays every byte: a header is heard as a crack or as static.",
    page=SENDING,
)
def container(facts: Facts) -> Judgement:
    for stream in facts.streams:
        for traced, audio in facts.trace(stream).audio:
            if name := encoding.container(audio):
                return failed(f"A payload begins with {name}.", _hex(audio), quote(traced))
    return passed("No payload begins with one.") if _has_media(facts) else untested(NO_AUDIO)


@check(
    "mulaw",
    "Audio is µ-law, 8000 samples a second",
    "alone",
    "together",
    why="16-bit PCM played as µ-law is loud static.",
    page=SENDING,
)
def mulaw(facts: Facts) -> Judgement:
    for stream in facts.streams:
        audio = facts.trace(stream).heard
        if encoding.is_pcm16(audio):
            return failed("This is 16-bit PCM, and Twilio plays µ-law.", _hex(audio[len(audio) // 2 :]))
        if encoding.has_zeros(audio):
            says = "There are runs of 0x00, the loudest sample there is in µ-law; silence is 0xFF."
            return warned(says, _hex(audio[audio.index(encoding.ZEROS) :]))
    return passed("It is none of what it is not.") if _has_media(facts) else untested(NO_AUDIO)


@check(
    "frame-size",
    "Pieces of audio that follow one another are multiples of 160 bytes",
    "alone",
    "together",
    why="Twilio cuts each message into frames of 20 ms by itself: one that is not full is heard as a click.",
    page="https://github.com/openai/openai-agents-python/issues/1906",
)
def frame_size(facts: Facts) -> Judgement:
    for stream in facts.streams:
        if found := next(_odd(facts.trace(stream)), None):
            traced, size = found
            says = f"A piece of {size} bytes is followed by more: keep the rest for the next message."
            return warned(says, quote(traced))
    return passed("They are.") if _has_media(facts) else untested(NO_AUDIO)


@check(
    "message-size",
    "Messages are of moderate size",
    "alone",
    "together",
    why="Twilio publishes no limit, so there may be one; and what is long is long in coming.",
    page=MESSAGES,
)
def message_size(facts: Facts) -> Judgement:
    sent = [traced for stream in facts.streams for traced in facts.trace(stream).received]
    if not sent:
        return untested(SILENT)
    largest = max(sent, key=lambda traced: len(traced.text))
    size = len(largest.text)
    if size > LARGE:
        return warned(f"One has {size:,} characters; send audio in pieces of a second or less.", quote(largest))
    return passed(f"The largest has {size:,} characters.")


@check(
    "ahead",
    "Audio waits less than 10 minutes to be played",
    "alone",
    "together",
    why="Twilio throws away what comes on top of that (31931): the caller misses it.",
    page=f"{ERRORS}/31931",
)
def ahead(facts: Facts) -> Judgement:
    if not _has_media(facts):
        return untested(NO_AUDIO)
    for report in facts.reports:
        for warning in [*report.warnings, *(line for stream in report.streams for line in stream.warnings)]:
            if "31931" in warning:
                return failed("More than 10 minutes of audio waited to be played.", warning)
    talks = [talk for talk in [facts.talk, *(facts.pair or ())] if talk]
    return passed(f"At most {max(talk.most_queued for talk in talks):.1f} s waited.")


def _has_media(facts: Facts) -> bool:
    return any(facts.trace(stream).audio for stream in facts.streams)


def _odd(trace: Trace) -> Iterator[tuple[Traced, int]]:
    """Pieces that are no multiple of 160 bytes and do not end what is being said: more came before they were over."""
    end, odd = 0.0, None
    for traced, audio in trace.audio:
        if odd is not None and traced.at < end:
            yield odd
        end = max(end, traced.at) + len(audio) / SAMPLE_RATE
        odd = (traced, len(audio)) if len(audio) % FRAME_SAMPLES else None


def _hex(audio: bytes) -> str:
    return f"the bytes {audio[:16].hex(' ')} … ({len(audio):,} of them)"


CHECKS = (container, mulaw, frame_size, message_size, ahead)
