"""Labels that carry their class's number, or ImageNet's id of the class: `3 cat`, `0: car`, `cat 0`, `n01440764 tench`."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from squeeze_export.errors import SourceError
from squeeze_export.sources.labels.entries import SYNSET, Entry, Reading, by_index, first_names, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What stands between a number and a name: a sign that joins an index to its label, or what may as well be part of a name.
_STRONG: Final = r"(?P<strong>\s*(?:[-=]>|[:,;|=)\t])\s*)"
_FRONT: Final = re.compile(rf"(?P<number>\d{{1,9}})(?:{_STRONG}|[\s._-]+)(?P<rest>\S.*)", re.ASCII | re.DOTALL)
_BACK: Final = re.compile(rf"(?P<rest>.*?\S)(?:{_STRONG}|[\s_-]+)(?P<number>\d{{1,9}})", re.ASCII | re.DOTALL)
_ANYWHERE: Final = re.compile(r"(?<![^\W_])\d{1,9}(?![^\W_])")  # on its own: not the 3 of `3D printer`
_SYNSET_ANYWHERE: Final = re.compile(rf"(?<!\w){SYNSET.pattern}(?!\w)", re.ASCII)
_WITH_SYNSET: Final = re.compile(rf"(?P<synset>{SYNSET.pattern})(?:\s*[:,;\t]\s*|\s+)(?P<rest>\S.*)", re.ASCII | re.DOTALL)


def settle(reading: Reading, where: str) -> Reading:
    """Take numbers and ids off the labels, and put the labels into the numbers' order.

    SourceError, naming the line, where only some labels carry a number, or the numbers are no index. Labels that an index has
    placed stay as they are: only a number in front of each that says otherwise is refused.
    """
    if not reading.entries:
        return reading
    if reading.placed:
        _refuse_contradiction(reading.entries, where)
        return reading
    ids, reading = _without_synsets(reading, where)
    front = _numbered(reading.entries, _FRONT)
    back = _numbered(reading.entries, _BACK, behind=True)
    chosen = front or back
    if chosen is not None:
        reading = _placed(reading, chosen, "in front of" if front else "behind", ids, where)
        if not ids:  # `3 n02119789 kit_fox`: the id stood behind the number
            ids, reading = _without_synsets(reading, where)
    if front and back and _order(front) != _order(back):
        raise SourceError(
            f"{where} has a number in front of each label and one behind it, and they differ, as for class 0: "
            f"{shown(reading.entries[0][0])} ({reading.entries[0][1]}). Leave only the one that is the class's index"
        )
    if chosen is None and reading.unquoted:
        _refuse_shuffled(reading.entries, where)
    in_order = [ids[place] for _, place in reading.entries] if ids else ids_in([label for label, _ in reading.entries])
    return replace(reading, notes=(*reading.notes, *unsorted_note(in_order, where)))


def _placed(reading: Reading, found: Sequence[re.Match[str] | None], ends: str, ids: Mapping[str, str], where: str) -> Reading:
    """The labels without their numbers, in the numbers' order."""
    bare = next((entry for entry, match in zip(reading.entries, found, strict=True) if match is None), None)
    if bare is not None:
        header = ". Is it the header of a table? Then leave that line out" if bare == reading.entries[0] else ""
        raise SourceError(
            f"{where}, {bare[1]}: {shown(bare[0])} has no number {ends} it, as most other labels have. Give every label its "
            f"class's number, or none{header}"
        )
    matched = [(match, place) for match, (_, place) in zip(found, reading.entries, strict=True) if match is not None]
    by_id = min(matched, key=lambda row: ids[row[1]])[0]["rest"] if ids else None
    sorted_by = f"; ImageFolder sorts by the ids and has {shown(by_id)} as class 0" if by_id is not None else ""
    rows = [(match["number"], match["rest"], place) for match, place in matched]
    entries = by_index(rows, where, f" ({ends} each label{sorted_by})")
    note = f"{where}: the number {ends} each label was taken for its class's index: class {first_names(entries)}."
    return replace(reading, entries=entries, placed=True, notes=(*reading.notes, note))


def ids_in(labels: Sequence[str]) -> tuple[str, ...]:
    """ImageNet's id of each class, wherever it stands in the label, `dog (n02084071)`; nothing unless each label has one."""
    found = [_SYNSET_ANYWHERE.findall(label) for label in labels]
    return tuple(ids[0] for ids in found) if all(len(ids) == 1 for ids in found) else ()


def unsorted_note(synsets: Sequence[str], where: str) -> tuple[str, ...]:
    """A note where ids of classes stand in an order that ImageFolder would not have given them; none where they are no ids."""
    later = next((later for earlier, later in itertools.pairwise(synsets) if later <= earlier), None)
    if later is None or not all(map(SYNSET.fullmatch, synsets)):
        return ()
    return (
        f"{where}: ImageFolder counts classes in the order of their ids, and these are in another (first at {later}). "
        "The file's order was kept: check that it is the model's.",
    )


def contradiction(entries: Sequence[Entry]) -> tuple[int, int] | None:
    """The first class whose label carries another class's number, and that number, where all labels carry an index."""
    front = _numbered(entries, _FRONT)
    numbers = _order(front) if front else []
    if sorted(numbers) != list(range(len(entries))):
        return None
    return next(((index, number) for index, number in enumerate(numbers) if index != number), None)


def _without_synsets(reading: Reading, where: str) -> tuple[Mapping[str, str], Reading]:
    """The ids in front of all labels, by the labels' places, and the labels without them."""
    found = [_WITH_SYNSET.fullmatch(label) for label, _ in reading.entries]
    matched = [(match, place) for match, (_, place) in zip(found, reading.entries, strict=True) if match is not None]
    if len(matched) < len(found):
        return {}, reading
    entries = tuple((match["rest"].strip(), place) for match, place in matched)
    note = f"{where}: the id in front of each label, such as {matched[0][0]['synset']}, was left out."
    return {place: match["synset"] for match, place in matched}, replace(reading, entries=entries, notes=(*reading.notes, note))


def _refuse_contradiction(entries: Sequence[Entry], where: str) -> None:
    other = contradiction(entries)
    if other is not None:
        label, place = entries[other[0]]
        raise SourceError(
            f"{where}, {place}: the index makes {shown(label)} class {other[0]}, the number in front of it says {other[1]}. "
            "Leave out the one that is not the class's index"
        )


def _refuse_shuffled(entries: Sequence[Entry], where: str) -> None:
    """Names in which a number stands somewhere, `(3, "cat")` or `class 3: cat`, that count the classes in another order."""
    numbers = [_ANYWHERE.findall(label) for label, _ in entries]
    if len(entries) < 2 or not all(numbers):
        return
    # `3 fingers`, `1 finger`: the number is what tells the names apart.
    if _told_apart([_ANYWHERE.sub("", label).strip() for label, _ in entries]):
        return
    for told in ([int(found[0]) for found in numbers], [int(found[-1]) for found in numbers]):
        first = min(told)
        if first > 1 or sorted(told) != list(range(first, first + len(told))) or told == sorted(told):
            continue
        place = next(index for index, number in enumerate(told) if number != index + first)
        label, line = entries[place]
        raise SourceError(
            f"{where}, {line}: the labels hold the numbers {first} to {first + len(told) - 1} in another order, and "
            f"{shown(label)} would be class {place}. Are they the classes' indices? Then write them as `{told[place]}: name`. "
            'Are they a part of the names? Then write the labels as a JSON list: ["a", "b"]'
        )


def _told_apart(rests: Sequence[str]) -> bool:
    """Whether labels without their numbers are mostly the same, so that the numbers are a part of the names."""
    return 2 * len({rest.casefold().rstrip("s") for rest in rests}) <= len(rests)


def _order(found: Sequence[re.Match[str] | None]) -> list[int]:
    return [int(match["number"]) for match in found if match is not None]


def _numbered(entries: Sequence[Entry], form: re.Pattern[str], *, behind: bool = False) -> list[re.Match[str] | None] | None:
    """The labels split at their numbers (None for one that has none), or None altogether where the numbers are part of names.

    `0: cat` is an index whatever follows; `1 finger`, `2 fingers` and `Boeing 737` are names.
    """
    found = [form.fullmatch(label) for label, _ in entries]
    there = [match for match in found if match is not None]
    if 2 * len(there) <= len(found):
        return None
    numbers = {int(match["number"]) for match in there}
    strong = 2 * sum(match["strong"] is not None for match in there) > len(found)
    complete = len(there) == len(found) and (numbers == set(range(len(found))) or numbers == set(range(1, len(found) + 1)))
    if complete and strong:
        return found
    # `1 finger`, `2 fingers`, `type 1`, `type 2`: the number is what tells the names apart.
    if _told_apart([match["rest"] for match in there]):
        return found if strong and not behind else None
    if complete or (strong and not behind):
        return found
    # An index with a slip (a gap, a line without) must not pass for names; numbers far beyond it are a part of them.
    nearly = len(found) - len(there) <= max(1, len(found) // 10) and max(numbers) < 2 * len(found)
    return found if nearly and (strong or not behind) else None
