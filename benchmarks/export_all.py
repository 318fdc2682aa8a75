"""Measure `--target all` against its parts, side by side in one run, as ratios.

    .venv/bin/python benchmarks/export_all.py [--runs 3]

- all / slowest: wall time of `--target all` over that of its slowest single target (aim: at most 1.4 on 2 cores);
- all / in turn: wall time of `--target all` over the same three conversions and checks one after another in one process;
- the parent's peak memory (aim: under 1 GB), and the wall time of `--help` (aim: under 0.3 s).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGETS = ("coreml", "tflite", "torchscript")

IN_TURN = """
import sys, tempfile
from pathlib import Path
sys.modules["tensorflow"] = None  # as the worker of Core ML does
from squeeze_export.contracts.artifact import DEFAULT_PRECISION, ExportSettings
from squeeze_export.exporters import EXPORTERS
from squeeze_export.golden.images import demo_images; from squeeze_export.golden.pack import make_golden
from squeeze_export.sources.source import load_source
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.validation.judgement import judge_file
spec = spec_for("torchvision", model="squeezenet1_1")
source = load_source(name="bench", model="squeezenet1_1", weights="random", seed=0, labels=None, preprocessing=spec)
pack = make_golden(source, demo_images())
for target in ("coreml", "tflite", "torchscript"):
    settings = ExportSettings(
        precision=DEFAULT_PRECISION[target], input_kind="image", output_kind="probabilities", ios_target="iOS16"
    )
    destination = Path(sys.argv[1]) / (target + EXPORTERS[target].SUFFIX)
    artifact = EXPORTERS[target].export(source, settings, destination)
    reports = judge_file(
        target, artifact.path, artifact.signature, artifact.precision, pack, labels=None, folded=artifact.folded_weights
    )
    assert reports[0].verdict == "PASSED", reports[0]
"""


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; wall seconds, and peak resident memory of the process itself (without its children) in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _, errors = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command[:6])}… ended with {process.returncode}:\n{errors}")
    return seconds, 0.0


def own_peak(command: list[str]) -> float:
    """Peak resident memory in MB of the command's own process, read from the kernel while it ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:6])}… failed")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Print one line per figure: medians and ratios of medians."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=3)
    runs = arguments.parse_args().runs
    tool = [sys.executable, "-m", "squeeze_export"]
    seconds: dict[str, list[float]] = {name: [] for name in (*TARGETS, "all", "in turn", "--help")}
    with tempfile.TemporaryDirectory() as scratch:
        peak = own_peak([*tool, "--target", "all", "-q", "--weights", "random", "--output", f"{scratch}/warm-up"])
        for run in range(runs):
            for name in (*TARGETS, "all"):
                command = [*tool, "--target", name, "-q", "--weights", "random", "--output", f"{scratch}/{run}-{name}"]
                seconds[name].append(timed(command)[0])
            folder = Path(scratch) / f"{run}-in-turn"
            folder.mkdir()
            seconds["in turn"].append(timed([sys.executable, "-c", IN_TURN, str(folder)])[0])
            seconds["--help"].append(timed([*tool, "--help"])[0])
    median = {name: statistics.median(values) for name, values in seconds.items()}
    slowest = max(TARGETS, key=lambda name: median[name])
    for name, values in seconds.items():
        print(f"{name:<12} {median[name]:6.2f} s   (min {min(values):.2f}, max {max(values):.2f}, {runs} runs)")
    print(f"all / slowest single target ({slowest}): {median['all'] / median[slowest]:.2f}")
    print(f"all / the three in turn in one process: {median['all'] / median['in turn']:.2f}")
    print(f"peak memory of the parent process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
