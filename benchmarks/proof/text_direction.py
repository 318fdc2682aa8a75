"""Somebody else's network: rapidocr's classifier of a text's direction, from ONNX to PyTorch to every format, on rendered lines.

    pip download --no-deps rapidocr-onnxruntime && unzip rapidocr_onnxruntime-*.whl -d WHEEL
    pip install --no-deps --target SITE onnx2torch
    python -m benchmarks.proof.text_direction --wheel WHEEL --site SITE --fonts FOLDER --kept DIR

Needs torchvision (onnx2torch wants it) and the extra onnx. Nothing of the package is part of this repository. 200 lines of
random words in the fonts of --fonts are drawn, each upright and upside down. The network becomes a .pt2 file, exported and
evaluated by the command line. Beside it: the package's own ONNX file with the package's own preprocessing, which keeps a line's
shape up to four times its height, and fills the rest on the right. The program squashes every line to the size instead.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.noise.networks import declare_operators
from benchmarks.proof import tool
from benchmarks.proof.real_network import FILES, rows_of

MODEL: Final = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
HEIGHT, WIDTH = 48, 192
CLASSES: Final = ("upright", "upside-down")
LINES: Final = 200
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
ASKED: Final = (
    "--preprocessing",
    "inception",
    "--color-order",
    "BGR",
    "--input-size",
    f"{HEIGHT}x{WIDTH}",
    "--resize-mode",
    "squash",
)


def main() -> None:
    """Do all of it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="the unpacked wheel of rapidocr-onnxruntime")
    parser.add_argument("--site", type=Path, required=True, help="where onnx2torch was installed")
    parser.add_argument("--fonts", type=Path, nargs="+", required=True, help="folders with .ttf files")
    parser.add_argument("--kept", type=Path, required=True, help="the folder of everything that is made")
    options = parser.parse_args()
    place = options.kept.resolve()
    place.mkdir(parents=True, exist_ok=True)
    sys.path.append(str(options.site))
    model = options.wheel / MODEL
    if not (place / "lines").is_dir():
        draw(options.fonts, place / "lines")
    if not (place / "cls.pt2").is_file():
        save(model, place / "cls.pt2")
    (place / "labels.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    bundle = place / "dist" / "cls"
    source = ("--model", "cls.pt2")
    if not (bundle / "manifest.json").is_file():
        given = (*source, "--labels", "labels.txt", "--images", "lines", *ASKED)
        tool.run([*given, *FILES, "--output", "dist", "--name", "cls"], place, place / "export.log")
    found = tool.measured([str(bundle), "--images", "lines", *source], place, place / "evaluated.json")
    made = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    print(f"The package itself: {itself(model, place / 'lines')} of {2 * LINES}\n")
    print(rows_of(made, found, "top1"))


def draw(folders: list[Path], into: Path) -> None:
    """A folder per class, each with the same lines, of one to five words, on paper of any colour, every fourth light on dark."""
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    fonts = [path for folder in folders for path in sorted(folder.rglob("*.ttf"))]
    drawn = random.Random(0)
    for number in range(LINES):
        font = ImageFont.truetype(str(drawn.choice(fonts)), drawn.randrange(20, 49))
        text = " ".join(_word(drawn) for _ in range(drawn.randrange(1, 6)))
        left, top, right, bottom = font.getbbox(text)
        margin = drawn.randrange(2, 9)
        paper, ink = (tuple(drawn.randrange(*levels) for _ in range(3)) for levels in ((190, 256), (0, 90)))
        image = Image.new("RGB", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin), paper)
        ImageDraw.Draw(image).text((margin - left, margin - top), text, font=font, fill=ink)
        image = ImageOps.invert(image) if drawn.random() < 0.25 else image
        for name, turned in zip(CLASSES, (image, image.rotate(180)), strict=True):
            (into / name).mkdir(parents=True, exist_ok=True)
            turned.save(into / name / f"{number:03d}.png")


def _word(drawn: random.Random) -> str:
    word = "".join(drawn.choice(LETTERS) for _ in range(drawn.randrange(2, 10)))
    return drawn.choice((word, word.capitalize(), word.upper(), str(drawn.randrange(10, 99999))))


def save(model: Path, path: Path) -> None:
    """The ONNX file as a program of torch.export.

    onnx2torch wants weights as initializers. Its Reshape reads the shape from a tensor, which torch.export refuses: for one size
    of image it is a constant.
    """
    declare_operators()
    import onnx
    import onnx2torch
    import torch
    from torch.fx.passes.shape_prop import ShapeProp

    document: Any = onnx.load(model)
    for node in [node for node in document.graph.node if node.op_type == "Constant"]:
        weight = document.graph.initializer.add()
        weight.CopyFrom(node.attribute[0].t)
        weight.name = node.output[0]
        document.graph.node.remove(node)
    network = onnx2torch.convert(document).eval()
    sample = torch.zeros(1, 3, HEIGHT, WIDTH)
    ShapeProp(network).propagate(sample)
    for node in list(network.graph.nodes):
        if node.op == "call_module" and type(network.get_submodule(node.target)).__name__ == "OnnxReshape":
            with network.graph.inserting_after(node):
                shaped = network.graph.call_function(torch.reshape, (node.args[0], tuple(node.meta["tensor_meta"].shape)))
            node.replace_all_uses_with(shaped)
            network.graph.erase_node(node)
    network.graph.eliminate_dead_code()
    network.recompile()
    torch.export.save(torch.export.export(network, (sample,), strict=False), path)


def itself(model: Path, lines: Path) -> int:
    """How many lines the package's own file finds, with its own preprocessing but for Pillow's resize in place of OpenCV's."""
    import numpy as np
    import onnxruntime
    from PIL import Image

    session = onnxruntime.InferenceSession(model)
    right = 0
    for wanted, name in enumerate(CLASSES):
        for path in sorted((lines / name).iterdir()):
            image = Image.open(path)
            columns = min(WIDTH, math.ceil(HEIGHT * image.width / image.height))
            crop = np.zeros((HEIGHT, WIDTH, 3), np.float32)
            levels = np.asarray(image.resize((columns, HEIGHT), Image.Resampling.BILINEAR), np.float32)
            crop[:, :columns] = (levels / 255 - 0.5) / 0.5
            tensor = np.ascontiguousarray(crop[None, ..., ::-1].transpose(0, 3, 1, 2))
            right += int(np.asarray(session.run(None, {"x": tensor})[0])[0].argmax()) == wanted
    return right


if __name__ == "__main__":
    main()
