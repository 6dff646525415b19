"""`manage.py do_chores`: what is done beside the calls. The server does it by itself, unless CHORES is false."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from calls.chores.board import CHORES
from calls.chores.chore import Chores
from calls.measuring.courtesy import NICENESS
from calls.metrics import figures
from calls.process.scraping import serve


class Command(BaseCommand):
    help = (
        "Measures calls, delivers webhooks, watches alert rules and asks what calls cost, until Ctrl-C. The server "
        "starts this itself; where CHORES is false, run it beside it, on as many machines as you like."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="End when there is nothing left to do.")
        parser.add_argument("--beside-a-server", action="store_true", help="End with the standard input too.")
        counted = parser.add_mutually_exclusive_group()
        counted.add_argument("--metrics", type=Path, help="The folder of the server that tells what is counted.")
        counted.add_argument("--metrics-port", type=int, help="Answer /metrics there, where no server does it.")

    def handle(
        self,
        *args: Any,
        once: bool,
        beside_a_server: bool,
        metrics: Path | None = None,
        metrics_port: int | None = None,
        **options: Any,
    ) -> None:
        os.nice(NICENESS)
        if metrics:
            figures.join(metrics)
        if metrics_port:
            serve(metrics_port)
        stop = threading.Event()
        chores = Chores(CHORES, stop)
        if once:
            chores.run_once()
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        if beside_a_server:
            # Ctrl-C reaches this process too, and the server may go on for as long as it has calls.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            threading.Thread(target=_until_input_ends, args=(stop,), daemon=True).start()
        chores.run()
        _leave()


def _leave() -> None:
    """At once: whatever still waits for a receiver or for the database is done again by whoever comes next."""
    figures.close()
    logging.shutdown()
    os._exit(0)


def _until_input_ends(stop: threading.Event) -> None:
    # Not sys.stdin, whose lock a thread that waits would keep from the end of the interpreter.
    while os.read(sys.stdin.fileno(), 1024):
        continue
    stop.set()
