"""Labels in YAML: a list, or an object from index to label, at the top or under `names`, as YOLO's data.yaml has it."""

from __future__ import annotations

import re
from typing import Any, Final

from squeeze_export.errors import SourceError
from squeeze_export.sources.labels.entries import Reading, by_index
from squeeze_export.sources.labels.literals import KEYS

_STRING: Final = "tag:yaml.org,2002:str"
_WHOLE: Final = "tag:yaml.org,2002:int"
_NAMES: Final = re.compile(rf"(?m)^(?:{'|'.join(KEYS)})\s*:\s*(?:[\[{{#].*)?$")
_ITEM: Final = re.compile(r"\s*-\s+\S")


def looks_like(text: str) -> bool:
    """Whether lines of text are YAML's: a key of labels with a list or an object behind it, or items only."""
    return _NAMES.search(text) is not None or all(_ITEM.match(line) for line in text.strip().splitlines())


def read(text: str, where: str) -> Reading:
    """Read the list or the object; SourceError, naming the line, for what is no plain string."""
    import yaml

    try:
        # Nodes instead of values: they know their lines and how each was meant, and nothing is constructed.
        top = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        told = getattr(error, "problem", None) or "nested too deep"
        raise SourceError(f"{where}{place} is not YAML: {told}") from error
    if isinstance(top, yaml.MappingNode):
        held = {key.value: value for key, value in top.value if isinstance(key, yaml.ScalarNode)}
        inside = [key for key in KEYS if isinstance(held.get(key), yaml.CollectionNode)]
        if len(inside) > 1:
            raise SourceError(f"{where} has labels under {' and under '.join(inside)}: leave only the right ones")
        if inside:
            reading = _of(held[inside[0]], where)
            _hold_against_count(held.get("nc"), len(reading.entries), where)
            return reading
    return _of(top, where)


def _of(node: Any, where: str) -> Reading:
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return Reading(entries=tuple((_text(item, where), _place(item)) for item in node.value), unquoted=True)
    if not isinstance(node, yaml.MappingNode):
        raise SourceError(f"{where} holds no labels: give a list under names:, or an object from index to label")
    pairs = [(_scalar(key, where), _scalar(value, where)) for key, value in node.value]
    if pairs and all(value.tag == _WHOLE and key.tag == _STRING for key, value in pairs):
        rows = [(value.value, key.value, _place(key)) for key, value in pairs]
    else:
        rows = [(key.value, _text(value, where), _place(key)) for key, value in pairs]
    return Reading(entries=by_index(rows, where), placed=True, unquoted=True)


def _scalar(node: Any, where: str) -> Any:
    import yaml

    if not isinstance(node, yaml.ScalarNode):
        raise SourceError(f"{where}, {_place(node)}: a list or an object stands where a label should be")
    return node


def _text(node: Any, where: str) -> str:
    scalar = _scalar(node, where)
    if scalar.tag not in (_STRING, _WHOLE):  # a whole number is told as what it is, a bare number
        kind = str(scalar.tag).rpartition(":")[2]
        raise SourceError(f"{where}, {_place(node)}: YAML reads {scalar.value!r} as {kind}, not as text. Put quotes around it")
    return str(scalar.value).strip()


def _place(node: Any) -> str:
    return f"line {node.start_mark.line + 1}"


def _hold_against_count(node: Any, count: int, where: str) -> None:
    if node is not None and node.tag == _WHOLE and node.value.isdecimal() and int(node.value) != count:
        raise SourceError(f"{where} says nc: {node.value} ({_place(node)}) and names {count} classes: correct one of them")
