"""What a checkpoint says of its classes: taken where the user gives no labels, compared with them where he does."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from squeeze_export.errors import SourceError
from squeeze_export.sources.labels import Labels, literals
from squeeze_export.sources.labels.entries import SYNSET, bare_number, check, check_distinct, first_names, is_number, shown

NO_LABELS: Final = (
    'this model has no labels: an app can only show "class 0", "class 1", … Labels stand inside every artifact and are proven '
    "there. To add them later, run this export again with --labels FILE and --force."
)
_PLACEHOLDER: Final = re.compile(r"LABEL_\d+")


@dataclass(frozen=True, kw_only=True)
class _Claim:
    """Names by class as they stand under `key` of the checkpoint. `unfit`: why an app cannot show them, or None."""

    key: str
    names: tuple[str, ...]
    unfit: str | None


def settle(
    claims: Mapping[str, object], num_classes: int, given: Labels | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The labels to use, or None, and notes.

    SourceError where `given` puts a name at another class than the checkpoint does, or where the checkpoint contradicts itself.
    """
    found, notes = _read(claims, num_classes)
    if given is not None:
        return given.names, (*given.notes, *_compared(given.names, found))
    fit = [claim for claim in found if claim.unfit is None]
    for other in fit[1:]:
        moved = _Match.of(other.names, fit[0].names).moved
        if moved:
            raise SourceError(
                f"the checkpoint contradicts itself: class {moved[0]} is {shown(fit[0].names[moved[0]])} in {fit[0].key!r} and "
                f"{shown(other.names[moved[0]])} in {other.key!r}. Say which is right with --labels FILE"
            )
    if not fit:
        told = (f"the checkpoint's {claim.key!r} was not taken for labels: {claim.unfit}." for claim in found)
        return None, (*notes, *told, NO_LABELS)
    # Names before ids such as n01440764, where the checkpoint has both.
    taken = min(fit, key=lambda claim: all(map(SYNSET.fullmatch, claim.names)))
    begin = first_names([(name, "") for name in taken.names])
    return taken.names, (f"the labels are those of the checkpoint's {taken.key!r}: class {begin}. --labels FILE gives others.",)


def _read(claims: Mapping[str, object], num_classes: int) -> tuple[list[_Claim], tuple[str, ...]]:
    """The claims that can be read, in the order of literals.KEYS, and a note for each that cannot."""
    found: list[_Claim] = []
    notes: list[str] = []
    for key in (*(key for key in literals.KEYS if key in claims), *(key for key in claims if key not in literals.KEYS)):
        value = _plain(claims[key])
        if not isinstance(value, Mapping | list | tuple):
            continue  # such as the number of classes
        where = f"the checkpoint's {key!r}"
        try:
            entries = literals.of_value(_first_synonyms(value), where).entries
            if len(entries) != num_classes:
                raise SourceError(f"{where} has {len(entries)} names for {num_classes} classes")
        except SourceError as error:
            notes.append(f"{error}. It was not taken for labels.")
            continue
        names = tuple(label for label, _ in entries)
        found.append(_Claim(key=key, names=names, unfit=_unfit(names, where)))
    return found, tuple(notes)


def _unfit(names: Sequence[str], where: str) -> str | None:
    if all(map(_PLACEHOLDER.fullmatch, names)):
        return f"it has only placeholders, such as {names[0]}"
    if bare_number(names) is not None:
        moved = next((index for index, name in enumerate(names) if is_number(name) and name != str(index)), None)
        also = f" (class {moved} is {shown(names[moved])})" if moved is not None else ""
        return f"it has numbers for names{also}"
    try:
        entries = [(name, f"class {index}") for index, name in enumerate(names)]
        check(entries, where, unquoted=False)
        check_distinct(entries, where)
    except SourceError as error:
        return str(error).removeprefix(where).lstrip(", :")
    return None


def _plain(value: object) -> object:
    """A value that a container of strings keeps as JSON, or as Python writes it, read."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _first_synonyms(value: object) -> object:
    """torchvision's ImageNet gives a class as ("tench", "Tinca tinca"): the same in one string."""
    if not isinstance(value, list | tuple):
        return value
    return [
        ", ".join(entry) if isinstance(entry, tuple) and entry and all(isinstance(name, str) for name in entry) else entry
        for entry in value
    ]


def _compared(given: Sequence[str], found: Sequence[_Claim]) -> tuple[str, ...]:
    """Notes of how the user's labels differ from the checkpoint's names; SourceError where they order the same otherwise."""
    matches = [(claim, _Match.of(given, claim.names)) for claim in found if not all(map(_PLACEHOLDER.fullmatch, claim.names))]
    if any(match.whole for _, match in matches):
        return ()
    notes = []
    for claim, match in matches:
        if match.moved:
            place = match.moved[0]
            raise SourceError(
                f"the labels are in another order than the checkpoint's {claim.key!r}: class {place} is {shown(given[place])} "
                f"in --labels and {shown(claim.names[place])} in the checkpoint ({len(match.moved)} of {len(given)} are "
                "elsewhere). Leave --labels out to take the checkpoint's names, or put yours into its order. If the checkpoint "
                "is wrong, save its state dict alone"
            )
        place = next(
            (index for index in match.other if is_number(claim.names[index]) and claim.names[index] != str(index)), match.other[0]
        )
        how = (
            "could not be compared with"
            if len(match.other) == len(given)
            else f"differ at {len(match.other)} of {len(given)} classes from"
        )
        notes.append(
            f"the labels {how} the checkpoint's {claim.key!r}, and --labels was taken: class {place} is {shown(given[place])}, "
            f"{shown(claim.names[place])} in the checkpoint. Check that both mean the same."
        )
    return tuple(notes)


@dataclass(frozen=True, kw_only=True)
class _Match:
    """Two lists of names, class by class: `moved` classes whose name stands elsewhere, `other` whose name is not there."""

    moved: tuple[int, ...]
    other: tuple[int, ...]

    @property
    def whole(self) -> bool:
        return not self.moved and not self.other

    @classmethod
    def of(cls, names: Sequence[str], claimed: Sequence[str]) -> _Match:
        """Compare as a reader would: case, hyphens and underscores are no difference, nor are synonyms behind a comma."""
        mine, theirs = _unique_forms(names), _unique_forms(claimed)
        places = {form: index for index, forms in enumerate(theirs) for form in forms}
        moved, other = [], []
        for index, forms in enumerate(mine):
            found = {places[form] for form in forms if form in places}
            if not found:
                other.append(index)
            elif index not in found:
                moved.append(index)
        return cls(moved=tuple(moved), other=tuple(other))


def _unique_forms(names: Sequence[str]) -> list[set[str]]:
    forms = [{_folded(name), _folded(name.partition(",")[0])} for name in names]
    count = Counter(form for of_one in forms for form in of_one)
    return [{form for form in of_one if count[form] == 1} for of_one in forms]


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name).casefold()).strip()
