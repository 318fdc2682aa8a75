"""The rungs of a ladder, and which of them no other one of the same platform beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from squeeze_export.contracts.artifact import Precision, Target, rung_name
from squeeze_export.evaluation.report import Accuracy, Comparison, Status

Platform = Literal["iOS", "Android", "ONNX Runtime"]

# Who ships a Core ML package cannot take a TFLite file instead: formats are held against each other within a platform only.
PLATFORMS: Final[Mapping[Platform, tuple[Target, ...]]] = {
    "iOS": ("coreml",),
    "Android": ("tflite", "torchscript"),
    "ONNX Runtime": ("onnx",),
}


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One artifact. `bytes` of the file (or of all files of a package), `zip_bytes` packed for a download; `size_budget`: how
    many the precision "auto" was allowed.

    `accuracy` is None where `status` is not MEASURED (`reason` says why), `comparison` is beside the reference. `ms_*`: median
    milliseconds of one image in LiteRT, None where it does not execute this format. `best_accuracy` and `best_speed`: no rung
    of its platform of at most as many bytes has a higher top-1, or a shorter time on one thread. `within_max_drop`: its top-1
    is not lower than the reference's by more than was asked for; `above_min_accuracy`: its top-1 is not below the floor; None
    where nothing was asked for, or where it is not known.
    """

    target: Target
    precision: Precision
    size_budget: int | None = None
    path: str
    bytes: int
    zip_bytes: int
    status: Status
    reason: str | None
    executor: str | None
    accuracy: Accuracy | None
    comparison: Comparison | None
    ms_1_thread: float | None = None
    ms_2_threads: float | None = None
    best_accuracy: bool = False
    best_speed: bool = False
    within_max_drop: bool | None = None
    above_min_accuracy: bool | None = None

    @property
    def refused(self) -> bool:
        """Whether it breaks a limit."""
        return self.within_max_drop is False or self.above_min_accuracy is False

    @property
    def name(self) -> str:
        """Its precision as one asks for it."""
        return rung_name(self.precision, self.size_budget)


def front(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """The Pareto front of (cost, gain) points: the places of those that no other point beats, cheapest first.

    A point is beaten by one that costs no more and gains more, or costs less and gains as much; of equal points both stay.
    """
    ordered = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1]))
    kept: list[int] = []
    for place in ordered:
        if not kept or points[place][1] > points[kept[-1]][1] or points[place] == points[kept[-1]]:
            kept.append(place)
    return tuple(kept)


def of_platform(rungs: Sequence[Rung], platform: Platform) -> list[Rung]:
    """Those of the formats that run on a platform, in their order."""
    return [rung for rung in rungs if rung.target in PLATFORMS[platform]]


def fronted(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """The rungs in their order, each told whether it is on its platform's front of accuracy, and of speed, against bytes."""
    by_accuracy: set[int] = set()
    by_speed: set[int] = set()
    for targets in PLATFORMS.values():
        own = [(place, rung) for place, rung in enumerate(rungs) if rung.target in targets]
        right = [(place, rung.bytes, rung.accuracy.top1.value) for place, rung in own if rung.accuracy is not None]
        quick = [(place, rung.bytes, -rung.ms_1_thread) for place, rung in own if rung.ms_1_thread is not None]
        by_accuracy |= {right[best][0] for best in front([(size, gain) for _, size, gain in right])}
        by_speed |= {quick[best][0] for best in front([(size, gain) for _, size, gain in quick])}
    return tuple(
        replace(rung, best_accuracy=place in by_accuracy, best_speed=place in by_speed) for place, rung in enumerate(rungs)
    )
