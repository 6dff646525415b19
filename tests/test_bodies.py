"""What is too large is refused before Django has it, whoever sends it and however it is sent."""

import logging

import pytest

from calls.process.bodies import BODY_BYTES, QUERY_BYTES, UPLOAD_BYTES, LimitedBodies, is_long


class Door:
    """A request that comes in pieces, an application that reads all of it, and what was answered."""

    def __init__(self, *pieces, path="/incoming", query=b"", **headers):
        self.pieces, self.answered, self.taken, self.saw_disconnect = list(pieces), [], 0, False
        names = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope = {"type": "http", "path": path, "query_string": query, "headers": names}

    async def receive(self):
        return {"type": "http.request", "body": self.pieces.pop(0), "more_body": bool(self.pieces)}

    async def send(self, message):
        self.answered.append(message)

    async def application(self, scope, receive, send):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.saw_disconnect = True
                return
            self.taken += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def status(self):
        await LimitedBodies(self.application)(self.scope, self.receive, self.send)
        return self.answered[0]["status"]


async def test_a_body_within_the_limit_goes_through():
    door = Door(bytes(BODY_BYTES - 1), b"1", content_length=str(BODY_BYTES))
    assert await door.status() == 200
    assert door.taken == BODY_BYTES


async def test_a_body_that_says_it_is_too_large_is_refused_unread():
    door = Door(bytes(10), content_length=str(BODY_BYTES + 1))
    assert await door.status() == 413
    assert len(door.pieces) == 1


async def test_a_body_that_does_not_say_how_large_it_is_is_read_no_further_than_the_limit():
    door = Door(bytes(BODY_BYTES), b"1", bytes(1000), transfer_encoding="chunked")
    assert await door.status() == 413
    assert door.saw_disconnect
    assert door.taken == BODY_BYTES
    assert len(door.pieces) == 1


async def test_the_connection_of_a_refused_request_is_closed():
    door = Door(content_length="600000000")
    await door.status()
    assert (b"connection", b"close") in door.answered[0]["headers"]


@pytest.mark.parametrize("path", ["call/1/change/", "call/1/review/2/", "scorecard/add/", "scorecard/1/change/"])
async def test_notes_reviews_and_scorecards_of_staff_may_be_long(settings, path):
    size, path = settings.DATA_UPLOAD_MAX_MEMORY_SIZE, f"/admin/calls/{path}"
    assert await Door(bytes(size), path=path, content_length=str(size)).status() == 200
    assert await Door(path=path, content_length=str(size + 1)).status() == 413


SOUNDS = ["/admin/calls/sound/add/", "/admin/calls/call/17/step-in/play/"]
FILE = {"content_type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize("path", SOUNDS)
async def test_a_sound_that_staff_upload_may_be_large(path):
    door = Door(bytes(UPLOAD_BYTES), path=path, content_length=str(UPLOAD_BYTES), **FILE)
    assert await door.status() == 200
    assert await Door(path=path, content_length=str(UPLOAD_BYTES + 1), **FILE).status() == 413
    assert is_long({**door.scope, "method": "POST"})


@pytest.mark.parametrize("path", [*SOUNDS, "/admin/calls/call/17/step-in/clear/", "/admin/calls/sound/1/change/"])
async def test_nothing_but_a_file_of_known_size_may_be_as_large_as_a_sound(path):
    length = {"content_length": str(BODY_BYTES + 1)}
    assert await Door(path=path, content_type="application/x-www-form-urlencoded", **length).status() == 413
    large = [bytes(BODY_BYTES), b"1"]
    assert await Door(*large, path=path, transfer_encoding="chunked", **FILE).status() == 413
    if path not in SOUNDS:
        assert await Door(path=path, **length, **FILE).status() == 413


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/calls/call/", "/admin/auth/user/1/change/"])
async def test_no_other_form_of_the_admin_may_be_large(path):
    assert await Door(bytes(BODY_BYTES), path=path, content_length=str(BODY_BYTES)).status() == 200
    assert await Door(path=path, content_length=str(BODY_BYTES + 1)).status() == 413


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("POST", {"content_length": "65537"}, True),
        ("POST", {"transfer_encoding": "chunked"}, True),
        ("POST", {"content_length": "65536"}, False),
        ("GET", {}, False),
    ],
)
def test_long_notes_are_known_before_they_are_read(method, headers, expected):
    door = Door(path="/admin/calls/call/1/change/", **headers)
    assert is_long({**door.scope, "method": method}) is expected
    assert not is_long({**door.scope, "method": method, "path": "/admin/"})


async def test_an_upgrade_to_something_else_makes_no_difference():
    assert await Door(path="/connection", upgrade="x", content_length="600000000").status() == 413


async def test_an_address_that_is_too_long_is_refused():
    assert await Door(b"", query=b"a=" + b"%41" * QUERY_BYTES).status() == 414


@pytest.mark.parametrize("stated", ["", "-1", "many", "٣"])
async def test_a_length_that_is_not_a_number_is_left_to_the_server(stated):
    assert await Door(b"", content_length=stated).status() == 200


async def test_what_is_not_a_request_is_left_alone():
    seen = []

    async def application(scope, receive, send):
        seen.append(scope["type"])

    await LimitedBodies(application)({"type": "websocket"}, None, None)
    assert seen == ["websocket"]


async def test_django_keeps_and_logs_nothing_of_a_body_that_is_too_large(caplog):
    from config.asgi import django_application

    door = Door(bytes(BODY_BYTES), bytes(10), host="testserver")
    door.scope |= {"method": "POST", "headers": [(b"host", b"voice.example.org")]}
    with caplog.at_level(logging.WARNING):
        await LimitedBodies(django_application)(door.scope, door.receive, door.send)
    assert [message["status"] for message in door.answered if "status" in message] == [413]
    assert caplog.records == []
