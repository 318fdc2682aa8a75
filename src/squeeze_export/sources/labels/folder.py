"""Labels from a folder per class: its subfolders' names in the order in which torchvision's ImageFolder counts them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from squeeze_export.errors import SourceError
from squeeze_export.files.litter import is_litter
from squeeze_export.sources.labels.carried import contradiction
from squeeze_export.sources.labels.entries import Reading, bare_number, first_names, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

# Besides hidden folders and litter.
_NO_CLASS: Final = frozenset({"__pycache__", "lost+found"})
_SPLITS: Final = frozenset({"train", "training", "val", "valid", "validation", "eval", "test", "testing"})
_BUNDLE: Final = "manifest.json"


def read(path: Path, where: str) -> Reading:
    """Read the names of the subfolders, sorted as Python sorts strings."""
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and is_class(entry.name))
    except OSError as error:
        raise SourceError(f"{where} cannot be read: {error.strerror}") from error
    if (path / _BUNDLE).is_file():
        raise SourceError(
            f"{where} is a bundle, not a folder per class: give its labels.txt, or the folder with the training images"
        )
    if not names:
        raise SourceError(f"{where} has no subfolders: give a file, or a folder with one subfolder per class")
    if {name.casefold() for name in names} <= _SPLITS:
        raise SourceError(f"{where} holds {', '.join(names)}, parts of a data set and no classes: give {path / names[0]}")
    _refuse_numbers(names, where)
    entries = tuple((name, f"folder {name}") for name in names)
    note = (
        f"{where}: its {len(names)} subfolders, sorted as ImageFolder sorts them, are the labels: class {first_names(entries)}."
    )
    moved = contradiction(entries)
    if moved is not None:
        told = (
            f"{where}: {shown(names[moved[0]])} is class {moved[0]} by that order, not class {moved[1]}. Check that it is so in "
            "the model."
        )
        return Reading(entries=entries, placed=True, notes=(note, told))
    return Reading(entries=entries, placed=True, notes=(note,))


def is_class(name: str) -> bool:
    """Whether a subfolder of this name is a class."""
    return not name.startswith(".") and not is_litter(name) and name not in _NO_CLASS


def _refuse_numbers(names: Sequence[str], where: str) -> None:
    number = bare_number(names)
    if number is None:
        return
    moved = next((index for index, name in enumerate(names) if name != str(index)), None)
    order = (
        "" if moved is None else f" Mind that ImageFolder sorts them as text: class {moved} is the folder {shown(names[moved])}."
    )
    raise SourceError(
        f"{where} has the subfolder {shown(names[number])}: a bare number is not the name of a class. Give a file with a name "
        f"per class.{order}"
    )
