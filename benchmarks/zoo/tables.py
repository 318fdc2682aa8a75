"""The tables of docs/reference/networks.md, from the cells that are kept."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from benchmarks.marked import write_between
from benchmarks.zoo.cells import ROOT, Cell, Measured, key, offered, wanted

from squeeze_export.contracts.artifact import TARGETS, Precision, Target

PAGE: Final = ROOT / "docs" / "reference" / "networks.md"
_NAMES: Final = {"coreml": "Core ML", "tflite": "TFLite", "torchscript": "TorchScript Lite", "onnx": "ONNX"}
_LONGEST: Final = 240  # characters of a reason
_PLACE: Final = re.compile(r"(?<![\w.])/(?:[\w.+-]+/)+")  # folders of one machine


def told(cell: Cell) -> str:
    """A cell in one line, for the screen."""
    if cell.verdict != "PASSED":
        return f"{cell.verdict}: {short(cell.reason)}"
    beside = f" ({cell.snr_db - cell.floor_db:+.1f})" if cell.snr_db is not None and cell.floor_db is not None else ""
    return f"PASSED {_number(cell.snr_db)} dB{beside}, {_number(cell.seconds)} s" + (f", {cell.xnnpack}" if cell.xnnpack else "")


def short(reason: str | None) -> str:
    """A reason in one line, without folders of this machine."""
    line = " ".join(_PLACE.sub("", reason or "").split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1].rstrip() + "…"


def counts(networks: Sequence[Measured]) -> str:
    """How many networks passed, by format and precision."""
    lines = ["| format | " + " | ".join(offered()) + " |", "| --- |" + " --- |" * len(offered())]
    for target in TARGETS:
        row = []
        for precision in offered():
            found = [one.cells[key(target, precision)] for one in networks if key(target, precision) in one.cells]
            row.append(f"{sum(cell.verdict == 'PASSED' for cell in found)} of {len(found)}" if found else "–")
        lines.append(f"| {_NAMES[target]} | {' | '.join(row)} |")
    return "\n".join(lines)


def lost(networks: Iterable[Measured]) -> str:
    """What did not pass, each with the reason."""
    lines = ["| network | file | verdict | reason |", "| --- | --- | --- | --- |"]
    for one in networks:
        for target, precision in wanted(TARGETS, offered()):
            cell = one.cells.get(key(target, precision))
            if cell is not None and cell.verdict != "PASSED":
                reason = short(cell.reason).replace("|", "\\|")
                lines.append(f"| {one.name} | {_NAMES[target]} {precision} | {cell.verdict} | {reason} |")
    return "\n".join(lines) if len(lines) > 2 else "Nothing: every cell PASSED."


def figures(networks: Sequence[Measured], target: Target, precision: Precision) -> str:
    """The rows of one format and precision."""
    head = ["network", "verdict", "SNR", "over the floor", "operations"]
    head += ["XNNPACK"] if target == "tflite" else []
    head += ["bytes", "s", "ms", "eager ms", "ratio"]
    lines = [f"| {' | '.join(head)} |", f"| --- | --- |{' ---: |' * (len(head) - 2)}"]
    for one in networks:
        cell = one.cells.get(key(target, precision))
        if cell is None:
            continue
        over = None if cell.snr_db is None or cell.floor_db is None else cell.snr_db - cell.floor_db
        row = [f"{one.name} ({one.side})", cell.verdict, _number(cell.snr_db), "–" if over is None else f"{over:+.1f}"]
        row += [_number(cell.operations, 0)]
        row += [_taken(cell.xnnpack)] if target == "tflite" else []
        row += [_number(cell.size_bytes, 0), _number(cell.seconds, 0), _number(cell.ms), _number(cell.eager_ms)]
        row += ["–" if cell.ms is None or not cell.eager_ms else f"{cell.ms / cell.eager_ms:.2f}"]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _taken(said: str | None) -> str:
    """What XNNPACK takes of a file, shortened."""
    if said is None:
        return "–"
    if said == "XNNPACK":
        return "whole"
    found = re.fullmatch(r"XNNPACK takes (?:the graph in )?(.*?)(?: of the graph)?(, not .*)?", said)
    return said if found is None else f"{found[1]}{found[2] or ''}"


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def measured_on(networks: Sequence[Measured]) -> str:
    """Machines and states of the sources behind the cells."""
    machines = Counter(one.machine for one in networks)
    states = Counter(cell.state for one in networks for cell in one.cells.values())
    known = ", ".join(
        f"`{state}` ({count}{' cells' if place == 0 else ''})" for place, (state, count) in enumerate(states.most_common())
    )
    said = f"Measured on: {'; '.join(machines)}. State of the sources (sha256 of `src`, `exporters`, `validation`): {known}."
    return "\n".join(textwrap.wrap(said, 120, break_on_hyphens=False))


def write(networks: Sequence[Measured]) -> None:
    """Put all tables into the page."""
    parts = []
    for target, precision in wanted(TARGETS, offered()):
        if any(key(target, precision) in one.cells for one in networks):
            parts += [f"### {_NAMES[target]} {precision}", figures(networks, target, precision)]
    write_between(PAGE, "zoo counts", f"{measured_on(networks)}\n\n{counts(networks)}")
    write_between(PAGE, "zoo lost", lost(networks))
    write_between(PAGE, "zoo figures", "\n\n".join(parts))
