"""What goes into an artifact and what comes out: layouts, types, quantisation, preprocessing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array, PixelArray


Layout = Literal["NCHW", "NHWC", "NC"]
ColorOrder = Literal["RGB", "BGR", "GRAY"]
ResizeMode = Literal["short-side", "squash", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
InputKind = Literal["image", "tensor"]
Head = Literal["classifier", "features"]
ScoreKind = Literal["logits", "probabilities"]
OutputKind = Literal["logits", "probabilities", "features"]


@dataclass(frozen=True, kw_only=True)
class PreprocessingSpec:
    """How a picture becomes the tensor that the source model was trained on.

    With the `color_order` GRAY it is made grey first (PIL's L: ITU-R 601-2). Then PIL resizes it, antialiased but for nearest:
    "short-side": the short side to `resize`, the long side to `int(resize * long / short)`; "squash": to `resize` rows and
    `resize_width` columns (as many where it is None), whatever its shape; "pad": to fit into such a canvas, whose rest has the
    `pad_color` (RGB), as PIL's ImageOps.pad does it. A `height` x `width` crop is taken from the centre (offsets rounded half to
    even), the channels are put into `color_order`, and each becomes `(pixel * scale - mean) / std`, pixel in 0..255; mean and
    std follow `color_order`.
    """

    resize: int
    height: int
    width: int
    color_order: ColorOrder
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize_mode: ResizeMode = "short-side"
    interpolation: Interpolation = "bilinear"
    resize_width: int | None = None
    pad_color: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the fields contradict each other; a reader of JSON tells it with the place."""
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"{self.color_order} needs mean and std of {self.channels}, not {len(self.mean)} and {len(self.std)}"
            )
        if (self.pad_color is not None) != (self.resize_mode == "pad"):
            raise ValueError(
                f"a pad_color belongs to the resize_mode pad, and to no other: {self.pad_color} stands with {self.resize_mode}"
            )
        if self.pad_color is not None and not all(0 <= level <= 255 for level in self.pad_color):
            raise ValueError(f"pad_color is {self.pad_color}, not three levels in 0..255")
        if self.resize_width is not None and self.resize_mode == "short-side":
            raise ValueError("a resize_width belongs to the resize_mode squash or pad, not short-side")

    @property
    def channels(self) -> int:
        """Of the tensor."""
        return 1 if self.color_order == "GRAY" else 3

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) that a picture is squashed to, or padded to."""
        return self.resize, self.resize if self.resize_width is None else self.resize_width

    def record(self) -> dict[str, object]:
        """The fields as golden packs and model files hold them: what came later is left out where it is the default."""
        later = {field.name: field.default for field in fields(self)[-4:]}
        return {key: value for key, value in asdict(self).items() if key not in later or value != later[key]}

    def crop_record(self) -> dict[str, object]:
        """Those of them that make the pixels; the colour order only where it is GRAY."""
        left_out = {"scale", "mean", "std"} | ({"color_order"} if self.channels == 3 else set())
        return {key: value for key, value in self.record().items() if key not in left_out}

    def told(self) -> str:
        """Resize and crop in words."""
        how = self.interpolation + ("" if self.interpolation == "nearest" else ", antialiased")
        (rows, columns), size = self.canvas, f"{self.width} x {self.height}"
        match self.resize_mode:
            case "short-side":
                text = f"short side resized to {self.resize} ({how})"
            case "squash":
                text = f"resized to {columns} x {rows} whatever its shape ({how})"
            case "pad":
                text = f"resized to fit into {columns} x {rows} ({how}), the rest filled evenly with the colour {self.pad_color}"
        if self.color_order == "GRAY":
            text = f"made grey (ITU-R 601-2), {text}"
        return text if self._keeps_all else f"{text}, then {size} cropped from the centre"

    @property
    def _keeps_all(self) -> bool:
        return self.resize_mode != "short-side" and self.canvas == (self.height, self.width)


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
    scale: tuple[float, ...]
    bias: tuple[float, ...]

    def encode(self, pixels: PixelArray) -> Array:
        """Turn RGB pixels (N, H, W, 3), uint8, into this input's tensor (N, ...) in `layout` and `dtype`.

        The three channels of a GRAY input's pixels are equal.
        """
        import numpy as np

        match self.color_order:
            case "RGB":
                channels = pixels
            case "BGR":
                channels = pixels[..., ::-1]
            case "GRAY":
                channels = pixels[..., :1]
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
