"""Hold the noise floor of networks against what sound artifacts and planted faults give: the table in docs/explanation/parity.md.

    python -m benchmarks.noise.floor --zoo zoo.txt --calibration DIR --evaluation DIR --kept DIR [--coreml] [--write]

Needs timm, torchvision, onnx and onnxruntime. Each network runs in a process of its own; its logits are kept in --kept, and a
second run measures only what is missing there. Exit code 1 where a sound artifact was refused.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.marked import write_between
from benchmarks.noise.alone import alone
from benchmarks.noise.table import caught, floors, read, shortfalls

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "parity.md"


def measured(name: str, options: argparse.Namespace) -> None:
    """Build one network and keep what it, its artifacts and its faulty versions answer."""
    import torch
    from benchmarks.noise.artifacts import ARTIFACTS, each
    from benchmarks.noise.faults import FAULTS
    from benchmarks.noise.networks import build, photographs

    from squeeze_export.validation.noise import measure

    torch.set_num_threads(1)
    began = time.monotonic()
    module, side = build(name, options.calibration)
    images = photographs(options.evaluation, side, options.images, options.shift)
    path = kept(name, options)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    notes: dict[str, Any] = {"side": side}
    if path.exists():
        with np.load(path) as known:
            arrays = dict(known)
            notes = json.loads(str(arrays.pop("notes")))
    tried = notes.setdefault("tried", [])
    if "floor" not in notes:
        floor = measure(module, images)
        notes["floor"] = floor_as_json(floor)
        arrays["reference"] = each(module, images)
    for label, (_, run) in ARTIFACTS.items():
        if label in tried or label not in wanted(options):
            continue
        tried.append(label)
        try:
            arrays[f"artifact: {label}"] = run(module, images)
        except Exception as error:  # whatever a converter or a kernel says: it is told, and the others go on
            notes[label] = f"{type(error).__name__}: {error}"[:200]
    for label, plant in FAULTS.items():
        if label not in tried:
            tried.append(label)
            found = plant(module, images)
            if found is not None:
                arrays[f"fault: {label}"] = found
    np.savez(path, notes=np.array(json.dumps(notes)), **arrays)
    print(f"{name}, {side} pixels, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def wanted(options: argparse.Namespace) -> set[str]:
    """The artifacts that are asked for, and all faults."""
    from benchmarks.noise.artifacts import ARTIFACTS
    from benchmarks.noise.faults import FAULTS

    return {label for label in (*ARTIFACTS, *FAULTS) if options.coreml or label != "Core ML fp16"}


def complete(name: str, options: argparse.Namespace) -> bool:
    """Whether nothing of this network is missing."""
    path = kept(name, options)
    if not path.exists():
        return False
    with np.load(path) as known:
        return wanted(options) <= set(json.loads(str(known["notes"])).get("tried", ()))


def kept(name: str, options: argparse.Namespace) -> Path:
    """The file of one network's logits."""
    folder: Path = options.kept
    return folder / f"{name.replace(':', '-')}.npz"


def floor_as_json(floor: Any) -> dict[str, Any]:
    """A NoiseFloor as it is kept beside the logits."""
    levels = {"fp32": floor.fp32, "fp16": floor.fp16, "fp16-stored": floor.fp16_stored}
    told = {
        key: None if level is None else [level.snr_db, level.centred_snr_db, level.max_error_of_peak]
        for key, level in levels.items()
    }
    return {"images": floor.images, "classes": floor.classes, "problems": floor.problems, **told}


def main() -> int:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--shift", type=int, default=0, help="take other photographs, into another --kept")
    parser.add_argument("--coreml", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.kept.mkdir(parents=True, exist_ok=True)
    names = options.zoo.read_text(encoding="utf-8").split()
    for name in names:
        if complete(name, options):
            continue
        alone(name, functools.partial(measured, name, options))
    networks = [read(kept(name, options)) for name in names if kept(name, options).exists()]
    first, second = floors(networks), caught(networks)
    found = shortfalls(networks)
    print(first, "", second, "", sep="\n")
    for label, (below, ratio, alarms, count) in found.items():
        print(f"{label}: at most {below:.1f} dB below the floor, {ratio:.1f} times its error; {alarms} of {count} refused")
    if options.write:
        write_between(PAGE, "floors", first)
        write_between(PAGE, "floor faults", second)
    return int(any(alarms for _, _, alarms, _ in found.values()))


if __name__ == "__main__":
    sys.exit(main())
