"""The limits of accuracy: `--max-accuracy-drop`, points below the reference on the same images; `--min-accuracy`, a floor."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from squeeze_export.errors import UsageError

if TYPE_CHECKING:
    from squeeze_export.validation.accuracy import PairedDifference

OPTION: Final = "--max-accuracy-drop"
FLOOR: Final = "--min-accuracy"


def check_limit(points: float) -> None:
    """Raise UsageError for a limit that is no number of points from 0 to below 100: nothing can drop by more than 100."""
    # A program may pass anything; True is an int to Python, and no number of points.
    number = isinstance(points, int | float) and not isinstance(points, bool)
    if not number or not math.isfinite(points) or not 0 <= points < 100:
        raise UsageError(
            f"{OPTION} {points}: it is a number of percentage points, at least 0 and below 100, such as 1.0 "
            "for artifacts that are right on at most one image in a hundred less than the reference."
        )


def check_floor(percent: float) -> None:
    """Raise UsageError for a floor that is no percentage above 0 and at most 100."""
    number = isinstance(percent, int | float) and not isinstance(percent, bool)
    if not number or not math.isfinite(percent) or not 0 < percent <= 100:
        raise UsageError(
            f"{FLOOR} {percent}: it is a percentage above 0 and at most 100, such as 60 "
            "for a reference and artifacts that are right on at least 60 images of a hundred."
        )


def falls_short(hits: int, images: int, percent: float) -> bool:
    """Whether `hits` of `images` are less than `percent` of a hundred; exact, so that the floor itself passes."""
    return 100 * hits < _exact(percent) * images


def fewest_images(points: float) -> int:
    """On how many images one image is worth no more than `points`: fewer cannot tell a drop within them from one beyond."""
    return 1 if points == 0 else math.ceil(100 / _exact(points))


def check_images(points: float, images: int) -> None:
    """Raise UsageError where so few images cannot show a drop of `points`."""
    if images < fewest_images(points):
        allowed = math.ceil(1000 / images) / 10
        raise UsageError(
            f"{OPTION} {points:g} cannot be measured on {images} images: one of them is worth {100 / images:.3g} points. Take at "
            f"least {fewest_images(points):,} images{f', or allow at least {allowed:g} points' if images > 1 else ''}."
        )


def exceeds(difference: PairedDifference, images: int, points: float) -> bool:
    """Whether the images lost, less those gained, are more than `points` of a hundred; exact, so that the limit itself passes."""
    return 100 * (difference.lost - difference.gained) > _exact(points) * images


def drop_words(difference: PairedDifference, points: float) -> str:
    """The drop in points ± its standard error, with as many digits as it takes to see that it is above the limit."""
    drop = -100 * difference.value
    shown = next((text for digits in (1, 2, 3) if float(text := f"{drop:.{digits}f}") > points), f"{drop:.4f}")
    error = "" if difference.standard_error is None else f" ± {100 * difference.standard_error:.1f}"
    return f"{shown}{error} > {points:g}"


def short_words(hits: int, images: int, percent: float) -> str:
    """The accuracy in percent, with as many digits as it takes to see that it is below the floor."""
    found = 100 * hits / images
    shown = next((text for digits in (1, 2, 3) if float(text := f"{found:.{digits}f}") < percent), f"{found:.4f}")
    return f"{shown} % < {percent:g} %"


def _exact(points: float) -> Fraction:
    """The number as it was written: 0.1 of a thousand images is one image, which binary fractions do not promise."""
    return Fraction(repr(float(points)))
