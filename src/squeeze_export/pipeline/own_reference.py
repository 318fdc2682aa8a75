"""`--reference`: what the source gives for the user's images, and what else it could be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from squeeze_export.bundle.manifest import ReferenceScoresRecord
from squeeze_export.contracts.in_memory import GivenPictures, GivenScores
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.contracts.signature import Interpolation, PreprocessingSpec
from squeeze_export.contracts.source import SourceModel, is_squeezenet
from squeeze_export.errors import UsageError
from squeeze_export.golden.images import named_pictures
from squeeze_export.preprocessing.pixels import load_pixels, normalise, picture_pixels
from squeeze_export.preprocessing.spec import PRESETS
from squeeze_export.sources import own_scores

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array, PixelArray

_TRIED_ON: Final = 24  # images on which other readings are tried: enough to tell them apart


def check_request(request: ExportRequest) -> None:
    """Raise UsageError where scores cannot be compared: no images, or features, which have no scores."""
    if request.reference is None:
        return
    if not isinstance(request.reference, GivenScores) and not isinstance(request.images, Path):
        raise UsageError(f"{own_scores.OPTION} {request.reference} names images: pass their folder with --images DIR.")
    if request.head == "features":
        raise UsageError(f"{own_scores.OPTION} compares scores, and --head features has none. Leave one of them out.")


def compare(request: ExportRequest, source: SourceModel) -> tuple[ReferenceScoresRecord | None, tuple[str, ...]]:
    """Compare the source with the user's scores: what was found, and notes. SourceError where it is another model."""
    if request.reference is None:
        return None, ()
    own, pictures = _own(request, request.reference, source)
    file = request.reference if isinstance(request.reference, Path) else None
    spec = source.preprocessing
    crops = [picture(spec) for picture in pictures]
    module = source.module if source.eager is None else source.eager

    def of(spec: PreprocessingSpec, module: object, cut: Sequence[PixelArray]) -> Array:
        return own_scores.softmax(_logits(module, spec, cut))

    others: dict[str, Callable[[], Array]] = {}
    if is_squeezenet(source.model):
        word = "no" if source.head_relu else "yes"
        others[f"--head-relu {word}"] = lambda: of(spec, _other_head(source), crops[:_TRIED_ON])
    for words, other in _other_colours(spec).items():
        others[words] = lambda other=other: of(other, module, crops[:_TRIED_ON])  # type: ignore[misc]
    for words, other in _other_resizes(spec).items():
        others[words] = (
            lambda other=other: of(  # type: ignore[misc]
                other, module, [picture(other) for picture in pictures[:_TRIED_ON]]
            )
        )
    found, notes = own_scores.check(own, file, of(spec, module, crops), others, source.labels)
    record = ReferenceScoresRecord(
        sha256=own.sha256,
        kind=own.kind,
        images=found.images,
        max_probability_error=found.max_probability_error,
        top1_agreement=found.top1_agreement,
    )
    return record, notes


def _own(
    request: ExportRequest, reference: Path | GivenScores, source: SourceModel
) -> tuple[own_scores.OwnScores, list[Callable[[PreprocessingSpec], PixelArray]]]:
    """The user's scores, and what makes the pixels of each of their images."""
    if isinstance(reference, GivenScores):
        assert isinstance(request.images, GivenPictures)  # or the request would not have been made
        names = [name for name, _ in named_pictures(request.images)]
        own = own_scores.scores_in_memory(reference.values, names, source.num_classes)
        return own, [partial(picture_pixels, picture) for picture in request.images.pictures]
    assert isinstance(request.images, Path)
    own = own_scores.read_scores(reference, source.num_classes, source.labels)
    files = own_scores.image_files(request.images, own.names, reference)
    return own, [partial(load_pixels, file) for file in files]


def _other_colours(spec: PreprocessingSpec) -> dict[str, PreprocessingSpec]:
    """What else the channels could be, by what to pass; one channel has no order."""
    if spec.color_order == "GRAY":
        return {}
    turned = replace(spec, color_order="BGR" if spec.color_order == "RGB" else "RGB")
    # As the option does it: a preset's mean and deviation stay with their colours. And as code does that only swaps channels.
    moved = replace(turned, mean=spec.mean[::-1], std=spec.std[::-1])
    others = {
        f"--color-order {turned.color_order}": moved,
        f"--color-order {turned.color_order} and the mean and std of the other order": turned,
    }
    for name, preset in PRESETS.items():
        other = replace(spec, color_order=preset.color_order, scale=preset.scale, mean=preset.mean, std=preset.std)
        if other != spec:
            others[f"--preprocessing {name}"] = other
    return others


def _other_resizes(spec: PreprocessingSpec) -> dict[str, PreprocessingSpec]:
    """How else the images could be resized, by what to pass."""
    others = {
        f"--interpolation {name}": replace(spec, interpolation=name)
        for name in get_args(Interpolation)
        if name != spec.interpolation
    }
    if spec.resize_mode == "short-side":
        if spec.resize > (larger := max(spec.height, spec.width)):
            others[f"--resize {larger}"] = replace(spec, resize=larger)
        width = None if spec.width == spec.height else spec.width
        others["--resize-mode squash"] = replace(spec, resize_mode="squash", resize=spec.height, resize_width=width)
    return others


def _logits(module: object, spec: PreprocessingSpec, crops: Sequence[PixelArray]) -> Array:
    import numpy as np
    import torch

    with torch.inference_mode():
        return np.concatenate([module(torch.from_numpy(normalise(crop[None], spec))).numpy() for crop in crops])  # type: ignore[operator]


def _other_head(source: SourceModel) -> object:
    import copy

    from squeeze_export.sources.squeezenet import set_head_relu

    other = copy.deepcopy(source.module)
    set_head_relu(other, not source.head_relu)
    return other
