"""Sixteen pictures that a resize can get wrong, and every way to resize them: the phones' code is held to Pillow by them."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from squeeze_export.contracts.signature import Interpolation, PreprocessingSpec, ResizeMode
from squeeze_export.preprocessing.pixels import pixels

if TYPE_CHECKING:
    import numpy as np

# name: width, height, what is on it
HARD: dict[str, tuple[int, int, str]] = {
    "checkerboard": (301, 211, "checks"),
    "fine-lines": (640, 97, "lines"),
    "noise": (123, 177, "noise"),
    "black-and-white-noise": (99, 101, "extremes"),
    "gradient": (513, 385, "gradient"),
    "huge": (2111, 1403, "noise"),
    "tall": (61, 1777, "extremes"),
    "wide": (1999, 53, "checks"),
    "one-pixel": (1, 1, "noise"),
    "one-column": (1, 37, "extremes"),
    "one-row": (41, 1, "extremes"),
    "two-pixels": (2, 1, "noise"),
    "small": (7, 5, "extremes"),
    "as-it-is": (64, 48, "noise"),
    "one-side-as-it-is": (64, 131, "extremes"),
    "one-pixel-more": (65, 49, "checks"),
}

MODES: tuple[ResizeMode, ...] = get_args(ResizeMode)
FILTERS: tuple[Interpolation, ...] = get_args(Interpolation)


def picture(name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(height, width, 3) uint8 of the one of that name, the same in every process."""
    import numpy as np

    width, height, kind = HARD[name]
    y, x = np.mgrid[0:height, 0:width]
    random = np.random.default_rng(list(HARD).index(name))
    match kind:
        case "checks":
            planes = [(x // 3 + y // 2) % 2 * 255, (x + y) % 2 * 255, (x // 5 + y // 7) % 2 * 255]
            made = np.stack(planes, axis=-1)
        case "lines":
            made = np.stack([x % 2 * 255, y % 2 * 255, (x + 2 * y) % 3 * 127], axis=-1)
        case "extremes":
            made = random.integers(0, 2, (height, width, 3)) * 255
        case "gradient":
            made = np.stack([x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x * y) % 256], axis=-1)
        case _:
            made = random.integers(0, 256, (height, width, 3))
    return made.astype(np.uint8)


def specs() -> dict[str, PreprocessingSpec]:
    """Every mode with every filter, cut and whole, square and not; and grey once with every filter."""
    made: dict[str, PreprocessingSpec] = {}
    for mode, interpolation in product(MODES, FILTERS):
        name = f"{mode}-{interpolation}"
        made[name] = _spec(mode, interpolation)
        if mode != "short-side":
            made[f"{name}-oblong"] = _spec(mode, interpolation, height=48, width=64, resize=48, resize_width=64)
    for mode, interpolation in product(MODES, FILTERS):
        made[f"{mode}-{interpolation}-grey"] = _spec(mode, interpolation, grey=True)
    return made


def _spec(
    mode: ResizeMode,
    interpolation: Interpolation,
    *,
    height: int = 57,
    width: int = 56,
    resize: int = 64,
    resize_width: int | None = None,
    grey: bool = False,
) -> PreprocessingSpec:
    color = (114, 114, 114) if grey else (12, 130, 250)
    return PreprocessingSpec(
        resize=resize,
        height=height,
        width=width,
        color_order="GRAY" if grey else "RGB",
        scale=1.0,
        mean=(0.0,) * (1 if grey else 3),
        std=(1.0,) * (1 if grey else 3),
        resize_mode=mode,
        interpolation=interpolation,
        resize_width=resize_width,
        pad_color=color if mode == "pad" else None,
    )


def write_hard(folder: Path) -> None:
    """Write pictures/NAME.png and .samples (RGB bytes), pictures.json (sizes), specs/WAY.json and expected/WAY/NAME.bin."""
    from PIL import Image

    (folder / "pictures").mkdir(parents=True)
    (folder / "specs").mkdir()
    images = {name: Image.fromarray(picture(name)) for name in HARD}
    for name, image in images.items():
        image.save(folder / "pictures" / f"{name}.png", compress_level=1)
        (folder / "pictures" / f"{name}.samples").write_bytes(image.tobytes())
    (folder / "pictures.json").write_text(json.dumps({name: [image.width, image.height] for name, image in images.items()}))
    for way, spec in specs().items():
        (folder / "specs" / f"{way}.json").write_text(json.dumps(spec.crop_record()))
        (folder / "expected" / way).mkdir(parents=True)
        for name, image in images.items():
            (folder / "expected" / way / f"{name}.bin").write_bytes(pixels(image, spec).tobytes())
