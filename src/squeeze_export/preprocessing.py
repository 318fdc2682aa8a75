"""How a picture becomes the source model's tensor, step by step as the phone code repeats it.

file -> (load_image) -> RGB picture -> (pixels) -> uint8 crop -> (normalise) -> fp32 tensor. What load_image makes of each kind of
picture: the EXIF orientation is applied; transparency is laid over white; grey becomes three equal channels; 16 bits
keep their upper byte; CMYK is converted without colour profile, as Pillow does; of an animation the first frame counts.
"""

from __future__ import annotations

import math
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from squeeze_export.contracts import ColorOrder, ModelName, PreprocessingSpec
from squeeze_export.errors import UsageError
from squeeze_export.image_files import COMMON_FORMATS, FURTHER_FORMATS, foreign_kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from PIL import Image

    from squeeze_export.contracts import FloatArray, PixelArray

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
# Pillow's own limit (a quarter of a GiB of RGB), made hard: decompression bombs stop here, and so do absurd aspect ratios.
PIXEL_LIMIT: Final = 89_478_485

# warnings.catch_warnings is not safe in threads, and evaluation decodes in several.
_WARNINGS: Final = threading.Lock()


def spec_for(
    preset: Preset,
    *,
    model: ModelName,
    input_size: tuple[int, int] | None = None,
    resize: int | None = None,
    color_order: ColorOrder | None = None,
    scale: float | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> PreprocessingSpec:
    """Put a preset and the user's own values together; UsageError where the result could not work.

    `input_size` is (height, width) of the crop. Without `resize` the short side keeps the preset's ratio to the larger
    side of the crop. Given mean and std follow the resulting colour order; the preset's own stay with their colours.
    """
    if preset not in PRESETS:
        raise UsageError(f"unknown preprocessing {preset!r}: choose one of {', '.join(get_args(Preset))}")
    base = PRESETS[preset]
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


def load_image(path: Path) -> Image.Image:
    """Decode a picture to RGB, as the module's docstring says; UsageError names the file where that is not possible."""
    # Importing a plugin registers its format; Pillow would otherwise import all forty of them at the first unknown one.
    from PIL import (  # noqa: F401
        BmpImagePlugin,
        GifImagePlugin,
        Image,
        ImageOps,
        JpegImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        TiffImagePlugin,
        UnidentifiedImageError,
        WebPImagePlugin,
    )

    if not path.exists():
        raise UsageError(f"image {path} does not exist")
    if not path.is_file():
        raise UsageError(f"image {path} is not a file")
    try:
        with _WARNINGS, warnings.catch_warnings():
            # Pillow warns of large pictures and of odd metadata: the first are refused below, the second do no harm.
            warnings.simplefilter("ignore")
            try:
                opened = Image.open(path, formats=COMMON_FORMATS)
            except UnidentifiedImageError:
                further = [name for name, suffixes in FURTHER_FORMATS.items() if path.suffix.lower() in suffixes]
                if not further or foreign_kind(path) is not None:
                    raise
                Image.init()  # the plugins of all other formats, each tried on files with its own ending only: some take anything
                opened = Image.open(path, formats=further)
        with opened as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise UsageError(f"image {path} has {image.width}x{image.height} pixels, more than the limit of {PIXEL_LIMIT:,}")
            image.load()
            with _WARNINGS, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # damaged EXIF fields other than the orientation
                upright = ImageOps.exif_transpose(image)
            return _to_rgb(upright, path, opened.format)
    except UsageError:
        raise
    except UnidentifiedImageError as error:
        kind = foreign_kind(path)
        found = "is no picture in a known format" + (f": it is {kind}" if kind else "")
        remedy = "Run `git lfs pull`" if kind == "a Git LFS pointer" else "Convert it to JPEG or PNG"
        raise UsageError(f"image {path} {found}. {remedy}, or leave it out") from error
    except Image.DecompressionBombError as error:
        raise UsageError(f"image {path} has more pixels than the limit of {PIXEL_LIMIT:,}") from error
    except Exception as error:
        # Over damaged files Pillow's decoders raise almost anything: OSError, SyntaxError, ValueError, struct.error, IndexError.
        # Only the operating system's own refusals have an errno.
        if isinstance(error, OSError) and error.errno is not None:
            raise UsageError(f"image {path} cannot be read: {error.strerror}") from error
        raise UsageError(f"image {path} cannot be read ({type(error).__name__}: {error}): it is damaged or incomplete") from error


def _to_rgb(image: Image.Image, path: Path, file_format: str | None) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I;16"):
        import numpy as np

        # Pillow keeps the upper byte of 16-bit colour too: grey and colour copies of one picture stay equal.
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "I" and file_format in ("PNG", "PPM"):
        import numpy as np

        # In these formats Pillow's 32-bit mode holds 16-bit samples.
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise UsageError(
            f"image {path} has pixels of mode {image.mode}, whose range is unknown: save it with 8 or 16 bits per channel"
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def pixels(image: Image.Image, spec: PreprocessingSpec) -> PixelArray:
    """Resize and crop an RGB picture to (height, width, 3) uint8, bit for bit what torchvision does with PIL.

    The short side becomes `resize`, the long side `resize * long // short`; the crop's offset is half of what is left
    over, rounded half to even. UsageError where the resized picture would be beyond PIXEL_LIMIT.
    """
    import numpy as np
    from PIL import Image

    if image.mode != "RGB":
        raise ValueError(f"an RGB picture is needed, not {image.mode}")
    short, long = min(image.size), max(image.size)
    longer = spec.resize * long // short
    if spec.resize * longer > PIXEL_LIMIT:
        raise UsageError(
            f"a picture of {image.width}x{image.height} becomes {spec.resize}x{longer} when its short side is resized, "
            f"more than {PIXEL_LIMIT:,} pixels: crop it first"
        )
    size = (spec.resize, longer) if image.width <= image.height else (longer, spec.resize)
    resized = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - spec.width) / 2), round((size[1] - spec.height) / 2)
    return np.array(resized.crop((left, top, left + spec.width, top + spec.height)))


def load_pixels(path: Path, spec: PreprocessingSpec) -> PixelArray:
    """Decode, resize and crop one file: (height, width, 3) uint8 RGB; UsageError names the file."""
    image = load_image(path)
    try:
        return pixels(image, spec)
    except UsageError as error:
        raise UsageError(f"image {path}: {error}") from error


def normalise(crops: PixelArray, spec: PreprocessingSpec) -> FloatArray:
    """Turn RGB crops (N, H, W, 3) uint8 into the source model's tensor (N, 3, H, W), contiguous.

    Each of the 256 levels is computed in fp64 and rounded once; InputSpec.encode computes in fp32, so each checks the other.
    """
    import numpy as np

    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3:
        raise ValueError(f"crops must be (N, H, W, 3) uint8, not {crops.shape} {crops.dtype}")
    levels = np.arange(256, dtype=np.float64) * spec.scale
    tensor: np.ndarray[Any, np.dtype[np.float32]] = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
    for channel in range(3):
        table = ((levels - spec.mean[channel]) / spec.std[channel]).astype(np.float32)
        tensor[:, channel] = table[crops[..., channel if spec.color_order == "RGB" else 2 - channel]]
    return tensor
