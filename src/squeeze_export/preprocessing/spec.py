"""Presets of preprocessing, and one spec from a preset and what replaces it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, get_args

from squeeze_export.contracts.signature import ColorOrder, PreprocessingSpec
from squeeze_export.contracts.source import ModelName
from squeeze_export.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


Preset = Literal["torchvision", "caffe", "inception"]
_RGB_MEAN, _RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


PRESETS: Final[Mapping[Preset, PreprocessingSpec]] = {
    # torchvision's SqueezeNet weights: ToTensor (0..1), then ImageNet's mean and deviation.
    "torchvision": PreprocessingSpec(
        resize=256, height=224, width=224, color_order="RGB", scale=1 / 255, mean=_RGB_MEAN, std=_RGB_STD
    ),
    # The authors' Caffe weights: blue first, 0..255 minus the mean colour; their network sees 227 pixels.
    "caffe": PreprocessingSpec(
        resize=256, height=227, width=227, color_order="BGR", scale=1.0, mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0)
    ),
    # TensorFlow's habit: -1..1.
    "inception": PreprocessingSpec(
        resize=256, height=224, width=224, color_order="RGB", scale=1.0, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)
    ),
}


# The smallest side that the network still makes at least one position of: 17 -> 8 -> 4 -> 2 -> 1 and 21 -> 8 -> 4 -> 2 -> 1.
SMALLEST_SIDE: Final[Mapping[ModelName, int]] = {
    "squeezenet1_1": 17,
    "squeezenet1_0": 21,
    "squeezenet1_0_bypass": 21,
    "squeezenet1_0_complex_bypass": 21,
}


LARGEST_SIDE: Final = 2048  # activations beyond this fill the memory of a phone, and of the machine that converts


def spec_for(
    preset: Preset,
    *,
    model: ModelName = "squeezenet1_1",
    input_size: int | tuple[int, int] | None = None,
    resize: int | None = None,
    color_order: ColorOrder | None = None,
    scale: float | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> PreprocessingSpec:
    """Put a preset and the user's own values together; UsageError where the result could not work.

    `input_size` is (height, width) of the crop, or one side of a square; `model` says how small it may be. Without `resize`
    the short side keeps the preset's ratio to the larger side of the crop. Given mean and std follow the resulting colour
    order; the preset's own stay with their colours.
    """
    if preset not in PRESETS:
        raise UsageError(f"unknown preprocessing {preset!r}: choose one of {', '.join(get_args(Preset))}")
    base = PRESETS[preset]
    if isinstance(input_size, int):
        input_size = (input_size, input_size)
    height, width = (base.height, base.width) if input_size is None else input_size
    if not SMALLEST_SIDE[model] <= min(height, width) or not max(height, width) <= LARGEST_SIDE:
        raise UsageError(
            f"input size {height}x{width}: {model} needs sides from {SMALLEST_SIDE[model]} to {LARGEST_SIDE} "
            "(below, nothing is left after its pools)"
        )
    larger = max(height, width)
    if resize is None:
        resize = (larger * base.resize + base.height // 2) // base.height
    elif not larger <= resize <= 2 * LARGEST_SIDE:
        raise UsageError(
            f"resize {resize} with input size {height}x{width}: the short side must become at least {larger}, or a square "
            f"picture would be smaller than its crop, and at most {2 * LARGEST_SIDE}"
        )
    order = base.color_order if color_order is None else color_order
    if order not in get_args(ColorOrder):
        raise UsageError(f"unknown colour order {order!r}: choose RGB or BGR")
    base_mean, base_std = (base.mean, base.std) if order == base.color_order else (base.mean[::-1], base.std[::-1])
    spec = PreprocessingSpec(
        resize=resize,
        height=height,
        width=width,
        color_order=order,
        scale=base.scale if scale is None else scale,
        mean=base_mean if mean is None else mean,
        std=base_std if std is None else std,
    )
    _check_numbers(spec)
    return spec


def _check_numbers(spec: PreprocessingSpec) -> None:
    if not math.isfinite(spec.scale) or spec.scale == 0:
        raise UsageError(f"scale is {spec.scale}: it must be a finite number other than 0")
    if len(spec.mean) != 3 or not all(math.isfinite(value) for value in spec.mean):
        raise UsageError(f"mean is {spec.mean}: it must be three finite numbers, in {spec.color_order} order")
    if len(spec.std) != 3 or not all(math.isfinite(value) and value > 0 for value in spec.std):
        raise UsageError(f"std is {spec.std}: it must be three finite numbers above 0, in {spec.color_order} order")
    largest = max(abs((pixel * spec.scale - m) / s) for pixel in (0, 255) for m, s in zip(spec.mean, spec.std, strict=True))
    if largest > 1e6:
        raise UsageError(
            f"scale {spec.scale}, mean {spec.mean} and std {spec.std} give inputs up to {largest:.3g}: a wrong unit?"
        )
