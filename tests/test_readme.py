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


@pytest.fixture
def project(tmp_path):
    """A folder with the examples' modules, as a reader would type them."""
    (tmp_path / "readme").mkdir()
    for name, block in {"pizza": PIZZA, **examples()}.items():
        (tmp_path / "readme" / f"{name}.py").write_text(block)
    return tmp_path


@pytest.fixture
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


def answered(project, handler, audio=SPEECH, speech="", **facts):
    """One call to one of the examples, under uvicorn."""
    environment = {"STREAM_HANDLERS": f"{handler}=readme.{handler}.{handler}", "SPEECH_URL": speech}
    with Server("uvicorn", project, PYTHONPATH=str(project), **environment) as server:
        (report,) = place(server, handler=handler, audio=audio, **facts)
        assert server.errors == []
    return report


def test_the_first_example_takes_an_order_by_key(project):
    report = answered(project, "pizza", audio=b"\xff" * 8000, dtmf=((0.5, "1"),))
    assert report.streams[0].closed_code == 1000
    assert Call.objects.get().handler == "pizza"


def test_the_assistant_is_interrupted_and_says_goodbye(project, speech):
    report = answered(project, "assistant", speech=speech)
    assert report.clears == 1
    # Half a second of the long answer, and the short one; not the 10 s that lay ahead.
    assert len(report.heard_audio) < 5 * 8000
    assert report.heard_audio.rstrip(b"\xff").endswith(ANSWER[-400:].rstrip(b"\xff"))
    assert report.streams[0].closed_by == "server"
    assert not CallEvent.objects.filter(kind="handler-failed").exists()


def test_the_assistant_takes_a_hang_up_for_what_it_is(project, speech):
    answered(project, "assistant", speech=speech, audio=SPEECH[:8800], hang_up_after=1.1)
    assert not CallEvent.objects.filter(kind="handler-failed").exists()


def test_the_announcement_is_said_before_the_stream(project):
    report = answered(project, "announced", audio=b"\xff" * 4000, hang_up_after=0.5)
    assert report.ok
    assert "<Say>This call is recorded.</Say><Connect" in report.twiml[0]
