"""Agreement with labels, and how far a number of images lets it be known: proportions, intervals, paired differences.

Not parity (validation/parity.py), which is agreement with the reference down to the numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from squeeze_export.contracts.arrays import Array

    BoolArray = npt.NDArray[np.bool_]
    ClassArray = npt.NDArray[np.int32]

TOP: Final = 5
# The normal quantile that leaves 2.5 % on either side.
_Z95: Final = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """`hits` of `images` as a fraction, with its 95 % Wilson score interval from `low` to `high`."""

    hits: int
    images: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Accuracy of an artifact minus the reference's over the same images, as a fraction.

    `gained` images only the artifact has right, `lost` ones only the reference. `standard_error` is that of the mean of the
    per-image differences; None with fewer than two images. With no image gained or lost it is 0, which says only that the
    difference is too small to show in so many images.
    """

    value: float
    standard_error: float | None
    gained: int
    lost: int


def top_classes(scores: Array, count: int = TOP) -> ClassArray:
    """The `count` best classes (all, if there are fewer) per row of (N, classes) scores, best first: (N, count) int32.

    Of equal scores the lower class comes first. ValueError for NaN or infinities: they have no order that means anything.
    """
    import numpy as np

    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f"scores must be (images, classes), not {scores.shape}")
    # float64 holds every other type's values exactly; sorting float16 itself gave wrong results on some processors.
    exact = scores.astype(np.float64)
    if not np.isfinite(exact).all():
        raise ValueError("scores are NaN or infinite")
    order: ClassArray = np.argsort(-exact, axis=1, kind="stable")[:, :count].astype(np.int32)
    return order


def hits(top: ClassArray, labels: ClassArray, count: int) -> BoolArray:
    """Whether the label (N,) is among the first `count` of the best classes (N, k): (N,) bool."""
    found: BoolArray = (top[:, :count] == labels[:, None]).any(axis=1)
    return found


def proportion(successes: BoolArray) -> Proportion:
    """Count (N,) successes and bound the true rate by Wilson's 95 % interval: inside 0..1, and not empty at its ends."""
    images = len(successes)
    if images == 0:
        raise ValueError("a proportion of no images is not defined")
    hit = int(successes.sum())
    rate, z2 = hit / images, _Z95 * _Z95
    centre = (rate + z2 / (2 * images)) / (1 + z2 / images)
    half = _Z95 / (1 + z2 / images) * math.sqrt(rate * (1 - rate) / images + z2 / (4 * images * images))
    # At 0 and 1 one end of the interval is exactly the rate; rounding must not put it beyond.
    low, high = min(max(centre - half, 0.0), rate), max(min(centre + half, 1.0), rate)
    return Proportion(hits=hit, images=images, value=rate, low=low, high=high)


def agreement(top: ClassArray, reference: ClassArray) -> Proportion:
    """How often the best class is the reference's best class, both (N, k)."""
    if len(top) != len(reference):
        raise ValueError(f"{len(top)} and {len(reference)} images cannot be compared one by one")
    same: BoolArray = top[:, 0] == reference[:, 0]
    return proportion(same)


def paired_difference(successes: BoolArray, reference: BoolArray) -> PairedDifference:
    """The difference of two accuracies over the same images (N,), whose error is far smaller than that of either alone."""
    images = len(successes)
    if images != len(reference) or images == 0:
        raise ValueError(f"{images} and {len(reference)} images cannot be compared one by one")
    return difference_of(int((successes & ~reference).sum()), int((reference & ~successes).sum()), images)


def difference_of(gained: int, lost: int, images: int) -> PairedDifference:
    """The paired difference that follows from the counts."""
    mean = (gained - lost) / images
    if images < 2:
        return PairedDifference(value=mean, standard_error=None, gained=gained, lost=lost)
    # Each image differs by 1, -1 or 0: the sample variance needs their counts only.
    variance = ((gained + lost) - images * mean * mean) / (images - 1)
    return PairedDifference(value=mean, standard_error=math.sqrt(max(variance, 0.0) / images), gained=gained, lost=lost)
