"""`python -m simulator`: Twilio's side of Media Streams, for any server; `--help` names its commands."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path

from simulator import calling, examining, running


DESCRIPTION = "Twilio's side of Media Streams, for any server that takes them."
PROGRAM = "twilio-media-streams-simulator"
COMMANDS = (calling, running, examining)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit status."""
    program = ArgumentParser(prog=_own_name(), description=DESCRIPTION)
    commands = program.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    chosen = program.parse_args(arguments)
    run: Callable[[object], int] = chosen.run
    return run(chosen)


def _own_name() -> str:
    """What it was called by: installed, it has a command of its own."""
    return PROGRAM if Path(sys.argv[0]).stem == PROGRAM else "python -m simulator"


if __name__ == "__main__":
    sys.exit(main())
