"""New code of handlers is taken for the next call; what cannot be used leaves the last code that worked."""

import sys

import pytest

from calls import handlers
from calls.handlers import Options
from calls.management.reloading import Reloader
from calls.media.rows import EventRow
from calls.server.live_stream import handled
from tests.support.phone import Phone


@pytest.fixture
def desk(tmp_path, monkeypatch, settings):
    """A package of handlers with one that says what `words` says."""
    folder = tmp_path / "desks"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "words.py").write_text("HELLO = 'old'\n")
    desk = folder / "desk.py"
    desk.write_text("from desks.words import HELLO\n\nasync def desk(stream):\n    return HELLO\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    settings.STREAM_HANDLERS = {"desk": "desks.desk.desk"}
    yield desk
    for name in [name for name in sys.modules if name.partition(".")[0] == "desks"]:
        del sys.modules[name]


@pytest.fixture
def reloader(desk, monkeypatch):
    reloader = Reloader(desk.parent)
    monkeypatch.setattr(handlers, "load", reloader.load)
    handlers.find("desk")
    return reloader


async def said(talk=None):
    return await (talk or handlers.find("desk"))(None)


async def test_the_next_call_takes_new_code_and_one_that_runs_keeps_the_old(desk, reloader, caplog):
    running = handlers.find("desk")
    desk.write_text("async def desk(stream):\n    return 'new'\n")
    reloader.reload("desks/desk.py")
    assert (await said(running), await said()) == ("old", "new")
    assert "handlers_reloaded desks/desk.py has changed; the next call takes it" in caplog.messages


async def test_what_a_handler_imports_is_taken_anew_too(desk, reloader):
    running = handlers.find("desk")
    (desk.parent / "words.py").write_text("HELLO = 'new'\n")
    reloader.reload("desks/words.py")
    assert (await said(running), await said()) == ("old", "new")


async def test_a_file_that_is_saved_twice_in_a_second_is_read_twice(desk, reloader):
    # Python tells compiled code from newer source by the second, and by the length.
    for word in ("one", "two", "six"):
        (desk.parent / "words.py").write_text(f"HELLO = '{word}'\n")
        reloader.reload("desks/words.py")
        assert await said() == word


@pytest.fixture
def away(desk, settings):
    """A handler in another package."""
    away = desk.parent.parent / "elsewhere" / "away.py"
    away.parent.mkdir()
    (away.parent / "__init__.py").touch()
    away.write_text("async def away(stream):\n    return 'old'\n")
    settings.STREAM_HANDLERS = {"desk": "elsewhere.away.away"}
    yield away
    del sys.modules["elsewhere"], sys.modules["elsewhere.away"]


async def test_a_module_outside_of_the_folder_is_reloaded_if_it_is_named(away, reloader):
    assert await said() == "old"
    away.write_text("async def away(stream):\n    return 'new'\n")
    reloader.reload("elsewhere/away.py")
    assert await said() == "new"


async def test_a_package_around_a_module_that_cannot_be_used_keeps_the_old_one(away, reloader):
    old = sys.modules["elsewhere.away"]
    away.write_text("def away(stream): ...\n")
    reloader.reload("elsewhere/away.py")
    assert sys.modules["elsewhere"].away is old


async def test_our_own_modules_are_not_reloaded(desk, reloader, settings):
    settings.STREAM_HANDLERS["own"] = "calls.handlers.echo"
    reloader.reload("desks/desk.py")
    assert sys.modules["calls.handlers"] is handlers


BROKEN = {
    "async def desk(stream:\n": "SyntaxError: '(' was never closed (desk.py, line 1).",
    "\n1 / 0\n": "ZeroDivisionError: division by zero, at ",
    "import gtts\n": "ModuleNotFoundError: No module named 'gtts', at ",
    "def desk(stream): ...\n": "used: desks.desk.desk is not a handler: it is not a coroutine, `async def`.",
    "async def desk(): ...\n": "it takes () and has to take one argument, the stream.",
    "raise SystemExit('no')\n": "SystemExit: no, at ",
    "\n": 'ImportError: Module "desks.desk" does not define a "desk" attribute/class.',
}


@pytest.mark.parametrize("text", BROKEN)
async def test_what_cannot_be_used_is_told_and_the_last_code_goes_on(desk, reloader, caplog, text):
    desk.write_text(text)
    before = dict(sys.modules)
    reloader.reload("desks/desk.py")
    assert "handlers_kept desks/desk.py has changed and cannot be used: " in caplog.text
    assert BROKEN[text] in caplog.text
    assert {name: module for name, module in sys.modules.items() if name in before} == before
    assert sys.modules["desks"].desk is before["desks.desk"]


async def test_a_call_by_old_code_says_so(desk, reloader, caplog):
    phone = Phone()
    handled.set(phone.live)
    for text in ("async def desk(stream):\n    stream.parameters['by'] = 'old'\n", "1 / 0\n"):
        desk.write_text(text)
        reloader.reload("desks/desk.py")
    await handlers.find("desk")(phone.stream)
    assert phone.stream.parameters == {"by": "old"}
    assert f"old_code_used call={phone.stream.call_sid}: it goes by the last code that worked: Zero" in caplog.text
    (event,) = [row for row in phone.rows(EventRow) if row.kind == "handlers-kept"]
    assert event.data["error"].startswith("ZeroDivisionError: division by zero, at ")


async def test_old_code_declares_what_it_declared(desk, reloader):
    desk.write_text("from calls.handlers import handler\n@handler(records=False)\nasync def desk(stream): ...\n")
    reloader.reload("desks/desk.py")
    desk.write_text("1 / 0\n")
    reloader.reload("desks/desk.py")
    assert handlers.find("desk").options == Options(records=False)


async def test_what_was_mended_is_taken(desk, reloader, caplog):
    for text in ("1 / 0\n", "async def desk(stream):\n    return 'mended'\n"):
        desk.write_text(text)
        reloader.reload("desks/desk.py")
    caplog.clear()
    assert (await said(), caplog.text) == ("mended", "")
