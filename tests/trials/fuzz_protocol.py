"""Mutates Twilio's messages into one live stream after another, for as long as you like:

    python -m tests.trials.fuzz_protocol --minutes 60 [--seed 7]

Not collected by pytest. Ends with 1, and the input, at the first thing that must not happen.
"""

import argparse
import random
import sys
import time
from collections import Counter

from calls.media.protocol import MediaMessage, ProtocolError, State, StreamProtocol


# The two secret halves of a token, as long as ours are.
PACKED, SIGNATURE = "nNkiQ0E3YjFlMDlkNGMyYTg1ZjYzOTBkMWU0YjdhMmM4ZjA1Ng", "tOkEnQxYzAbCdEfGhIjKlMnOpQrStUvWxYz-AbCdEfG"
CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
START = (
    '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",'
    '"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","callSid":"CA7b1e09d4c2a85f6390d1e4b7a2c8f056",'
    '"tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},'
    '"customParameters":{"token":"' + PACKED + ":1wXyZ1:" + SIGNATURE + '"}},'
    '"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}'
)
MEDIA = (
    '{"event":"media","sequenceNumber":"2","media":{"track":"inbound","chunk":"1","timestamp":"153",'
    '"payload":"' + "/39+" * 53 + '/w=="},"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}'
)
OTHERS = [
    '{"event":"dtmf","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","sequenceNumber":"2",'
    '"dtmf":{"track":"inbound_track","digit":"5"}}',
    '{"event":"mark","sequenceNumber":"2","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687",'
    '"mark":{"name":"greeting-3"}}',
    '{"event":"stop","sequenceNumber":"2","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687",'
    '"stop":{"accountSid":"AC3f0c6a1d2b4e58790f1e2d3c4b5a6978","callSid":"CA7b1e09d4c2a85f6390d1e4b7a2c8f056"}}',
]
CORPUS = [CONNECTED, START, MEDIA, *OTHERS]
PIECES = [
    *("[", "]", "{", "}", '"', ",", ":", "\\", "\\u0000", "\\ud800", "\ud800", "\0", "\n", "é", "🎵", "\u202e"),
    *("null", "true", "NaN", "-1", "1e400", "2.5", "1_000", "١٢", "9" * 30, "9" * 5000, "[" * 3000, '{"a":' * 3000),
    *("start", "stop", "media", "event", "streamSid", "A" * 20_000, "A" * 70_000, "=" * 9, "/", SIGNATURE),
]
# A mutation may cut a token into pieces; no piece that is longer than the longest field's name may be logged.
LONGEST = len("customParameters")
SECRETS = [half[at : at + LONGEST + 1] for half in (PACKED, SIGNATURE) for at in range(len(half) - LONGEST)]


def mutate(chance: random.Random) -> str | bytes:
    """A message with one to six pieces inserted, cut out, repeated, exchanged or flipped."""
    text = chance.choice(CORPUS)
    for _ in range(chance.randint(1, 6)):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.choice((0, 1, 1, 2, 8, 60)))
        other = chance.choice(CORPUS)
        from_other = chance.randint(0, len(other))
        piece = chance.choice(
            (
                "",
                chance.choice(PIECES),
                chr(chance.randint(0, 0x10FFFF)),
                chr(ord(text[start]) ^ 1 << chance.randint(0, 6)) if start < len(text) else "",
                text[start:end] * 2,
                other[from_other : from_other + chance.choice((4, 20, 200))],
            )
        )
        text = text[:start] + piece + text[end:]
    return text.encode("utf-8", "surrogatepass") if chance.random() < 0.1 else text


def check_refusal(error: ProtocolError) -> None:
    for shown, limit in ((error.reason, 200), (error.excerpt, 120)):
        assert len(shown) <= limit, f"{len(shown)} characters"
        assert shown.isascii(), "not ASCII"
        assert shown.isprintable(), "not printable"
        assert not any(secret in shown for secret in SECRETS), f"a secret: {shown}"


def fuzz_one_stream(chance: random.Random, outcomes: Counter[str], seen: list[str | bytes]) -> None:
    """A live stream, some hundred mutated messages, and a good one: it is taken as long as nobody said stop."""
    protocol = StreamProtocol()
    protocol.receive(CONNECTED)
    protocol.receive(START)
    for _ in range(chance.randint(1, 300)):
        seen[:] = [mutate(chance)]
        before = protocol.state
        try:
            outcomes[type(protocol.receive(seen[0])).__name__] += 1
        except ProtocolError as error:
            outcomes[f"refused: {error.kind}"] += 1
            check_refusal(error)
        assert protocol.state >= before, "the state went back"
        if protocol.state is State.STOPPED:
            return
        seen[:] = [MEDIA]
        assert isinstance(protocol.receive(MEDIA), MediaMessage), "later audio was refused"


def main() -> int:
    options = argparse.ArgumentParser(
        prog="python -m tests.trials.fuzz_protocol", description=__doc__.partition(":")[0]
    )
    options.add_argument("--minutes", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    chosen = options.parse_args()
    chance, outcomes, seen = random.Random(chosen.seed), Counter[str](), [""]
    began = reported = time.monotonic()
    streams = slowest = 0.0
    while (now := time.monotonic()) - began < 60 * chosen.minutes:
        try:
            fuzz_one_stream(chance, outcomes, seen)
        except BaseException as error:
            print(f"FAILED with seed {chosen.seed}: {error!r}\n{ascii(seen[0])[:4000]}")
            if isinstance(error, KeyboardInterrupt):
                break
            return 1
        streams += 1
        slowest = max(slowest, time.monotonic() - now)
        if now - reported > 10:
            reported = now
            print(f"{now - began:7.0f} s {outcomes.total():12,} messages", flush=True)
    print(f"seed {chosen.seed}: {streams:,.0f} streams, {outcomes.total():,} messages, slowest stream {slowest:.3f} s")
    for outcome, count in outcomes.most_common():
        print(f"{count:12,}  {outcome}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
