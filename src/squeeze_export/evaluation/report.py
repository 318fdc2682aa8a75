"""What an evaluation found: per artifact and for the reference, accuracy with its uncertainty, and what stood in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal

from squeeze_export.contracts import ArtifactKey, Precision, Target
from squeeze_export.evaluation.limit import OPTION, drop_words, exceeds
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


_DOUBTED: Final = 20  # of so few images a good model may have none right


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Agreement with the labels. `top5` is None where the model has no more than 5 classes: it could not be wrong."""

    top1: Proportion
    top5: Proportion | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An artifact beside the reference on the same images: differences of accuracy, and how often the best class is the same.

    Of images without labels the reference's best class is taken for right: then `top1_difference` is the agreement less 1, and
    there is no `top5_difference`.
    """

    top1_difference: PairedDifference
    top5_difference: PairedDifference | None
    agreement: Proportion


@dataclass(frozen=True, kw_only=True)
class ReferenceRow:
    """The eager source model. `reason` says why it is not MEASURED; `waived`: the user did not want it.

    `accuracy` is None where it is not MEASURED, and where the images have no labels. `cached`: how many images' answers were
    known from a run before.
    """

    status: Status
    reason: str | None
    waived: bool
    executor: str | None
    accuracy: Accuracy | None
    cached: int


@dataclass(frozen=True, kw_only=True)
class ArtifactRow:
    """One artifact. `exit_code` is 0 where it is MEASURED; `comparison` is None without a measured reference.

    `accuracy` is None where it is not MEASURED, and where the images have no labels.
    """

    target: Target
    precision: Precision
    size_budget: int | None = None
    path: str
    status: Status
    reason: str | None
    exit_code: int
    executor: str | None
    accuracy: Accuracy | None
    comparison: Comparison | None
    cached: int

    @property
    def key(self) -> ArtifactKey:
        """The artifact's place in the bundle."""
        return ArtifactKey(target=self.target, precision=self.precision, size_budget=self.size_budget)


@dataclass(frozen=True, kw_only=True)
class UnreadableImage:
    """An image that could not be decoded, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The whole report. `images` were evaluated, by every measured row; the other lists name what was not.

    `source`: the folder as given, or "demo". `labelled`: whether its images have labels; `images_sha256`: digest of the images
    that were evaluated and their labels. `max_accuracy_drop`: the limit that was asked for, in points. `notices`: facts the user
    must know, such as a damaged cache. `logs`: what the workers of lost subjects printed, with tracebacks.
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
    labelled: bool = True
    images_sha256: str | None = None
    max_accuracy_drop: float | None = None

    def record(self) -> dict[str, object]:
        """What `--json` prints: the report with its schema version, exit code and problems, without the logs."""
        told = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "logs"}
        dropped = [row.path for row in self.dropped]
        return {"schema_version": 1, **told, "dropped": dropped, "exit_code": self.exit_code, "problems": self.problems}

    @property
    def dropped(self) -> tuple[ArtifactRow, ...]:
        """The artifacts that are right on fewer images than the reference by more than `max_accuracy_drop`."""
        limit = self.max_accuracy_drop
        if limit is None:
            return ()
        measured = ((row, row.comparison) for row in self.artifacts)
        return tuple(row for row, beside in measured if beside and exceeds(beside.top1_difference, self.images, limit))

    def why_refused(self, row: ArtifactRow) -> str | None:
        """Why an artifact may not be published, a line; None where it was measured and dropped by no more than was allowed."""
        if row.status != "MEASURED":
            return f"{row.path}: {row.status}: {row.reason}"
        return self._drop_words(row) if row in self.dropped else None

    @property
    def undecided(self) -> str | None:
        """Why the limit cannot be held here, or None: a reference that is hardly ever right leaves nothing to lose."""
        right = self.reference.accuracy.top1 if self.reference.accuracy else None
        if self.max_accuracy_drop is None or right is None or 100 * right.value > self.max_accuracy_drop:
            return None
        return (
            f"{OPTION} {self.max_accuracy_drop:g}: the reference itself is right on {right.hits} of {right.images} images, so no "
            "artifact could drop by more. Are the labels those of this model, and the preprocessing its own?"
        )

    @property
    def doubt(self) -> str | None:
        """Why the figures may say nothing, or None: where the reference is never right, nothing can be worse than it."""
        right = self.reference.accuracy.top1 if self.reference.accuracy and self.labelled else None
        if right is None or right.hits or right.images < _DOUBTED:
            return None
        return (
            f"the reference has not one of {right.images} images right, so the differences to it say nothing. "
            "Are the labels those of this model, and the preprocessing its own?"
        )

    @property
    def exit_code(self) -> int:
        """5: an artifact failed or dropped; else 2: images, or a limit, could not be evaluated; else 6: NOT_RUN; else 0."""
        codes = {row.exit_code for row in self.artifacts}
        if codes - {0, 6} or self.dropped:
            return 5
        if self.unreadable or self.missing or self.undecided:
            return 2
        settled = self.reference.status == "MEASURED" or self.reference.waived
        return 0 if settled and 6 not in codes else 6

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the exit code is not 0, a line each."""
        lines = [f"{row.path}: {row.status}: {row.reason}" for row in self.artifacts if row.status != "MEASURED"]
        lines += [self._drop_words(row) for row in self.dropped]
        lines += [self.undecided] if self.undecided else []
        if self.reference.status != "MEASURED" and not self.reference.waived:
            lines.append(f"reference: {self.reference.status}: {self.reference.reason}")
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images could not be read and are in no figure:")
            lines += [f"  {image.name}: {image.reason}" for image in self.unreadable]
        if self.missing:
            lines.append(f"{len(self.missing)} images that labels.tsv names are not there: {', '.join(self.missing)}")
        return tuple(lines)

    def _drop_words(self, row: ArtifactRow) -> str:
        """What --max-accuracy-drop found wrong with an artifact, and on which images."""
        assert row.comparison is not None
        assert self.max_accuracy_drop is not None
        drop = drop_words(row.comparison.top1_difference, self.max_accuracy_drop)
        if row.accuracy is not None and self.reference.accuracy is not None:
            right, before = (100 * accuracy.top1.value for accuracy in (row.accuracy, self.reference.accuracy))
            figures = f"reference {before:.1f}, artifact {right:.1f}, drop {drop} points on {self.images} labelled images"
        else:
            same = 100 * row.comparison.agreement.value
            figures = f"top-1 agreement with the reference {same:.1f}, drop {drop} points on {self.images} images without labels"
        return (
            f"{row.key} ({row.path}): accuracy DROPPED: {figures}. "
            f"Choose a precision that keeps more, or allow more with {OPTION}."
        )


def accuracy_of(top: ClassArray, labels: ClassArray, num_classes: int) -> Accuracy:
    """Judge the best classes (N, k) by the labels (N,)."""
    return Accuracy(top1=proportion(hits(top, labels, 1)), top5=proportion(hits(top, labels, TOP)) if num_classes > TOP else None)


def comparison_of(top: ClassArray, reference: ClassArray, labels: ClassArray | None, num_classes: int) -> Comparison:
    """Hold the best classes of an artifact against the reference's, both (N, k); None takes the reference's best for labels."""
    if labels is None:
        best = reference[:, 0]
        return Comparison(
            top1_difference=paired_difference(hits(top, best, 1), hits(reference, best, 1)),
            top5_difference=None,
            agreement=agreement(top, reference),
        )
    return Comparison(
        top1_difference=paired_difference(hits(top, labels, 1), hits(reference, labels, 1)),
        top5_difference=(paired_difference(hits(top, labels, TOP), hits(reference, labels, TOP)) if num_classes > TOP else None),
        agreement=agreement(top, reference),
    )
