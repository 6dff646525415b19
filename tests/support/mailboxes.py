"""A mail server on loopback that takes what it is sent, or does what real ones do instead."""

import email
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message


class Mailbox:
    """What came in; `refusals` are its answers to the next commands that begin so: `{"RCPT": "550 5.1.1 who?"}`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.recipients: list[str] = []
        self.refusals: dict[str, str] = {}
        #: Closes the connection after this answer, as one does that is killed.
        self.dies_after = ""
        self.sessions = 0

    def subjects(self) -> list[str]:
        return [str(message["Subject"]) for message in self.messages]


@contextmanager
def mail_server(port: int = 0) -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            box.sessions += 1
            self.say("220 box.example.org")
            while line := self.rfile.readline():
                verb = line[:4].decode().strip().upper()
                if not self.answer(verb, line.decode()):
                    return

        def answer(self, verb: str, line: str) -> bool:
            if refusal := box.refusals.get(verb):
                self.say(refusal)
            elif verb == "DATA":
                self.say("354 go on")
                self.take()
                self.say("250 taken")
            elif verb == "RCPT":
                box.recipients.append(line.partition("<")[2].partition(">")[0])
                self.say("250 yes")
            else:
                self.say("221 bye" if verb == "QUIT" else "250 yes")
            return verb not in ("QUIT", box.dies_after)

        def take(self) -> None:
            lines = iter(self.rfile.readline, b".\r\n")
            box.messages.append(email.message_from_bytes(b"".join(lines)))

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", port), Session) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield box, server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
