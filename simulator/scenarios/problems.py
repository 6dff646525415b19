"""What is wrong with a scenario, and where: each problem is one plain sentence with its file and line."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path


@dataclass(frozen=True, order=True)
class Place:
    """A line of a file, counted from 1."""

    file: str
    line: int

    @property
    def short(self) -> str:
        """Without the folders, for sentences."""
        return f"{Path(self.file).name}:{self.line}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


NOWHERE = Place("", 0)


@dataclass(frozen=True, order=True)
class Problem:
    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class ScenarioError(ValueError):
    """A scenario that cannot be played; one line for each of its problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a word that nobody knows: the one that was probably meant, or all there are."""
    words = sorted(known)
    if near := get_close_matches(word.lower().replace("-", "_"), words, n=1, cutoff=0.6):
        return f"; did you mean `{near[0]}`?"
    return f"; there are {', '.join(f'`{one}`' for one in words)}" if words else ""
