"""The tables of benchmarks/noise, from the logits that were kept: how far sound artifacts fall, and what is caught."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from benchmarks.noise.artifacts import ARTIFACTS, Kind
from benchmarks.noise.faults import FAULTS

from squeeze_export.contracts.parity import NoiseFloor, NoiseLevel
from squeeze_export.validation import metrics
from squeeze_export.validation.noise import tolerance

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array
    from squeeze_export.contracts.parity import Tolerance

KINDS: Final[tuple[Kind, ...]] = ("fp32", "fp16", "fp16-stored")
# The sound artifact whose own error a faulty one of that kind has as well.
_BESIDE: Final[dict[Kind, str]] = {
    "fp32": "ONNX Runtime",
    "fp16": "TorchScript fp16",
    "fp16-stored": "ONNX Runtime, fp16 weights",
}
COSINE, ATOL = 0.9, 1e-3


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One network: its floor, and the logits (images, classes) of itself, its sound artifacts and its faulty versions."""

    name: str
    side: int
    floor: NoiseFloor
    reference: Array
    artifacts: dict[str, Array]
    faults: dict[str, Array]

    def bar(self, kind: Kind) -> Tolerance | None:
        """The tolerance, or None where the network has no such floor."""
        try:
            return tolerance(self.floor, "fp32" if kind == "fp32" else "fp16", stored=kind == "fp16-stored")
        except ValueError:
            return None

    def of(self, kind: Kind) -> dict[str, Array]:
        """The sound artifacts of one kind."""
        return {label: rows for label, rows in self.artifacts.items() if ARTIFACTS[label][0] == kind}


def read(path: Path) -> Measured:
    """One network's file."""
    with np.load(path) as known:
        arrays = dict(known)
    notes = json.loads(str(arrays.pop("notes")))
    found: dict[str, Any] = notes["floor"]

    def level(name: str) -> NoiseLevel | None:
        if found[name] is None:
            return None
        snr, centred, error = found[name]
        return NoiseLevel(snr_db=snr, centred_snr_db=centred, max_error_of_peak=error)

    reference = arrays["reference"]
    mean = np.broadcast_to(reference.mean(axis=0), reference.shape)
    floor = NoiseFloor(
        images=found["images"],
        classes=found["classes"],
        constant_db=metrics.centred_snr_db(reference, mean),
        fp32=level("fp32"),
        fp16=level("fp16"),
        fp16_stored=level("fp16-stored"),
        problems=tuple((name, reason) for name, reason in found["problems"]),
    )

    def those(kind: str) -> dict[str, Array]:
        return {key.removeprefix(kind): rows for key, rows in arrays.items() if key.startswith(kind)}

    return Measured(
        name=path.stem.replace("-", ":", 1),
        side=notes["side"],
        floor=floor,
        reference=reference,
        artifacts=those("artifact: "),
        faults=those("fault: "),
    )


def refused(bar: Tolerance, reference: Array, target: Array) -> bool:
    """As parity.py judges logits."""
    if not np.isfinite(target).all():
        return True
    error = metrics.max_abs_error(reference, target) / float(np.abs(reference).max())
    snr, centred = metrics.snr_db(reference, target), metrics.centred_snr_db(reference, target)
    below = snr < bar.min_snr_db or centred < bar.min_centred_snr_db
    return error > bar.max_error_of_peak or below or bool(metrics.top1(reference, target).flips)


def floors(networks: Iterable[Measured]) -> str:
    """The floor of each network beside its worst artifact, centred SNR in dB, and how many times larger that one's error is."""
    head = " | ".join(f"{kind}: floor | worst artifact | times the error" for kind in KINDS)
    lines = [f"| network | {head} |", "| --- |" + " --- |" * (3 * len(KINDS))]
    for each in networks:
        cells = []
        for kind in KINDS:
            level = {"fp32": each.floor.fp32, "fp16": each.floor.fp16, "fp16-stored": each.floor.fp16_stored}[kind]
            sound = [rows for rows in each.of(kind).values() if np.isfinite(rows).all()]
            if level is None or not sound:
                cells += ["–" if level is None else f"{level.centred_snr_db:.1f}", "–", "–"]
                continue
            worst = min(metrics.centred_snr_db(each.reference, rows) for rows in sound)
            error = max(metrics.max_abs_error(each.reference, rows) for rows in sound) / float(np.abs(each.reference).max())
            cells += [f"{level.centred_snr_db:.1f}", f"{worst:.1f}", f"{error / level.max_error_of_peak:.1f}"]
        lines.append(f"| {each.name} ({each.side}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def shortfalls(networks: Iterable[Measured]) -> dict[str, tuple[float, float, int, int]]:
    """For each sort of artifact: the largest shortfall in dB and ratio of errors, how many were refused, and of how many."""
    found: dict[str, tuple[float, float, int, int]] = {}
    for each in networks:
        for label, rows in each.artifacts.items():
            kind = ARTIFACTS[label][0]
            bar = each.bar(kind)
            if bar is None:
                continue
            level = each.floor.level(kind)
            below, ratio, alarms, count = found.get(label, (-math.inf, 0.0, 0, 0))
            error = metrics.max_abs_error(each.reference, rows) / float(np.abs(each.reference).max())
            found[label] = (
                max(below, level.centred_snr_db - metrics.centred_snr_db(each.reference, rows)),
                max(ratio, error / level.max_error_of_peak),
                alarms + refused(bar, each.reference, rows),
                count + 1,
            )
    return found


def caught(networks: list[Measured]) -> str:
    """How many of each planted fault are refused, by the floor's bars, a cosine and an absolute error; and of sound files."""
    bars = (*KINDS, f"cosine {COSINE:g}", f"atol {ATOL:g}")
    lines = [f"| planted | {' | '.join(bars)} |", "| --- |" + " --- |" * len(bars)]
    for label in FAULTS:
        # A pool without a remainder rounds up to nothing: then there is no fault.
        those = [each for each in networks if label in each.faults and not np.array_equal(each.faults[label], each.reference)]
        cells = [_share([_faulty(each, label, kind) for each in those]) for kind in KINDS]
        plain = [(each.reference, each.faults[label]) for each in those]
        cells += [_share([_cosine(*pair) for pair in plain]), _share([_atol(*pair) for pair in plain])]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    pairs = [(each.reference, rows, kind) for each in networks for kind in KINDS for rows in each.of(kind).values()]
    ours = [
        _share(
            [
                refused(bar, each.reference, rows)
                for each in networks
                if (bar := each.bar(kind))
                for rows in each.of(kind).values()
            ]
        )
        for kind in KINDS
    ]
    others = [_share([judge(reference, rows) for reference, rows, _ in pairs]) for judge in (_cosine, _atol)]
    lines.append(f"| nothing: sound artifacts refused | {' | '.join([*ours, *others])} |")
    return "\n".join(lines)


def _faulty(each: Measured, label: str, kind: Kind) -> bool | None:
    """Whether a file with that fault, which also rounds as a sound one does, is refused; None where there is no such file."""
    bar, sound = each.bar(kind), each.artifacts.get(_BESIDE[kind])
    if bar is None or sound is None:
        return None
    return refused(bar, each.reference, each.faults[label] + (sound - each.reference))


def _cosine(reference: Array, target: Array) -> bool:
    return not metrics.cosine(reference, target) >= COSINE


def _atol(reference: Array, target: Array) -> bool:
    return not metrics.max_abs_error(reference, target) <= ATOL


def _share(found: list[bool | None]) -> str:
    known = [each for each in found if each is not None]
    return f"{sum(known)} of {len(known)}" if known else "–"
