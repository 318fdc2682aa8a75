"""Measure `evaluate` on one TFLite artifact against a plain loop over PIL and the interpreter, side by side in one run.

    .venv/bin/python benchmarks/evaluate.py BUNDLE --images DIR [--precision fp32] [--runs 3] [--workers N]

Both are processes of their own, timed from start to end, imports included, in turns: so a busy machine slows both down. Both
decode, resize, crop and run every image once, and both must find the same accuracy. Both find their modules compiled, as pip
leaves them: a first run of each, which is not counted, sees to it.

- ms per image of either (aim: at most 10 for `evaluate` on 2 free cores), and the ratio evaluate / plain loop;
- the same of processor time, which says what the tool adds where no core is free.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# What somebody writes who wants the accuracy of one .tflite file once: one image after another in one thread.
PLAIN_LOOP = """
import csv, json, sys
from pathlib import Path
import numpy as np
from PIL import Image
from ai_edge_litert.interpreter import Interpreter
model, folder = sys.argv[1], Path(sys.argv[2])
interpreter = Interpreter(model_path=model, num_threads=1)
interpreter.allocate_tensors()
inside, outside = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
right = total = 0
with open(folder / "labels.tsv", newline="", encoding="utf-8") as file:
    for row in csv.DictReader(file, delimiter="\\t"):
        image = Image.open(folder / row["file"]).convert("RGB")
        short, long = min(image.size), max(image.size)
        longer = 256 * long // short
        image = image.resize((256, longer) if image.width <= image.height else (longer, 256), Image.Resampling.BILINEAR)
        left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
        interpreter.set_tensor(inside, (pixels[None] - 127.5) / 127.5)
        interpreter.invoke()
        right += int(np.argmax(interpreter.get_tensor(outside)) == int(row["class_index"]))
        total += 1
print(json.dumps([right, total]))
"""


def timed(command: list[str], compiled: Path) -> tuple[float, float, str]:
    """Run a command, with compiled modules in the folder `compiled`.

    Gives wall seconds, processor seconds of it and its children, and what it printed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(compiled)
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds, total = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = total.ru_utime + total.ru_stime - used.ru_utime - used.ru_stime
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:4])}… ended with {done.returncode}:\n{done.stderr}")
    return seconds, processor, done.stdout


def only_tflite(bundle: Path, place: Path, precision: str) -> Path:
    """Copy a bundle without its artifacts but one; gives the path of the .tflite file in the copy."""
    shutil.copytree(bundle, place)
    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    manifest["artifacts"] = [
        entry for entry in manifest["artifacts"] if (entry["target"], entry["precision"]) == ("tflite", precision)
    ]
    if not manifest["artifacts"]:
        raise SystemExit(f"{bundle} has no TFLite artifact in {precision}")
    (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return place / manifest["artifacts"][0]["path"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="pictures with a labels.tsv")
    parser.add_argument("--precision", default="fp32", help="which TFLite artifact: one that takes floats (default fp32)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=None)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = only_tflite(chosen.bundle, Path(scratch) / "bundle", chosen.precision)
        plain = [sys.executable, "-c", PLAIN_LOOP, str(model), str(chosen.images)]
        tool = [sys.executable, "-m", "squeeze_export", "evaluate", str(Path(scratch) / "bundle"), "--images", str(chosen.images)]
        tool += ["--no-reference", "--no-cache", "--json", "--quiet"]
        if chosen.workers is not None:
            tool += ["--workers", str(chosen.workers)]
        walls, processors, fastest = [], [], []
        compiled = Path(scratch) / "compiled"
        for run in range(1 + chosen.runs):
            plain_wall, plain_processor, printed = timed(plain, compiled)
            right, images = json.loads(printed)
            tool_wall, tool_processor, printed = timed(tool, compiled)
            (row,) = json.loads(printed)["artifacts"]
            found = row["accuracy"]["top1"]
            if (found["hits"], found["images"]) != (right, images):
                raise SystemExit(f"evaluate finds {found['hits']} of {found['images']}, the plain loop {right} of {images}")
            if run == 0:
                continue
            walls.append(tool_wall / plain_wall)
            processors.append(tool_processor / plain_processor)
            fastest.append(1000 * tool_wall / images)
            print(
                f"{images} images, ms per image: evaluate {fastest[-1]:.1f} ({1000 * tool_processor / images:.1f} of processor), "
                f"plain loop {1000 * plain_wall / images:.1f} ({1000 * plain_processor / images:.1f}); ratio {walls[-1]:.2f}",
                flush=True,
            )
    print(
        f"median of {chosen.runs}: ratio evaluate / plain loop {statistics.median(walls):.2f} in time, "
        f"{statistics.median(processors):.2f} in processor time; evaluate {statistics.median(fastest):.1f} ms per image"
    )


if __name__ == "__main__":
    main()
