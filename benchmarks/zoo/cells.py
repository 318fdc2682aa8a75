"""What was measured of one network in one format and precision, and the file in which a network's cells are kept."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from squeeze_export.contracts.artifact import TARGETS, Precision, Target
from squeeze_export.exporters import EXPORTERS

ROOT: Final = Path(__file__).resolve().parents[2]
Outcome = Literal["PASSED", "FAILED", "NOT_RUN", "ERROR", "REFUSED", "TIME"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One network in one format and precision.

    `verdict`: parity's, or ERROR (no file was made), REFUSED (before any conversion), TIME (ended by the limit). `state`: the
    sources that were measured. SNRs are centred, in dB; `floor_db` is what rounding alone costs this network. `seconds`: the
    processor's, of conversion and comparison. `ms`: the least of some runs of the file by its executor, one image; `eager_ms`:
    of eager PyTorch beside it. `xnnpack`: what of a TFLite file XNNPACK takes.
    """

    verdict: Outcome
    state: str
    reason: str | None = None
    detail: str | None = None
    executor: str | None = None
    snr_db: float | None = None
    floor_db: float | None = None
    operations: int | None = None
    xnnpack: str | None = None
    size_bytes: int | None = None
    seconds: float | None = None
    ms: float | None = None
    eager_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A network and its cells, by "target precision"; `side` in pixels, None until it was built."""

    name: str
    side: int | None
    machine: str
    cells: dict[str, Cell]


def wanted(targets: Iterable[Target], precisions: Iterable[Precision]) -> list[tuple[Target, Precision]]:
    """The cells that the program offers of networks other than SqueezeNet, precision after precision."""
    asked = tuple(targets)
    return [(target, one) for one in precisions for target in asked if one in EXPORTERS[target].CAPTURED]


def offered() -> tuple[Precision, ...]:
    """All precisions of such networks, fp32 first."""
    known = dict.fromkeys(one for target in TARGETS for one in EXPORTERS[target].CAPTURED)
    return tuple(sorted(known, key=lambda one: one != "fp32"))


def key(target: Target, precision: Precision) -> str:
    """The name of a cell."""
    return f"{target} {precision}"


def kept(folder: Path, name: str) -> Path:
    """The file of one network."""
    return folder / f"{name.replace(':', '-')}.json"


def read(folder: Path, name: str) -> Measured:
    """What is kept of a network; no cells where nothing is."""
    path = kept(folder, name)
    if not path.exists():
        return Measured(name=name, side=None, machine=machine(), cells={})
    content = json.loads(path.read_text(encoding="utf-8"))
    return Measured(**{**content, "cells": {where: Cell(**cell) for where, cell in content["cells"].items()}})


def write(folder: Path, measured: Measured) -> None:
    """Keep it, whole or not at all."""
    path = kept(folder, measured.name)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def machine() -> str:
    """The kind of this machine."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def state(root: Path = ROOT) -> str:
    """The first twelve digits of a sha256 over every Python file of the program, by path."""
    digest = hashlib.sha256()
    for room in ("src", "exporters", "validation"):
        for path in sorted((root / room).rglob("*.py")):  # it follows no links
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
