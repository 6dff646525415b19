"""What a caller can do, one step after the other: each gives the frames of its time, 20 ms by 20 ms."""

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE
from simulator.caller import Caller
from simulator.scenarios.evidence import Evidence, Moment, Verdict
from simulator.scenarios.expectations import (
    Clear,
    Expectation,
    Frames,
    HangUp,
    MarkBack,
    Nothing,
    Silence,
    Sound,
    Speech,
    silence,
    talked,
    until,
)
from simulator.scenarios.kinds import Clip, Count, Keys, Seconds
from simulator.scenarios.shapes import Choice, Shape
from simulator.scenarios.words import ms, seconds, shown
from simulator.spoken import spoken
from simulator.stream import SILENT_FRAME


@dataclass(frozen=True, kw_only=True)
class Step(Choice):
    KINDS: ClassVar[dict[str, type[Shape]]] = {}
    #: Whether a call may end before this was done, and still be as it was meant.
    MAY_BE_MISSED: ClassVar[bool] = False

    def says(self) -> str:
        """In a finding about a step that was never reached."""
        raise NotImplementedError

    def frames(self, caller: Caller, at: Moment) -> Frames:
        raise NotImplementedError

    def expectations(self) -> list[Expectation]:
        """What it is judged by when the call is over."""
        return []

    @property
    def expects_the_end(self) -> bool:
        """Whether the server is to end the call in this step, and nothing else."""
        return [type(one) for one in self.expectations()] == [HangUp]

    def sounds(self) -> None:
        """Makes what is to be said, so that it need not be made while the call runs. ValueError if it cannot be."""

    @property
    def name(self) -> str:
        return next(name for name, kind in self.KINDS.items() if kind is type(self))


@dataclass(frozen=True, kw_only=True)
class Say(Step, key="say"):
    """The caller says a sentence, spoken by espeak-ng."""

    SHORTHAND: ClassVar[str] = "text"
    text: Annotated[str, "what is said", "I would like a large pizza."]
    voice: Annotated[str, "a voice of espeak-ng's: `espeak-ng --voices` lists them", "en-gb"] = "en-us"
    speed: Annotated[Count, "words a minute, 80 to 450", "160"] = 160

    def says(self) -> str:
        return f"say: {shown(self.text, 40)}"

    def frames(self, caller: Caller, at: Moment) -> Frames:
        return said(caller, self.audio)

    def sounds(self) -> None:
        assert self.audio

    @property
    def audio(self) -> bytes:
        return spoken(self.text, self.voice, self.speed)


@dataclass(frozen=True, kw_only=True)
class Play(Step, key="play"):
    """The caller says what is in a WAV file."""

    SHORTHAND: ClassVar[str] = "file"
    file: Annotated[Clip, "8 kHz, one channel, PCM16 or µ-law; its place is as seen from the scenario's file", "me.wav"]

    def says(self) -> str:
        return f"play: {self.file.name}"

    def frames(self, caller: Caller, at: Moment) -> Frames:
        return said(caller, self.file.audio)


@dataclass(frozen=True, kw_only=True)
class Press(Step, key="press"):
    """The caller presses keys."""

    SHORTHAND: ClassVar[str] = "keys"
    keys: Annotated[Keys, "of 0-9 * # A-D; # alone stands in quotes", "12#"]
    every: Annotated[Seconds, "from one key to the next", "250ms"] = 0.25

    def says(self) -> str:
        return f"press: {self.keys}"

    def frames(self, caller: Caller, at: Moment) -> Frames:
        for number, key in enumerate(self.keys):
            if number:
                yield from silence(self.every)
            caller.press(key)
            yield SILENT_FRAME


@dataclass(frozen=True, kw_only=True)
class Wait(Step, key="wait"):
    """The caller stays silent for so long."""

    SHORTHAND: ClassVar[str] = "lasting"
    MAY_BE_MISSED: ClassVar[bool] = True
    lasting: Annotated[Seconds, "for how long", "1.5s"]

    def says(self) -> str:
        return f"wait: {seconds(self.lasting)}"

    def frames(self, caller: Caller, at: Moment) -> Frames:
        return silence(self.lasting)


@dataclass(frozen=True, kw_only=True)
class Hold(Step, key="hold"):
    """The caller is put on hold: nothing comes over the line, and Twilio's timestamps jump."""

    SHORTHAND: ClassVar[str] = "lasting"
    MAY_BE_MISSED: ClassVar[bool] = True
    lasting: Annotated[Seconds, "for how long", "5s"]

    def says(self) -> str:
        return f"hold: {seconds(self.lasting)}"

    def frames(self, caller: Caller, at: Moment) -> Frames:
        caller.note("hold", ms=round(self.lasting * 1000))
        return (None for _ in range(round(self.lasting * 50)))


@dataclass(frozen=True, kw_only=True)
class Cut(Step, key="cut"):
    """The TCP connection of the stream dies, without a word; the call goes on as the TwiML says."""

    BARE: ClassVar[bool] = True

    def says(self) -> str:
        return "cut"

    def frames(self, caller: Caller, at: Moment) -> Frames:
        caller.cut()
        yield SILENT_FRAME


@dataclass(frozen=True, kw_only=True)
class End(Step, key="hang_up"):
    """The caller hangs up. Without it they do so after the last step."""

    BARE: ClassVar[bool] = True
    MAY_BE_MISSED: ClassVar[bool] = True

    def says(self) -> str:
        return "hang_up"

    def frames(self, caller: Caller, at: Moment) -> Frames:
        caller.hang_up()
        yield SILENT_FRAME


@dataclass(frozen=True, kw_only=True)
class Interrupt(Step, key="interrupt"):
    """The caller speaks, or presses keys, once the server has talked for so long."""

    after: Annotated[Seconds, "of the server's talking", "1.2s"]
    say: Annotated[Say | None, "with a sentence", "Stop, please."] = None
    play: Annotated[Play | None, "with a WAV file", "me.wav"] = None
    press: Annotated[Press | None, "with keys", "0"] = None
    within: Annotated[Seconds, "how long the caller waits for the server to have talked so long", "30s"] = 30
    silent_within: Annotated[Seconds | None, "expects that the server then stops so quickly", "500ms"] = None

    def __post_init__(self) -> None:
        if sum(what is not None for what in (self.say, self.play, self.press)) != 1:
            raise ValueError("needs one of `say`, `play` and `press`")

    @property
    def words(self) -> Step:
        words = self.say or self.play or self.press
        assert words is not None, "__post_init__ has seen to it"
        return words

    def says(self) -> str:
        return f"interrupt: {self.words.says()}"

    def frames(self, caller: Caller, at: Moment) -> Frames:
        yield from until(caller, lambda: talked(caller) >= self.after, self.within)
        caller.note("interrupted", talked=round(talked(caller), 3))
        yield from self.words.frames(caller, at)

    def expectations(self) -> list[Expectation]:
        talk = _Talk(within=self.after, place=self.place)
        return [talk] if self.silent_within is None else [talk, _Stop(within=self.silent_within, place=self.place)]

    def sounds(self) -> None:
        self.words.sounds()


@dataclass(frozen=True, kw_only=True)
class _Talk(Expectation):
    """There has to be something to interrupt."""

    within: float

    def what(self) -> str:
        return f"talk of {seconds(self.within)} to interrupt"

    def judge(self, evidence: Evidence, at: Moment) -> Verdict:
        talked = [float(str(event.facts["talked"])) for event in at.events if event.kind == "interrupted"]
        if not talked:
            return Verdict(False, "the call was over before")
        return Verdict(talked[0] >= self.within, f"the server had talked for {seconds(talked[0])}")


@dataclass(frozen=True, kw_only=True)
class _Stop(Expectation):
    """What `silent_within` of an interruption expects."""

    within: float

    def what(self) -> str:
        return f"silence within {seconds(self.within)} of the interruption"

    def judge(self, evidence: Evidence, at: Moment) -> Verdict:
        on = evidence.talked_on(at.words_ms)
        return Verdict(on <= self.within * 1000, f"the server talked on for {ms(on)}, {seconds(self.within)} allowed")


@dataclass(frozen=True, kw_only=True)
class Expect(Step, key="expect"):
    """What the server is to do now. The caller waits for it, and the call fails if it does not come in time."""

    WORDS: ClassVar[tuple[str, ...]] = ("speech", "silence", "clear", "hang_up")
    speech: Annotated[Speech | None, "it says something, within", "1s"] = None
    sound: Annotated[Sound | None, "it plays this file", "welcome.wav"] = None
    silence: Annotated[Silence | None, "it stops talking, within", "5s"] = None
    nothing: Annotated[Nothing | None, "it says nothing for so long", "3s"] = None
    mark: Annotated[MarkBack | None, "a mark of this name comes back, played", "greeting"] = None
    clear: Annotated[Clear | None, "it clears what it wanted to say, within", "1s"] = None
    hang_up: Annotated[HangUp | None, "it ends the call, within", "3s"] = None

    def __post_init__(self) -> None:
        if not self.expectations():
            raise ValueError(f"needs one of {', '.join(f'`{name}`' for name in self._names())}")

    def says(self) -> str:
        return f"{self.name}: {' and '.join(one.what() for one in self.expectations())}"

    def frames(self, caller: Caller, at: Moment) -> Frames:
        for one in self.expectations():
            yield from one.wait(caller, at)

    def expectations(self) -> list[Expectation]:
        found = (getattr(self, name) for name in self._names())
        return [one for one in found if one is not None]

    @classmethod
    def _names(cls) -> list[str]:
        return [one.name for one in fields(cls) if not one.name.startswith("place")]


@dataclass(frozen=True, kw_only=True)
class WaitFor(Expect, key="wait_for"):
    """The same in other words: `wait_for: speech`, where it matters less how long it takes."""


def said(caller: Caller, audio: bytes) -> Frames:
    caller.note("said", ms=round(len(audio) * 1000 / SAMPLE_RATE, 3))
    for at in range(0, len(audio), FRAME_SAMPLES):
        frame = audio[at : at + FRAME_SAMPLES]
        yield frame + SILENT_FRAME[len(frame) :]
