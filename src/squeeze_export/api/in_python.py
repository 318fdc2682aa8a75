"""Messages as a program needs them: where one names an option of the command line, the field of the request stands instead.

Messages are written once, with options, since most of them are read on a terminal. The Python API passes each through here.
"""

from __future__ import annotations

import re
from typing import Final

from squeeze_export.contracts.options import OPTIONS

# Options whose field has another name, and those that are a switch.
_FIELDS: Final = {option.name: option.request_field for option in OPTIONS if option.request_field}
_SWITCHES: Final = frozenset(option.name for option in OPTIONS if option.kind == "switch" and option.form)
# What a field says the other way round.
_OPPOSITES: Final = {"no_reference": "reference=False", "no_cache": "cache=None"}
_OPTION: Final = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*[a-z0-9])(?:(?: |=)(?!\()('[^']*'|[^\s'\"`]*[^\s'\"`.,;:)]))?")
# What follows an option in running text rather than being its value.
_WORDS: Final = frozenset(
    [
        "and",
        "or",
        "with",
        "is",
        "are",
        "was",
        "were",
        "for",
        "to",
        "as",
        "in",
        "on",
        "of",
        "it",
        "its",
        "from",
        "takes",
        "holds",
        "makes",
        "names",
        "feeds",
        "gives",
        "says",
        "has",
        "have",
        "cannot",
        "needs",
        "asks",
        "may",
        "must",
        "prints",
        "shows",
        "tells",
        "the",
        "a",
        "an",
        "here",
        "there",
        "where",
        "which",
        "that",
        "alone",
        "once",
        "instead",
        "all",
        "by",
        "at",
        "out",
        "than",
        "again",
        "does",
        "do",
        "not",
        "exclude",
        "excludes",
        "before",
        "behind",
        "beside",
        "concerns",
    ]
)
_SIZE: Final = re.compile(r"auto:(\d+(?:\.\d+)?)([KMG]i?)?B", re.IGNORECASE)


def in_python(message: str) -> str:
    """The message with `--max-accuracy-drop 1.0` as `max_accuracy_drop=1.0`, `--precision coreml=fp16` as a mapping, …"""
    return _OPTION.sub(_field, message)


def _field(match: re.Match[str]) -> str:
    option, value = match[1].replace("-", "_"), match[2]
    if option == "verbose":
        return "the traceback" + ("" if value is None else f" {value}")
    if option in _OPPOSITES:
        return _OPPOSITES[option] + ("" if value is None else f" {value}")
    name = _FIELDS.get(option, option)
    if option in _SWITCHES:
        return f"{name}=True" + ("" if value is None else f" {value}")
    if value is None:
        return name
    if value.lower() in _WORDS or not _looks_like_a_value(option, value):
        return f"{name} {value}"
    if option in ("target", "starter"):
        return f"{name}=({', '.join(repr(part) for part in value.split(','))},)"
    if option == "precision":
        return _precisions(value)
    if option == "model_arg":
        argument, _, written = value.partition("=")
        return f'{name}={{"{argument}": {written or "VALUE"}}}'
    if re.fullmatch(r"-?\d+(\.\d+)?", value):
        return f"{name}={value}"
    return f"{name}={value}" if value.isupper() or value.startswith("'") else f'{name}="{value}"'


def _looks_like_a_value(option: str, value: str) -> bool:
    return option != "precision" or "=" in value or value == value.lower()


def _precisions(value: str) -> str:
    target, equals, named = value.partition("=")
    if not equals:
        target, named = "...", value
    parts = named.split(",")
    sizes = [size for part in parts if (size := _bytes(part)) is not None]
    precisions = dict.fromkeys("auto" if _SIZE.fullmatch(part) else part for part in parts)
    key = repr(target) if equals else target
    said = f"precisions={{{key}: ({', '.join(map(repr, precisions))},)}}"
    return said + (f" with size_budgets=({', '.join(map(str, sizes))},)" if sizes else "")


def _bytes(part: str) -> int | None:
    match = _SIZE.fullmatch(part)
    if match is None:
        return None
    unit = (match[2] or "").upper()
    base = 1024 if unit.endswith("I") else 1000
    return int(float(match[1]) * base ** ("KMG".index(unit[0]) + 1 if unit else 0))
