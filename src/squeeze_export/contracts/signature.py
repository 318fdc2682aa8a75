"""What goes into an artifact and what comes out: layouts, types, quantisation, preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array, PixelArray


Layout = Literal["NCHW", "NHWC", "NC"]
ColorOrder = Literal["RGB", "BGR"]
InputKind = Literal["image", "tensor"]
Head = Literal["classifier", "features"]
ScoreKind = Literal["logits", "probabilities"]
OutputKind = Literal["logits", "probabilities", "features"]


@dataclass(frozen=True, kw_only=True)
class PreprocessingSpec:
    """How a picture becomes the tensor that the source model was trained on.

    The short side is resized to `resize` pixels (PIL bilinear, antialiased; the long side is
    `int(resize * long / short)`), a `height` x `width` crop is taken from the centre (offsets rounded half to even), the
    channels are put into `color_order`, and each becomes `(pixel * scale - mean) / std`, pixel in 0..255; mean and std
    follow `color_order`.
    """

    resize: int
    height: int
    width: int
    color_order: ColorOrder
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The one input of an artifact, and how 0..255 pixels become it: `value = pixel * scale + bias` per channel.

    `shape` has the batch dimension (1); `scale` and `bias` follow `color_order`. `dtype` is numpy's name; a "uint8" input takes
    the pixels as they are (scale 1, bias 0).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout
    color_order: ColorOrder
    scale: tuple[float, float, float]
    bias: tuple[float, float, float]

    def encode(self, pixels: PixelArray) -> Array:
        """Turn RGB pixels (N, H, W, 3), uint8, into this input's tensor (N, ...) in `layout` and `dtype`."""
        import numpy as np

        channels = pixels[..., ::-1] if self.color_order == "BGR" else pixels
        values = channels.astype(np.float32, order="C")
        # By whole rows: over the last axis alone, of 3 channels, numpy takes four times as long.
        rows = values.reshape(*values.shape[:2], -1)
        rows *= np.tile(np.asarray(self.scale, np.float32), values.shape[2])
        rows += np.tile(np.asarray(self.bias, np.float32), values.shape[2])
        ordered = values.transpose(0, 3, 1, 2) if self.layout == "NCHW" else values
        return np.ascontiguousarray(ordered, dtype=np.dtype(self.dtype))


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """What the integers of a tensor stand for: `value = (integer - zero_point) * scale`."""

    scale: float
    zero_point: int


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One output of an artifact: a score per class, shape (1, classes), or the features, shape (1, channels).

    In a "dictionary" the scores stand by label (a Core ML classifier); `shape` and `dtype` are those of the scores in index
    order. `quantisation`: of an integer `dtype`, what its values stand for; None of a float.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: OutputKind
    container: Literal["array", "dictionary"] = "array"
    quantisation: Quantisation | None = None

    def decode(self, values: Array) -> Array:
        """Turn what the artifact gives, in `dtype`, into scores: floats as they are, integers as what they stand for, float32."""
        import numpy as np

        if self.quantisation is None:
            return values
        shifted = values.astype(np.int64) - self.quantisation.zero_point
        decoded: Array = shifted.astype(np.float32) * np.float32(self.quantisation.scale)
        return decoded


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What an app must feed to an artifact and what it gets back.

    `class_label`: the name of a further output, a string: the most probable label (a Core ML classifier), or None.
    """

    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    class_label: str | None = None


LOGITS_TAP: Final = "logits (tapped)"
