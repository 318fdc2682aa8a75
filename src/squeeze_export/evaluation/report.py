"""What an evaluation found: per artifact and for the reference, accuracy with its uncertainty, and what stood in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, make_dataclass
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from squeeze_export.contracts.artifact import ArtifactKey, Precision, Target
from squeeze_export.errors import SourceError
from squeeze_export.evaluation.limit import FLOOR, OPTION, drop_words, exceeds, falls_short, short_words
from squeeze_export.tabular import Tabular
from squeeze_export.validation.accuracy import (
    TOP,
    PairedDifference,
    Proportion,
    agreement,
    hits,
    paired_difference,
    proportion,
)
from squeeze_export.validation.standing import Standing

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


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation(Tabular):
    """The whole report. `images` were evaluated, by every measured row; the other lists name what was not.

    `source`: the folder as given, or "demo". `labelled`: whether its images have labels; `images_sha256`: digest of the images
    that were evaluated and their labels. `max_accuracy_drop`: the limit that was asked for, in points; `min_accuracy`: the
    floor, in percent. `standing`: how the reference stands to the labels, None without either. `notices`: facts the user must
    know, such as a damaged cache. `logs`: what the workers of lost subjects printed, with tracebacks.
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
    min_accuracy: float | None = None
    standing: Standing | None = None

    @property
    def headline(self) -> tuple[str, str]:
        """Which bundle on how many images; how many artifacts were measured, and the exit code of the command."""
        measured = sum(row.status == "MEASURED" for row in self.artifacts)
        told = f"{measured} of {len(self.artifacts)} artifacts measured, reference {self.reference.status}"
        return f"Evaluation of {self.name} on {self.images} images of {self.source}", f"{told}, exit code {self.exit_code}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The reference, then a row per artifact: accuracies as fractions, the difference to the reference as a fraction."""
        subjects: list[tuple[str, ReferenceRow | ArtifactRow, Comparison | None]] = [("reference", self.reference, None)]
        subjects += [(row.path, row, row.comparison) for row in self.artifacts]
        return [
            {
                "subject": name,
                "status": row.status,
                "top1": None if row.accuracy is None else row.accuracy.top1.value,
                "top5": None if row.accuracy is None or row.accuracy.top5 is None else row.accuracy.top5.value,
                "top1_difference": None if beside is None else beside.top1_difference.value,
                "agreement": None if beside is None else beside.agreement.value,
                "reason": row.reason,
            }
            for name, row, beside in subjects
        ]

    def document(self) -> Any:
        """What `--json` prints."""
        return self.record()

    @classmethod
    def document_type(cls) -> type:
        """The type of what `--json` prints, for its schema: what `record` has, field for field."""
        types = get_type_hints(cls)
        own = [(entry.name, types[entry.name]) for entry in fields(cls) if entry.name != "logs"]
        judged = [("dropped", tuple[str, ...]), ("below", tuple[str, ...]), ("doubt", str | None)]
        ends = [("exit_code", int), ("problems", tuple[str, ...])]
        return make_dataclass("EvaluationDocument", [("schema_version", Literal[1]), *own, *judged, *ends])

    def record(self) -> dict[str, object]:
        """What `--json` prints: the report with its schema version, exit code and problems, without the logs."""
        told = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "logs"}
        refused = {"dropped": [row.path for row in self.dropped], "below": [row.path for row in self.below]}
        judged = {"doubt": self.doubt, "exit_code": self.exit_code, "problems": self.problems}
        return {"schema_version": 1, **told, **refused, **judged}

    @property
    def dropped(self) -> tuple[ArtifactRow, ...]:
        """The artifacts that are right on fewer images than the reference by more than `max_accuracy_drop`."""
        limit = self.max_accuracy_drop
        if limit is None:
            return ()
        measured = ((row, row.comparison) for row in self.artifacts)
        return tuple(row for row, beside in measured if beside and exceeds(beside.top1_difference, self.images, limit))

    def why_refused(self, row: ArtifactRow) -> str | None:
        """Why an artifact may not be published, a line; None where it was measured within the limits."""
        if row.status != "MEASURED":
            return f"{row.path}: {row.status}: {row.reason}"
        if row in self.dropped:
            return self._drop_words(row)
        return self._short_words(row) if row in self.below else None

    @property
    def below(self) -> tuple[ArtifactRow, ...]:
        """The artifacts that are right on less than `min_accuracy`."""
        floor = self.min_accuracy
        if floor is None:
            return ()
        measured = ((row, row.accuracy) for row in self.artifacts)
        return tuple(row for row, found in measured if found and falls_short(found.top1.hits, found.top1.images, floor))

    @property
    def doubt(self) -> str | None:
        """Why the figures may say nothing, or None: labels or preprocessing that are hardly this model's."""
        return self.standing.doubt() if self.standing else None

    @property
    def unfit(self) -> str | None:
        """Why artifacts cannot be held to what was asked for beside this reference, or None: it guesses, or is too bad."""
        stands, limit, floor = self.standing, self.max_accuracy_drop, self.min_accuracy
        if stands is None or (limit is None and floor is None):
            return None
        option = f"{OPTION} {limit:g}" if limit is not None else f"{FLOOR} {floor:g}"
        if stands.no_better_than_a_guess:
            told = self.doubt or (
                f"the reference is right on {stands.right} of the {stands.images} images, and {stands.guess_words}. "
                "Are these labels, and this preprocessing, the model's?"
            )
            return f"{option} says nothing here: {told}"
        if floor is not None and falls_short(stands.right, stands.images, floor):
            low = short_words(stands.right, stands.images, floor)
            return f"{FLOOR} {floor:g}: the reference itself is too low: {low} of {stands.images} labelled images."
        if limit is not None and 100 * stands.right <= limit * stands.images:
            return (
                f"{OPTION} {limit:g} says nothing here: the reference itself is right on {stands.right} of the {stands.images} "
                "images, so no artifact could drop by more. Allow less."
            )
        return None

    @property
    def exit_code(self) -> int:
        """5: an artifact failed; else 3: the reference is unfit; else 5: one dropped or is below; else 2, 6 or 0.

        2: images could not be evaluated; 6: NOT_RUN.
        """
        codes = {row.exit_code for row in self.artifacts}
        if codes - {0, 6}:
            return 5
        if self.unfit:
            return SourceError.exit_code
        if self.dropped or self.below:
            return 5
        if self.unreadable or self.missing:
            return 2
        settled = self.reference.status == "MEASURED" or self.reference.waived
        return 0 if settled and 6 not in codes else 6

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the exit code is not 0, a line each."""
        lines = [f"{row.path}: {row.status}: {row.reason}" for row in self.artifacts if row.status != "MEASURED"]
        if self.unfit:
            lines.append(self.unfit)
        else:
            lines += [self._drop_words(row) for row in self.dropped]
            lines += [self._short_words(row) for row in self.below]
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

    def _short_words(self, row: ArtifactRow) -> str:
        """What --min-accuracy found wrong with an artifact."""
        assert row.accuracy is not None
        assert self.min_accuracy is not None
        found, beside = row.accuracy.top1, self.reference.accuracy
        reference = f"reference {100 * beside.top1.value:.1f}, artifact " if beside else ""
        return (
            f"{row.key} ({row.path}): accuracy TOO LOW: {reference}{short_words(found.hits, found.images, self.min_accuracy)} of "
            f"{found.images} labelled images. Choose a precision that keeps more, or ask for less with {FLOOR}."
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
