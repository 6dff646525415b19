"""Warnings as lines of the log, and what is forgotten by the line where it is missing."""

import warnings

import pytest
from django.conf import settings

from calls.process import oversights


def test_another_warning_is_a_line_of_the_log(caplog):
    oversights._show(UserWarning("no such folder"), UserWarning, f"{settings.BASE_DIR}/calls/media/tape.py", 7)
    assert caplog.messages == ["python_warning UserWarning at calls/media/tape.py:7: no such folder"]


def test_a_static_file_is_no_news(caplog):
    with warnings.catch_warnings():
        oversights.watch()
        warnings.warn("StreamingHttpResponse must consume synchronous iterators in order to …", Warning, stacklevel=1)
    assert caplog.messages == []


def test_our_own_line_is_not_taken_for_the_users(caplog):
    text = "coroutine 'MediaStream.digits' was never awaited"
    oversights._show(RuntimeWarning(text), RuntimeWarning, f"{settings.BASE_DIR}/calls/server/conversation.py", 108)
    (line,) = caplog.messages
    said = "await_forgotten call=none at a line that DEBUG=true names: MediaStream.digits() does nothing without await"
    assert line == said


@pytest.mark.parametrize("method", ["MediaStream.dial", "MediaStream.press", "Playing.clear", "Playing.pause"])
def test_a_method_is_named_whosever_it_is(caplog, method):
    text = f"coroutine '{method}' was never awaited"
    oversights._show(RuntimeWarning(text), RuntimeWarning, f"{settings.BASE_DIR}/handlers/desk.py", 8)
    assert caplog.messages == [
        f"await_forgotten call=none at handlers/desk.py:8: {method}() does nothing without await"
    ]


def test_what_was_given_a_name_is_found_where_it_was_made(caplog):
    text = (
        "coroutine 'MediaStream.mark' was never awaited\nCoroutine created at (most recent call last)\n"
        f'  File "{settings.BASE_DIR}/handlers/desk.py", line 31, in desk\n    done = stream.mark("done")\n'
    )
    oversights._show(RuntimeWarning(text), RuntimeWarning, "elsewhere.py", 1)
    (line,) = caplog.messages
    assert line == "await_forgotten call=none at handlers/desk.py:31: MediaStream.mark() does nothing without await"
