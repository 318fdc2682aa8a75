"""Hold exported files against ten golden packs each, other photographs in each: how many sound files would be refused.

    python -m benchmarks.noise.packs --kept DIR [--zoo zoo.txt] [--only vit,ghost] [--packs 10] [--table] [--write]

Needs timm, torchvision and the extra onnx, and photographs: a folder named by SQUEEZE_EXPORT_DATA, or ../shared/data. A network
is exported once to each format in fp32 and fp16; its floor is measured anew with each pack. Each runs in a process of its own and
is kept in --kept. Exit code 1 where a file that passed with its own pack was refused with another.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.marked import write_between
from benchmarks.noise.alone import alone
from benchmarks.zoo import forks
from benchmarks.zoo.cells import ROOT, kept, offered, wanted
from benchmarks.zoo.measure import FACTORY

from squeeze_export.contracts.artifact import TARGETS, ExportSettings, Precision, Target

if TYPE_CHECKING:
    from squeeze_export.contracts.parity import NoiseLevel, ParityReport, Runner
    from squeeze_export.contracts.source import GoldenPack, SourceModel

PAGE: Final = ROOT / "docs" / "explanation" / "parity.md"
IMAGES: Final = 8
_NAMES: Final = {"coreml": "Core ML", "tflite": "TFLite", "torchscript": "TorchScript Lite", "onnx": "ONNX"}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One file with one golden pack: dB below the floor, and its largest error over the floor's; None where none was compared."""

    verdict: str
    reason: str | None
    below_db: float | None
    times: float | None


def measured(name: str, packs: int, data: Path) -> dict[str, Any]:
    """Export one network and judge each file by each pack; what does not convert has its reason in the packs' place."""
    import torch
    from benchmarks.zoo.network import made

    torch.set_num_threads(1)
    calibration = str(data / "images" / "calibration")
    _, side = made(name, calibration)
    source, packed = _source(name, side, packs, data, calibration)
    files: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for target, precision in wanted(TARGETS, offered()):
            files[f"{target} {precision}"] = _file(source, packed, target, precision, Path(folder))
    return {"name": name, "side": side, "packs": packs, "files": files}


def _source(name: str, side: int, packs: int, data: Path, calibration: str) -> tuple[SourceModel, list[GoldenPack]]:
    from squeeze_export import ExportRequest
    from squeeze_export.golden.images import read_pictures
    from squeeze_export.golden.pack import make_golden
    from squeeze_export.pipeline.walk import source_of
    from squeeze_export.preprocessing.pixels import normalise
    from squeeze_export.preprocessing.spec import spec_for
    from squeeze_export.validation import noise

    request = ExportRequest(
        targets=("tflite",),
        model=FACTORY,
        model_arguments={"name": name, "calibration": calibration},
        preprocessing=spec_for("torchvision", model="", input_size=side),
    )
    photographs = sorted(path for path in (data / "images" / "evaluation").iterdir() if path.suffix == ".jpg")
    step = len(photographs) // IMAGES
    pictures = [read_pictures(photographs[place::step][:IMAGES]) for place in range(packs)]
    source = source_of(request, "network", pictures[0])
    found = []
    for each in pictures:
        pack = make_golden(source, each)
        floor = noise.measure(source.module, normalise(pack.pixels, pack.preprocessing))
        found.append(replace(pack, noise_floor=floor, kernels=source.kernels))
    return source, found


def _file(source: SourceModel, packs: list[GoldenPack], target: Target, precision: Precision, folder: Path) -> Any:
    from squeeze_export.exporters import EXPORTERS
    from squeeze_export.validation.runners import RUNNERS

    module = EXPORTERS[target]
    settings = ExportSettings(precision=precision, input_kind="image", output_kind="probabilities", ios_target="iOS16")
    try:
        artifact = module.export(source, settings, folder / f"{target}-{precision}{module.SUFFIX}", None, None)
        runner = RUNNERS[target][0].open(artifact.path, artifact.signature, precision)
    except Exception as error:  # whatever a converter says: it is told, and the other files go on
        return f"{type(error).__name__}: {error}"[:300]
    return [vars(_judged(runner, artifact.signature, pack, target, precision)) for pack in packs]


def _judged(runner: Runner, signature: Any, pack: GoldenPack, target: Target, precision: Precision) -> Judged:
    from squeeze_export.validation.judgement import tolerance_of
    from squeeze_export.validation.parity import judge

    try:
        tolerance = tolerance_of(pack, target, precision, "probabilities")
    except ValueError as error:
        return Judged(verdict="NO FLOOR", reason=str(error), below_db=None, times=None)
    report = judge(runner, signature, pack, tolerance, precision)
    level = _level(pack, target, precision)
    return Judged(verdict=report.verdict, reason=report.reason, below_db=_below(report, level), times=_times(report, pack, level))


def _level(pack: GoldenPack, target: Target, precision: Precision) -> NoiseLevel:
    assert pack.noise_floor is not None
    return pack.noise_floor.level("fp32" if precision == "fp32" else "fp16" if target == "coreml" else "fp16-stored")


def _below(report: ParityReport, level: NoiseLevel) -> float | None:
    found = report.outputs[-1].centred_snr_db if report.outputs else None
    return None if found is None else level.centred_snr_db - found


def _times(report: ParityReport, pack: GoldenPack, level: NoiseLevel) -> float | None:
    found = report.outputs[-1].smallest_passing_error_of_peak if report.outputs else None
    return None if found is None or level.max_error_of_peak == 0 else found / level.max_error_of_peak


def table(networks: Iterable[dict[str, Any]]) -> str:
    """A row for each format and precision: networks, packs judged, refused, and the worst of those that passed."""
    lines = [
        "| file | networks | packs judged | refused | dB below the floor, at most | times the error, at most |",
        "| --- | ---: | ---: | ---: | --- | --- |",
    ]
    known = list(networks)
    for target, precision in wanted(TARGETS, offered()):
        rows = [(one["name"], each) for one in known for each in _packs(one, f"{target} {precision}")]
        if not rows:
            continue
        below = max(((each["below_db"], name) for name, each in rows if each["below_db"] is not None), default=(0.0, "–"))
        times = max(((each["times"], name) for name, each in rows if each["times"] is not None), default=(0.0, "–"))
        refused = sum(each["verdict"] != "PASSED" for _, each in rows)
        lines.append(
            f"| {_NAMES[target]} {precision} | {len({name for name, _ in rows})} | {len(rows)} | {refused} | "
            f"{below[0]:.1f} ({below[1]}) | {times[0]:.1f} ({times[1]}) |"
        )
    return "\n".join(lines)


def _packs(network: dict[str, Any], file: str) -> list[dict[str, Any]]:
    """The packs that a file was judged by; none where it was not made, or where the network has no such floor."""
    found = network["files"].get(file)
    return [each for each in found if each["verdict"] != "NO FLOOR"] if isinstance(found, list) else []


def _fork(name: str, packs: int, data: Path, path: Path) -> None:
    began = time.monotonic()
    alone(name, lambda: path.write_text(json.dumps(measured(name, packs, data), indent=1) + "\n", encoding="utf-8"))
    print(f"{name}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def main() -> int:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--zoo", type=Path, default=ROOT.parent / "shared" / "zoo.txt")
    parser.add_argument("--only", default="", help="those whose name holds one of these parts, divided by commas")
    parser.add_argument("--packs", type=int, default=10)
    parser.add_argument("--table", action="store_true", help="measure nothing more")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.kept.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ.get("SQUEEZE_EXPORT_DATA") or ROOT.parent / "shared" / "data")
    names = options.zoo.read_text(encoding="utf-8").split()
    missing = [name for name in names if not kept(options.kept, name).exists()]
    if options.only:
        missing = [name for name in missing if any(part in name for part in options.only.split(","))]
    if missing and not options.table:
        forks.preload()
        for name in missing:
            _fork(name, options.packs, data, kept(options.kept, name))
    networks = [json.loads(kept(options.kept, name).read_text()) for name in names if kept(options.kept, name).exists()]
    found = table(networks)
    print(found)
    for one in networks:
        for file, packs in one["files"].items():
            told = [packs] if isinstance(packs, str) else [each["reason"] for each in packs if each["verdict"] != "PASSED"]
            for reason in told:
                print(f"{one['name']}, {file}: {reason}")
    if options.write:
        write_between(PAGE, "packs", found)
    lost = [each for one in networks for file in one["files"] for each in _packs(one, file) if each["verdict"] != "PASSED"]
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
