"""Presets of preprocessing, and one spec from a preset and what replaces it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from squeeze_export.contracts.signature import ColorOrder, Interpolation, PreprocessingSpec, ResizeMode
from squeeze_export.contracts.source import ModelName, is_squeezenet
from squeeze_export.errors import UsageError
from squeeze_export.preprocessing import colours, sizes

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
    preset: Preset | PreprocessingSpec,
    *,
    model: str = "squeezenet1_1",
    input_size: int | tuple[int, int] | None = None,
    resize: int | tuple[int, int] | None = None,
    crop_pct: float | None = None,
    resize_mode: ResizeMode = "short-side",
    interpolation: Interpolation = "bilinear",
    pad_color: tuple[int, int, int] | None = None,
    color_order: ColorOrder | None = None,
    scale: float | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    channels: int | None = None,
) -> PreprocessingSpec:
    """Put a preset and the user's own values together; UsageError where the result could not work.

    `input_size` is (height, width) of the crop, or one side of a square; `model` says how small it may be. `resize` is what the
    short side becomes, or (height, width) that a picture is squashed or padded to; `crop_pct` gives it as the crop's share of it.
    Without either the short side keeps the preset's ratio to the larger side of the crop, and a picture is squashed or padded to
    the crop itself. `pad_color` is RGB; without it the mean's colour, which the network sees as 0. Given mean and std follow the
    resulting colour order; the preset's own stay with their colours. `channels`: of the network, None where it is not known yet.
    """
    if isinstance(preset, PreprocessingSpec):
        base = preset
    elif preset not in PRESETS:
        raise UsageError(f"unknown preprocessing {preset!r}: choose one of {', '.join(get_args(Preset))}")
    else:
        base = PRESETS[preset]
    if isinstance(input_size, int):
        input_size = (input_size, input_size)
    height, width = (base.height, base.width) if input_size is None else input_size
    smallest = SMALLEST_SIDE[model] if is_squeezenet(model) else 1  # any other network says so itself when it is captured
    if not smallest <= min(height, width) or not max(height, width) <= LARGEST_SIDE:
        raise UsageError(
            f"input size {height}x{width}: {model} needs sides from {smallest} to {LARGEST_SIDE} "
            "(below, nothing is left after its pools)"
        )
    rows, columns = sizes.resized_to(
        (height, width), resize, crop_pct, resize_mode, preset_ratio=(base.resize, base.height), largest=2 * LARGEST_SIDE
    )
    order = colours.order_for(base.color_order if color_order is None else color_order, channels)
    scale = base.scale if scale is None else scale
    mean, std = colours.statistics(base, order, mean, std)
    colours.check_numbers(order, scale, mean, std)
    return PreprocessingSpec(
        resize=rows,
        height=height,
        width=width,
        color_order=order,
        scale=scale,
        mean=mean,
        std=std,
        resize_mode=resize_mode,
        interpolation=interpolation,
        resize_width=None if columns == rows else columns,
        pad_color=colours.pad_color_for(resize_mode, pad_color, order, scale, mean),
    )
