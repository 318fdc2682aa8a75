"""Measure a run of the MIL reference executor against eager PyTorch on the same network, side by side in one run.

    python -m benchmarks.mil_reference BUNDLE [--runs 30]

Every Core ML artifact of the bundle is run in turns with the eager network, on one thread, one image each, so that a busy machine
slows both down. Opening the package, where all its weights are decoded, is measured once and stands beside.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path


def in_turns(first: Callable[[], object], second: Callable[[], object], runs: int) -> list[tuple[float, float]]:
    """Milliseconds on the clock of a call of the first and a call of the second, `runs` times."""

    def milliseconds(call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - began)

    return [(milliseconds(first), milliseconds(second)) for _ in range(runs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a bundle with Core ML artifacts of a whole classifier")
    parser.add_argument("--runs", type=int, default=30)
    chosen = parser.parse_args()

    import numpy as np
    import torch

    from squeeze_export.bundle.manifest import open_bundle
    from squeeze_export.sources.squeezenet import SqueezeNet
    from squeeze_export.validation.runners import mil_reference

    torch.set_num_threads(1)
    record = open_bundle(chosen.bundle)
    artifacts = [entry for entry in record.artifacts if entry.target == "coreml"]
    if not artifacts:
        raise SystemExit(f"{chosen.bundle} has no Core ML artifact")
    eager = SqueezeNet(record.source.model, record.source.num_classes).eval()
    for entry in artifacts:
        began = time.perf_counter()
        runner = mil_reference.open(chosen.bundle / entry.path, entry.signature, entry.precision)
        opening = time.perf_counter() - began
        spec = entry.signature.input
        image = np.zeros(spec.shape, np.dtype(spec.dtype))
        tensor = torch.zeros(spec.shape)
        with torch.inference_mode():
            times = in_turns(partial(eager, tensor), partial(runner.run, {spec.name: image}), chosen.runs)
        torchs, ours = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(second / first for first, second in times)
        print(
            f"{entry.path}: opened in {opening:.2f} s; a run {ours:.1f} ms, eager PyTorch {torchs:.1f} ms, "
            f"median ratio {ratio:.2f} of {chosen.runs}"
        )


if __name__ == "__main__":
    main()
