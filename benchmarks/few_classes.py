"""Count false alarms, and planted faults that are missed, on sound classifiers of 2 to 10 classes.

The numbers in docs/explanation/parity.md:

    python -m benchmarks.few_classes --weights W --calibration DIR --evaluation DIR [--precisions tflite=int8,…] [--figures FILE]

Twelve heads on the weights of SqueezeNet 1.1: nine are trained here on the calibration photographs, whose 1000 classes are cut
into 2 to 10 ranges (ImageNet's order is a taxonomy: animals come first), three are rows of the weights' own head. Each is
exported once per precision, calibrated as an export without --calibration-data is, and judged on three image sets: the default
drawn characters, and twice 8 photographs of the evaluation folder. Both folders need labels.tsv (columns file and class_index);
the labels of evaluation are not read. Faults are planted in eager PyTorch, where no rounding adds to them, and judged by the same
bars. Exit code 1 where a sound file FAILED.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from benchmarks.few_heads import CLASSES, ROWS, heads_of, planted, source_of, state_of

from squeeze_export.bundle.manifest import decode, encode
from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.contracts.signature import Signature
from squeeze_export.contracts.source import SourceModel
from squeeze_export.exporters import EXPORTERS, deployed
from squeeze_export.golden.calibration import demo_calibration, read_calibration
from squeeze_export.golden.images import demo_images, read_pictures
from squeeze_export.golden.pack import make_golden
from squeeze_export.validation.parity import judge
from squeeze_export.validation.runners import RUNNERS
from squeeze_export.validation.tolerances import peak_of, tolerance_for

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array
    from squeeze_export.contracts.artifact import Precision, Target
    from squeeze_export.contracts.parity import ParityReport, Runner, Tolerance
    from squeeze_export.contracts.source import GoldenPack

SETS: Final = 8  # images in each
DEFAULT: Final = "tflite=int8,int8-uint8,int8-dynamic,int8-weights,int4-mixed torchscript=int8"


class Eager:
    """A runner that is the module itself: a file without any rounding, in which a fault can be planted; it remembers."""

    executor, labels = "eager PyTorch", None

    def __init__(self, module: torch.nn.Module, signature: Signature) -> None:
        self._module, self._signature = module, signature
        self._known: dict[bytes, dict[str, Array]] = {}

    def run(self, inputs: Any) -> dict[str, Array]:
        """See contracts.parity.Runner."""
        values = inputs[self._signature.input.name]
        key = hashlib.sha256(values.tobytes()).digest()
        if key not in self._known:
            with torch.inference_mode():
                logits = self._module(torch.from_numpy(values))
            self._known[key] = {self._signature.outputs[0].name: torch.softmax(logits, dim=1).numpy()}
        return self._known[key]

    def stored_weights(self) -> None:
        """See contracts.parity.Runner."""
        return


class Recorder:
    """A runner that keeps what another says."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self.executor, self.labels = runner, runner.executor, runner.labels
        self.said: list[dict[str, Array]] = []

    def run(self, inputs: Any) -> dict[str, Array]:
        """See contracts.parity.Runner."""
        self.said.append(dict(self._runner.run(inputs)))
        return self.said[-1]

    def stored_weights(self) -> tuple[Array, ...] | None:
        """See contracts.parity.Runner."""
        return self._runner.stored_weights()


class Replay:
    """A runner that says again what was kept, in the order in which it was asked."""

    executor, labels = "replay", None

    def __init__(self, kept: dict[str, Array], images: str) -> None:
        self._rows = {key.partition("/")[2]: rows for key, rows in kept.items() if key.partition("/")[0] == images}
        self._place = -1

    def run(self, inputs: Any) -> dict[str, Array]:
        """See contracts.parity.Runner."""
        self._place += 1
        return {key: rows[self._place] for key, rows in self._rows.items()}

    def stored_weights(self) -> None:
        """See contracts.parity.Runner."""
        return


def main() -> int:
    """Print a table of verdicts; what is told beside it goes to standard error."""
    options = _options()
    state = state_of(options.weights)
    heads = list(heads_of(state, options))
    if options.answers is not None:
        options.answers.mkdir(parents=True, exist_ok=True)
    sets = _image_sets(options.evaluation, options.shift)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        known = []
        for head in heads:
            source = source_of(state, head, Path(folder))
            packs = {name: make_golden(source, pictures) for name, pictures in sets.items()}
            declared = deployed.input_spec(
                source.preprocessing, "tensor", name="image", layout="NCHW", image_scale=1.0, image_bias=0.0
            )
            signature = Signature(input=declared, outputs=(deployed.output_spec(source, "probabilities"),))
            wrong = {fault: Eager(module, signature) for fault, module in planted(source).items()}
            known.append((source, head.name, packs, signature, wrong))
        spec = known[0][0].preprocessing
        own = options.calibrated_with == "photographs"
        calibration = (read_calibration(options.calibration, spec) if own else demo_calibration(spec, of_demo=False)).pixels
        for target, precision in options.precisions:
            for source, name, packs, signature, wrong in known:
                for fault, runner in wrong.items():
                    for images, pack in packs.items():
                        # fp32: of the runner, which rounds nothing.
                        bar = replace(_bar(source, pack, target, precision), precision="fp32")
                        report = judge(runner, signature, pack, bar, "fp32")
                        lines.append(_line(name, f"{target}-{precision}", images, fault, report))
                lines += _judged(source, name, target, precision, packs, calibration, Path(folder), options.answers)
    if options.figures is not None:
        options.figures.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return _tell(lines, len(heads))


def _judged(
    source: SourceModel,
    head: str,
    target: Target,
    precision: Precision,
    packs: dict[str, GoldenPack],
    calibration: Any,
    folder: Path,
    answers: Path | None,
) -> Iterator[dict[str, Any]]:
    kept = None if answers is None else answers / f"{head}-{target}-{precision}.npz".replace(", ", "-").replace(" ", "-")
    for name, pack in packs.items():
        if kept is None or not kept.exists():
            found = _executed(source, head, target, precision, packs, calibration, folder)
            if kept is None:
                kept = folder / f"{head}-{target}-{precision}.npz"
            np.savez(kept, **found)
        rows = dict(np.load(kept))
        signature = decode(rows["signature"].tobytes(), Signature)
        report = judge(Replay(rows, name), signature, pack, _bar(source, pack, target, precision), precision)
        yield _line(head, f"{target}-{precision}", name, "", report)


def _executed(
    source: SourceModel,
    head: str,
    target: Target,
    precision: Precision,
    packs: dict[str, GoldenPack],
    calibration: Any,
    folder: Path,
) -> dict[str, Array]:
    """Export, and give what the file's own runtime answers; stops where the file does not hold the weights that were chosen."""
    began = time.monotonic()
    ios = "iOS18" if target == "coreml" else "iOS16"
    settings = ExportSettings(precision=precision, input_kind="image", output_kind="probabilities", ios_target=ios)  # type: ignore[arg-type]
    destination = folder / f"{target}-{precision}{EXPORTERS[target].SUFFIX}"
    given = calibration if precision in EXPORTERS[target].CALIBRATED else None
    made = EXPORTERS[target].export(source, settings, destination, given, None)
    found: dict[str, Array] = {"signature": np.frombuffer(encode(made.signature), np.uint8)}
    for name, pack in packs.items():
        runner = Recorder(RUNNERS[target][0].open(made.path, made.signature, precision))
        report = judge(
            runner,
            made.signature,
            pack,
            _bar(source, pack, target, precision),
            precision,
            exempt_weights=made.folded_weights,
            chosen_weights=made.chosen_weights,
        )
        if report.weights is None or report.weights.problems:
            raise SystemExit(f"{head} {target}-{precision}: the file does not hold its weights: {report.reason}")
        found |= {f"{name}/{key}": np.stack([answer[key] for answer in runner.said]) for key in runner.said[0]}
    shutil.rmtree(destination) if destination.is_dir() else destination.unlink()
    print(f"{head} {target}-{precision}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def _bar(source: SourceModel, pack: GoldenPack, target: Target, precision: Precision) -> Tolerance:
    return tolerance_for(target, precision, classes=source.num_classes, peak=peak_of(pack))


def _line(head: str, artifact: str, images: str, fault: str, report: ParityReport) -> dict[str, Any]:
    outputs = {
        output.observed: {
            "error": output.max_abs_error,
            "of_peak": output.smallest_passing_error_of_peak,
            "snr": output.snr_db,
            "centred": output.centred_snr_db,
            "top1": output.top1_agreement,
            "ties": output.top1_ties,
            "problems": output.problems,
        }
        for output in report.outputs
    }
    return {
        "head": head,
        "artifact": artifact,
        "images": images,
        "fault": fault,
        "verdict": report.verdict,
        "reason": report.reason,
        "outputs": outputs,
    }


def _tell(lines: list[dict[str, Any]], heads: int) -> int:
    """Print the table, and every false alarm and missed fault by name; 1 where there is a false alarm."""
    artifacts = list(dict.fromkeys(line["artifact"] for line in lines))
    faults = list(dict.fromkeys(line["fault"] for line in lines if line["fault"]))
    print(f"{heads} heads, three image sets each\n\n| artifact | judged | false alarms | planted faults | caught |")
    print("| --- | --- | --- | --- | --- |")
    alarms = 0
    for artifact in artifacts:
        sound = [line for line in lines if line["artifact"] == artifact and not line["fault"]]
        wrong = [line for line in lines if line["artifact"] == artifact and line["fault"]]
        failed = [line for line in sound if line["verdict"] != "PASSED"]
        alarms += len(failed)
        caught = sum(line["verdict"] == "FAILED" for line in wrong)
        print(f"| {artifact} | {len(sound)} | {len(failed)} | {len(wrong)} | {caught} |")
        for line in failed:
            print(f"false alarm: {line['head']} {artifact} {line['images']}: {line['reason']}", file=sys.stderr)
    print("\n| fault | planted | caught on the drawn characters | caught on photographs |\n| --- | --- | --- | --- |")
    for fault in faults:
        shares = []
        for drawn in (True, False):
            some = [line for line in lines if line["fault"] == fault and (line["images"] == "drawn") == drawn]
            shares.append(f"{sum(line['verdict'] == 'FAILED' for line in some)} of {len(some)}")
        print(f"| {fault} | {sum(line['fault'] == fault for line in lines)} | {' | '.join(shares)} |")
    return 1 if alarms else 0


def _image_sets(folder: Path, shift: int) -> dict[str, list[tuple[str, Any]]]:
    files = sorted(folder.glob("*.jpg"))
    step = len(files) // (2 * SETS)
    spread = files[shift % step : 2 * SETS * step : step]
    return {
        "drawn": demo_images(),
        "photographs": read_pictures(spread[0::2]),
        "other photographs": read_pictures(spread[1::2]),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("weights", "calibration", "evaluation"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--precisions", default=DEFAULT, help=f"TARGET=PRECISION,… separated by blanks (default: {DEFAULT})")
    parser.add_argument("--figures", type=Path, help="write every figure here, one JSON object a line")
    parser.add_argument("--answers", type=Path, help="keep what each file says there; what is kept is not made again")
    parser.add_argument("--calibrated-with", choices=("drawn", "photographs"), default="drawn", help="what ranges come from")
    parser.add_argument("--heads", type=int, default=len(CLASSES) + len(ROWS), help="how many, for a quick look")
    parser.add_argument("--first", type=int, default=0, help="the head to begin with")
    parser.add_argument("--seed", type=int, default=0, help="of the first head: other heads than those that bars were chosen on")
    parser.add_argument("--shift", type=int, default=0, help="take the photographs that lie so many places further")
    options = parser.parse_args()
    options.precisions = [
        (target, precision)
        for entry in options.precisions.split()
        for target, _, several in [entry.partition("=")]
        for precision in several.split(",")
    ]
    return options


if __name__ == "__main__":
    sys.exit(main())
