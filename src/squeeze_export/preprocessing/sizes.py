"""What a picture is resized to, settled from a size or a share of the crop, or refused."""

from __future__ import annotations

import math
from typing import get_args

from squeeze_export.contracts.signature import ResizeMode
from squeeze_export.errors import UsageError


def resized_to(
    crop: tuple[int, int],
    resize: int | tuple[int, int] | None,
    crop_pct: float | None,
    mode: ResizeMode,
    *,
    preset_ratio: tuple[int, int],
    largest: int,
) -> tuple[int, int]:
    """(height, width) that a picture is squashed or padded to; of the short side its length, twice. UsageError otherwise.

    `crop_pct` is timm's: what is resized to is the crop divided by it, rounded down, the larger side of the crop where the short
    side is resized. `preset_ratio`: of the short side to the crop, where nothing else says it.
    """
    if mode not in get_args(ResizeMode):
        raise UsageError(f"unknown resize mode {mode!r}: choose one of {', '.join(get_args(ResizeMode))}")
    if crop_pct is not None:
        if resize is not None:
            raise UsageError(f"both resize {_size(resize)} and crop pct {crop_pct:g} say what is resized to: keep one of them")
        if not 0 < crop_pct <= 1:  # neither is NaN
            raise UsageError(f"crop pct {crop_pct:g}: it is the share of the resized image that is kept, above 0, at most 1")
    height, width = crop
    sides = (max(crop), max(crop)) if mode == "short-side" else crop
    if crop_pct is not None:
        short, long = min(sides) / crop_pct, max(sides) / crop_pct
        if long > largest:
            raise UsageError(
                f"crop pct {crop_pct:g} of {height}x{width} is {short:.0f}x{long:.0f}: sides may be at most {largest}"
            )
        return math.floor(sides[0] / crop_pct), math.floor(sides[1] / crop_pct)
    if resize is None:
        if mode != "short-side":
            return crop
        numerator, denominator = preset_ratio
        short_side = (max(crop) * numerator + denominator // 2) // denominator
        return short_side, short_side
    if mode == "short-side":
        if isinstance(resize, tuple):
            raise UsageError(
                f"resize {_size(resize)} is a size of two sides, and only the short side is resized: pass one number, or the "
                "resize mode squash or pad"
            )
        if not max(crop) <= resize <= largest:
            raise UsageError(
                f"resize {resize} with input size {height}x{width}: the short side must become at least {max(crop)}, or a square "
                f"image would be smaller than its crop, and at most {largest}"
            )
    rows, columns = resize if isinstance(resize, tuple) else (resize, resize)
    if not height <= rows <= largest or not width <= columns <= largest:
        raise UsageError(
            f"resize {_size(resize)} with input size {height}x{width}: it must be at least as large as the crop, and its "
            f"sides at most {largest}"
        )
    return rows, columns


def _size(resize: int | tuple[int, int]) -> str:
    return str(resize) if isinstance(resize, int) else "x".join(map(str, resize))
