"""Whether what the reference is shown, and what it answers, can be right: looked at on the golden pack, before any conversion.

What is wrong in the reference already is the source's fault, and no converter's: parity would only blame the artifact for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from squeeze_export.contracts.in_memory import GivenPictures
from squeeze_export.contracts.signature import PreprocessingSpec
from squeeze_export.contracts.source import Features, GoldenPack, Scores, SourceModel
from squeeze_export.demo import characters
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.evaluation.images import read_any_images
from squeeze_export.preprocessing.pixels import normalise, pixels
from squeeze_export.preprocessing.spec import PRESETS, spec_for
from squeeze_export.validation.standing import Standing, beyond_luck, standing_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from squeeze_export.bundle.manifest import SourceRecord
    from squeeze_export.contracts.arrays import Array, FloatArray
    from squeeze_export.validation.accuracy import ClassArray

# Inputs that training knows span 2 (-1..1) to 5 (ImageNet's deviations); beyond these a number is in another unit.
_NARROWEST: Final = 0.5
_WIDEST: Final = 20.0
_SLACK: Final = 1.05  # a mean of 128 where pixels end at 127.5 is no other unit
_LARGEST_FP16: Final = 65504.0
# Answers that move so little from image to image, beside what tells the classes apart, do not follow the images. Measured
# (SqueezeNet 1.1 and 1.0, demo, random weights; photographs, drawn characters): at least 0.19, and 0.05 or less in a wrong unit.
_STIFF: Final = 0.05
# The entropy of the answers beside that of no knowledge; of few classes a sound model may be as unsure.
_FLAT: Final = 0.98
_MANY: Final = 10


@dataclass(frozen=True, kw_only=True)
class GoldenLabels:
    """The class of each golden image, None where it has no label; `note`: why they were taken without, if there were some."""

    classes: tuple[int | None, ...]
    note: str | None = None

    @property
    def known(self) -> tuple[Array, ClassArray]:
        """The places of the images that have a label, and their classes."""
        import numpy as np

        places = [place for place, label in enumerate(self.classes) if label is not None]
        return np.asarray(places, np.int64), np.asarray([self.classes[place] for place in places], np.int32)


def looked_at(
    source: SourceModel, pack: GoldenPack, folder: Path | GivenPictures | None, paths: Sequence[Path]
) -> tuple[str, ...]:
    """What the user must know of the golden pack, made of the images at `paths` in `folder`, of given ones, or of the demo images
    (None).

    Raises UsageError for images that show nothing, SourceError for answers that no artifact could be held to.
    """
    if (pack.pixels == pack.pixels[:, :1, :1]).all():
        shown = folder if isinstance(folder, GivenPictures) else f"images in {folder}"
        raise UsageError(
            f"the {shown} show nothing: each is of one colour after resize and crop, and such inputs "
            "prove little. Add real photographs."
        )
    if isinstance(folder, GivenPictures):
        labels = GoldenLabels(classes=(None,) * len(pack.names))
    else:
        labels = golden_labels(folder, paths, source)
    return judged(source, pack, labels, own_images=folder is not None)


def golden_labels(folder: Path | None, paths: Sequence[Path], source: SourceModel) -> GoldenLabels:
    """The labels of the images at `paths` in `folder`; without one, of the demo images, if the model has the demo's classes."""
    if source.head != "classifier" or source.activation == "sigmoid":  # a folder per class says nothing of independent labels
        return GoldenLabels(classes=(None,) * len(paths))
    if folder is None:
        known = source.labels == characters.labels()
        return GoldenLabels(classes=tuple(place % len(characters.CHARACTERS) if known else None for place in characters.PICTURES))
    try:
        found = read_any_images(folder, num_classes=source.num_classes, labels=source.labels)
    except UsageError as error:
        return GoldenLabels(
            classes=(None,) * len(paths), note=f"the golden images were taken without labels, which cannot be read: {error}"
        )
    by_path = {image.path: image.label for image in found.images}
    return GoldenLabels(classes=tuple(by_path.get(path) for path in paths))


def judged(source: SourceModel, pack: GoldenPack, labels: GoldenLabels, *, own_images: bool) -> tuple[str, ...]:
    """What the user must know of inputs and answers, a note each; SourceError where no artifact could be held to such answers.

    `own_images`: whether the images are the user's, so that they should be this model's.
    """
    spec = source.preprocessing
    inputs = normalise(pack.pixels, spec)
    cause = _wrong_unit(spec)
    _refuse_inputs(inputs, cause)
    match pack.reference:
        case Features(features=features):
            _refuse_sameness(features, pack, "features", cause)
            answers: list[str] = []
        case Scores(logits=logits, probabilities=probabilities):
            _refuse_sameness(logits, pack, "scores", cause)
            if told := _saturation(logits, probabilities, inputs, cause):
                raise SourceError(" ".join((told, *_other_preprocessing(source, pack, labels))))
            # Random weights recognise nothing; a note says so already. Independent scores need name no class at all.
            told_nothing = source.weights.kind == "random" or source.activation == "sigmoid"
            answers = [] if told_nothing else _of_answers(source, pack, labels, own_images=own_images)
    noted = [labels.note] if labels.note and source.weights.kind != "random" else []
    return (*noted, *_of_inputs(inputs, spec, cause, own_images=own_images), *answers)


def told_of_weights(source: SourceRecord) -> str | None:
    """What a user must know of weights that are not a trained model of their own, or None."""
    if source.weights_kind == "demo":
        return (
            "these are the demo weights: the model reads one printed character, 0-9 or A-Z without O and I. "
            "Pass --weights for a model of yours."
        )
    if source.weights_kind == "random":
        return (
            f"the weights are random (seed {source.weights_seed}): the artifacts agree with the model, "
            "but it recognises nothing. Pass --weights for a trained one."
        )
    return None


def _wrong_unit(spec: PreprocessingSpec) -> str | None:
    """Why mean, std and scale cannot be of one unit, and what to do; None where they can.

    Caffe's habit, 0..255 less a mean and no deviation, is of one unit: the mean lies among the pixels.
    """
    low, high = sorted((0.0, 255 * spec.scale))
    reach, slack = high - low, (_SLACK - 1) * (high - low)
    divided, mean = set(spec.std) != {1.0}, max(map(abs, spec.mean))
    outside = any(not low - slack <= value <= high + slack for value in spec.mean)
    large = (["--mean"] if outside else []) + (["--std"] if divided and max(spec.std) > _SLACK * reach else [])
    small = []
    if reach > _WIDEST:
        small = (["--mean"] if 0 < mean <= 1 else []) + (["--std"] if divided and reach / min(spec.std) > _WIDEST else [])
    named = large or small
    if not named:
        return None
    values = f"mean {_numbers(spec.mean)} and std {_numbers(spec.std)}"
    made = f"--scale {spec.scale:.6g} makes pixels {low:g} to {high:g}"
    told, look, them = " and ".join(named), *(("look", "them") if len(named) > 1 else ("looks", "it"))
    if large and not reach <= _WIDEST < max(mean, *spec.std) <= _SLACK * 255:
        return f"{told} {look} like another unit than that of the pixels ({values}), and {made}."
    unit, scale, change = ("0..255", "1", "divide") if large else ("0..1", f"{1 / 255:.8f} (1/255)", "multiply")
    # One scale for all helps only where the other number is not of the other unit.
    helps = len(named) > 1 or not divided or mean == 0
    remedy = f"Pass --scale {scale}, or {change}" if helps else change.capitalize()
    return f"{told} {look} like units of {unit} ({values}), and {made}. {remedy} {them} by 255."


def _refuse_inputs(inputs: FloatArray, cause: str | None) -> None:
    import numpy as np

    largest = float(np.abs(inputs).max())
    if largest > _LARGEST_FP16:
        raise SourceError(
            f"The model's inputs reach {largest:.3g} after preprocessing, more than fp16 holds ({_LARGEST_FP16:g}). "
            f"{_blame(cause)} Nothing was converted."
        )


def _refuse_sameness(rows: FloatArray, pack: GoldenPack, what: str, cause: str | None) -> None:
    images = len(rows)
    if images < 2 or (pack.pixels == pack.pixels[:1]).all() or not (rows == rows[:1]).all():
        return
    zero = "all 0: the last ReLU lets nothing through" if not rows.any() else "whatever it is shown"
    raise SourceError(
        f"The source model gives all {images} golden images the same {what} to the last digit, {zero}. "
        f"Agreement with that proves nothing. {_blame(cause)} Otherwise check the weights."
    )


def _saturation(logits: FloatArray, probabilities: FloatArray, inputs: FloatArray, cause: str | None) -> str | None:
    import numpy as np

    zeros = int((probabilities == 0).sum())
    # A sure model may have a class or two that fp32 calls impossible; inputs of another unit, or half of all classes, tell more.
    if zeros == 0 or (cause is None and 2 * zeros <= probabilities.size):
        return None
    rows = int((probabilities == 0).any(axis=1).sum())
    return (
        f"The source model's own answers are saturated: on {rows} of {len(logits)} images some probabilities are exactly 0. "
        f"Its scores reach {np.abs(logits).max():.3g}, where trained models stay below some tens; its inputs reach "
        f"{np.abs(inputs).max():.3g}. No artifact can be held to that. {_blame(cause)}"
    )


def _blame(cause: str | None) -> str:
    return cause or "Check --preprocessing, --scale, --mean and --std: are they those of these weights?"


def _of_inputs(inputs: FloatArray, spec: PreprocessingSpec, cause: str | None, *, own_images: bool) -> list[str]:
    import numpy as np

    # Per channel: means of another unit would shift the channels apart, and hide that none of them moves.
    span = float(np.ptp(inputs, axis=(0, 2, 3)).max())
    divided = set(spec.std) != {1.0}
    narrow, wide = span < _NARROWEST, divided and span > _WIDEST
    told = f"the inputs of the golden images span {span:.3g}{' deviations' if divided else ''}"
    if cause:
        return [f"{told}: {cause}"]
    if narrow and own_images and 255 * abs(spec.scale) / min(spec.std) >= _NARROWEST:
        return [f"{told}, because the images are nearly of one colour: they prove little. Add real photographs."]
    if narrow or wide:
        return [f"{told}, where 2 to 5 are usual: check --scale, --mean and --std."]
    return []


def _of_answers(source: SourceModel, pack: GoldenPack, labels: GoldenLabels, *, own_images: bool) -> list[str]:
    import numpy as np

    assert isinstance(pack.reference, Scores)
    logits, probabilities = pack.reference.logits, pack.reference.probabilities
    best = logits.argmax(axis=1).astype(np.int32)
    known, true = labels.known
    stands: Standing | None = None
    noted: list[str] = []
    if len(known):
        stands = standing_of(best[known], true, source.num_classes, source.labels)
        which = "golden images" if len(known) == len(best) else "golden images that have labels"
        if doubt := stands.doubt(which):
            return [" ".join((doubt, *_other_preprocessing(source, pack, labels)))]
        noted.append(f"the reference is right on {stands.right} of the {len(known)} {which}")
    surest = probabilities.max(axis=1)
    one_class = len(best) > 1 and (best == best[0]).all()
    shown_one = stands is not None and stands.classes == 1 and stands.right == stands.images == len(best)
    spread, apart = float(logits.std(axis=0).mean()), float(logits.mean(axis=0).std())
    # The default images are no other model's: a sound one may well see one class in all of them.
    if one_class and not shown_one and (own_images or stands is not None or spread < _STIFF * apart):
        name = f"class {best[0]}" if source.labels is None else source.labels[best[0]]
        shown = "Where they show several, check" if stands is None else f"Their labels name {stands.classes}. Check"
        noted.append(
            f"the reference gives all {len(best)} golden images one class ({name}, at {surest.min():.2g} to {surest.max():.2g}). "
            f"{shown} --preprocessing, --scale, --mean, --std and --color-order."
        )
    elif source.num_classes >= _MANY and _entropy(probabilities) > _FLAT * math.log(source.num_classes):
        noted.append(
            f"the reference is sure of nothing: its best class has {surest.max():.2g} at most, of {source.num_classes} classes. "
            "Are --preprocessing, --scale, --mean and --std those of these weights?"
        )
    return noted


def _entropy(probabilities: FloatArray) -> float:
    """The mean entropy of the rows, in nats."""
    import numpy as np

    rows = probabilities.astype(np.float64)
    return float(-(rows * np.log(np.maximum(rows, np.finfo(np.float64).tiny))).sum(axis=1).mean())


def _other_preprocessing(source: SourceModel, pack: GoldenPack, labels: GoldenLabels) -> list[str]:
    """A preset under which a reference that is hardly ever right is so on more images than luck allows, a sentence or none."""
    import numpy as np
    import torch
    from PIL import Image

    spec, (known, true) = source.preprocessing, labels.known
    if not len(known) or spec.color_order == "GRAY":
        return []
    found: list[tuple[int, str]] = []
    for preset in PRESETS:
        other = spec_for(
            preset,
            model=source.model,
            input_size=(spec.height, spec.width),
            resize_mode=spec.resize_mode,
            interpolation=spec.interpolation,
        )
        if other == spec:
            continue
        best = []
        for place in known:
            crop = pixels(Image.fromarray(pack.pictures[place]), other)
            with torch.inference_mode():
                best.append(int(source.module(torch.from_numpy(normalise(crop[None], other))).argmax()))
        answers = np.asarray(best, np.int32)
        if beyond_luck(answers, true, source.num_classes):
            found.append((int((answers == true).sum()), preset))
    if not found:
        return []
    right, fitting = max(found)
    return [f"With --preprocessing {fitting} it is right on {right} of {len(known)}."]


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in (values[:1] if len(set(values)) == 1 else values))
