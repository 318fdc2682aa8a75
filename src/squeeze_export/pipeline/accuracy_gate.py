"""`--max-accuracy-drop` and `--min-accuracy` in an export: all over the pictures, before there is a bundle."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from squeeze_export.bundle.manifest import AccuracyFigure, AccuracyRecord, Manifest
from squeeze_export.contracts.in_memory import CLASSES_FORM, GivenPictures
from squeeze_export.contracts.request import ExportRequest, Progress
from squeeze_export.contracts.source import SourceModel
from squeeze_export.errors import UsageError
from squeeze_export.evaluation.cache import default_path
from squeeze_export.evaluation.crew import WORKER
from squeeze_export.evaluation.images import ImageSet, LabelledImage, demo_images, given_images, read_any_images
from squeeze_export.evaluation.limit import FLOOR, OPTION, check_floor, check_images, check_limit
from squeeze_export.evaluation.subjects import REFERENCE, OpenBundle
from squeeze_export.evaluation.walk import EvaluationRequest, evaluate_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from squeeze_export.evaluation.report import ArtifactRow, Evaluation, Status

DEMO_COUNT: Final = 510  # fifteen of each character, so that one picture is worth 0.2 points
_LISTED: Final = 5


def check(request: ExportRequest) -> None:
    """Raise UsageError for a limit that no export can be held to; nothing has been read yet."""
    if request.max_accuracy_drop is not None:
        check_limit(request.max_accuracy_drop)
    if request.min_accuracy is not None:
        check_floor(request.min_accuracy)
    option = _asked(request)
    if request.min_accuracy is not None and isinstance(request.images, GivenPictures) and request.classes is None:
        told = f"{FLOOR} {request.min_accuracy:g} needs the class of each image"
        raise UsageError(f"{told}, and {request.images} have none. Pass {CLASSES_FORM}.")
    if option is not None and request.head == "features":
        raise UsageError(
            f"{option.split()[0]} cannot be combined with --head features: features name no classes, so they have no accuracy. "
            "Leave one of them out; parity holds the features to the reference in any case."
        )


def pictures(request: ExportRequest, source: SourceModel) -> ImageSet | None:
    """What the artifacts will be measured on; None where no limit was asked for.

    Raises UsageError, before anything slow, where the pictures cannot decide: too few for the limit, or not this model's.
    """
    from squeeze_export.demo import characters

    option = _asked(request)
    if option is None:
        return None
    if source.num_classes == 1:
        raise UsageError(f"{option} needs two classes, and the network gives one score: pass two --labels, of no and yes.")
    if isinstance(request.images, Path):
        images = read_any_images(request.images, num_classes=source.num_classes, labels=source.labels)
    elif isinstance(request.images, GivenPictures):
        images = given_images(request.images, request.classes, num_classes=source.num_classes)
    elif source.labels == characters.labels():
        images = demo_images(DEMO_COUNT, source.labels)
    else:
        raise UsageError(
            f"{option} needs images to measure on, and the demo images show printed characters, which this model "
            "does not name. Pass --images DIR: with labels (docs/how-to/measure-accuracy.md) accuracy is measured, "
            "without them agreement with the reference, which has no floor."
        )
    if request.min_accuracy is not None and not images.labelled:
        raise UsageError(
            f"{FLOOR} {request.min_accuracy:g} needs labels, and the images in {request.images} have none. "
            "Put them into a folder per class, or a labels.tsv beside them (docs/how-to/measure-accuracy.md)."
        )
    if images.missing:
        shown = ", ".join(images.missing[:_LISTED])
        raise UsageError(f"{len(images.missing)} images that labels.tsv in {request.images} names are not there: {shown}.")
    if request.max_accuracy_drop is not None:
        check_images(request.max_accuracy_drop, len(images.images))
    return images


def _asked(request: ExportRequest) -> str | None:
    """The limit as the user wrote it, the drop before the floor; None for neither."""
    if request.max_accuracy_drop is not None:
        return f"{OPTION} {request.max_accuracy_drop:g}"
    return None if request.min_accuracy is None else f"{FLOOR} {request.min_accuracy:g}"


def measure(
    prepared: Path,
    made: Manifest,
    source: SourceModel,
    images: ImageSet,
    request: ExportRequest,
    progress: Progress,
    *,
    saved: Path | None = None,
    command: Sequence[str] = WORKER,
) -> Evaluation:
    """Run the artifacts in `prepared`, which `made` describes, and the reference over `images`; the judgement is in the report.

    `saved`: the folder with the source model, as sources.source.save_source writes it; of a captured network it is the reference.

    Raises SourceError where the source's weights cannot be loaded again, UsageError where no picture can be read.
    """
    evaluation = EvaluationRequest(
        bundle=prepared,
        images=request.images or "demo",
        classes=request.classes,
        # Absolute, so that a file named "demo" stays a file; weights that are none are loaded again as the manifest says.
        weights=str(request.weights.absolute()) if isinstance(request.weights, Path) else None,
        cache=default_path(),
        max_accuracy_drop=request.max_accuracy_drop,
        min_accuracy=request.min_accuracy,
    )
    bundle = OpenBundle(folder=prepared.resolve(), manifest=made, labels=source.labels)
    names = {entry.path: str(entry.key) for entry in made.artifacts}
    return evaluate_bundle(bundle, images, evaluation, _Told(progress, names), command=command, saved=saved)


def record_of(found: Evaluation, images: ImageSet) -> AccuracyRecord | None:
    """What the manifest keeps of a measurement on `images`; None where the reference could not be measured."""
    limit = found.max_accuracy_drop
    if (limit is None and found.min_accuracy is None) or found.reference.status != "MEASURED" or found.images_sha256 is None:
        return None
    right = found.reference.accuracy.top1.hits if found.reference.accuracy else found.images
    return AccuracyRecord(
        max_drop=None if limit is None else float(limit),
        min_accuracy=None if found.min_accuracy is None else float(found.min_accuracy),
        expected="labels" if found.labelled else "reference",
        origin=_origin(images.images[0]),
        images=found.images,
        images_sha256=found.images_sha256,
        reference=right,
        reference_executor=found.reference.executor,
        artifacts=tuple(_figure(row, right) for row in found.artifacts),
    )


def _origin(image: LabelledImage) -> Literal["folder", "demo", "memory"]:
    if image.is_demo:
        return "demo"
    return "folder" if image.picture is None else "memory"


def notes_of(found: Evaluation) -> tuple[str, ...]:
    """What a user must know of a measurement that refused nothing, a sentence each."""
    option = FLOOR if found.max_accuracy_drop is None else OPTION
    notes = [
        f"{row.key} is NOT_RUN: whether it keeps to {option} is not known" for row in found.artifacts if row.status == "NOT_RUN"
    ]
    if found.passed_over:
        shown = ", ".join(found.passed_over[:_LISTED])
        notes.append(f"{len(found.passed_over)} files have no label and were not measured on, such as {shown}")
    if found.doubt:
        notes.append(found.doubt)
    return tuple(notes)


def _figure(row: ArtifactRow, reference: int) -> AccuracyFigure:
    beside = row.comparison.top1_difference if row.comparison else None
    return AccuracyFigure(
        target=row.target,
        precision=row.precision,
        size_budget=row.size_budget,
        executor=row.executor,
        status=row.status,
        reason=row.reason,
        right=reference + beside.gained - beside.lost if beside else None,
        gained=beside.gained if beside else None,
        lost=beside.lost if beside else None,
        drop=100 * (beside.lost - beside.gained) / row.comparison.agreement.images if beside and row.comparison else None,
        standard_error=100 * beside.standard_error if beside and beside.standard_error is not None else None,
    )


@dataclass
class _Told:
    """An evaluation's Watcher that tells an export's Progress; notices are in the report."""

    progress: Progress
    names: dict[str, str]
    _counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def notice(self, text: str) -> None:
        """See evaluation.walk.Watcher."""

    def begin(self, subject: str, known: int, total: int) -> None:
        """See evaluation.walk.Watcher."""
        self._counts[subject] = (known, total)
        self.progress.count(self._name(subject), known, total)

    def advance(self, subject: str, count: int) -> None:
        """See evaluation.walk.Watcher."""
        done, total = self._counts[subject]
        self._counts[subject] = (done + count, total)
        self.progress.count(self._name(subject), done + count, total)

    def end(self, subject: str, status: Status) -> None:
        """See evaluation.walk.Watcher."""
        self.progress.done(self._name(subject), status, time.monotonic() - self._began)

    def _name(self, subject: str) -> str:
        return f"{self.names.get(subject, REFERENCE)} accuracy"
