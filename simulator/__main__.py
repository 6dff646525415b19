"""`python -m simulator`: Twilio's side of Media Streams, for any server; `--help` names its commands."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence

from simulator import calling, running


DESCRIPTION = "Twilio's side of Media Streams, for any server that takes them."
COMMANDS = (calling, running)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit status."""
    program = ArgumentParser(
        prog="python -m simulator", description=(__doc__ or "").partition(": ")[2].partition(";")[0]
    )
    commands = program.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    chosen = program.parse_args(arguments)
    run: Callable[[object], int] = chosen.run
    return run(chosen)


if __name__ == "__main__":
    sys.exit(main())
