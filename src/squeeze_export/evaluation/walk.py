"""The walk of one evaluation: bundle, images, what is known already, the rest through the workers, report."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from squeeze_export import torch_state
from squeeze_export.contracts.in_memory import CLASSES_FORM, MODEL_FORM, GivenPictures, given_classes, given_pictures, is_module
from squeeze_export.contracts.options.types import check_forms
from squeeze_export.errors import UsageError
from squeeze_export.evaluation import source_again
from squeeze_export.evaluation.cache import AnswerCache
from squeeze_export.evaluation.crew import WORKER
from squeeze_export.evaluation.images import (
    DEMO_COUNT,
    ImageSet,
    check_classes,
    demo_images,
    given_images,
    limited,
    read_images,
)
from squeeze_export.evaluation.limit import OPTION, check_floor, check_images, check_limit
from squeeze_export.evaluation.report import Evaluation
from squeeze_export.evaluation.run import Run, Watcher
from squeeze_export.evaluation.subjects import OpenBundle, Subject, artifact_subjects, open_bundle, reference_subject

if TYPE_CHECKING:
    import torch

_IS: Final = {"weights": "are", "model": "is"}
_PATH: Final = (str, os.PathLike)
_FORMS: Final = {
    "bundle": (_PATH, 'bundle="dist/NAME", a bundle\'s folder'),
    "images": (_PATH, 'images="photos", a folder of labelled images, or "demo"'),
    "weights": ((str, Path), 'weights="my.safetensors", the bundle\'s own'),
    "model_arguments": ((Mapping,), 'model_arguments={"width": 0.5}'),
    "checkpoint_key": ((str,), 'checkpoint_key="model_ema"'),
    "reference": ((bool,), "reference=False"),
    "limit": ((int,), "limit=200"),
    "workers": ((int,), "workers=4"),
    "cache": (_PATH, 'cache="answers.sqlite3", a file'),
}


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What a user can ask of one evaluation.

    `images`: a folder, "demo", or pictures as in the export, with `classes`, the index of each one's class.
    `weights`: where the reference comes from if the manifest does not tell: a path, or a word as in the export. `model`: of a
    bundle that is not of SqueezeNet the network again, as in the export, with its `model_arguments` and the `checkpoint_key`
    in its weights; a torch.nn.Module may be passed itself. timm's and torchvision's need not be named. `limit`: at most so
    many images, evenly spread (of the demo: the first, by default 2000). `workers`: how many processes compute at a time;
    None takes the cores. `cache`: the file of what was computed before; None for none. `max_accuracy_drop`: how many points
    an artifact may be right less often than the reference; `min_accuracy`: on how many percent of the images reference and
    artifacts must be right; None for any.
    """

    bundle: Path
    images: Path | Literal["demo"] | GivenPictures
    weights: str | None = None
    reference: bool = True
    limit: int | None = None
    workers: int | None = None
    cache: Path | None = None
    max_accuracy_drop: float | None = None
    min_accuracy: float | None = None
    model: str | torch.nn.Module | None = None
    model_arguments: Mapping[str, object] = field(default_factory=dict)
    checkpoint_key: str | None = None
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Take strings for paths; UsageError for what is neither."""
        object.__setattr__(self, "images", given_pictures(self.images))
        object.__setattr__(self, "classes", given_classes(self.classes, self.images))
        in_memory = {"images"} if isinstance(self.images, GivenPictures) else set()
        check_forms(self, {name: form for name, form in _FORMS.items() if name not in in_memory})
        if not (self.model is None or isinstance(self.model, str) or is_module(self.model)):
            raise UsageError(f"model is {self.model!r}, a {type(self.model).__name__}. Write {MODEL_FORM}.")
        object.__setattr__(self, "bundle", Path(self.bundle))
        if isinstance(self.weights, Path):
            object.__setattr__(self, "weights", str(self.weights))
        if isinstance(self.images, str) and self.images != "demo":
            object.__setattr__(self, "images", Path(self.images))
        if self.cache is not None:
            object.__setattr__(self, "cache", Path(self.cache))


@torch_state.usual()
def evaluate(request: EvaluationRequest, watcher: Watcher, *, command: Sequence[str] = WORKER) -> Evaluation:
    """Run every artifact and the reference over the images. Whatever happens, what was computed is in the cache.

    Raises UsageError for a request or images that cannot be used, ArtifactError for a damaged bundle, SourceError for weights
    that are not the bundle's. An artifact that fails, and an image that cannot be read, are in the report.
    """
    for option, value in (("--limit", request.limit), ("--workers", request.workers)):
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: it must be at least 1.")
    for option, given in (("weights", request.weights), ("model", request.model)):
        if not request.reference and given is not None:
            raise UsageError(f"--{option} and --no-reference exclude each other: the {option} {_IS[option]} for the reference.")
    if request.max_accuracy_drop is not None:
        check_limit(request.max_accuracy_drop)
        if not request.reference:
            raise UsageError(f"{OPTION} and --no-reference exclude each other: a drop is seen beside the reference.")
    if request.min_accuracy is not None:
        check_floor(request.min_accuracy)
    bundle = open_bundle(request.bundle)
    num_classes = bundle.manifest.source.num_classes
    if request.images == "demo":
        images = demo_images(request.limit or DEMO_COUNT, bundle.labels)
    elif isinstance(request.images, GivenPictures):
        check_classes(num_classes)
        if request.classes is None:
            raise UsageError(f"Accuracy needs the class of each image, and {request.images} have none. Pass {CLASSES_FORM}.")
        images = limited(given_images(request.images, request.classes, num_classes=num_classes), request.limit)
    else:
        images = limited(read_images(request.images, num_classes=num_classes, labels=bundle.labels), request.limit)
    again = source_again.saved(
        bundle,
        reference=request.reference,
        model=request.model,
        weights=request.weights,
        arguments=request.model_arguments,
        checkpoint_key=request.checkpoint_key,
    )
    with again as saved:
        return evaluate_bundle(bundle, images, request, watcher, command=command, saved=saved)


def evaluate_bundle(
    bundle: OpenBundle,
    images: ImageSet,
    request: EvaluationRequest,
    watcher: Watcher,
    *,
    command: Sequence[str] = WORKER,
    saved: Path | None = None,
) -> Evaluation:
    """As evaluate(), of a bundle that need not be finished, over images that have been found: they stand for the request's.

    `saved`: the folder with the source model of a captured network, which is the reference.
    """
    subjects = artifact_subjects(bundle)
    reference = reference_subject(bundle, request.weights, saved) if request.reference else None
    if isinstance(reference, str):
        raise UsageError(f"The reference cannot be made again: {reference}")
    if request.max_accuracy_drop is not None:
        check_images(request.max_accuracy_drop, len(images.images))
    if isinstance(reference, Subject):
        subjects = (reference, *subjects)
    notices: list[str] = []

    def notice(text: str) -> None:
        notices.append(text)
        watcher.notice(text)

    source = bundle.manifest.source
    workers = request.workers or _cores()
    cache = AnswerCache(request.cache, notice)
    with contextlib.closing(cache), ThreadPoolExecutor(workers) as pool:
        try:
            run = Run(images, subjects, source.preprocessing, source.num_classes, cache, pool, workers, watcher)
            run.look_up()
            run.compute(command)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    found = run.report(bundle.manifest.name, str(request.images), reference, tuple(notices), bundle.labels)
    return replace(found, max_accuracy_drop=request.max_accuracy_drop, min_accuracy=request.min_accuracy)


def _cores() -> int:
    # macOS does not tell which cores a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
