"""What a server in this folder says, and when: without sockets, so that each framework brings its own."""

import base64
import json
from math import sin, tau


FRAME = 160
CHUNK = 25 * FRAME
PAUSE_FRAMES = 15


def mulaw(sample):
    """G.711, the textbook's: a sample of 16 bits as a byte."""
    sign, magnitude = (0x80, min(-sample, 32635)) if sample < 0 else (0, min(sample, 32635))
    magnitude += 132
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> exponent + 3 & 15) & 0xFF


GREETING = bytes(mulaw(round(9000 * sin(tau * 300 * n / 8000))) for n in range(8000)) * 5


LOUD = bytes(byte & 0x7F < 0x60 for byte in range(256))


def is_loud(audio):
    return sum(audio.translate(LOUD)) > len(audio) // 2


class Parrot:
    """One call: `hears` takes a message of Twilio's and returns what to send."""

    def __init__(self):
        self.sid = ""
        self.heard, self.quiet, self.said = bytearray(), 0, 0
        self.marks = []

    def hears(self, text):
        message = json.loads(text)
        match message["event"]:
            case "start":
                self.sid = message["start"]["streamSid"]
                return self.says(GREETING)
            case "media":
                return self.listens(base64.b64decode(message["media"]["payload"]))
            case "mark" if message["mark"]["name"] in self.marks:
                self.marks.remove(message["mark"]["name"])
        return []

    def listens(self, audio):
        if is_loud(audio):
            self.heard += audio
            self.quiet = 0
            return self.interrupted() if self.marks else []
        self.quiet += 1
        if self.quiet < PAUSE_FRAMES or not self.heard:
            return []
        said, self.heard = bytes(self.heard), bytearray()
        return self.says(said)

    def interrupted(self):
        self.marks.clear()
        return [self.message("clear")]

    def says(self, audio):
        self.said += 1
        self.marks.append(f"said-{self.said}")
        pieces = [audio[at : at + CHUNK] for at in range(0, len(audio), CHUNK)]
        return [*map(self.media, pieces), self.message("mark", name=self.marks[-1])]

    def media(self, audio):
        return self.message("media", payload=base64.b64encode(audio).decode())

    def message(self, event, **body):
        return json.dumps({"event": event, "streamSid": self.sid} | ({event: body} if body else {}))
