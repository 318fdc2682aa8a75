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
