"""Colour order, mean, deviation and the colour of padding, settled from a preset and what replaces it, or refused."""

from __future__ import annotations

import math
from typing import get_args

from squeeze_export.contracts.signature import ColorOrder, PreprocessingSpec, ResizeMode
from squeeze_export.errors import UsageError


def order_for(order: ColorOrder, channels: int | None) -> ColorOrder:
    """The order, where a network of so many channels (None: not known) can have it; UsageError otherwise."""
    if order not in get_args(ColorOrder):
        raise UsageError(f"unknown colour order {order!r}: choose RGB, BGR or GRAY")
    if channels is not None and (order == "GRAY") != (channels == 1):
        fitting = "RGB or BGR" if channels == 3 else "GRAY"
        raise UsageError(f"colour order {order} does not fit: the network takes {channels} channel(s). Choose {fitting}")
    return order


def statistics(
    base: PreprocessingSpec, order: ColorOrder, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation: those given, else the preset's, which stay with their colours; GRAY has one of each."""
    named = (("mean", mean, base.mean), ("std", std, base.std))
    first, second = (own if given is None else given for _, given, own in named)
    if order == "GRAY":
        lacking = [name for name, given, own in named if given is None and len(set(own)) > 1]
        if lacking:
            raise UsageError(
                f"colour order GRAY: the preset has a {' and a '.join(lacking)} per colour, and the network one channel. Pass "
                f"{' and '.join(lacking)} with one number, as it was trained"
            )
        return (first[:1] if mean is None else first), (second[:1] if std is None else second)
    turned = -1 if order != base.color_order else 1
    return (first[::turned] if mean is None else first), (second[::turned] if std is None else second)


def check_numbers(order: ColorOrder, scale: float, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Raise UsageError for numbers that no network could be trained with."""
    count, many = (1, "one finite number") if order == "GRAY" else (3, "three finite numbers")
    if not math.isfinite(scale) or scale == 0:
        raise UsageError(f"scale is {scale}: it must be a finite number other than 0")
    if len(mean) != count or not all(math.isfinite(value) for value in mean):
        raise UsageError(f"mean is {mean}: it must be {many}, in {order} order")
    if len(std) != count or not all(math.isfinite(value) and value > 0 for value in std):
        raise UsageError(f"std is {std}: it must be {many} above 0, in {order} order")
    largest = max(abs((pixel * scale - m) / s) for pixel in (0, 255) for m, s in zip(mean, std, strict=True))
    if largest > 1e6:
        raise UsageError(f"scale {scale}, mean {mean} and std {std} give inputs up to {largest:.3g}: a wrong unit?")


def pad_color_for(
    mode: ResizeMode, given: tuple[int, int, int] | None, order: ColorOrder, scale: float, mean: tuple[float, ...]
) -> tuple[int, int, int] | None:
    """The colour around a picture that is padded, RGB: the one given, or the mean, which becomes 0 as a convolution pads."""
    if mode != "pad":
        if given is not None:
            raise UsageError(
                f"pad color {_levels(given)}: with the resize mode {mode} nothing is padded. Leave it out, or pass pad"
            )
        return None
    if given is None:
        levels = [min(max(round(value / scale), 0), 255) for value in mean]
        red, green, blue = levels * 3 if order == "GRAY" else levels[::-1] if order == "BGR" else levels
        return red, green, blue
    if not all(0 <= level <= 255 for level in given):
        raise UsageError(f"pad color {_levels(given)}: its levels are whole numbers in 0..255, red, green, blue")
    if order == "GRAY" and len(set(given)) > 1:
        raise UsageError(f"pad color {_levels(given)}: a GRAY image has one level. Pass one number")
    return given


def _levels(color: tuple[int, ...]) -> str:
    return ",".join(map(str, color))
