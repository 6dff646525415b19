"""What `manage.py doctor` looks at: each finding is one line, and what is not right has a hint."""

from collections.abc import Iterator

from calls.management.diagnosis import machine, network, work
from calls.management.diagnosis.finding import Finding


def examine() -> Iterator[Finding]:
    """All findings, beginning with this machine's."""
    yield from machine.examine()
    yield from work.examine()
    yield from network.examine()
