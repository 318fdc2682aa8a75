"""What an evaluation found: per artifact and for the reference, accuracy with its uncertainty, and what stood in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from squeeze_export.contracts import Precision, Target
from squeeze_export.validation.accuracy import (
    TOP,
    PairedDifference,
    Proportion,
    agreement,
    hits,
    paired_difference,
    proportion,
)

if TYPE_CHECKING:
    from squeeze_export.validation.accuracy import ClassArray

Status = Literal["MEASURED", "FAILED", "NOT_RUN"]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Agreement with the labels. `top5` is None where the model has no more than 5 classes: it could not be wrong."""

    top1: Proportion
    top5: Proportion | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An artifact beside the reference on the same images: differences of accuracy, and how often the best class is the same."""

    top1_difference: PairedDifference
    top5_difference: PairedDifference | None
    agreement: Proportion


@dataclass(frozen=True, kw_only=True)
class ReferenceRow:
    """The eager source model. `reason` says why it is not MEASURED; `waived`: the user did not want it.

    `cached`: how many images' answers were known from a run before.
    """

    status: Status
    reason: str | None
    waived: bool
    executor: str | None
    accuracy: Accuracy | None
    cached: int


@dataclass(frozen=True, kw_only=True)
class ArtifactRow:
    """One artifact. `exit_code` is 0 where it is MEASURED; `comparison` is None without a measured reference."""

    target: Target
    precision: Precision
    path: str
    status: Status
    reason: str | None
    exit_code: int
    executor: str | None
    accuracy: Accuracy | None
    comparison: Comparison | None
    cached: int


@dataclass(frozen=True, kw_only=True)
class UnreadableImage:
    """An image that could not be decoded, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The whole report. `images` were evaluated, by every measured row; the other lists name what was not.

    `source`: the folder as given, or "demo". `notices`: facts the user must know, such as a damaged cache. `logs`: what the
    workers of lost subjects printed, with tracebacks.
    """

    name: str
    source: str
    images: int
    unreadable: tuple[UnreadableImage, ...]
    missing: tuple[str, ...]
    passed_over: tuple[str, ...]
    reference: ReferenceRow
    artifacts: tuple[ArtifactRow, ...]
    notices: tuple[str, ...]
    logs: Mapping[str, str]

    def record(self) -> dict[str, object]:
        """What `--json` prints: the report with its schema version, exit code and problems, without the logs."""
        told = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "logs"}
        return {"schema_version": 1, **told, "exit_code": self.exit_code, "problems": self.problems}

    @property
    def exit_code(self) -> int:
        """5: an artifact failed; else 2: images could not be evaluated; else 6: something wanted was NOT_RUN; else 0."""
        codes = {row.exit_code for row in self.artifacts}
        if codes - {0, 6}:
            return 5
        if self.unreadable or self.missing:
            return 2
        settled = self.reference.status == "MEASURED" or self.reference.waived
        return 0 if settled and 6 not in codes else 6

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the exit code is not 0, a line each."""
        lines = [f"{row.path}: {row.status}: {row.reason}" for row in self.artifacts if row.status != "MEASURED"]
        if self.reference.status != "MEASURED" and not self.reference.waived:
            lines.append(f"reference: {self.reference.status}: {self.reference.reason}")
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images could not be read and are in no figure:")
            lines += [f"  {image.name}: {image.reason}" for image in self.unreadable]
        if self.missing:
            lines.append(f"{len(self.missing)} images that labels.tsv names are not there: {', '.join(self.missing)}")
        return tuple(lines)


def accuracy_of(top: ClassArray, labels: ClassArray, num_classes: int) -> Accuracy:
    """Judge the best classes (N, k) by the labels (N,)."""
    return Accuracy(top1=proportion(hits(top, labels, 1)), top5=proportion(hits(top, labels, TOP)) if num_classes > TOP else None)


def comparison_of(top: ClassArray, reference: ClassArray, labels: ClassArray, num_classes: int) -> Comparison:
    """Hold the best classes of an artifact against the reference's, both (N, k)."""
    return Comparison(
        top1_difference=paired_difference(hits(top, labels, 1), hits(reference, labels, 1)),
        top5_difference=(paired_difference(hits(top, labels, TOP), hits(reference, labels, TOP)) if num_classes > TOP else None),
        agreement=agreement(top, reference),
    )
