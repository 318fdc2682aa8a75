"""Labels as a file has them, each with its place, put into class order and held against what a name can be."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from squeeze_export.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LISTED: Final = 10
_LONGEST_SHOWN: Final = 60

# ImageNet's name of a class, such as n01440764.
SYNSET: Final = re.compile(r"n\d{8}", re.ASCII)
# A whole number as tables write it; pandas makes 3.0 of 3 where a cell of the column was empty.
WHOLE: Final = re.compile(r"(\d{1,9})(?:\.0+)?", re.ASCII)
_NUMBER: Final = re.compile(r"[-+]?[\d.,]*\d[\d.,]*(?:[eE][-+]?\d+)?", re.ASCII)
_DIGITS: Final = tuple("0123456789")
_BRACKETS: Final = frozenset("{}[]()<>,:;\"'`")
_SYNTAX: Final = re.compile(
    r"""[{\[<].*            # an object, a list or a tag opens
      | .*[,;:{\[]          # something goes on behind it
      | [}\])].*            # it closes
      | (["'`]).*\1         # quotes around the name
      | (["'`]).*\2\s*[:,;].*
      | \w+\s*[:=]\s*["'].* # a key and its quoted value
      | (?:-|\#|//|\*)\s.*  # an item of a list, a comment
      | -{3,} | \.{3}       # where a YAML document begins or ends
    """,
    re.VERBOSE | re.DOTALL,
)

# One label and where it stood, as the user finds it: "line 3", or "index 3" in JSON.
Entry: TypeAlias = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Labels in class order as far as the file's form tells.

    `placed`: each was put there by an index of its own. `unquoted`: they stood bare in lines or cells, where syntax of another
    form may have slipped in. `notes`: what was decided for the user, a sentence each.
    """

    entries: tuple[Entry, ...]
    placed: bool = False
    unquoted: bool = False
    notes: tuple[str, ...] = ()


def by_index(rows: Sequence[tuple[str, str, str]], where: str, counted: str = "") -> tuple[Entry, ...]:
    """Put (index, label, place) rows into class order; SourceError unless the indices are 0 to n - 1, each once.

    `where`: the file, as an error names it; `counted`: which column or number is the index, for the same purpose.
    """
    numbers: list[int] = []
    for index, _, place in rows:
        whole = WHOLE.fullmatch(index)
        if whole is None:
            raise SourceError(f"{where}, {place}: {index!r} is no class index (0, 1, 2, ...)")
        numbers.append(int(whole[1]))
    if rows and sorted(numbers) == list(range(1, len(rows) + 1)):
        _ask_for_the_first(rows, numbers, where, counted)
    placed: dict[int, Entry] = {}
    for number, (_, label, place) in zip(numbers, rows, strict=True):
        if number in placed:
            raise SourceError(f"{where}: index {number} is given by {placed[number][1]} and by {place}")
        placed[number] = (label.strip(), place)
    absent = [str(index) for index in range(len(placed)) if index not in placed]
    if absent:
        last = max(placed)
        raise SourceError(
            f"{where} has {len(placed)} labels but none for index {some(absent)}, and one for {last} ({placed[last][1]}): count "
            "from 0 without gaps"
        )
    return tuple(placed[index] for index in range(len(placed)))


def _ask_for_the_first(rows: Sequence[tuple[str, str, str]], numbers: list[int], where: str, counted: str) -> None:
    _, label, place = rows[numbers.index(1)]
    or_none = ", or leave the numbers out" if counted and numbers == sorted(numbers) else ""
    raise SourceError(
        f"{where} counts its {len(rows)} classes from 1 to {len(rows)}{counted}, and a model counts its classes from 0. "
        f"Is {shown(label)} ({place}) the model's class 0? Then make every number one smaller{or_none}. If not, write the "
        "number of the model's class in front of each label, from 0 on"
    )


def check(entries: Sequence[Entry], where: str, *, unquoted: bool) -> None:
    """SourceError, naming the places, for labels that are empty or no names; `unquoted`: see Reading."""
    check_shown(entries, where)
    if unquoted:
        strange = next(((label, place) for label, place in entries if _is_syntax(label)), None)
        if strange is not None:
            raise SourceError(
                f"{where}, {strange[1]}: {shown(strange[0])} looks like syntax, not like the name of a class. Give plain names, "
                "one per line, or a whole file in one of the forms that docs/how-to/labels.md lists. If the class is really "
                'called so, write the labels as a JSON list: ["a", "b"]'
            )
    number = bare_number([label for label, _ in entries])
    if number is not None:
        label, place = entries[number]
        raise SourceError(
            f"{where}, {place}: {shown(label)} is a bare number, not the name of a class. If the class is really called "
            f"so, write it with a word, such as {('digit ' + label)!r}"
        )


def check_shown(entries: Sequence[Entry], where: str) -> None:
    """SourceError, naming the places, for labels that are empty or more than one line of text."""
    empty = [place for label, place in entries if not seen(label)]
    if empty:
        raise SourceError(f"{where} has empty labels: {some(empty)}")
    for label, place in entries:
        # labels.txt beside the artifacts has one label per line, so a label must stay on one.
        if len(label.splitlines()) > 1 or any(unicodedata.category(character) in ("Cc", "Cs") for character in label):
            raise SourceError(f"{where}, {place}: {label!r} has a control character")


def check_distinct(entries: Sequence[Entry], where: str, remedy: str = "") -> None:
    """SourceError, naming the pairs, for labels that are the same to a reader; `remedy`: what else helps."""
    first: dict[str, str] = {}
    pairs: list[str] = []
    for label, place in entries:
        as_seen = seen(label)
        if as_seen in first:
            pairs.append(f"{label!r} at {first[as_seen]} and {place}")
        first.setdefault(as_seen, place)
    if pairs:
        raise SourceError(
            f"{where} has the same label twice: {some(pairs)}. An app could not tell these classes apart: make them "
            f"differ, such as 'crane (bird)' and 'crane (machine)'{remedy}"
        )


def _is_syntax(label: str) -> bool:
    return set(label) <= _BRACKETS or _SYNTAX.fullmatch(label) is not None


def bare_number(names: Sequence[str]) -> int | None:
    """The first class whose name is a bare number; None where none is, or where the ten digits stand each on its own class."""
    digits = tuple(names[:10]) == _DIGITS
    return next((index for index, name in enumerate(names) if is_number(name) and not (digits and index < len(_DIGITS))), None)


def is_number(label: str) -> bool:
    """Whether the label is a bare number, which names nothing."""
    return _NUMBER.fullmatch(label.strip()) is not None


def seen(label: str) -> str:
    """The label as a reader and Swift's string comparison see it: accents composed, nothing invisible."""
    composed = unicodedata.normalize("NFC", label)
    return "".join(character for character in composed if unicodedata.category(character) != "Cf").strip()


def shown(label: str) -> str:
    """The label for a message: quoted, a long one cut."""
    return repr(label if len(label) <= _LONGEST_SHOWN else f"{label[:_LONGEST_SHOWN]}…")


def first_names(entries: Sequence[Entry]) -> str:
    """How the classes begin, for a note: a user sees at once whether the order is right."""
    return ", ".join(f"{index} is {shown(label)}" for index, (label, _) in enumerate(entries[:3]))


def some(items: list[str]) -> str:
    """The first ten, and how many more."""
    told = "; ".join(items[:_LISTED])
    return told if len(items) <= _LISTED else f"{told}; and {len(items) - _LISTED} more"
