"""What the layout of the image costs a TFLite file: converted with it in NHWC and in NCHW, TRANSPOSEs counted, both timed.

    python -m benchmarks.zoo.layouts --kept DIR [--zoo zoo.txt] [--only vit,ghost] [--write]

Needs timm and torchvision, and photographs: a folder named by SQUEEZE_EXPORT_DATA, or ../shared/data. What was measured is
kept in --kept; --write puts the table into docs/explanation/tflite.md. Times are the processor's, the least of 50 runs of each
file in turns, on one thread: other work on the machine counts for little.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks.marked import write_between
from benchmarks.zoo.cells import ROOT, kept

PAGE: Final = ROOT / "docs" / "explanation" / "tflite.md"
LAYOUTS: Final = ("NHWC", "NCHW")
_RUNS: Final = 50


def measured(name: str, data: Path) -> dict[str, Any]:
    """Convert one network both ways, and count and time both files."""
    from benchmarks.zoo.network import made

    from squeeze_export.sources.networks import capture

    network, side = made(name, str(data / "images" / "calibration"))
    captured, _ = capture.settle(capture.capture(network, side, side))
    files = [converted(captured.module(), captured.input_shape, layout) for layout in LAYOUTS]
    return {"name": name, "side": side, **counted(files)}


def converted(network: Any, shape: tuple[int, ...], layout: str) -> bytes:
    """The TFLite file of a network that takes images of `shape` (1, C, H, W), itself taking them in this layout."""
    import litert_torch
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            scores = self.network(image.permute(0, 3, 1, 2) if layout == "NHWC" else image)
            return {"probabilities": torch.softmax(scores, dim=1)}

    batch, channels, height, width = shape
    sample = torch.zeros((batch, height, width, channels) if layout == "NHWC" else shape)
    return bytes(litert_torch.convert(Network().eval(), sample_kwargs={"image": sample}).model_content())


def counted(files: Iterable[bytes]) -> dict[str, list[float]]:
    """How many TRANSPOSEs and operations each file holds, and its least milliseconds of the processor beside the others."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    from squeeze_export.exporters.tflite import flatbuffer

    contents = list(files)
    kinds = [flatbuffer.operators(flatbuffer.parse(content)) for content in contents]
    interpreters = [Interpreter(model_content=content, num_threads=1) for content in contents]
    for interpreter in interpreters:
        interpreter.allocate_tensors()
        given = interpreter.get_input_details()[0]
        interpreter.set_tensor(given["index"], np.random.default_rng(0).standard_normal(given["shape"]).astype(np.float32))
        interpreter.invoke()
    least = [float("inf")] * len(contents)
    for _ in range(_RUNS):
        for place, interpreter in enumerate(interpreters):
            began = time.thread_time()
            interpreter.invoke()
            least[place] = min(least[place], 1e3 * (time.thread_time() - began))
    return {"transposes": [each.count("TRANSPOSE") for each in kinds], "operations": [len(each) for each in kinds], "ms": least}


def table(networks: Iterable[dict[str, Any]]) -> str:
    """A row for each network."""
    lines = [
        "| network | TRANSPOSEs, image NHWC | image NCHW | operations, NHWC | ms, NHWC | ms, NCHW |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in networks:
        (few, more), (first, second) = one["transposes"], one["ms"]
        lines.append(f"| {one['name']} ({one['side']}) | {few} | {more} | {one['operations'][0]} | {first:.2f} | {second:.2f} |")
    return "\n".join(lines)


def main() -> int:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--zoo", type=Path, default=ROOT.parent / "shared" / "zoo.txt")
    parser.add_argument("--only", default="", help="those whose name holds one of these parts, divided by commas")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.kept.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ.get("SQUEEZE_EXPORT_DATA") or ROOT.parent / "shared" / "data")
    names = options.zoo.read_text(encoding="utf-8").split()
    parts = options.only.split(",")
    missing = [name for part in parts for name in names if part in name and not kept(options.kept, name).exists()]
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    for name in dict.fromkeys(missing):
        found = measured(name, data)
        kept(options.kept, name).write_text(json.dumps(found) + "\n", encoding="utf-8")
        print(json.dumps(found), file=sys.stderr, flush=True)
    known = [json.loads(path.read_text(encoding="utf-8")) for name in names if (path := kept(options.kept, name)).exists()]
    print(table(known))
    if options.write:
        write_between(PAGE, "layouts", table(known))
    return 0


if __name__ == "__main__":
    sys.exit(main())
