"""One POST to somebody who may be hostile: real sockets, and a real certificate."""

import socket

import pytest

from calls.notices import destinations, posting
from calls.notices.posting import post
from tests.support.mailbox import Mailbox, Rogue
from tests.support.servers import free_port
from tests.support.tls import certificate


HOST = "hooks.example.org"


@pytest.fixture(autouse=True)
def private(settings):
    settings.WEBHOOKS_MAY_BE_PRIVATE = True


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Half a second is as good as ten to see that it is kept to."""
    monkeypatch.setattr(posting, "PATIENCE", 0.5)


def here(host, port):
    return ["127.0.0.1"]


def test_what_is_sent_arrives():
    with Mailbox() as box:
        answer = post(box.url, {"webhook-id": "1"}, b'{"a": 1}')
    [letter] = box.letters
    assert (answer.status, answer.error, answer.is_good, answer.is_away) == (204, "", True, False)
    assert (letter.path, letter.content, letter.id) == ("/hook?key=1", {"a": 1}, "1")
    assert letter.headers["host"] == f"127.0.0.1:{box.port}"


@pytest.mark.parametrize(("status", "away"), [(400, False), (404, False), (410, False), (500, False), (503, True)])
def test_a_status_that_does_not_take_it_is_told_with_the_beginning_of_the_answer(status, away):
    with Mailbox(status) as box:
        box.body = b"no\x00 " + b"x" * 5000
        answer = post(box.url, {}, b"{}")
    assert (answer.status, answer.is_good, answer.is_away) == (status, False, away)
    assert answer.error.startswith(f"It answered {status}")
    assert (answer.body[:4], len(answer.body)) == ("no\ufffd ", 500)


def test_a_redirect_is_not_followed():
    with Mailbox() as other, Mailbox(302) as box:
        box.headers = {"Location": other.url}
        answer = post(box.url, {}, b"{}")
    assert answer.error == f"It answered 302: redirects are not followed, this one to {other.url}."
    assert (len(box.letters), other.letters, answer.is_good) == (1, [], False)


def test_a_redirect_to_the_clouds_own_address_goes_nowhere():
    with Mailbox(307) as box:
        box.headers = {"Location": "http://169.254.169.254/latest/meta-data"}
        assert "not followed" in post(box.url, {}, b"{}").error


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 302 Found\r\nLocation: /\r\n 2026-03-14 WARNING forged\r\n\r\n",
        b"HTTP/1.1 no\r2026-03-14 WARNING forged\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\xe2\x80\xa8\x1b[31mforged\r\n\r\n",
    ],
)
def test_whoever_answers_writes_no_line_of_our_log(said):
    with Rogue(lambda line: line.sendall(said)) as rogue:
        assert post(rogue.url, {}, b"{}").error.isprintable()


def test_nobody_there_is_said():
    answer = post(f"http://127.0.0.1:{free_port()}/", {}, b"{}")
    assert (answer.status, answer.error, answer.is_away) == (None, "Nobody listens there.", True)


def test_a_name_that_leads_nowhere_is_said():
    answer = post("https://nowhere.invalid/", {}, b"{}")
    assert answer.error.startswith("Its name cannot be looked up")
    assert answer.is_away


def test_a_host_that_no_name_can_be_is_said():
    assert post(f"https://{'a' * 70}.example.org/", {}, b"{}").error.startswith("The connection failed")


def test_a_url_that_nothing_is_sent_to_is_said():
    assert "begin with https" in post("gopher://x/", {}, b"{}").error


# --- hostile answers -------------------------------------------------------------------------------------------------


def drip(text: bytes):
    def play(line: socket.socket) -> None:
        line.sendall(text)
        while True:
            line.sendall(b"x")
            rogue.over.wait(0.01)

    rogue = Rogue(play)
    return rogue


def flood(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        line.sendall(b"x" * 65536)


def silence(line: socket.socket) -> None:
    while line.recv(65536):
        pass


def test_an_endless_answer_is_not_read_to_its_end():
    with Rogue(flood) as rogue:
        answer = post(rogue.url, {}, b"{}")
    assert (answer.status, answer.body) == (200, "x" * 500)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 ", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_an_answer_that_drips_is_cut_off_in_time(begun):
    with drip(begun) as rogue:
        answer = post(rogue.url, {}, b"{}")
    assert (answer.status, answer.error) == (None, "It did not answer within 0 s.")


def test_a_body_that_drips_changes_nothing_about_the_status():
    with drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n") as rogue:
        assert post(rogue.url, {}, b"{}").is_good


def test_silence_is_cut_off_in_time():
    with Rogue(silence) as rogue:
        assert post(rogue.url, {}, b"{}").error == "It did not answer within 0 s."


def test_a_handshake_of_tls_that_never_ends_is_cut_off_in_time():
    with Rogue(silence) as rogue:
        answer = post(rogue.url.replace("http:", "https:"), {}, b"{}")
    assert answer.error == "It did not answer within 0 s."


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000,
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000,
        b"HTTP/1.1 " + b"2" * 100_000,
        b"HTTP/1.1 banana\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_what_is_no_answer_is_an_error_and_no_exception(said):
    with Rogue(lambda line: line.sendall(said)) as rogue:
        answer = post(rogue.url, {}, b"{}")
    assert answer.status is None
    assert answer.error.startswith("The connection failed: ")
    assert len(answer.error) <= 300


@pytest.mark.parametrize("body", [b"zz\r\n", b"5\r\nhello", b"FFFFFFFFFFFF\r\nx"])
def test_a_body_that_is_torn_changes_nothing_about_the_status(body):
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    with Rogue(lambda line: line.sendall(said)) as rogue:
        assert post(rogue.url, {}, b"{}").is_good


# --- addresses -------------------------------------------------------------------------------------------------------


def test_a_private_address_is_never_connected_to(settings):
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    with Mailbox() as box:
        answer = post(f"https://{HOST}:{box.port}/", {}, b"{}", resolver=here)
    assert "leads to 127.0.0.1, which is no public address" in answer.error
    assert box.letters == []


def test_a_name_that_leads_elsewhere_the_second_time_is_not_asked_twice(settings, monkeypatch):
    answers = [["127.0.0.2"], ["127.0.0.1"]]
    monkeypatch.setattr(destinations, "is_public", lambda address: str(address) == "127.0.0.2")
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    with Mailbox() as box:
        answer = post(f"https://{HOST}:{box.port}/", {}, b"{}", resolver=lambda host, port: answers.pop(0))
    # Nobody listens at the one that was checked; at the other, somebody does.
    assert (answer.error, answers, box.letters) == ("Nobody listens there.", [["127.0.0.1"]], [])


def test_the_second_address_is_tried_where_the_first_one_is_dead():
    with Mailbox() as box:
        answer = post(box.url, {}, b"{}", resolver=lambda host, port: ["127.0.0.3", "127.0.0.1"])
    assert answer.is_good


def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    with Mailbox() as box, Mailbox() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert post(box.url, {}, b"{}").is_good
    assert (len(box.letters), proxy.letters) == (1, [])


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trusted(tmp_path, monkeypatch):
    """The certificates of `ca.pem` are trusted while a test runs."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    posting._tls.cache_clear()
    yield
    posting._tls.cache_clear()


def test_tls_asks_for_the_name_and_not_for_the_address(tmp_path, trusted):
    asked = []
    context = certificate(HOST, tmp_path)
    context.sni_callback = lambda sock, name, context: asked.append(name)
    with Mailbox(tls=context) as box:
        answer = post(f"https://{HOST}:{box.port}/calls", {}, b"{}", resolver=here)
    assert (answer.status, answer.error, asked) == (204, "", [HOST])
    assert box.letters[0].headers["host"] == f"{HOST}:{box.port}"


def test_the_certificate_of_another_name_is_not_trusted(tmp_path, trusted):
    with Mailbox(tls=certificate("other.example.org", tmp_path)) as box:
        answer = post(f"https://{HOST}:{box.port}/", {}, b"{}", resolver=here)
    assert answer.error.startswith("Its certificate cannot be trusted: Hostname mismatch")
    assert box.letters == []


def test_a_certificate_of_nobody_that_is_known_is_not_trusted(tmp_path):
    with Mailbox(tls=certificate(HOST, tmp_path)) as box:
        answer = post(f"https://{HOST}:{box.port}/", {}, b"{}", resolver=here)
    assert answer.error.startswith("Its certificate cannot be trusted: self-signed certificate")


def test_a_server_that_speaks_no_tls_is_said():
    with Mailbox() as box:
        answer = post(box.url.replace("http:", "https:"), {}, b"{}")
    assert answer.error.startswith("The connection failed: ")
