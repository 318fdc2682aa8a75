"""Labels as a JSON or Python value: a list, an object from index to label or from label to index, or one that holds such."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from squeeze_export.errors import SourceError
from squeeze_export.sources.labels import tables
from squeeze_export.sources.labels.entries import SYNSET, Entry, Reading, by_index, is_number

if TYPE_CHECKING:
    from collections.abc import Sequence

# Under which keys configurations and checkpoints keep their labels.
KEYS: Final = (
    "id2label", "idx_to_class", "class_to_idx", "label2id", "classes", "class_names", "names", "labels", "categories",
)  # fmt: skip
_SHAPES: Final = 'give a list of strings, {"0": "tench", ...} or {"tench": 0, ...}'

# A key (the position in a list), its value, and where it stood.
Pair = tuple[object, object, str]


def read(text: str, where: str, *, json_only: bool) -> Reading:
    """Read a JSON or Python list or object. `json_only`: what is no JSON is told as such, unless it is Python all the same."""
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, where))
    except (json.JSONDecodeError, RecursionError) as error:
        pairs = None if isinstance(error, RecursionError) else _python_pairs(text, where, told=not json_only)
        if pairs is None:
            raise SourceError(f"{where} is not JSON: {error}") from error
        return _of_pairs(*pairs, where)
    return of_value(value, where)


def read_module(text: str, where: str) -> Reading:
    """Read Python source that gives one list or dict a name; nothing of it is executed."""
    body = _parsed(text, where).body
    values = [
        node.value
        for node in body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.List | ast.Tuple | ast.Dict)
    ]
    if len(values) != 1:
        raise SourceError(f"{where} is Python source with {len(values)} lists or dicts at its top: give one that has the labels")
    return _of_pairs(*_pairs_of(values[0], where), where)


def of_value(value: object, where: str) -> Reading:
    """The labels in a plain Python value, as JSON or a checkpoint has it."""
    if isinstance(value, Mapping):
        inside = [key for key in KEYS if isinstance(value.get(key), Mapping | list | tuple)]
        if inside:
            return _agreeing(value, inside, where)
        return _of_pairs([(key, entry, f"index {key}") for key, entry in value.items()], False, where)
    if isinstance(value, list | tuple):
        return _of_pairs([(str(index), entry, f"index {index}") for index, entry in enumerate(value)], True, where)
    raise SourceError(f"{where} holds a {type(value).__name__}: {_SHAPES}")


def _records(items: Sequence[object], where: str) -> Reading | None:
    """A list of objects, `[{"id": 3, "name": "cat"}]`, or of lists, `[[3, "cat"]]`, read as a table; None for others."""
    if items and all(isinstance(item, Mapping) for item in items):
        objects = [item for item in items if isinstance(item, Mapping)]
        keys = [key for key in objects[0] if all(_is_cell(item.get(key)) for item in objects)]
        if not keys or len({str(key).lower() for key in keys}) < len(keys):
            return None
        return tables.of_records([tuple(str(item[key]) for key in keys) for item in objects], _lower(keys), where)
    if items and all(isinstance(item, list | tuple) and all(map(_is_cell, item)) for item in items):
        rows = [tuple(map(str, item)) for item in items if isinstance(item, list | tuple)]
        counted = any(isinstance(cell, int) for item in items if isinstance(item, list | tuple) for cell in item)
        return tables.of_records(rows, None, where) if counted and len({len(row) for row in rows}) == 1 else None
    return None


def _lower(keys: Sequence[object]) -> tuple[str, ...]:
    return tuple(str(key).lower() for key in keys)


def _is_cell(value: object) -> bool:
    return isinstance(value, str) or _is_whole(value)


def _unique(pairs: list[tuple[str, object]], where: str) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        raise SourceError(f"{where} has the key {twice!r} twice in one object: each index may have one label")
    return dict(pairs)


def _agreeing(value: Mapping[str, object], keys: Sequence[str], where: str) -> Reading:
    """What stands under the first key; SourceError where another orders the same names differently, or has as many others."""
    first = of_value(value[keys[0]], f"{where}, {keys[0]}")
    names = [label for label, _ in first.entries]
    told: list[str] = []
    for key in keys[1:]:
        try:
            theirs = [label for label, _ in of_value(value[key], f"{where}, {key}").entries]
        except SourceError:
            continue  # such as a label2id that has lost the second of two equal labels: it is not needed
        if theirs == names:
            continue
        if sorted(theirs) == sorted(names):
            place = next(index for index, label in enumerate(names) if theirs[index] != label)
            raise SourceError(
                f"{where} contradicts itself: class {place} is {names[place]!r} in {keys[0]} and {theirs[place]!r} in {key}. "
                "Leave only the right one"
            )
        if len(theirs) == len(names):
            raise SourceError(
                f"{where} has {len(names)} labels under {keys[0]} and others under {key}: leave only the right ones"
            )
        told.append(f"{where}: the {len(names)} names under {keys[0]} were taken for labels, not the {len(theirs)} under {key}.")
    return replace(first, notes=(*first.notes, *told))


def _python_pairs(text: str, where: str, *, told: bool) -> tuple[list[Pair], bool] | None:
    """The pairs of a Python list or dict; None where it is none and that need not be told."""
    try:
        body = _parsed(text, where).body
        if len(body) != 1 or not isinstance(body[0], ast.Expr):
            raise SourceError(f"{where} begins like a list or an object and holds more behind it: {_SHAPES}")
        return _pairs_of(body[0].value, where)
    except SourceError:
        if told:
            raise
        return None


def _parsed(text: str, where: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of a backslash in a name
            return ast.parse(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        number = getattr(error, "lineno", None) or 1
        before = len(text) - len(text.lstrip())
        lines = text.strip().splitlines()
        line = lines[min(number, len(lines)) - 1].strip()[:80]
        raise SourceError(
            f"{where} begins like a list or an object, and line {number + text[:before].count(chr(10))} cannot be read as Python "
            f"or JSON: {line!r}. {_SHAPES[0].upper()}{_SHAPES[1:]}"
        ) from error


def _pairs_of(node: ast.expr, where: str) -> tuple[list[Pair], bool]:
    """(key, value, place) of a list's or dict's literal, and whether it is a list."""
    try:
        match node:
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [(str(i), ast.literal_eval(item), f"line {item.lineno}") for i, item in enumerate(items)], True
            case ast.Dict(keys=keys, values=values) if None not in keys:
                pairs: list[Pair] = [
                    (ast.literal_eval(key), ast.literal_eval(value), f"line {key.lineno}")
                    for key, value in zip(keys, values, strict=True)
                    if key is not None
                ]
                return _inside(pairs, where), False
            case _:
                raise ValueError
    except (ValueError, TypeError, RecursionError) as error:
        raise SourceError(f"{where} holds Python that is no plain list or dict (a set has no order): {_SHAPES}") from error


def _inside(pairs: list[Pair], where: str) -> list[Pair]:
    """A dict that holds the labels under one of KEYS, opened."""
    for key in KEYS:
        held = next((value for name, value, _ in pairs if name == key and isinstance(value, Mapping | list | tuple)), None)
        if held is not None:
            return [(str(index), label, place) for index, (label, place) in enumerate(of_value(held, f"{where}, {key}").entries)]
    return pairs


def _of_pairs(pairs: Sequence[Pair], listed: bool, where: str) -> Reading:
    records = _records([value for _, value, _ in pairs], where) if listed else None
    if records is not None:
        return records
    if not listed and _is_name_to_index(pairs):
        # {"cat": 0} or {"cat": "0"}: torchvision's class_to_idx, Hugging Face's label2id.
        rows = [(str(value), str(key), place.replace("index ", "label ")) for key, value, place in pairs]
        return Reading(entries=by_index(rows, where), placed=True)
    # {"0": ["n01440764", "tench"]}: Keras's imagenet_class_index.json.
    named = [(key, _second(value), place) for key, value, place in pairs]
    wrong = next(((value, place) for _, value, place in named if not isinstance(value, str)), None)
    if wrong is not None:
        raise SourceError(f"{where}: {wrong[1]} has {wrong[0]!r:.80}, which is no string")
    keyless = next(((key, place) for key, _, place in named if not (isinstance(key, str) or _is_whole(key))), None)
    if keyless is not None:
        raise SourceError(f"{where}, {keyless[1]}: {keyless[0]!r} is no class index (0, 1, 2, ...)")
    if listed:
        entries: tuple[Entry, ...] = tuple((str(value).strip(), place) for _, value, place in named)
        return Reading(entries=entries)
    return Reading(entries=by_index([(str(key), str(value), place) for key, value, place in named], where), placed=True)


def _is_name_to_index(pairs: Sequence[Pair]) -> bool:
    if not pairs or not all(isinstance(key, str) for key, _, _ in pairs):
        return False
    if all(_is_whole(value) for _, value, _ in pairs):
        return True
    named = not any(is_number(str(key)) for key, _, _ in pairs)
    return named and all(isinstance(value, str) and is_number(value) for _, value, _ in pairs)


def _second(value: object) -> object:
    match value:
        case [str(synset), str(label)] if SYNSET.fullmatch(synset):
            return label
        case _:
            return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
