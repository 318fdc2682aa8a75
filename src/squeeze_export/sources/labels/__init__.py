"""Class labels from what the user gives: as many as the model has classes, in index order, none empty, none twice.

A file's form is told by its ending where that settles it, else by its content (UTF-8, a byte order mark is accepted); a folder
gives a label per subfolder. Where the labels carry their index, in a column, a key or in front of each, it decides the order, or
the file is refused: the order of the lines never replaces it. docs/how-to/labels.md lists the forms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from squeeze_export.errors import SourceError
from squeeze_export.files.litter import LFS_POINTER
from squeeze_export.sources.labels import carried, folder, literals, tables, yaml_names
from squeeze_export.sources.labels.entries import Entry, Reading, check, check_distinct, check_shown, shown

_TABLES: Final = (".csv", ".tsv")
_LARGEST_FILE: Final = 16 * 1024 * 1024
_LONGEST_LABEL: Final = 1000
_MOST: Final = 100_000
_ASSIGNMENT: Final = re.compile(r"(?:\s*#.*\n|\s*\n)*[A-Za-z_]\w*\s*(?::[^=\n]*)?=\s*[\[{(]")
# JavaScript and TypeScript: `export const LABELS: string[] = [...];`
_SCRIPT: Final = re.compile(
    r"(?:\s*//.*\n)*\s*(?:(?:export\s+)?(?:const|let|var)\s+\w+\s*(?::[^=\n]*)?=|export\s+default\b|module\.exports\s*=)\s*(?=[\[{])"
)
_MARKDOWN: Final = re.compile(r"\s*\|.*\|\s*\n\s*\|(?:\s*:?-+:?\s*\|)+")
_FIRST_ALONE: Final = frozenset({"background", "__background__", "unlabeled", "???", *tables.LABEL_COLUMNS})


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Names in class order, and what was decided for the user in reading them, a sentence each."""

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_labels(given: Path | tuple[str, ...], num_classes: int | None, *, least: int = 2) -> Labels:
    """Read the labels in index order; SourceError, naming the lines, where they are not `num_classes` distinct names.

    `given`: a file or folder, or the names themselves. With `num_classes` None any number from `least` on is right.
    """
    if isinstance(given, tuple):
        return _of_names(given, num_classes, least)
    path, column = _split_column(given)
    if path.is_dir():
        where = f"labels folder {path}"
        reading = folder.read(path, where)
    else:
        where = f"labels file {path}"
        text = _read_text(path, where)
        reading = _form(text, path, column, where)
        if len(reading.entries) > _MOST:
            raise SourceError(f"{where} has {len(reading.entries):,} entries: that is no list of labels")
        long = next(((label, place) for label, place in reading.entries if len(label) > _LONGEST_LABEL), None)
        if long is not None:
            raise SourceError(f"{where}, {long[1]}: {shown(long[0])} has {len(long[0]):,} characters: that is no name of a class")
        reading = carried.settle(reading, where)
    table = path.suffix.lower() in _TABLES and not path.is_dir()
    remedy = f"; another column may be free of them ({path.name}#column)" if table else ""
    check(reading.entries, where, unquoted=reading.unquoted)
    _check_count(reading.entries, num_classes, where, least)
    check_distinct(reading.entries, where, remedy)
    return Labels(names=tuple(label for label, _ in reading.entries), notes=reading.notes)


def _of_names(names: tuple[str, ...], num_classes: int | None, least: int) -> Labels:
    """Names that a program gives, in class order, held to the same rules."""
    where = "the list of labels"
    entries = tuple((name.strip(), f"class {index}") for index, name in enumerate(names))
    check(entries, where, unquoted=False)
    _check_count(entries, num_classes, where, least)
    check_distinct(entries, where)
    return Labels(names=tuple(label for label, _ in entries))


def read_bundle_labels(path: Path, num_classes: int) -> tuple[str, ...]:
    """Read a bundle's labels.txt, one label per line whatever it looks like; SourceError where an app could not show them."""
    where = f"labels file {path}"
    entries = _lines(_read_text(path, where))
    check_shown(entries, where)
    check_distinct(entries, where)
    _check_count(entries, num_classes, where)
    return tuple(label for label, _ in entries)


def _check_count(entries: tuple[Entry, ...], num_classes: int | None, where: str, least: int = 2) -> None:
    if num_classes is None and len(entries) < least:
        raise SourceError(f"{where} has {'1 label' if entries else 'no labels'}: a classifier needs at least 2")
    if num_classes is not None and len(entries) != num_classes:
        label, place = entries[0]
        extra = len(entries) == num_classes + 1 and label.lower() in _FIRST_ALONE
        hint = f". Is {shown(label)} ({place}) none of them? Then leave it out" if extra else ""
        counted = "1 label" if len(entries) == 1 else f"{len(entries)} labels"
        raise SourceError(f"{where} has {counted}, the model has {num_classes} classes: they must match{hint}")


def _form(text: str, path: Path, column: str | None, where: str) -> Reading:
    """Read the text by its ending, or where that settles nothing by how it looks."""
    suffix = path.suffix.lower()
    if _MARKDOWN.match(text):
        raise SourceError(f"{where} is a table in Markdown: save it as CSV, or give one label per line")
    script = _SCRIPT.match(text)
    if script is not None:
        kept = "\n" * script[0].count("\n") + text[script.end() :].rstrip().removesuffix(";")
        reading = literals.read(kept, where, json_only=False)
    elif suffix == ".json" or text.lstrip()[:1] in ("{", "["):
        reading = literals.read(text, where, json_only=suffix == ".json")
    elif suffix in (".yaml", ".yml") or (suffix not in _TABLES and yaml_names.looks_like(text)):
        reading = yaml_names.read(text, where)
    elif suffix == ".py" or (suffix not in _TABLES and _ASSIGNMENT.match(text)):
        reading = literals.read_module(text, where)
    else:
        _refuse_a_single_line(text, where)
        table = tables.read(text, where, file_name=path.name, suffix=suffix, column=column)
        return table or Reading(entries=_lines(text), unquoted=True)
    if column is not None:
        raise SourceError(f"{where}: `#{column}` chooses a column of a table, such as a .csv or .tsv file, and this is none")
    return reading


def _refuse_a_single_line(text: str, where: str) -> None:
    if len(text.strip().splitlines()) > 1:
        return
    for sign, told in ((",", "commas"), (";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        count = len(text.strip().strip(sign).split(sign))
        if count > 1:
            raise SourceError(
                f"{where} has one line, and {count} names in it that {told} part: put each label on a line of its own"
            )


def _split_column(path: Path) -> tuple[Path, str | None]:
    if path.exists() or "#" not in path.name:
        return path, None
    name, _, column = path.name.rpartition("#")
    return path.with_name(name), column


def _read_text(path: Path, where: str) -> str:
    if not path.exists():
        hint = (
            ". ImageNet's names are not built in: docs/how-to/labels.md says where to take them"
            if path.name == "imagenet"
            else ""
        )
        raise SourceError(f"{where} does not exist: check --labels{hint}")
    if not path.is_file():
        raise SourceError(f"{where} is no regular file: give a file of labels, or a folder with one subfolder per class")
    if path.stat().st_size > _LARGEST_FILE:
        raise SourceError(f"{where} has {path.stat().st_size:,} bytes: that is no list of labels")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{where} cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = " (it looks like UTF-16)" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        line = data[: error.start].count(b"\n") + 1
        raise SourceError(
            f"{where} is not UTF-8{utf16}: line {line} has byte 0x{data[error.start]:02x}; give a text file, saved as UTF-8"
        ) from error
    if "\n" not in text:
        text = text.replace("\r", "\n")  # as an old Macintosh, and its Excel, end lines
    if not text.strip():
        raise SourceError(f"{where} is empty: give one label per class")
    if text.startswith(LFS_POINTER.decode()):
        raise SourceError(f"{where} is a Git LFS pointer, not the file itself: fetch it with git lfs pull")
    if text.lstrip()[:14].lower().startswith(("<!doctype html", "<html")):
        raise SourceError(f"{where} is an HTML page, not a list of labels: download the raw file")
    return text


def _lines(text: str) -> tuple[Entry, ...]:
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[-1] == "":  # what follows the last line's end is no line
        lines.pop()
    return tuple((line.strip(), f"line {number}") for number, line in enumerate(lines, start=1))
