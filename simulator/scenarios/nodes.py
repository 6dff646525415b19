"""A YAML file as a tree of nodes that know their lines. Values stay the text that somebody wrote: `no` is no boolean.

What can make a small file large or ambiguous is refused: anchors, tags, a key twice, a second document.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.error import MarkedYAMLError
from yaml.events import AliasEvent, CollectionStartEvent, ScalarEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from simulator.scenarios.problems import Place, Problem, ScenarioError


MAX_BYTES = 1_000_000
MAX_DEPTH = 20
PREFIX = "tag:yaml.org,2002:"
NULL = PREFIX + "null"

# What YAML's own words mean for somebody who does not know its grammar.
_PLAIN = (
    ("'\\t'", "", "a tab; YAML is indented with spaces"),
    ("cannot start any token", "", "a text that begins with one of @ ` % | > stands in quotes"),
    ("sequence entries are not allowed", "", "a `- ` behind something else; each one begins a line of its own"),
    ("found '<stream end>'", "", "a bracket that does not close"),
    ("expected the node content", "", "a bracket, a comma or a colon that does not belong there"),
    ("an alias", "", "a text that begins with * or & stands in quotes"),
    ("an anchor", "", "a text that begins with * or & stands in quotes"),
    ("mapping values are not allowed", "", "a second `: ` in one line; put the text in quotes"),
    ("could not find expected ':'", "", "a line without `key: value`, or a text that goes on without being indented"),
    ("expected ',' or '}'", "${", 'inside of brackets, write "${name}" in quotes: this one does not close'),
    ("expected ',' or '}'", "", "a bracket { } that does not close"),
    ("expected ',' or ']'", "", "a bracket [ ] that does not close"),
    ("while scanning a quoted scalar", "", "quotes that do not close"),
    ("expected <block end>", "", "a line that is indented otherwise than those around it"),
    ("expected '<document start>'", "", "a line that does not belong to the `key: value` lines before it"),
    ("expected a single document", "", "a second document: one file is one scenario"),
)
_OPEN = "does not close", "do not close"


def read_tree(path: Path) -> MappingNode:
    """The file's one mapping; ScenarioError if there is none."""
    text = _text(path)
    if "\t" in text:
        _refuse_tabs(path, text)
    try:
        node = _Loader(text, str(path)).get_single_node()
    except MarkedYAMLError as error:
        _fail(path, *_plainly(error, text))
    except ReaderError as error:
        _fail(
            path,
            text[: error.position].count("\n") + 1,
            f"a character that YAML does not allow: {chr(error.character)!r}",
        )
    if node is None:
        _fail(path, 1, "the file is empty; a scenario has at least `steps:`")
    if not isinstance(node, MappingNode):
        _fail(path, node.start_mark.line + 1, f"a scenario is `key: value` lines, and this is {described(node)}")
    return node


def place_of(node: Node) -> Place:
    return Place(node.start_mark.name, node.start_mark.line + 1)


def folder_of(node: Node) -> Path:
    """Of the file that it stands in: what a name of a file is relative to."""
    return Path(node.start_mark.name).parent


def items(node: MappingNode) -> Iterator[tuple[str, ScalarNode, Node]]:
    """(key, its node, its value's)."""
    for key, value in node.value:
        yield key.value, key, value


def child(node: MappingNode, name: str) -> Node | None:
    return next((value for key, _, value in items(node) if key == name), None)


def without(node: MappingNode, *names: str) -> MappingNode:
    """The same one less these keys."""
    tree: MappingNode = like(node, [(key, value) for name, key, value in items(node) if name not in names])
    return tree


def like(node: Node, value: Any) -> Any:
    """A node at the same place with another value."""
    return type(node)(node.tag, value, node.start_mark, node.end_mark)


def scalar(like_this: Node, text: str) -> ScalarNode:
    return ScalarNode(PREFIX + "str", text, like_this.start_mark, like_this.end_mark)


def is_nothing(node: Node) -> bool:
    """`key:` with nothing behind it."""
    return isinstance(node, ScalarNode) and node.tag == NULL and not node.value


def described(node: Node) -> str:
    """What it is, in the middle of a sentence."""
    if is_nothing(node):
        return "nothing"
    if isinstance(node, ScalarNode):
        return f"`{node.value if len(node.value) <= 40 else node.value[:37] + '...'}`"
    return "a list" if isinstance(node, SequenceNode) else "a group of keys"


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name
        self._depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._check(self.peek_event())  # type: ignore[no-untyped-call]
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                self._refuse(key.start_mark, "a key is a word, not a list or a group of keys")
            if key.value in seen:
                self._refuse(
                    key.start_mark, f"`{key.value}` is there twice; the first one is in line {seen[key.value]}"
                )
            seen[key.value] = key.start_mark.line + 1
        return node

    def _check(self, event: Any) -> None:
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            self._refuse(event.start_mark, "anchors and aliases (& and *) are not read; use `variables:` or `include:`")
        if isinstance(event, CollectionStartEvent | ScalarEvent) and event.tag not in (None, "!"):
            self._refuse(event.start_mark, f"tags like {event.tag.replace(PREFIX, '!!')} are not read")
        if self._depth > MAX_DEPTH:
            self._refuse(event.start_mark, f"more than {MAX_DEPTH} levels inside one another")

    def _refuse(self, mark: Any, text: str) -> NoReturn:
        _fail(Path(self.name), mark.line + 1, text)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScenarioError([Problem(Place(str(path), 1), f"cannot be read: {error.strerror}")]) from None
    if len(data) > MAX_BYTES:
        _fail(path, 1, f"{len(data)} bytes; a scenario has at most {MAX_BYTES}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _fail(path, data[: error.start].count(b"\n") + 1, "not UTF-8; save the file as UTF-8")


def _refuse_tabs(path: Path, text: str) -> None:
    """YAML's own message names what it could not read next, not the tab."""
    for number, line in enumerate(text.splitlines(), 1):
        if "\t" in line[: len(line) - len(line.lstrip())]:
            _fail(path, number, "a tab; YAML is indented with spaces")


def _plainly(error: MarkedYAMLError, text: str) -> tuple[int, str]:
    """The line, and what is wrong there: of what does not close, the line in which it opens."""
    said = f"{error.context or ''} {error.problem or ''}"
    lines, mark = text.split("\n"), error.problem_mark or error.context_mark
    number = min(mark.line, len(lines) - 1) if mark else 0
    for theirs, needed, ours in _PLAIN:
        opened = error.context_mark.line if error.context_mark and ours.endswith(_OPEN) else number
        if theirs in said and needed in lines[opened]:
            return opened + 1, ours
    return number + 1, f"not YAML: {' '.join(said.split())}"


def _fail(path: Path, line: int, text: str) -> NoReturn:
    raise ScenarioError([Problem(Place(str(path), line), text)])
