"""How far other libraries' resizes move probabilities: what --reference takes for another resize, in docs/how-to/.

    python -m benchmarks.resizes --weights squeezenet1_1_torchvision.safetensors --images images/calibration

SqueezeNet 1.1 on the first 64 photographs of a folder, after this tool's resize (Pillow's, antialiased, on the picture) and after
torch's on a tensor, with and without antialiasing; OpenCV's bilinear is of the latter kind.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from squeeze_export.preprocessing.pixels import load_pixels, normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.own_scores import softmax
from squeeze_export.sources.source import load_source

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array, PixelArray


def main() -> None:
    """Print the median, the ninth decile and the maximum of each image's largest difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    options = parser.parse_args()
    spec = spec_for("torchvision", model="squeezenet1_1")
    source = load_source(
        name="net", model="squeezenet1_1", weights=options.weights, seed=0, labels=None, preprocessing=spec, head="classifier"
    )
    files = sorted(options.images.glob("*.jpg"))[:64]

    def probabilities(crop: Callable[[Path], PixelArray]) -> Array:
        with torch.inference_mode():
            return softmax(np.concatenate([source.module(torch.from_numpy(normalise(crop(file)[None], spec))) for file in files]))

    def on_tensor(file: Path, *, antialias: bool) -> PixelArray:
        picture = torch.from_numpy(np.asarray(Image.open(file).convert("RGB")).copy()).permute(2, 0, 1)[None].float()
        height, width = picture.shape[2:]
        size = [spec.resize * side // min(height, width) for side in (height, width)]
        resized = torch.nn.functional.interpolate(picture, size=size, mode="bilinear", antialias=antialias, align_corners=False)
        top, left = (size[0] - spec.height) // 2, (size[1] - spec.width) // 2
        cropped = resized[0, :, top : top + spec.height, left : left + spec.width]
        return cropped.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()

    ours = probabilities(lambda file: load_pixels(file, spec))
    for antialias in (True, False):
        theirs = probabilities(lambda file, antialias=antialias: on_tensor(file, antialias=antialias))
        worst = np.abs(theirs - ours).max(axis=1)
        name = "tensor, antialiased" if antialias else "tensor, not antialiased"
        print(f"{name}: median {np.median(worst):.2g}, 90 % below {np.quantile(worst, 0.9):.2g}, at most {worst.max():.2g}")


if __name__ == "__main__":
    main()
