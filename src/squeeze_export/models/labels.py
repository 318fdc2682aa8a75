"""Class labels from the user's file: as many as the model has classes, in index order, none empty, none twice.

Formats, by the file's ending (UTF-8, a byte order mark is accepted):

- `.txt`: one label per line, the first line is class 0.
- `.json`: a list of strings, an object {"0": "tench", ...}, or a Hugging Face config with such an object under `id2label`.
- `.csv`, `.tsv`: with a header row, the labels are in the column named by `PATH#column`, or else in the first column of
  LABEL_COLUMNS (in that order) whose entries are all filled and distinct, or else in the only column beside the index.
  A column of INDEX_COLUMNS gives each row its class; without one the rows are in index order. Without a header row the file
  has one column (labels) or two (index, label).
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from squeeze_export.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

INDEX_COLUMNS: Final = ("index", "class_index", "class_id", "id")
LABEL_COLUMNS: Final = ("label", "labels", "name", "class_name", "class", "simple", "lemma", "description", "synset", "wnid")

_SUFFIXES: Final = (".txt", ".csv", ".tsv", ".json")
_LARGEST_FILE: Final = 16 * 1024 * 1024
_LISTED: Final = 10

# One label and where it stood, as the user finds it: "line 3", or "index 3" in JSON.
Entry = tuple[str, str]


def read_labels(path: Path, num_classes: int | None) -> tuple[str, ...]:
    """Read the labels in index order; SourceError, naming the lines, where they are not `num_classes` distinct names.

    With `num_classes` None any number from 2 on is right.
    """
    path, column = _split_column(path)
    text = _read_text(path)
    match path.suffix.lower():
        case ".txt":
            entries = _text_entries(text)
        case ".json":
            entries = _json_entries(text, path)
        case suffix:
            entries = _table_entries(text, "\t" if suffix == ".tsv" else ",", path, column)
    _check(entries, path)
    if num_classes is None and len(entries) < 2:
        raise SourceError(f"labels file {path} has {len(entries)} label(s): a classifier needs at least 2")
    if num_classes is not None and len(entries) != num_classes:
        raise SourceError(f"labels file {path} has {len(entries)} labels, the model has {num_classes} classes: they must match")
    return tuple(label for label, _ in entries)


def _split_column(path: Path) -> tuple[Path, str | None]:
    if path.exists() or "#" not in path.name:
        return path, None
    name, _, column = path.name.rpartition("#")
    if Path(name).suffix.lower() not in (".csv", ".tsv"):
        raise SourceError(f"labels {path}: `#column` chooses a column of a .csv or .tsv file, and {name!r} is neither")
    return path.with_name(name), column


def _read_text(path: Path) -> str:
    if path.suffix.lower() not in _SUFFIXES:
        hint = ". ImageNet's names are not built in: docs/labels.md says where to take them" if path.name == "imagenet" else ""
        raise SourceError(f"labels file {path} ends in {path.suffix!r}: give a {', '.join(_SUFFIXES)} file{hint}")
    if not path.exists():
        raise SourceError(f"labels file {path} does not exist: check --labels")
    if not path.is_file():
        raise SourceError(f"labels {path} is not a file: give a {', '.join(_SUFFIXES)} file")
    if path.stat().st_size > _LARGEST_FILE:
        raise SourceError(f"labels file {path} has {path.stat().st_size:,} bytes: that is no list of labels")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"labels file {path} cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = " (it looks like UTF-16)" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        line = data[: error.start].count(b"\n") + 1
        raise SourceError(
            f"labels file {path} is not UTF-8{utf16}: line {line} has byte 0x{data[error.start]:02x}; save it as UTF-8"
        ) from error
    if not text.strip():
        raise SourceError(f"labels file {path} is empty: give one label per class")
    return text


def _text_entries(text: str) -> list[Entry]:
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[-1] == "":  # what follows the last line's end is no line
        lines.pop()
    return [(line.strip(), f"line {number}") for number, line in enumerate(lines, start=1)]


def _json_entries(text: str, path: Path) -> list[Entry]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
        if twice is not None:
            raise SourceError(f"labels file {path} has the key {twice!r} twice in one object: each index may have one label")
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SourceError(f"labels file {path} is not JSON: {error}") from error
    if isinstance(content, dict) and "id2label" in content:
        content = content["id2label"]
    if isinstance(content, list):
        named: list[tuple[str, object]] = [(str(index), label) for index, label in enumerate(content)]
    elif isinstance(content, dict):
        named = list(content.items())
    else:
        raise SourceError(f'labels file {path} holds a {type(content).__name__}: give a list of strings or {{"0": "tench", ...}}')
    wrong = next(((key, label) for key, label in named if not isinstance(label, str)), None)
    if wrong is not None:
        raise SourceError(f"labels file {path}: index {wrong[0]} has {wrong[1]!r}, which is no string")
    return _by_index([(key, str(label), f"index {key}") for key, label in named], path)


def _table_entries(text: str, delimiter: str, path: Path, column: str | None) -> list[Entry]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            rows.append((reader.line_num, [cell.strip() for cell in row]))  # noqa: PERF401 (line_num changes with each row)
    except csv.Error as error:
        raise SourceError(f"labels file {path}, line {reader.line_num}: {error}") from error
    header = [cell.lower() for cell in rows[0][1]]
    width = len(header)
    ragged = next(((line, row) for line, row in rows if len(row) != width), None)
    if ragged is not None:
        raise SourceError(f"labels file {path}, line {ragged[0]}: {len(ragged[1])} columns, the first line has {width}")
    if column is None and not set(header) & {*INDEX_COLUMNS, *LABEL_COLUMNS}:
        return _headless_entries(rows, width, path)
    if len(set(header)) < width:
        raise SourceError(f"labels file {path}: the header names a column twice: {', '.join(rows[0][1])}")
    index = next((header.index(name) for name in INDEX_COLUMNS if name in header and name != (column or "").lower()), None)
    return _column_entries(rows[1:], header, index, column, path)


def _headless_entries(rows: list[tuple[int, list[str]]], width: int, path: Path) -> list[Entry]:
    if width == 1:
        return [(row[0], f"line {line}") for line, row in rows]
    if width == 2 and all(row[0].isdecimal() for _, row in rows):
        return _by_index([(row[0], row[1], f"line {line}") for line, row in rows], path)
    raise SourceError(
        f"labels file {path} has {width} columns and no header row that names them: add one with {INDEX_COLUMNS[0]!r} and "
        f"{LABEL_COLUMNS[0]!r}"
    )


def _column_entries(
    rows: list[tuple[int, list[str]]], header: list[str], index: int | None, column: str | None, path: Path
) -> list[Entry]:
    """Take the labels' column, in index order."""

    def entries(position: int) -> list[Entry]:
        if index is None:
            return [(row[position], f"line {line}") for line, row in rows]
        return _by_index([(row[index], row[position], f"line {line}") for line, row in rows], path)

    if column is not None:
        if column.lower() not in header:
            raise SourceError(f"labels file {path} has no column {column!r}: it has {', '.join(header)}")
        return entries(header.index(column.lower()))
    others = [name for position, name in enumerate(header) if position != index]
    known = [name for name in LABEL_COLUMNS if name in others] or (others if len(others) == 1 else [])
    if not known:
        raise SourceError(
            f"labels file {path} has the columns {', '.join(header)}, none with a name of labels ({', '.join(LABEL_COLUMNS)}): "
            f"choose one as {path.name}#{(others or header)[0]}"
        )
    for name in known:
        values = [row[header.index(name)] for _, row in rows]
        if all(values) and len(set(values)) == len(values):
            return entries(header.index(name))
    return entries(header.index(known[0]))  # refused below, with the lines of the first choice


def _by_index(rows: Sequence[tuple[str, str, str]], path: Path) -> list[Entry]:
    """Put (index, label, place) rows into index order; the indices must be 0 to n - 1, each once."""
    placed: dict[int, Entry] = {}
    for index, label, place in rows:
        if not (index.isascii() and index.isdecimal()):
            raise SourceError(f"labels file {path}, {place}: {index!r} is no class index (0, 1, 2, ...)")
        if int(index) in placed:
            raise SourceError(f"labels file {path}: index {int(index)} is given by {placed[int(index)][1]} and by {place}")
        placed[int(index)] = (label.strip(), place)
    absent = [str(index) for index in range(len(placed)) if index not in placed]
    if absent:
        raise SourceError(
            f"labels file {path} has {len(placed)} labels but none for index {_some(absent)}: count from 0 without gaps"
        )
    return [placed[index] for index in range(len(placed))]


def _check(entries: Sequence[Entry], path: Path) -> None:
    empty = [place for label, place in entries if not _seen(label)]
    if empty:
        raise SourceError(f"labels file {path} has empty labels: {_some(empty)}")
    for label, place in entries:
        # labels.txt beside the artifacts has one label per line, so a label must stay on one.
        if len(label.splitlines()) > 1 or any(unicodedata.category(character) in ("Cc", "Cs") for character in label):
            raise SourceError(f"labels file {path}, {place}: {label!r} has a control character")
    first: dict[str, str] = {}
    pairs: list[str] = []
    for label, place in entries:
        seen = _seen(label)
        if seen in first:
            pairs.append(f"{label!r} at {first[seen]} and {place}")
        first.setdefault(seen, place)
    if pairs:
        table = path.suffix.lower() in (".csv", ".tsv")
        remedy = f"; another column may be free of them ({path.name}#column)" if table else ""
        raise SourceError(
            f"labels file {path} has the same label twice: {_some(pairs)}. An app could not tell these classes apart: make them "
            f"differ, such as 'crane (bird)' and 'crane (machine)'{remedy}"
        )


def _seen(label: str) -> str:
    """The label as a reader and Swift's string comparison see it: accents composed, nothing invisible."""
    composed = unicodedata.normalize("NFC", label)
    return "".join(character for character in composed if unicodedata.category(character) != "Cf").strip()


def _some(items: list[str]) -> str:
    shown = "; ".join(items[:_LISTED])
    return shown if len(items) <= _LISTED else f"{shown}; and {len(items) - _LISTED} more"
