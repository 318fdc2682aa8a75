"""One network measured in this process: exported by the program's public API, the files opened again and timed."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.mil_reference import in_turns
from benchmarks.zoo import operations
from benchmarks.zoo.cells import Cell, Measured, Outcome, key
from benchmarks.zoo.forks import SECONDS

from squeeze_export.contracts.artifact import Precision, Target
from squeeze_export.contracts.parity import NoiseFloor, ParityReport
from squeeze_export.errors import SqueezeExportError

if TYPE_CHECKING:
    from squeeze_export.bundle.manifest import ArtifactRecord
    from squeeze_export.pipeline.results import Bundle
    from squeeze_export.processes.jobs import Result

FACTORY: Final = "benchmarks.zoo.network:network"
_DETAIL: Final = 4000  # characters of a traceback
_RUNS: Final = range(5, 21)
_SECONDS: Final = 1.0  # that timing may take, once it has its least number of runs
_TAKEN: Final = re.compile(r"LiteRT \S+ \((.*)\)")


def measure(
    known: Measured,
    missing: Sequence[tuple[Target, Precision]],
    data: Path,
    state: str,
    told: Callable[[Measured], None],
) -> None:
    """Measure the missing cells of a network, one precision after the other; `told` hears of all after each."""
    import torch
    from benchmarks.zoo.network import made

    torch.set_num_threads(1)
    try:
        eager, side = made(known.name, str(data / "images" / "calibration"))
    except Exception as error:  # a library that has no such network, or cannot build it here
        cell = Cell(verdict="ERROR", state=state, reason=f"building it: {type(error).__name__}: {error}")
        told(replace(known, cells=known.cells | {key(*one): cell for one in missing}))
        return
    known = replace(known, side=side)
    for precision in dict.fromkeys(one for _, one in missing):
        targets = [target for target, one in missing if one == precision]
        found = _exported(known.name, side, targets, precision, data, state, eager)
        known = replace(known, cells=known.cells | found)
        told(known)


def _exported(
    name: str, side: int, targets: Sequence[Target], precision: Precision, data: Path, state: str, eager: Any
) -> dict[str, Cell]:
    from squeeze_export import ExportRequest, export
    from squeeze_export.pipeline.results import ExportFailed
    from squeeze_export.preprocessing.spec import spec_for

    with tempfile.TemporaryDirectory() as folder:
        request = ExportRequest(
            targets=tuple(targets),
            precisions=dict.fromkeys(targets, (precision,)),
            model=FACTORY,
            model_arguments={"name": name, "calibration": str(data / "images" / "calibration")},
            preprocessing=spec_for("torchvision", model="", input_size=side),
            images=data / "images" / "evaluation",
            output=Path(folder),
            name="network",
            starters=(),
            keep_going=True,
        )
        try:
            bundle = export(request, progress=False)
        except ExportFailed as error:
            return {key(one.key.target, one.key.precision): _lost(one, state, None) for one in error.results}
        except SqueezeExportError as error:
            if len(targets) > 1:  # what refuses one format need not refuse the others
                return {
                    where: cell
                    for target in targets
                    for where, cell in _exported(name, side, [target], precision, data, state, eager).items()
                }
            return {key(targets[0], precision): Cell(verdict="REFUSED", state=state, reason=str(error))}
        return _cells(bundle, eager, state)


def _cells(bundle: Bundle, eager: Any, state: str) -> dict[str, Cell]:
    from squeeze_export.bundle.folder import GOLDEN
    from squeeze_export.golden.files import read_golden
    from squeeze_export.preprocessing.pixels import normalise

    pack = read_golden(bundle.path / GOLDEN)
    pixels = pack.pixels[:1]
    image = normalise(pixels, pack.preprocessing)
    found = {key(one.key.target, one.key.precision): _lost(one, state, pack.noise_floor) for one in bundle.failed}
    for record in bundle.manifest.artifacts:
        path = bundle.path / record.path
        ms, eager_ms = _timed(record, path, pixels, eager, image)
        found[key(record.target, record.precision)] = replace(
            _judged(record.parity, record.target, record.precision, state, pack.noise_floor),
            operations=operations.count(record.target, path),
            size_bytes=record.size_bytes,
            seconds=SECONDS.get(record.key.name),
            ms=ms,
            eager_ms=eager_ms,
        )
    return found


def _lost(result: Result, state: str, floor: NoiseFloor | None) -> Cell:
    seconds = SECONDS.get(result.key.name)
    if result.failure is not None:
        failure = result.failure
        return Cell(
            verdict="ERROR",
            state=state,
            reason=failure.message,
            detail=failure.traceback[-_DETAIL:],
            seconds=seconds,
        )
    cell = _judged(result.reports[0], result.key.target, result.key.precision, state, floor)
    return replace(cell, seconds=seconds)


def _judged(report: ParityReport, target: Target, precision: Precision, state: str, floor: NoiseFloor | None) -> Cell:
    verdict: Outcome = report.verdict
    level = None
    if floor is not None:
        level = floor.fp32 if precision == "fp32" else floor.fp16 if target == "coreml" else floor.fp16_stored
    taken = _TAKEN.fullmatch(report.executor) if target == "tflite" else None
    return Cell(
        verdict=verdict,
        state=state,
        reason=report.reason,
        executor=report.executor,
        snr_db=report.outputs[-1].centred_snr_db if report.outputs else None,
        floor_db=None if level is None else level.centred_snr_db,
        xnnpack=None if taken is None else taken[1],
    )


def _timed(record: ArtifactRecord, path: Path, pixels: Any, eager: Any, image: Any) -> tuple[float, float]:
    """The least milliseconds of the file in its executor and of eager PyTorch, run in turns on one thread."""
    import torch

    from squeeze_export.validation.runners import RUNNERS

    runner = RUNNERS[record.target][0].open(path, record.signature, record.precision)
    spec = record.signature.input
    given = {spec.name: spec.encode(pixels)}
    tensor = torch.from_numpy(image)
    pairs: list[tuple[float, float]] = []
    with torch.no_grad():
        in_turns(lambda: runner.run(given), lambda: eager(tensor), 1)
        began = time.monotonic()
        while len(pairs) < _RUNS.start or (len(pairs) < _RUNS.stop and time.monotonic() - began < _SECONDS):
            pairs += in_turns(lambda: runner.run(given), lambda: eager(tensor), 1)
    return min(ms for ms, _ in pairs), min(ms for _, ms in pairs)
