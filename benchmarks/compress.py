"""Compress real weights for Core ML, write the packages, and measure each from its file: bytes, download, seconds, top-1 and KL.

    python benchmarks/compress.py --weights W --calibration DIR --evaluation DIR --rung pal4,int8,auto:490KB --output DIR

Each rung gives one row of a Markdown table, as in docs/explanation/compression.md. Without --evaluation only bytes and
seconds are told.
`--model squeezenet1_0 --preprocessing caffe` for the authors' weights. Calibration reads no labels; evaluation reads labels.tsv
(columns file and class_index). Executed by the MIL reference executor, not yet on a device.
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from squeeze_export.compression.budget import parse_size
from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.contracts.signature import LOGITS_TAP
from squeeze_export.contracts.source import SourceModel
from squeeze_export.exporters.coreml import rungs, sizes, writing
from squeeze_export.files.pictures import IMAGE_SUFFIXES
from squeeze_export.ladders.ladder import zip_size
from squeeze_export.preprocessing.pixels import load_pixels, normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source
from squeeze_export.validation.runners import mil_reference

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import FloatArray
    from squeeze_export.contracts.artifact import IosTarget

_HEADER: Final = """\
| coding | for | bytes | as zip | CPU seconds | top-1 difference, points | same top-1 | KL |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    """Print one row per rung; what is told beside it goes to standard error."""
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
    options.output.mkdir(parents=True, exist_ok=True)
    judge = None if options.evaluation is None else _judge(source, options.evaluation)
    print(f"{source.model}, {len(files)} calibration images, {torch.get_num_threads()} thread(s)\n\n{_HEADER}", flush=True)
    for asked in options.rung:
        print(_row(source, asked, calibration, options, judge), flush=True)
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB of memory", file=sys.stderr)


Judge = Callable[[Any, Any], str]


def _row(source: SourceModel, asked: str, calibration: Any, options: argparse.Namespace, judge: Judge | None) -> str:
    rung, _, size = asked.partition(":")
    ios: IosTarget = "iOS18" if rungs.needs_ios18(rung) else "iOS16"
    settings = ExportSettings(precision="fp16", input_kind="image", output_kind="probabilities", ios_target=ios)
    began = time.process_time()
    budget = parse_size(size) - sizes.fixed(source, settings) if size else None
    if rung == rungs.SPARSE:
        chosen = rungs.keep_zeros(source)
    else:
        chosen = rungs.choose(
            source, rung, calibration, weights_budget=budget, checkpoints=options.checkpoints, told=_Told(), seed=0
        )
    seconds = time.process_time() - began
    package = options.output / f"{asked.replace(':', '-')}.mlpackage"
    artifact = writing.write(chosen.source, settings, package, coded=chosen.coded)
    whole = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    runner = mil_reference.open(package, artifact.signature, "fp16")
    _require_equal(runner, chosen)
    judged = "| | |" if judge is None else judge(runner, artifact.signature)
    return f"| `{asked}` | {ios} | {whole:,} | {zip_size(package):,} | {seconds:.0f} {judged}"


class _Told:
    """A line of progress every ten seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, what: str, part: float, left: float) -> None:
        if time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            print(f"{part:4.0%} {what}, {left:.0f} s left", file=sys.stderr, flush=True)


def _require_equal(runner: Any, chosen: rungs.Chosen) -> None:
    def sorted_bytes(arrays: Any) -> list[bytes]:
        return sorted(np.asarray(array, np.float32).tobytes() for array in arrays)

    kernels = [weight for weight in runner.stored_weights() if weight.ndim == 4]
    if sorted_bytes(kernels) != sorted_bytes(weight.decoded() for weight in chosen.coded.values()):
        raise SystemExit("the package's decoded weights are not the chosen ones")


def _judge(source: SourceModel, folder: Path) -> Judge:
    with (folder / "labels.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    pixels = [load_pixels(folder / row["file"], source.preprocessing)[None] for row in rows]
    labels = np.array([int(row["class_index"]) for row in rows])
    with torch.inference_mode():
        inputs = [torch.from_numpy(normalise(crop, source.preprocessing)) for crop in pixels]
        reference = np.concatenate([source.module(values).numpy() for values in inputs])
    before = reference.argmax(1) == labels
    print(f"fp32: top-1 {before.mean():.1%} of {len(labels)} images", file=sys.stderr)

    def judge(runner: Any, signature: Any) -> str:
        declared = signature.input
        ours = np.concatenate([runner.run({declared.name: declared.encode(crop)})[LOGITS_TAP] for crop in pixels])
        paired = (ours.argmax(1) == labels).astype(float) - before.astype(float)
        error = paired.std(ddof=1) / np.sqrt(len(paired))
        same = (reference.argmax(1) == ours.argmax(1)).mean()
        kl = _divergence(reference, ours)
        return f"| {100 * paired.mean():+.2f} ± {100 * error:.2f} | {same:.1%} | {kl:.4f} |"

    return judge


def _divergence(reference: FloatArray, ours: FloatArray) -> float:
    from squeeze_export.compression.automatic import divergence

    return divergence(torch.from_numpy(reference), torch.from_numpy(np.asarray(ours, np.float32)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="squeezenet1_1")
    parser.add_argument("--preprocessing", default="torchvision")
    for name in ("weights", "calibration", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    known = (rungs.SPARSE, *rungs.RUNGS)
    parser.add_argument("--rung", required=True, help=f"{', '.join(known)} or auto:SIZE; several with commas")
    parser.add_argument("--evaluation", type=Path)
    parser.add_argument("--checkpoints", type=Path, help="go on from there; without it nothing is kept and seconds are whole")
    options = parser.parse_args()
    options.rung = options.rung.split(",")
    for asked in options.rung:
        rung, _, size = asked.partition(":")
        if (rung == rungs.AUTO) != bool(size) or rung not in (*known, rungs.AUTO):
            parser.error(f"--rung {asked} is unknown")
        if (options.output / f"{asked.replace(':', '-')}.mlpackage").exists():
            parser.error(f"{asked}.mlpackage stands in {options.output} already")
    return options


if __name__ == "__main__":
    main()
