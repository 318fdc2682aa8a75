"""Pictures with every trait that preprocessing can stumble over, and what preprocessing/pixels.py makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from squeeze_export.contracts.signature import PreprocessingSpec
from squeeze_export.preprocessing.pixels import load_pixels
from squeeze_export.preprocessing.spec import spec_for
from tests.hard_pictures import write_hard

# name: width, height
SIZES = {
    "odd": (333, 251),
    "even": (640, 480),
    "square": (256, 256),
    "tall": (97, 1201),
    "wide": (1203, 61),
    "one_pixel": (1, 1),
    "tiny": (3, 2),
    "small": (31, 40),
    "one_more": (257, 255),
    "twice_as_tall": (300, 600),
    "a_little_taller": (300, 601),  # from here on Pillow shrinks the height first
    "tall_and_enlarged": (97, 401),
    "screenshot": (1170, 2532),
    "twelve_megapixels": (4032, 3024),
    "twelve_megapixels_upright": (3024, 4032),
}


def write_vectors(folder: Path) -> list[str]:
    """Write samples, expected crops and vectors.json into `folder`; returns the vectors' names."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    write_hard(folder / "hard")
    specs = {
        "224": spec_for("torchvision", model="squeezenet1_1"),
        "160": spec_for("caffe", model="squeezenet1_0", input_size=(160, 160)),
        "97x130": spec_for("torchvision", model="squeezenet1_1", input_size=(97, 130), resize=141),
    }
    made: list[dict[str, Any]] = []

    def add(name: str, picture: Image.Image, how: str, orientation: int = 1, only: str | None = None) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = folder / f"{name}.png"
        picture.save(file, exif=exif.tobytes(), compress_level=1)
        samples = np.asarray(picture)
        if how == "rgbx":
            samples = np.concatenate([samples, np.full((*samples.shape[:2], 1), 7, np.uint8)], axis=-1)
        (folder / f"{name}.samples").write_bytes(np.ascontiguousarray(samples).tobytes())
        for called, spec in specs.items():
            if only in (None, called):
                made.append(_vector(folder, f"{name}-{called}", file, how, picture.size, orientation, f"{name}.samples", spec))

    generator = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        add(name, Image.fromarray(_picture(width, height, generator)), "rgbx" if name == "even" else "rgb",
            only="224" if width * height > 2_000_000 else None)  # fmt: skip
    grey = _picture(301, 222, generator)[..., 0]
    add("grey", Image.fromarray(grey), "grey")
    alpha = generator.integers(0, 256, (223, 300, 1), dtype=np.uint8)
    alpha[:40], alpha[-40:] = 0, 255
    add("alpha", Image.fromarray(np.concatenate([_picture(300, 223, generator), alpha], axis=-1)), "rgba")
    for orientation in range(2, 9):
        add(f"orientation_{orientation}", Image.fromarray(_picture(300, 211, generator)), "rgb", orientation, only="224")
    (folder / "vectors.json").write_text(json.dumps(made))
    return [vector["name"] for vector in made]


def _vector(
    folder: Path, name: str, file: Path, how: str, size: tuple[int, int], orientation: int, samples: str, spec: PreprocessingSpec
) -> dict[str, Any]:
    (folder / f"{name}.expected").write_bytes(load_pixels(file, spec).tobytes())
    return {
        "name": name,
        "format": how,
        "width": size[0],
        "height": size[1],
        "orientation": orientation,
        "samples": samples,
        "preprocessing": {"resize": spec.resize, "height": spec.height, "width": spec.width},
        "expected": f"{name}.expected",
    }


def _picture(width: int, height: int, generator: Any) -> Any:
    """Gradients, edges and noise: no line of a resize can be wrong without a trace."""
    import numpy as np

    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([(x * 3 + y) % 256, 255 * (((x // 7) + (y // 5)) % 2), (x * y // 64) % 256], axis=-1)
    noise = generator.integers(-60, 61, (height, width, 3))
    return (smooth + noise).clip(0, 255).astype(np.uint8)
