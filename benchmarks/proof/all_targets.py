"""What `--target all` costs: its time beside each of its targets alone, and the memory of all its processes.

    python -m benchmarks.proof.all_targets [--runs 3]

Needs torchvision. Time: MobileNetV3-small in fp32 with random weights, each command `--runs` times in turns, so that a busy
machine slows all of them down; the least of each counts, and the ratio of `all` to the slowest single target (aim: 1.4).
Processor seconds say what a busy machine does not change. Memory: the peak of the sum of all processes' shares (PSS,
/proc/PID/smaps_rollup, Linux only, sampled ten times a second) while ResNet50 is exported with `--target all` (aim: 6 GB).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.proof import tool

TARGETS: Final = ("coreml", "tflite", "torchscript", "all")
TIMED: Final = "torchvision:mobilenet_v3_small"
WEIGHED: Final = "torchvision:resnet50"
EVERY: Final = 0.1  # seconds between two looks at the memory


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=("time", "memory"), help="one of both")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="all-targets-") as scratch:
        place = Path(scratch)
        (place / "labels.txt").write_text("".join(f"class {index}\n" for index in range(1000)), encoding="utf-8")
        if options.only != "memory":
            print(_times(place, options.runs))
        if options.only != "time":
            print(f"\n{WEIGHED}, all: at most {_memory(place) / 1e9:.2f} GB in all processes")


def _arguments(model: str, target: str) -> tuple[str, ...]:
    # fp32, since with weights that a library drew and no batch norm calibrated, fp16 leaves nothing to judge.
    asked = ("--target", target, "--precision", "fp32", "--model", model, "--weights", "random", "--labels", "labels.txt")
    return (*asked, "--name", target, "--force")


def _times(place: Path, runs: int) -> str:
    tool.run(_arguments(TIMED, "all"), place, place / "log")  # so that every module is compiled and in the disk's cache
    wall: dict[str, list[float]] = {target: [] for target in TARGETS}
    processor: dict[str, list[float]] = {target: [] for target in TARGETS}
    for _ in range(runs):
        for target in TARGETS:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            wall[target].append(tool.run(_arguments(TIMED, target), place, place / "log"))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            processor[target].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    least = {target: min(wall[target]) for target in TARGETS}
    lines = [f"| {TIMED} | s, least of {runs} | processor s |", "| --- | ---: | ---: |"]
    lines += [f"| {target} | {least[target]:.1f} | {min(processor[target]):.1f} |" for target in TARGETS]
    ratio = least["all"] / max(least[target] for target in TARGETS[:-1])
    return "\n".join([*lines, f"| all / slowest | {ratio:.2f} | |"])


def _memory(place: Path) -> int:
    """Bytes, at most, of the processes of one export."""
    process = tool.start(_arguments(WEIGHED, "all"), place, place / "log")
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(_share(pid) for pid in _tree(process)))
        time.sleep(EVERY)
    if process.returncode:
        raise SystemExit((place / "log").read_text(encoding="utf-8", errors="replace"))
    return peak


def _tree(process: subprocess.Popen[bytes]) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # Behind the name, which may hold anything, stand the state and the parent.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found = [process.pid]
    for pid in found:
        found += children.get(pid, [])
    return found


def _share(pid: int) -> int:
    """Bytes of a process, pages that several share divided among them; nothing where it has just ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    main()
