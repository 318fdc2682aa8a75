"""Compress real weights for Core ML, write the package, and measure it from its file: bytes, download, top-1 against fp32.

    python benchmarks/compress.py --weights W --calibration DIR --evaluation DIR --rung pal4 --output OUT.mlpackage
    python benchmarks/compress.py ... --rung auto:490KB --checkpoints DIR

`--model squeezenet1_0 --preprocessing caffe` for the authors' weights. Calibration reads no labels; evaluation reads labels.tsv
(columns file and class_index). Executed by the MIL reference executor, not yet on a device.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from squeeze_export.compression.budget import parse_size
from squeeze_export.contracts import LOGITS_TAP, ExportSettings
from squeeze_export.exporters import coreml, coreml_rungs, coreml_sizes
from squeeze_export.golden import IMAGE_SUFFIXES
from squeeze_export.models.source import load_source
from squeeze_export.preprocessing import load_pixels, normalise, spec_for
from squeeze_export.validation.runners import mil_reference


def main() -> None:
    """Print one line per finding."""
    options = _options()
    source = load_source(
        name="bench",
        model=options.model,
        weights=options.weights,
        seed=0,
        labels=None,
        preprocessing=spec_for(options.preprocessing, model=options.model),
    )
    files = sorted(path for path in options.calibration.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    calibration = np.stack([load_pixels(path, source.preprocessing) for path in files])
    rung, _, size = options.rung.partition(":")
    ios = "iOS18" if rung == coreml_rungs.AUTO or coreml_rungs.RUNGS[rung].needs_ios18 else "iOS16"
    settings = ExportSettings(precision="fp16", input_kind="image", output_kind="probabilities", ios_target=ios)
    budget = parse_size(size) - coreml_sizes.fixed(source, settings) if size else None
    began = time.monotonic()
    chosen = coreml_rungs.choose(
        source, rung, calibration, weights_budget=budget, checkpoints=options.checkpoints, told=_Told(), seed=0
    )
    print(f"compressed in {time.monotonic() - began:.0f} s on {torch.get_num_threads()} thread(s), {len(files)} images")
    artifact = coreml.write(chosen.source, settings, options.output, coded=chosen.coded)
    whole = sum(file.stat().st_size for file in options.output.rglob("*") if file.is_file())
    print(f"{options.output.name}: {whole:,} bytes, {_zipped(options.output):,} as zip, {ios}")
    runner = mil_reference.open(options.output, artifact.signature, "fp16")
    _require_equal(runner, chosen)
    _accuracy(source, artifact, runner, options.evaluation)


class _Told:
    """A line of progress every ten seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, what: str, part: float, left: float) -> None:
        if time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            print(f"{part:4.0%} {what}, {left:.0f} s left", file=sys.stderr, flush=True)


def _require_equal(runner: Any, chosen: coreml_rungs.Chosen) -> None:
    def sorted_bytes(arrays: Any) -> list[bytes]:
        return sorted(np.asarray(array, np.float32).tobytes() for array in arrays)

    kernels = [weight for weight in runner.stored_weights() if weight.ndim == 4]
    if sorted_bytes(kernels) != sorted_bytes(weight.decoded() for weight in chosen.coded.values()):
        raise SystemExit("the package's decoded weights are not the chosen ones")
    print(f"the {len(kernels)} kernels in the file decode to exactly the chosen ones")


def _accuracy(source: Any, artifact: Any, runner: Any, folder: Path) -> None:
    with (folder / "labels.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    pixels = np.stack([load_pixels(folder / row["file"], source.preprocessing) for row in rows])
    labels = np.array([int(row["class_index"]) for row in rows])
    inputs, name = artifact.signature.input, artifact.signature.input.name
    ours = np.stack([runner.run({name: inputs.encode(crop[None])})[LOGITS_TAP][0] for crop in pixels])
    with torch.inference_mode():
        reference = np.concatenate(
            [source.module(torch.from_numpy(normalise(crop[None], source.preprocessing))).numpy() for crop in pixels]
        )
    before, after = reference.argmax(1) == labels, ours.argmax(1) == labels
    paired = after.astype(float) - before.astype(float)
    five = (np.argsort(-ours, axis=1)[:, :5] == labels[:, None]).any(axis=1)
    error = paired.std(ddof=1) / np.sqrt(len(paired))
    same = (reference.argmax(1) == ours.argmax(1)).mean()
    print(f"top-1 {after.mean():.1%} (fp32 {before.mean():.1%}), top-5 {five.mean():.1%}, same top-1 as fp32 {same:.1%}")
    print(f"paired difference {100 * paired.mean():+.2f} points, standard error {100 * error:.2f}, {len(labels)} images")


def _zipped(package: Path) -> int:
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(package.rglob("*")):
                archive.write(path, path.relative_to(package.parent))
        return file.tell()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="squeezenet1_1")
    parser.add_argument("--preprocessing", default="torchvision")
    for name in ("weights", "calibration", "evaluation", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--rung", required=True, help=f"{', '.join(coreml_rungs.RUNGS)} or auto:SIZE")
    parser.add_argument("--checkpoints", type=Path)
    options = parser.parse_args()
    rung, _, size = options.rung.partition(":")
    if (rung == coreml_rungs.AUTO) != bool(size) or (rung not in coreml_rungs.RUNGS and rung != coreml_rungs.AUTO):
        parser.error(f"--rung {options.rung} is unknown")
    if options.output.exists():
        parser.error(f"{options.output} exists already")
    return options


if __name__ == "__main__":
    main()
