"""How far a target's scores are from the reference's: pure numpy, float64 inside.

Every function takes (reference, target), two finite arrays of one shape (images, classes), and is not symmetric: powers, peaks
and margins are the reference's, so that a target's outliers never raise its own score. Infinity is an answer here (identical
arrays have an infinite SNR); `or_none` turns it into what a report may hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array


def max_abs_error(reference: Array, target: Array) -> float:
    """max |target - reference|."""
    return float(_error_per_image(*_pair(reference, target)).max())


def worst_image(reference: Array, target: Array) -> int:
    """Index of the image that holds the largest absolute error, the first of equals."""
    return int(_error_per_image(*_pair(reference, target)).argmax())


def snr_db(reference: Array, target: Array) -> float:
    """10 log10(sum reference^2 / sum (target - reference)^2), over all images; inf for identical arrays."""
    expected, found = _pair(reference, target)
    return _ratio_db(float(np.square(expected).sum()), float(np.square(found - expected).sum()))


def centred_snr_db(reference: Array, target: Array) -> float:
    """Give the SNR after each image's mean over the classes is removed from reference and error alike.

    A common offset of all scores carries no decision and hides a small signal under a large power. NaN for a single class,
    where nothing would be left.
    """
    expected, found = _pair(reference, target)
    if expected.shape[1] == 1:
        return math.nan
    error = found - expected
    signal, noise = (values - values.mean(axis=1, keepdims=True) for values in (expected, error))
    return _ratio_db(float(np.square(signal).sum()), float(np.square(noise).sum()))


def psnr_db(reference: Array, target: Array) -> float:
    """20 log10(max |reference| / root mean square error); inf for identical arrays."""
    expected, found = _pair(reference, target)
    return _ratio_db(float(np.abs(expected).max()) ** 2, float(np.square(found - expected).mean()))


def cosine(reference: Array, target: Array) -> float:
    """sum(reference * target) / (|reference| |target|) over all images; NaN where either is all zeros."""
    expected, found = _pair(reference, target)
    lengths = float(np.linalg.norm(expected)) * float(np.linalg.norm(found))
    return float((expected * found).sum()) / lengths if lengths else math.nan


def top_k_agreement(reference: Array, target: Array, k: int) -> float:
    """Fraction of the images whose k best classes are the same set, in any order; of equal scores the lower index is better."""
    best = [np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1) for scores in _pair(reference, target)]
    return float((best[0] == best[1]).all(axis=1).mean())


def decided(scores: Array, threshold: float) -> Array:
    """What is ranked: the columns; of a single one, which has no rival, no and yes, a margin of what it exceeds `threshold` by.

    Half to either side: an error of the score is then half an error of each, so that it cannot excuse a flip of any size.
    """
    if scores.shape[1] > 1:
        return scores
    half = (scores.astype(np.float64) - threshold) / 2
    return np.concatenate([-half, half], axis=1)


@dataclass(frozen=True, kw_only=True)
class Top1:
    """Margin-aware agreement on the best class.

    `agreement`: fraction of images with the same best class. `ties`: images that differ, but by less than the error there.
    `flips`: indices of the images that differ by more.
    """

    agreement: float
    ties: int
    flips: tuple[int, ...]


def top1(reference: Array, target: Array, *, tie: float | None = None) -> Top1:
    """Compare the best classes; a difference is a tie where the reference prefers its own class to the target's by less than
    the largest error on that image.

    Less than once, not twice: a flip needs `target[b] >= target[a]`, so the margin never exceeds `|error[a]| + |error[b]|`, and
    twice the error would excuse every flip there is. `tie`: a margin that is given, in place of that error.
    """
    expected, found = _pair(reference, target)
    rows = np.arange(len(expected))
    own, others = expected.argmax(axis=1), found.argmax(axis=1)
    margin = expected[rows, own] - expected[rows, others]
    differs = own != others
    tied = differs & (margin < (_error_per_image(expected, found) if tie is None else tie))
    flips = tuple(int(index) for index in np.flatnonzero(differs & ~tied))
    return Top1(agreement=float((~differs).mean()), ties=int(tied.sum()), flips=flips)


def or_none(value: float) -> float | None:
    """Give a number as a report holds it: None where it is infinite or not defined. Beside an error of 0 it means identical."""
    return value if math.isfinite(value) else None


def _pair(reference: Array, target: Array) -> tuple[Array, Array]:
    if reference.shape != target.shape or reference.ndim != 2 or reference.size == 0:
        # numpy would broadcast a wrong shape into a plausible number.
        raise ValueError(f"two arrays of one shape (images, classes) are needed, not {reference.shape} and {target.shape}")
    return reference.astype(np.float64), target.astype(np.float64)


def _error_per_image(expected: Array, found: Array) -> Array:
    worst: Array = np.abs(found - expected).max(axis=1)
    return worst


def _ratio_db(power: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(power / noise) if power > 0 else -math.inf
