"""Labels in a table: what parts its cells, whether a row names the columns, which one is the index and which the names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from squeeze_export.errors import SourceError
from squeeze_export.sources.labels.carried import unsorted_note
from squeeze_export.sources.labels.entries import SYNSET, WHOLE, Entry, Reading, by_index, first_names, is_number

LABEL_COLUMNS: Final = ("label", "labels", "name", "class_name", "class", "simple", "lemma", "description", "synset", "wnid")
INDEX_COLUMNS: Final = ("index", "class_index", "class_id", "id")

_TOLD_SIGN: Final = re.compile(r'"?sep=(\\t|.)"?\r?\n')  # Excel: what parts the cells of the lines below
# Names that can only mean the index of a class, before names that may mean the number of a row; then any column at all.
_CLASS_INDEX: Final = (
    "index", "class_index", "class_idx", "class_id", "classid", "class_no", "class_number",
    "label_id", "label_idx", "label_index", "target_id", "category_id",
)  # fmt: skip
_ROW_INDEX: Final = ("id", "idx", "number", "no", "nr", "num", "#")
# These mean the index where their cells are numbers, and names where they are words.
_EITHER: Final = ("target", "label", "labels", "class", "category", "y", "cls")
_HEADER: Final = frozenset({*LABEL_COLUMNS, *_CLASS_INDEX, *_ROW_INDEX, *_EITHER})


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Rows of one width with their lines; `header` in lower case, or None.

    `where`: the file as an error names it; `row`: what it calls a row, a line of text or an index of a list.
    """

    where: str
    file_name: str
    row: str = "line"
    header: tuple[str, ...] | None
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    @property
    def width(self) -> int:
        return len(self.rows[0][1]) if self.rows else len(self.header or ())

    def cells(self, position: int) -> list[str]:
        return [row[position] for _, row in self.rows]

    def name(self, position: int) -> str:
        if self.header is None:
            return str(position + 1)
        return repr(self.header[position]) if self.header[position] else "without a name"


def read(text: str, where: str, *, file_name: str, suffix: str, column: str | None) -> Reading | None:
    """Read the table; None where the text is none, which a `.csv` or `.tsv` always is."""
    rows = _rows(text, where, suffix, column)
    if rows is None:
        return None
    names = tuple(cell.lower() for cell in rows[0][1])
    has_header = column is not None or _is_header(rows)
    table = _Table(where=where, file_name=file_name, header=names if has_header else None, rows=tuple(rows[has_header:]))
    if not has_header:
        return _headless(table)
    if len(set(names)) < len(names):
        raise SourceError(f"{where}: the header names a column twice: {', '.join(rows[0][1])}")
    if not table.rows:
        raise SourceError(f"{where} has a header and no row: give one label per class")
    return _with_header(table, column)


def of_records(records: Sequence[tuple[str, ...]], header: tuple[str, ...] | None, where: str) -> Reading:
    """Read a list's objects or lists as a table's rows: `header` are the keys of the objects, in lower case."""
    rows = tuple((index, tuple(cell.strip() for cell in record)) for index, record in enumerate(records))
    table = _Table(where=where, file_name=where, row="index", header=header, rows=rows)
    return _headless(table) if header is None else _with_header(table, None)


def _rows(text: str, where: str, suffix: str, column: str | None) -> list[tuple[int, tuple[str, ...]]] | None:
    """The rows, parted by the sign that gives each the same number of cells; the ending says which is tried first."""
    is_table = suffix in (".csv", ".tsv")
    signs = {".csv": ",;\t|", ".tsv": "\t;,|"}.get(suffix, "\t;|,")
    told = _TOLD_SIGN.match(text)
    if told is not None:
        signs = told[1].replace("\\t", "\t")
    fitting = []
    for sign in signs:
        try:
            rows = _parted(text, sign, where)
        except SourceError:
            continue
        widths = {len(row) for _, row in rows}
        if len(widths) == 1 and widths.pop() > 1:
            # Commas stand in names: outside a .csv they part cells only where a column counts the rows.
            counted = _indices(rows) or _indices(rows[1:])
            if counted or is_table or sign != "," or column is not None:
                fitting.append((not (counted or _is_header(rows)), rows))
    if fitting:
        return min(fitting, key=lambda found: found[0])[1]
    if not is_table and column is None:
        return None
    rows = _parted(text, signs[0], where)
    width = len(rows[0][1])
    ragged = next(((line, row) for line, row in rows if len(row) != width), None)
    if ragged is not None:
        raise SourceError(f"{where}, line {ragged[0]}: {len(ragged[1])} columns, the first line has {width}")
    return rows


def _parted(text: str, sign: str, where: str) -> list[tuple[int, tuple[str, ...]]]:
    lines = io.StringIO(text, newline="")
    told = _TOLD_SIGN.match(text)
    if told is not None:
        lines.seek(told.end())
    reader = csv.reader(lines, delimiter=sign, strict=True)
    before = int(told is not None)
    rows: list[tuple[int, tuple[str, ...]]] = []
    try:
        for row in reader:
            rows.append((reader.line_num + before, tuple(cell.strip() for cell in row)))  # noqa: PERF401 (line_num changes with each row)
    except csv.Error as error:
        raise SourceError(f"{where}, line {reader.line_num + before}: {error}") from error
    return rows


def _is_header(rows: Sequence[tuple[int, tuple[str, ...]]]) -> bool:
    """Whether the first row names the columns: it has words above numbers, or names that we know."""
    first, below = rows[0][1], [row for _, row in rows[1:]]
    for position, cell in enumerate(first):
        under = [row[position] for row in below]
        if under and not is_number(cell) and all(map(is_number, under)):
            return True
    known = {cell.lower() for cell in first} & (_HEADER if len(first) > 1 else set(LABEL_COLUMNS))
    return bool(known) and not any(map(is_number, first))


def _indices(rows: Sequence[tuple[int, tuple[str, ...]]]) -> list[int]:
    """Columns that count the rows from 0 or from 1, in whatever order."""
    width = len(rows[0][1]) if rows else 0
    return [position for position in range(width) if _first_of([row[position] for _, row in rows]) is not None]


def _numbers(cells: Sequence[str]) -> list[int] | None:
    found = [WHOLE.fullmatch(cell) for cell in cells]
    return [int(match[1]) for match in found if match is not None] if all(found) else None


def _first_of(cells: Sequence[str]) -> int | None:
    """0 or 1 where the cells are a permutation of 0 to n - 1 or of 1 to n; None otherwise."""
    numbers = sorted(_numbers(cells) or ())
    if len(numbers) < 2:
        return None
    return next((first for first in (0, 1) if numbers == list(range(first, first + len(numbers)))), None)


def _is_nearly_index(cells: Sequence[str]) -> bool:
    """Whether the numbers are an index but for one: too close to it for chance."""
    numbers = _numbers(cells) or []
    return len(numbers) > 3 and len(set(numbers)) >= len(numbers) - 1 and max(numbers) <= len(numbers) + 1


def _headless(table: _Table) -> Reading:
    columns = [table.cells(position) for position in range(table.width)]
    whole = [position for position, cells in enumerate(columns) if _numbers(cells) is not None]
    synsets = [position for position, cells in enumerate(columns) if all(map(SYNSET.fullmatch, cells))]
    words = [position for position in range(table.width) if position not in (*whole, *synsets)] or synsets
    if table.width == 1:
        return Reading(entries=_column(table, 0), unquoted=True)
    if len(words) != 1:
        raise SourceError(
            f"{table.where}, {table.row} {table.rows[0][0]}: {table.width} columns and no header row that names "
            f"them: add one with {INDEX_COLUMNS[0]!r} and {LABEL_COLUMNS[0]!r}"
        )
    counting = [position for position in whole if _first_of(columns[position]) is not None]
    index = _the_one(table, counting) if counting else whole[0] if whole else None
    return _taken(table, words[0], index, synsets, told=index is not None and (index, words[0]) != (0, 1))


def _with_header(table: _Table, column: str | None) -> Reading:
    header = table.header or ()
    chosen = None
    if column is not None:
        if column.lower() not in header:
            raise SourceError(f"{table.where} has no column {column!r}: it has {', '.join(header)}")
        chosen = header.index(column.lower())
    index = _index_column(table, chosen)
    synsets = [position for position in range(table.width) if all(map(SYNSET.fullmatch, table.cells(position)))]
    told = index is not None and header[index] not in INDEX_COLUMNS
    if chosen is not None:
        return _taken(table, chosen, index, synsets, told=told)
    chosen = _label_column(table, index)
    reading = _taken(table, chosen, index, synsets, told=told)
    others = [table.name(place) for place in range(table.width) if place not in (chosen, index) and place not in synsets]
    if not any(name.strip("'") in LABEL_COLUMNS for name in others):
        return reading
    note = (
        f"{table.where}: column {table.name(chosen)} was taken for the labels: class {first_names(reading.entries)}. "
        f"{table.file_name}#NAME takes another."
    )
    return replace(reading, notes=(*reading.notes, note))


def _index_column(table: _Table, labels: int | None) -> int | None:
    """The column that gives each row its class, by its numbers; its name decides only among several, or where it must be one."""
    header = table.header or ()
    columns = [position for position in range(table.width) if position != labels]
    whole = {position for position in columns if _numbers(table.cells(position)) is not None}
    first_of = {position: _first_of(table.cells(position)) for position in columns}
    tiers = (
        [p for p in columns if header[p] in _CLASS_INDEX or (header[p] in _EITHER and p in whole)],
        [p for p in columns if header[p] in _ROW_INDEX],
        [p for p in columns if first_of[p] is not None],
    )
    for tier in tiers:
        counting = [position for position in tier if first_of[position] == 0] or [p for p in tier if first_of[p] == 1]
        if counting:
            # One that counts from 1, or has no name that we know, may be the index no more than another that counts.
            sure = tier is not tiers[2] and first_of[counting[0]] == 0
            return _the_one(table, counting if sure else sorted(tiers[2], key=lambda position: first_of[position] or 0))
        with_number = [position for position in tier if any(map(is_number, table.cells(position)))]
        if with_number:
            return with_number[0]  # refused with its line, unless it is an index
    slipped = [position for position in columns if _is_nearly_index(table.cells(position))]
    named = [position for position in columns if header[position] in INDEX_COLUMNS]
    return next(iter((*slipped, *named)), None)  # refused as well


def _the_one(table: _Table, counting: Sequence[int]) -> int:
    """The first of columns that all order the rows alike; SourceError, naming two, where they do not."""
    orders = {position: _order(table.cells(position)) for position in counting}
    other = next((position for position in counting if orders[position] != orders[counting[0]]), None)
    if other is not None:
        row = next(row for row in range(len(table.rows)) if orders[other][row] != orders[counting[0]][row])
        line, cells = table.rows[row]
        raise SourceError(
            f"{table.where}: the columns {table.name(counting[0])} and {table.name(other)} both count the classes, and they "
            f"differ: {cells[counting[0]]} and {cells[other]} in {table.row} {line}. Leave only the one that is the "
            f"class's index, or call it {_CLASS_INDEX[1]!r}"
        )
    return counting[0]


def _order(cells: Sequence[str]) -> list[int]:
    numbers = _numbers(cells) or []
    return [number - min(numbers) for number in numbers]


def _label_column(table: _Table, index: int | None) -> int:
    header = table.header or ()
    numeric = {p for p in range(table.width) if all(map(is_number, table.cells(p)))}
    others = [p for p in range(table.width) if p != index]
    words = [p for p in others if p not in numeric] or others
    known = [header.index(name) for name in LABEL_COLUMNS if name in header and header.index(name) in words]
    known = known or (words if len(words) == 1 else [])
    if not known:
        raise SourceError(
            f"{table.where} has the columns {', '.join(header)}, none with a name of labels ({', '.join(LABEL_COLUMNS)}): "
            + (f"choose one as {table.file_name}#{header[words[0]]}" if words else "and none with words in it")
        )
    for position in known:
        values = table.cells(position)
        if all(values) and len(set(values)) == len(values):
            return position
    return known[0]  # refused later, with the lines of the first choice


def _taken(table: _Table, labels: int, index: int | None, synsets: Sequence[int], *, told: bool) -> Reading:
    entries = _column(table, labels)
    if index is None:
        ids = [position for position in synsets if position != labels]
        notes = unsorted_note(table.cells(ids[0]), table.where) if ids else ()
        return Reading(entries=entries, unquoted=True, notes=notes)
    rows = [(number, label, place) for number, (label, place) in zip(table.cells(index), entries, strict=True)]
    counted = f" (column {table.name(index)})"
    placed = by_index(rows, table.where, counted)
    note = f"{table.where}: column {table.name(index)} was taken for the class's index: class {first_names(placed)}."
    return Reading(entries=placed, placed=True, unquoted=True, notes=(note,) if told else ())


def _column(table: _Table, position: int) -> tuple[Entry, ...]:
    return tuple((row[position], f"{table.row} {line}") for line, row in table.rows)
