"""`python -m simulator.scenarios.schema` writes scenario.schema.json, by which editors complete and check a scenario.

With `--table` it prints the keys as docs/scenarios.md has them. Both are made of the types that scenarios are read by.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from simulator.scenarios.kinds import VARIABLE, kind_of
from simulator.scenarios.language import File
from simulator.scenarios.shapes import Choice, Key, Shape, choices, is_choice, is_list, is_shape, is_table, keys_of
from simulator.scenarios.steps import Step


Schema = dict[str, Any]

PATH = Path(__file__).with_name("scenario.schema.json")
DRAFT = "http://json-schema.org/draft-07/schema#"
INCLUDE = "the steps of another file, in this place"


def schema() -> Schema:
    """JSON Schema of a scenario's file; draft 7, which editors know best."""
    shapes = list(_shapes(File))
    return {
        "$schema": DRAFT,
        "title": "A scenario of Callstream's simulator",
        "$ref": "#/definitions/File",
        "definitions": {"Step": _step(Step), **{shape.__name__: _group(shape) for shape in shapes}},
    }


def table() -> str:
    """The keys of every group, in Markdown."""
    return "\n".join(line for shape in _shapes(File) for line in _rows(shape))


def main(arguments: Sequence[str]) -> None:
    if "--table" in arguments:
        sys.stdout.write(table())
    else:
        PATH.write_text(text())


def text() -> str:
    """The shipped file's."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _shapes(shape: type[Shape], seen: set[type[Shape]] | None = None) -> Iterator[type[Shape]]:
    """Every group of keys that a file can have, from outside to inside, each once."""
    seen = set() if seen is None else seen
    if shape in seen:
        return
    seen.add(shape)
    yield shape
    for key in keys_of(shape).values():
        kind = get_args(key.kind)[0] if is_list(key.kind) else key.kind
        for inner in kind.KINDS.values() if is_choice(kind) else [kind] if is_shape(kind) else []:
            yield from _shapes(inner, seen)


def _group(shape: type[Shape]) -> Schema:
    keys = keys_of(shape).values()
    group: Schema = {"type": "object", "additionalProperties": False}
    group["properties"] = {key.name: _about(key) for key in keys}
    if needed := [key.name for key in keys if key.is_required]:
        group["required"] = needed
    ways = [group]
    if shape.SHORTHAND:
        ways.insert(0, _of(keys_of(shape)[shape.SHORTHAND].kind))
    if shape.WORDS:
        ways.insert(0, {"enum": list(shape.WORDS)})
    if shape.BARE:
        ways.append({"type": "null"})
    return {"description": _doc(shape), **(ways[0] if len(ways) == 1 else {"anyOf": ways})}


def _about(key: Key) -> Schema:
    """A reference has no description beside it in draft 7, so it stands in an allOf."""
    inner = _of(key.kind)
    described = {"description": key.about, **({"examples": [key.example]} if key.example else {})}
    return {**described, "allOf": [inner]} if "$ref" in inner else {**described, **inner}


def _of(kind: Any) -> Schema:
    if is_choice(kind):
        return {"$ref": "#/definitions/Step"}
    if is_shape(kind):
        return {"$ref": f"#/definitions/{kind.__name__}"}
    if is_list(kind):
        inner = _of(get_args(kind)[0])
        return {"anyOf": [{"type": "array", "items": inner}, inner]}
    if is_table(kind):
        return {"type": "object", "additionalProperties": _of(get_args(kind)[1])}
    if words := choices(kind):
        return {"anyOf": [{"enum": list(words)}, VARIABLE]}
    single = kind_of(kind)
    return {} if single is None else {"anyOf": [single.schema, VARIABLE]}


def _step(family: type[Choice]) -> Schema:
    """One key, or the name alone."""
    bare = [name for name, shape in family.KINDS.items() if shape.BARE]
    steps = {name: {"$ref": f"#/definitions/{shape.__name__}"} for name, shape in family.KINDS.items()}
    steps["include"] = {"description": INCLUDE, "type": "string"}
    group = {
        "type": "object",
        "additionalProperties": False,
        "properties": steps,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"description": "What the caller does.", "anyOf": [{"enum": bare}, group]}


def _doc(shape: type[Shape]) -> str:
    return " ".join((shape.__doc__ or "").split())


def _rows(shape: type[Shape]) -> Iterator[str]:
    """A heading, what the group is, and a row for each key."""
    names = [name for name, kind in Step.KINDS.items() if kind is shape]
    step = " and ".join(f"`{name}`" for name in names)
    yield f"### {'step ' + step if step else TITLES.get(shape.__name__, f'`{shape.__name__}`')}\n"
    yield f"{_doc(shape)}{_short(shape)}\n"
    if keys := keys_of(shape).values():
        yield "| key | what it means | example |\n| --- | --- | --- |"
        yield from (
            f"| `{key.name}`{' *' if key.is_required else ''} | {_meaning(key)} | {_example(key)} |" for key in keys
        )
        yield ""


def _short(shape: type[Shape]) -> str:
    if shape.WORDS:
        return f" In short: one of the words {', '.join(f'`{word}`' for word in shape.WORDS)}."
    return f" In short: its `{shape.SHORTHAND}` alone." if shape.SHORTHAND else ""


def _meaning(key: Key) -> str:
    words = [word for word in choices(key.kind) if word]
    return key.about.replace("|", "\\|") + (f" ({', '.join(words)})" if words else "")


def _example(key: Key) -> str:
    return f"`{key.name}: {key.example}`" if key.example else ""


# What the groups are called whose keys' names do not say it.
TITLES = {
    "File": "The file",
    "Server": "`server`",
    "Line": "`line`",
    "Webhooks": "`webhooks`",
    "Outbound": "`outbound`",
    "Order": "`order` of `outbound`",
    "Dial": "`dial`",
    "Callee": "`callee`",
    "WholeCall": "`expect` of the whole call",
    "Extent": "`heard` and `duration` of the whole call",
    "HeardFile": "`sounds` of the whole call",
    "ResponseTime": "`response` of the whole call",
    "Speech": "`speech` of a step",
    "Sound": "`sound` of a step",
    "Silence": "`silence` of a step",
    "Nothing": "`nothing` of a step",
    "MarkBack": "`mark` of a step",
    "Clear": "`clear` of a step",
    "HangUp": "`hang_up` of a step",
}


if __name__ == "__main__":
    main(sys.argv[1:])
