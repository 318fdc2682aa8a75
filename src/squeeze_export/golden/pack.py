"""A golden pack made: pictures, what preprocessing makes of them, and what the eager fp32 reference says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeeze_export.contracts.signature import PreprocessingSpec
from squeeze_export.contracts.source import Features, GoldenPack, Scores
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.golden.images import MAX_IMAGES
from squeeze_export.preprocessing.pixels import normalise, pixels
from squeeze_export.sources.source import weight_digests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from squeeze_export.contracts.arrays import Array, FloatArray, PixelArray
    from squeeze_export.contracts.source import SourceModel


def make_golden(source: SourceModel, pictures: Sequence[tuple[str, PixelArray]]) -> GoldenPack:
    """Run the eager fp32 reference over 1 to 8 (name, RGB picture) pairs; bit for bit the same on every run of one machine.

    UsageError where a picture cannot be cropped, SourceError where the model gives no finite numbers.
    """
    import numpy as np
    import torch

    if not 1 <= len(pictures) <= MAX_IMAGES:
        raise UsageError(f"a golden pack has 1 to {MAX_IMAGES} images, not {len(pictures)}")
    cropped = crops(pictures, source.preprocessing)
    answers, probabilities = [], []
    network = source.module if source.eager is None else source.eager
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of additions, and with it the last bits, would follow the number of threads
    try:
        with torch.inference_mode():
            for crop in cropped:
                # One image at a time, as an app asks: a larger batch may be computed by other kernels.
                answer = network(torch.from_numpy(normalise(crop[None], source.preprocessing)))
                answers.append(answer.numpy()[0].copy())
                if source.head == "classifier":
                    chances = torch.sigmoid(answer) if source.activation == "sigmoid" else torch.softmax(answer, dim=1)
                    probabilities.append(chances.numpy()[0].copy())
    finally:
        torch.set_num_threads(threads)
    what = "logits" if source.head == "classifier" else "features"
    for (name, _), row in zip(pictures, answers, strict=True):
        if not np.isfinite(row).all():
            raise SourceError(
                f"the source model gives NaN or infinite {what} for {name}: its weights overflow, or its inputs do. "
                "Check the weights, --scale, --mean and --std."
            )
    reference: Scores | Features
    if source.head == "classifier":
        reference = Scores(logits=np.stack(answers), probabilities=np.stack(probabilities), activation=source.activation)
    else:
        reference = Features(features=np.stack(answers))
    return GoldenPack(
        names=tuple(_safe_name(place, name) for place, (name, _) in enumerate(pictures)),
        pictures=tuple(picture for _, picture in pictures),
        preprocessing=source.preprocessing,
        pixels=cropped,
        reference=reference,
        weights=weight_digests(source),
    )


def crops(pictures: Sequence[tuple[str, PixelArray]], spec: PreprocessingSpec) -> PixelArray:
    """What preprocessing makes of (name, RGB picture) pairs, (N, H, W, 3); UsageError, with the name, where it can do nothing."""
    import numpy as np
    from PIL import Image

    return np.stack([_crop(name, Image.fromarray(picture), spec) for name, picture in pictures])


def _crop(name: str, image: Any, spec: PreprocessingSpec) -> PixelArray:
    try:
        return pixels(image, spec)
    except UsageError as error:
        raise UsageError(f"image {name}: {error}") from error


def _safe_name(place: int, name: str) -> str:
    """A file name for a phone's asset folder: distinct by its number, recognisable by its stem."""
    return f"{place}-{re.sub(r'[^A-Za-z0-9._-]', '_', Path(name).stem)[:60]}"


def top5(logits: FloatArray) -> Array:
    """The 5 best classes (fewer if there are not 5) per row, best first, of equals the lower index first: (N, 5) int32."""
    import numpy as np

    return np.argsort(-logits, axis=1, kind="stable")[:, :5].astype(np.int32)
