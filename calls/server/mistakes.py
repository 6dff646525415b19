"""What an exception of a handler means for whoever wrote it: where it came from, and what to write instead."""

import re

from django.core.exceptions import SynchronousOnlyOperation


# What Python says of mistakes that are easily made where everything has to be awaited, and what to do about them.
_ADVICE: list[tuple[type[BaseException], str, str]] = [
    (
        SynchronousOnlyOperation,
        "",
        "Use the ORM's async methods, like `await Order.objects.aget(…)`, or `await sync_to_async(function)(…)`.",
    ),
    (
        TypeError,
        "'(MediaStream|async_generator|(calls.quick.)?Reader)' object is not (iterable|an iterator)",
        "Write `async for`, not `for`.",
    ),
    (TypeError, "'async for' requires .* got coroutine", "`await` it instead of iterating over it."),
    (
        TypeError,
        "object (async_generator|(calls.quick.)?Reader) can't be used in 'await'",
        "Write `async for … in` instead of `await`.",
    ),
    (
        TypeError,
        "object .* can't be used in 'await' expression",
        "Leave that `await` out: it stands before no coroutine.",
    ),
    (Exception, r"\bcoroutine'", "An `await` is missing before the call that made the coroutine."),
    (
        RuntimeError,
        "asyncio.run.. cannot be called|event loop is already running|You cannot use AsyncToSync",
        "`await` the coroutine itself: a handler runs in an event loop already.",
    ),
    (AttributeError, "'MediaStream' object has no", "docs/handlers.md lists what a stream has."),
    (SyntaxError, "", "Mend that line: Python cannot read the file before."),
    (
        ModuleNotFoundError,
        "",
        "Write the package that it is in into handlers/requirements.txt and run `make install`, or correct its name.",
    ),
]


def cause(error: BaseException) -> BaseException:
    """The error itself; of a TaskGroup's, the first one that came in it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def sentence(error: BaseException) -> str:
    """What came, in at most 500 characters."""
    error = cause(error)
    name = type(error).__name__
    # Ours says all there is in its sentence.
    return (str(error) if name == "NotAHandler" else f"{name}: {error}")[:500]


def advice(error: BaseException) -> str:
    """What to do about an error that many make, in a sentence; "" for any other."""
    error = cause(error)
    found = (advice for kind, text, advice in _ADVICE if isinstance(error, kind) and re.search(text, str(error)))
    return next(found, "")
