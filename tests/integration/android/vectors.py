"""Pictures of every awkward kind, and what Pillow makes of them: the truth that the phone's preprocessing is held to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from squeeze_export.contracts.signature import PreprocessingSpec
from squeeze_export.preprocessing.pixels import load_pixels
from tests.hard_pictures import write_hard

# name: mode, width, height, (resize, crop height, crop width)
CASES = {
    "12-megapixels": ("RGB", 4000, 3000, (256, 224, 224)),
    "odd": ("RGB", 1023, 767, (256, 224, 224)),
    "odd-crop": ("RGB", 641, 479, (181, 159, 161)),
    "12-megapixels-upright": ("RGB", 3000, 4000, (256, 224, 224)),
    "tall": ("RGB", 300, 4001, (256, 224, 224)),
    "twice-as-tall": ("RGB", 300, 600, (256, 224, 224)),
    "a-little-taller": ("RGB", 300, 601, (256, 224, 224)),
    "tall-and-large": ("RGB", 1001, 2203, (256, 224, 224)),
    "tall-and-enlarged": ("RGB", 97, 401, (256, 224, 224)),
    "wide": ("RGB", 5001, 311, (256, 227, 227)),
    "very-wide": ("RGB", 1000, 3, (256, 224, 224)),
    "one-pixel": ("RGB", 1, 1, (40, 24, 32)),
    "tiny": ("RGB", 2, 3, (256, 224, 224)),
    "small": ("RGB", 97, 61, (180, 160, 160)),
    "as-it-is": ("RGB", 256, 256, (256, 224, 224)),
    "one-side-as-it-is": ("RGB", 256, 300, (256, 224, 224)),
    "landscape-crop": ("RGB", 640, 427, (320, 224, 320)),
    "large-crop": ("RGB", 700, 500, (299, 299, 299)),
    "grey": ("L", 333, 222, (256, 224, 224)),
    "grey-with-alpha": ("LA", 151, 203, (256, 224, 224)),
    "alpha": ("RGBA", 601, 399, (256, 224, 224)),
    "every-alpha-over-every-level": ("RGBA", 256, 256, (256, 256, 256)),
}


def write_vectors(folder: Path) -> None:
    """Write a folder per case: picture.png, spec.txt (resize, height, width) and expected.bin (RGB bytes); and `hard`."""
    write_hard(folder / "hard")
    random = np.random.default_rng(11)
    for name, (mode, width, height, (resize, crop_height, crop_width)) in CASES.items():
        place = folder / name
        place.mkdir(parents=True)
        channels = len(mode)
        y, x = np.mgrid[0:height, 0:width].astype(np.int32)
        # Edges, ramps and noise: every tap of the resize, and its roundings, show in the result.
        samples = np.stack([(x * (3 + c) + y * (5 - c)) ^ (x // 7 * 31) ^ (y // 5 * 17) for c in range(channels)], axis=-1) % 256
        samples = (samples + random.integers(0, 64, samples.shape, dtype=np.int32)).clip(0, 255).astype(np.uint8)
        if name.startswith("every-alpha"):
            samples = np.stack([x, 255 - x, x ^ y, y], axis=-1).astype(np.uint8)
        Image.fromarray(samples[..., 0] if channels == 1 else samples, mode=mode).save(place / "picture.png", compress_level=1)
        spec = PreprocessingSpec(
            resize=resize,
            height=crop_height,
            width=crop_width,
            color_order="RGB",
            scale=1.0,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        (place / "spec.txt").write_text(f"{resize} {crop_height} {crop_width}\n")
        (place / "expected.bin").write_bytes(load_pixels(place / "picture.png", spec).tobytes())
