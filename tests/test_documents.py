"""The documents in docs/ say what the code does: each log event is explained, and each example runs."""

import ast
import asyncio
import json
import re
import time
import tomllib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from websockets.asyncio.server import serve

from calls import handlers
from calls.handlers import ExpectedCall
from calls.media.audio import peaks
from calls.media.rows import DataRow, DtmfRow, EventRow, GapRow
from calls.models import Call, Stream, Tag
from calls.process.lines import EVENT
from calls.server.talker import Talker
from calls.server.tickets import Dialled
from calls.sounds import sound
from tests.support import sounds
from tests.support.line import PATIENCE, payload
from tests.support.phone import CALL, LOUD, Phone, begin, done


ROOT = Path(__file__).resolve().parent.parent


# --- docs/operations.md -----------------------------------------------------------------------------------------------


def logged() -> Iterator[tuple[str, str]]:
    """(level, message) of every call of a logger in the code."""
    for folder in ("calls", "config"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name("logger"), attr=attr), args=[first, *_]) if (
                        attr != "setLevel"
                    ):
                        assert isinstance(first, ast.Constant), f"{path}:{first.lineno}: the name of the event first"
                        yield ("error" if attr == "exception" else attr), str(first.value)


def explained() -> dict[str, str]:
    """The events of docs/operations.md, and their levels."""
    rows = re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "an event has two lines"
    return dict(rows)


def test_every_log_event_is_explained_and_every_explained_one_is_logged():
    found = {(EVENT.match(message)[0], level) for level, message in logged()}
    assert found == set(explained().items())


# --- docs/handlers.md -------------------------------------------------------------------------------------------------


def examples() -> dict[str, str]:
    """The modules of docs/handlers.md by name; each begins with where it lies."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "handlers.md").read_text(), re.DOTALL)
    return {re.match(r"# handlers/(\w+)\.py\n", block)[1]: block for block in blocks}


def module(name: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile(examples()[name], f"{name}.py", "exec"), vars(module))
    return module


def example(name: str) -> handlers.Handler:
    """The handler of an example, found as a project's own is."""
    talk = vars(module(name))[name]
    return handlers.Handler(name, talk, vars(talk).get("__callstream__", handlers.Options()))


#: What tests/test_readme.py tries.
ON_SERVERS = {"assistant", "announced"}


def test_every_example_is_tried_here_or_on_a_server():
    tried = set(re.findall(r'(?:example|module)\("(\w+)"\)', Path(__file__).read_text()))
    assert set(examples()) == tried | ON_SERVERS


@pytest.mark.parametrize(("resumed", "plays"), [(0, 2), (1, 1)])
async def test_the_menu_greets_once_and_takes_a_key(resumed, plays):
    phone = Phone(resumed=resumed)
    talk = begin(example("menu")(phone.stream))
    if not resumed:
        await phone.play_out()
    phone.press("1")
    await phone.play_out()
    await done(talk)
    assert [message["event"] for message in phone.sent].count("mark") == plays


async def test_the_dictation_ends_with_a_hash():
    phone = Phone()
    talk = begin(example("dictation")(phone.stream))
    await phone.play_out()
    phone.say(LOUD, times=20)
    phone.press("#")
    await phone.play_out()
    await done(talk)


async def test_the_polite_one_goes_on_when_it_has_its_caller_back():
    phone = Phone()
    talk = begin(example("polite")(phone.stream))
    await phone.live.hold.begin(7, "anna")
    phone.live.hold.end()
    await phone.play_out()
    phone.hang_up()
    await done(talk)
    assert "anna talked for 0 s" in [row.data.get("text") for row in phone.rows(EventRow)]


async def test_the_goodbyes_end_with_the_callers(settings):
    settings.TRANSCRIBER = "tests.support.transcribers.hears_goodbye"
    phone = Phone()
    talk = begin(example("goodbyes")(phone.stream))
    phone.say(LOUD, times=20)
    phone.live.beat(time.monotonic())
    await done(talk)


async def test_the_transcriber_gives_each_piece_and_yields_each_answer(monkeypatch):
    async def service(socket):
        async for piece in socket:
            await socket.send(json.dumps({"text": "hello", "start": 0.0, "end": len(piece) / 8000}))

    async def audio():
        yield LOUD * 10
        yield LOUD * 5

    async with serve(service, "127.0.0.1", 0) as server:
        monkeypatch.setenv("WHISPER_URL", f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        transcribe = module("whisper").transcribe
        assert [heard.end async for heard in transcribe(audio())] == [0.2, 0.1]


async def test_the_payment_keeps_the_card_out_of_recording_and_rows():
    phone = Phone()
    talk = begin(example("payment")(phone.stream))
    await phone.play_out()
    async with asyncio.timeout(PATIENCE):
        while not phone.stream.recording_paused:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0)
    phone.say(LOUD, times=5)
    phone.press("4000000000000002")
    await phone.play_out()
    await done(talk)
    rows = phone.tape.cut_all()
    assert {row.digit for row in rows if isinstance(row, DtmfRow)} == {"•"}
    assert any(isinstance(row, GapRow) and row.reason == "paused" for row in rows)


async def test_the_reader_says_what_was_heard_when_it_is_interrupted(capsys):
    phone = Phone()
    talk = begin(example("reader")(phone.stream))
    await phone.heard("media")
    phone.later(500)
    phone.press("1")
    await done(talk)
    assert re.fullmatch(r"heard [5-9]\d\d ms of \d+ ms that were sent\n", capsys.readouterr().out)


async def test_the_mirror_says_what_it_was_told():
    phone = Phone()
    talk = begin(example("mirror")(phone.stream))
    phone.say(LOUD, times=60)
    await phone.taken()
    phone.say(LOUD, times=60)
    await phone.play_out()
    await done(talk)
    said = b"".join(b64decode(message["media"]["payload"]) for message in phone.sent if message["event"] == "media")
    assert 16_000 <= len(said) < 16_320
    assert peaks(said, 8000)[0] > 60


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("resumed", "visits"), [(0, 2), (1, 7)])
async def test_the_desk_asks_the_database_and_leaves_a_row_for_later(resumed, visits):
    known = {"from_number": "+14155550100", "data": {"visits": 7}}
    call, _ = await Call.objects.acreate(sid=CALL, **known), await Call.objects.acreate(**known)
    phone = Phone(resumed=resumed)
    talk = begin(example("desk")(phone.stream))
    phone.press("1")
    await phone.heard("media")
    await phone.play_out()
    await phone.play_out()
    await done(talk)
    written = [row.values if isinstance(row, DataRow) else row.data["text"] for row in phone.rows(DataRow | EventRow)]
    assert written == [{"visits": visits}, "asked for a refund"]
    assert await call.tags.aget() == await Tag.objects.aget(name="refund")


async def greet(socket):
    """A speech service that greets whom it is told of."""
    await socket.send(LOUD * len((await socket.recv()).removeprefix("greet ")))


async def test_the_concierge_finds_an_open_socket(monkeypatch):
    concierge, phone = example("concierge"), Phone()
    call = ExpectedCall(CALL, "", "+14155550100", "", "inbound", {"CallerName": "ANNA"}, 0)
    async with serve(greet, "127.0.0.1", 0) as server:
        monkeypatch.setenv("SPEECH_URL", f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with await concierge.options.prepare(call) as phone.live.prepared:
            talk = begin(concierge(phone.stream))
            await phone.play_out()
            await done(talk)
    assert b"".join(payload(each) for each in phone.sent if each["event"] == "media") == LOUD * 4


async def test_the_concierge_apologises_without_one():
    phone = Phone()
    talk = begin(example("concierge")(phone.stream))
    await phone.play_out()
    await done(talk)


async def test_the_parrot_says_a_turn_again():
    phone = Phone()
    talk = begin(example("parrot")(phone.stream))
    await asyncio.sleep(0)
    spoken = sounds.silence(1) + sounds.CALLER + sounds.silence(1)
    phone.speak(spoken)
    assert payload(await phone.heard("media")) in spoken
    phone.hang_up()
    await done(talk)


async def test_the_supervisor_listens_to_the_end():
    phone = Phone(bidirectional=False)
    talk = begin(example("supervised")(phone.stream))
    phone.say(LOUD, times=3, track="outbound")
    await phone.taken()
    phone.hang_up()
    await done(talk)
    assert phone.sent == []


@pytest.mark.parametrize(("status", "says"), [("completed", "thanks"), ("busy", "apology")])
async def test_music_plays_until_there_is_somebody_and_the_handler_goes_on_when_the_caller_is_back(
    monkeypatch, status, says
):
    phone, back = Phone(), Phone()
    desk = example("transfer")
    monkeypatch.setitem(desk.talk.__globals__, "who_is_free", no_time_at_all)
    talker = Talker(phone.live, lambda: desk(phone.stream))
    talker.start()
    assert (await phone.heard("clear"))["event"] == "clear"
    await phone.live.lifetime.until_ending()
    phone.live.outing.leave(talker)
    phone.live.outing.come_back(back.live, Dialled(status))
    assert b64decode((await back.heard("media"))["media"]["payload"]) == sound(says)[:8000]
    await back.play_out()
    assert await back.live.lifetime.until_ending() == "handler"


async def no_time_at_all() -> str:
    await asyncio.sleep(0)
    return "+14155550100"


# --- docs/architecture.md ---------------------------------------------------------------------------------------------


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


# What a checkout has beside the project: its own data, and what tools keep there.
ELSEWHERE = {"var", "staticfiles", "__pycache__", "build"}


def files() -> Iterator[str]:
    """Every file of the project, from its root."""
    for path in sorted(ROOT.rglob("*")):
        name = path.relative_to(ROOT)
        is_ours = not (ELSEWHERE.intersection(name.parts) or name.parts[0].startswith(".")) or name.parts[0] == ".ci"
        if is_ours and path.is_file():
            yield str(name)
    yield ".env.example"


def folders(under: str = "") -> set[str]:
    """Those that hold something of the project."""
    inside = (name.removeprefix(under) for name in files() if name.startswith(under) and not name.startswith("."))
    return {name.partition("/")[0] for name in inside if "/" in name}


def test_the_drawing_has_the_layers_that_import_linter_holds():
    drawing = re.search(r"```text\n(.*?)```", ARCHITECTURE, re.DOTALL)[1].splitlines()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [rooms] = [contract["layers"] for contract in contracts if contract.get("containers") == ["calls"]]
    assert [line[:68].split() for line in drawing] == [layer.split(" : ") for layer in rooms]


def test_every_folder_is_named_in_the_architecture():
    assert [name for name in folders() if f"`{name}/`" not in ARCHITECTURE] == []
    assert folders("calls/") - set(re.findall(r"\w+", ARCHITECTURE)) == set()


def test_every_reason_for_the_end_of_a_stream_is_explained():
    _, *reasons = re.findall(r"^\| `(\w+)` \|.*\|.*\|$", ARCHITECTURE, re.MULTILINE)
    assert sorted(reasons) == sorted(Stream.EndReason.values)


# --- whatever names a file ------------------------------------------------------------------------------------------


# A path from one of our folders, or the name of a document.
PATH = re.compile(
    r"(?<![\w/.:{}-])((?:calls|config|handlers|templates|simulator|benchmark|tests|docs|deploy|scripts|\.ci)/[\w./-]*\w"
    r"|[A-Za-z][\w-]*\.md)(?![\w/{*-])"
)
# What a test makes; a reader makes the examples.
MADE = {
    *("handlers/mine.py", "handlers/desk.py", "handlers/NAME.py", "handlers/test_order_desk.py"),
    *("calls/0001-order.wav", "calls/0002-says-hello.wav"),
}


def texts() -> Iterator[tuple[str, str]]:
    for name in files():
        if not re.search(r"\.(png|wav|svg|json|pyc|so)$|^calls/migrations/|^tests/test_documents", name):
            yield name, (ROOT / name).read_text()


def exists(name: str, path: str) -> bool:
    """From the root, beside the file that names it, or where Django looks for templates and static files."""
    places = (ROOT, (ROOT / name).parent, ROOT / "calls" / "static", ROOT / "templates")
    return any((place / path).exists() for place in places)


def test_every_path_that_a_text_names_exists():
    named = {(name, path) for name, text in texts() for path in PATH.findall(text)}
    made = MADE | {f"handlers/{name}.py" for name in examples()}
    assert sorted((name, path) for name, path in named if not exists(name, path) and path not in made) == []


# --- whatever links, and whatever states a figure ---------------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def links() -> Iterator[tuple[Path, str]]:
    for name in files():
        if name.endswith(".md"):
            for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / name).read_text()):
                if "://" not in target:
                    yield ROOT / name, target


def test_every_link_of_a_document_leads_somewhere():
    for document, target in links():
        path, _, anchor = target.partition("#")
        found = document.parent / path if path else document
        assert found.exists(), (document.name, target)
        assert not anchor or anchor in anchors(found), (document.name, target)


def test_the_figures_are_those_that_were_measured():
    servers = json.loads((ROOT / "docs" / "performance" / "compare.json").read_text())["servers"]
    held = {name: server["held_median"] for name, server in servers.items()}
    on_sqlite, on_postgres = (f"{held[name] / held['fastapi']:.2f}" for name in ("callstream", "callstream-postgres"))
    for name in ("README.md", "CHANGELOG.md"):
        text = " ".join((ROOT / name).read_text().split())
        assert re.search(rf"{on_sqlite} times as many on SQLite,?( and)? {on_postgres} on PostgreSQL", text), name
    assert f"Callstream holds {on_sqlite} times what FastAPI holds" in (ROOT / "docs" / "performance.md").read_text()
