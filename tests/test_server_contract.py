"""What calls/sockets uses of uvicorn and daphne: the tables are whole, and calls go on where something is missing."""

import ast
import inspect
import pkgutil
import shutil
import sys
import types

import pytest
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from calls.models import Stream
from calls.sockets import daphne, uvicorn
from calls.sockets.contract import INERT, Internal, missing
from calls.sockets.media_protocol import MediaProtocol
from calls.sockets.media_web_socket import MediaWebSocket
from tests.support.callers import place
from tests.support.recorded import lane, verify
from tests.support.servers import SPEECH, Server


INTERNALS = list(dict.fromkeys([*uvicorn.INTERNALS, *daphne.INTERNALS]))
EACH = pytest.mark.parametrize("internal", INTERNALS, ids=str)
EACH_METHOD = pytest.mark.parametrize("internal", [row for row in INTERNALS if row.takes is not None], ids=str)


def homes(internal):
    """The module, or the class and its bases, where it stands, or the method that sets it."""
    owner, name = pkgutil.resolve_name(internal.owner), internal.set_by or internal.name
    bases = [base for base in getattr(owner, "__mro__", ())[1:] if base.__module__.partition(".")[0] not in INERT]
    return [home for home in (owner, *bases) if name in vars(home)]


def renaming(function, name):
    """The same function, of a release that calls an attribute something else."""
    names = tuple("renamed" if each == name else each for each in function.__code__.co_names)
    return types.FunctionType(function.__code__.replace(co_names=names), {})


def rename(monkeypatch, internal):
    for home in homes(internal):
        if internal.set_by:
            monkeypatch.setattr(home, internal.set_by, renaming(vars(home)[internal.set_by], internal.name))
        else:
            monkeypatch.delattr(home, internal.name)


def test_nothing_is_missing_of_the_servers_that_the_tests_run_on():
    assert missing(INTERNALS) == []
    assert uvicorn.MediaWebSocket is MediaWebSocket


@EACH
def test_an_internal_that_a_release_has_renamed_is_missing(monkeypatch, internal):
    rename(monkeypatch, internal)
    assert internal in missing(INTERNALS)


@EACH_METHOD
def test_a_method_that_takes_something_else_is_missing(monkeypatch, internal):
    monkeypatch.setattr(homes(internal)[0], internal.name, lambda self, other: None)
    assert internal in missing(INTERNALS)


@pytest.mark.parametrize("owner", ["nowhere", "calls.sockets:nothing", "calls.sockets.contract:nothing.at_all"])
def test_what_stands_in_a_module_or_class_that_is_gone_is_missing(owner):
    assert not Internal(owner, "name").is_there()


def test_what_is_not_written_in_python_is_taken_for_missing():
    assert not Internal("builtins:str", "name", set_by="upper").is_there()
    assert not Internal("builtins:int", "__abs__", takes=("number",)).is_there()


@pytest.mark.parametrize(
    ("ours", "theirs", "table"),
    [
        (MediaWebSocket, WebSocketsSansIOProtocol, uvicorn.INTERNALS),
        (MediaProtocol, WebSocketProtocol, daphne.INTERNALS),
    ],
)
def test_all_that_the_short_way_uses_of_a_server_stands_in_its_table(ours, theirs, table):
    nodes = [*ast.walk(ast.parse(inspect.getsource(ours)))]
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    objects = {"self", "super()", "self.conn", "self.config"}
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) in objects}
    own = {name for name in defined if not hasattr(theirs, name)}
    assert {name for name in defined | used if not name.startswith("_")} - own <= {row.name for row in table}


def test_uvicorns_own_protocol_serves_where_something_is_missing(monkeypatch, caplog):
    monkeypatch.delattr(WebSocketsSansIOProtocol, "send_receive_event_to_app")
    assert uvicorn.choose() is WebSocketsSansIOProtocol
    (record,) = caplog.records
    assert record.getMessage().startswith("short_way_missing server=uvicorn version=0.")
    assert "no WebSocketsSansIOProtocol.send_receive_event_to_app as we know it" in record.getMessage()


def test_what_uvicorn_serves_by_default_serves_where_that_protocol_is_gone(monkeypatch, caplog):
    monkeypatch.setattr(uvicorn, "PROTOCOL", "uvicorn.protocols.websockets.websockets_sansio_impl:Renamed")
    monkeypatch.setattr(uvicorn, "INTERNALS", [Internal(uvicorn.PROTOCOL, "send", takes=("message",))])
    assert uvicorn.choose() is WebSocketsSansIOProtocol
    assert "no Renamed.send(message) as we know it" in caplog.text


@pytest.fixture
def under_daphne(monkeypatch):
    """As in a process of daphne's, which has not loaded uvicorn, and where nothing is installed yet."""
    monkeypatch.setattr(WebSocketFactory, "protocol", WebSocketProtocol)
    monkeypatch.delitem(sys.modules, "uvicorn")


@pytest.mark.usefixtures("under_daphne")
def test_daphne_gets_our_protocol(caplog):
    daphne.install()
    assert WebSocketFactory.protocol is MediaProtocol
    assert caplog.records == []


@pytest.mark.usefixtures("under_daphne")
def test_daphnes_own_protocol_serves_where_something_is_missing(monkeypatch, caplog):
    monkeypatch.delattr(WebSocketProtocol, "muted")
    daphne.install()
    assert WebSocketFactory.protocol is WebSocketProtocol
    assert "short_way_missing server=daphne version=4." in caplog.text
    assert "no WebSocketProtocol.muted as we know it" in caplog.text


@pytest.fixture
def broken(tmp_path):
    """A folder with other builds of both servers, in each of which an attribute has another name."""
    folder = tmp_path / "broken"
    for package, module, old, new in [
        ("uvicorn", "protocols/websockets/websockets_sansio_impl.py", "self.frames", "self.pieces"),
        ("daphne", "ws_protocol.py", "self.last_ping", "self.pinged_at"),
    ]:
        installed = pkgutil.resolve_name(package).__path__[0]
        shutil.copytree(installed, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        source = folder / package / module
        source.write_text(source.read_text().replace(old, new))
    return folder


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("uvicorn", "WebSocketsSansIOProtocol.frames (set by __init__)"),
        ("daphne", "WebSocketProtocol.last_ping (set by onConnect)"),
    ],
)
def test_a_call_is_carried_and_recorded_without_the_short_way(tmp_path, broken, kind, lost):
    with Server(kind, tmp_path, PYTHONPATH=str(broken)) as server:
        (report,) = place(server, handler="echo", audio=SPEECH[:12000], linger=0.5)
    stream = Stream.objects.get(sid=report.stream_sids[0])
    heard = b"".join(audio for _, audio in report.heard)
    stored = b"".join(bytes(chunk.payload) for chunk in stream.chunks.filter(track="outbound"))
    assert lane(stream, "inbound") == report.sent
    # All that was said came back, and as much of the silence behind it as was not on its way at the end.
    assert len(heard) >= 12000
    assert report.sent.startswith(heard)
    assert stored.startswith(heard) or heard.startswith(stored)
    verify()
    # And not a word of the other server.
    (line,) = [line for line in server.log.splitlines() if "short_way_missing" in line]
    assert f"short_way_missing server={kind} " in line
    assert f" no {lost} as we know it, so its own protocol carries the calls" in line
    assert server.errors == []
