"""The examples of README.md and docs/handlers.md that need a server run as they are printed there, on a real one."""

import re
import threading

import pytest
from websockets.sync.server import serve

from calls.media.audio import tone
from calls.models import Call, CallEvent
from tests.support.callers import place
from tests.support.servers import ROOT, SPEECH, Server
from tests.test_documents import examples


PIZZA, *OTHERS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
ANSWER = tone(440, 600)

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with the examples' modules, as a reader would type them."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "readme").mkdir()
    for name, block in {"pizza": PIZZA, **examples()}.items():
        (folder / "readme" / f"{name}.py").write_text(block)
    return folder


@pytest.fixture
def server(project, speech):
    """One for each test: what is emptied between two tests would be missing to a server that lives on."""
    handlers = ",".join(f"{name}=readme.{name}.{name}" for name in ("pizza", "assistant", "announced"))
    with Server("uvicorn", project, PYTHONPATH=str(project), STREAM_HANDLERS=handlers, SPEECH_URL=speech) as server:
        yield server


@pytest.fixture(scope="module")
def speech():
    """A speech service: answers for 30 s after a second of audio, is interrupted half a second later, says goodbye."""

    def talk(socket):
        heard = 0
        for message in socket:
            before, heard = heard, heard + len(message)
            if before < 8000 <= heard:
                socket.send(ANSWER * 50)
            if before < 12000 <= heard:
                socket.send("interrupted")
                socket.send(ANSWER)
                socket.send("goodbye")

    with serve(talk, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()


def test_the_first_example_is_there_to_start_from():
    assert (ROOT / "handlers" / "pizza.py").read_text() == PIZZA
    assert OTHERS == []


def answered(server, handler, audio=SPEECH, **facts):
    """One call to one of the examples."""
    (report,) = place(server, handler=handler, audio=audio, **facts)
    assert server.errors == [], server.log
    return report


def test_the_first_example_takes_an_order_by_key(server):
    report = answered(server, "pizza", audio=b"\xff" * 8000, dtmf=((0.5, "1"),))
    assert report.streams[0].closed_code == 1000
    assert Call.objects.get().handler == "pizza"


def test_the_assistant_is_interrupted_and_says_goodbye(server):
    report = answered(server, "assistant")
    assert report.clears == 1
    # Half a second of the long answer, and the short one; not the 10 s that lay ahead.
    assert len(report.heard_audio) < 5 * 8000
    assert report.heard_audio.rstrip(b"\xff").endswith(ANSWER[-400:].rstrip(b"\xff"))
    assert report.streams[0].closed_by == "server"
    assert not CallEvent.objects.filter(kind="handler-failed").exists()


def test_the_assistant_takes_a_hang_up_for_what_it_is(server):
    answered(server, "assistant", audio=SPEECH[:8800], hang_up_after=1.1)
    assert not CallEvent.objects.filter(kind="handler-failed").exists()


def test_the_announcement_is_said_before_the_stream(server):
    report = answered(server, "announced", audio=b"\xff" * 4000, hang_up_after=0.5)
    assert report.ok
    assert "<Say>This call is recorded.</Say><Connect" in report.twiml[0]
