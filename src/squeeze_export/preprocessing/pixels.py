"""A picture file to RGB pixels, to a crop, to the tensor: docs/preprocessing is repeated by the phone code."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.signature import PreprocessingSpec
from squeeze_export.errors import UsageError
from squeeze_export.files.pictures import COMMON_FORMATS, FURTHER_FORMATS, foreign_kind

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from squeeze_export.contracts.arrays import FloatArray, PixelArray


# Pillow's own limit (a quarter of a GiB of RGB), made hard: decompression bombs stop here, and so do absurd aspect ratios.
PIXEL_LIMIT: Final = 89_478_485


# warnings.catch_warnings is not safe in threads, and evaluation decodes in several.
_WARNINGS: Final = threading.Lock()


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
        found = "is no image in a known format" + (f": it is {kind}" if kind else "")
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


def resized_size(width: int, height: int, spec: PreprocessingSpec) -> tuple[int, int]:
    """(width, height) of a picture of that size after its resize."""
    rows, columns = spec.canvas
    match spec.resize_mode:
        case "short-side":
            long = spec.resize * max(width, height) // min(width, height)
            return (spec.resize, long) if width <= height else (long, spec.resize)
        case "squash":
            return columns, rows
        case "pad":  # in the arithmetic of PIL's ImageOps.contain, but never to nothing
            ratio, wanted = width / height, columns / rows
            if ratio > wanted:
                return columns, max(round(height / width * columns), 1)
            return (columns if ratio == wanted else max(round(width / height * rows), 1)), rows


def pixels(image: Image.Image, spec: PreprocessingSpec) -> PixelArray:
    """Resize and crop an RGB picture to (height, width, 3) uint8, bit for bit what PIL does, and torchvision with it.

    Of a GRAY spec the three channels are equal. The crop's offset is half of what is left over, rounded half to even.
    UsageError where the resized picture would be beyond PIXEL_LIMIT.
    """
    import numpy as np
    from PIL import Image

    if image.mode != "RGB":
        raise ValueError(f"an RGB image is needed, not {image.mode}")
    size = resized_size(image.width, image.height, spec)
    if size[0] * size[1] > PIXEL_LIMIT:
        raise UsageError(
            f"an image of {image.width}x{image.height} becomes {min(size)}x{max(size)} when its short side is resized, "
            f"more than {PIXEL_LIMIT:,} pixels: crop it first"
        )
    grey = spec.color_order == "GRAY"
    resized = (image.convert("L") if grey else image).resize(size, Image.Resampling[spec.interpolation.upper()])
    if spec.pad_color is not None:
        rows, columns = spec.canvas
        canvas = Image.new("RGB", (columns, rows), spec.pad_color).convert(resized.mode)
        canvas.paste(resized, (_half(columns - size[0]), _half(rows - size[1])))
        resized = canvas
    left, top = _half(resized.width - spec.width), _half(resized.height - spec.height)
    crop = resized.crop((left, top, left + spec.width, top + spec.height))
    return np.array(crop.convert("RGB") if grey else crop)


def picture_pixels(picture: PixelArray, spec: PreprocessingSpec) -> PixelArray:
    """As `pixels`, of a picture (H, W, 3) uint8 RGB."""
    from PIL import Image

    return pixels(Image.fromarray(picture), spec)


def _half(spare: int) -> int:
    """Half of it, rounded half to even."""
    return round(spare / 2)


def load_pixels(path: Path, spec: PreprocessingSpec) -> PixelArray:
    """Decode, resize and crop one file: (height, width, 3) uint8 RGB; UsageError names the file."""
    image = load_image(path)
    try:
        return pixels(image, spec)
    except UsageError as error:
        raise UsageError(f"image {path}: {error}") from error


def normalise(crops: PixelArray, spec: PreprocessingSpec) -> FloatArray:
    """Turn RGB crops (N, H, W, 3) uint8 into the source model's tensor (N, 3, H, W), or (N, 1, H, W) of GRAY; contiguous.

    Each of the 256 levels is computed in fp64 and rounded once; InputSpec.encode computes in fp32, so each checks the other.
    """
    import numpy as np

    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3:
        raise ValueError(f"crops must be (N, H, W, 3) uint8, not {crops.shape} {crops.dtype}")
    levels = np.arange(256, dtype=np.float64) * spec.scale
    tensor: np.ndarray[Any, np.dtype[np.float32]] = np.empty((len(crops), spec.channels, *crops.shape[1:3]), np.float32)
    for channel in range(spec.channels):
        table = ((levels - spec.mean[channel]) / spec.std[channel]).astype(np.float32)
        tensor[:, channel] = table[crops[..., 2 - channel if spec.color_order == "BGR" else channel]]
    return tensor
