"""Export a list of networks to every format and precision, and keep what was found: the tables of docs/reference/networks.md.

    python -m benchmarks.zoo --kept DIR [--zoo zoo.txt] [--only vit,ghost] [--targets coreml] [--precisions fp32] [--again]
    python -m benchmarks.zoo --kept DIR --table

Needs timm, torchvision and the extra onnx, and photographs: a folder named by SQUEEZE_EXPORT_DATA, or ../shared/data. Each
network runs in a process of its own, one file after the other, and is kept in --kept when it is done. Ctrl-C loses the network
that runs; the same command goes on. Exit code 1 where a cell that was asked for is not PASSED.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from benchmarks.zoo import cells, forks, tables
from benchmarks.zoo.cells import ROOT, Cell, Measured, key

from squeeze_export.contracts.artifact import TARGETS, Precision, Target


def main() -> int:
    """Measure what is missing, and say what did not pass."""
    options = _options()
    options.kept.mkdir(parents=True, exist_ok=True)
    names = options.zoo.read_text(encoding="utf-8").split()
    if options.table:
        tables.write([found for name in names if (found := cells.read(options.kept, name)).cells])
        return 0
    data = Path(os.environ.get("SQUEEZE_EXPORT_DATA") or ROOT.parent / "shared" / "data")
    if not (data / "images" / "evaluation").is_dir():
        raise SystemExit(f"no photographs: set SQUEEZE_EXPORT_DATA or provide {os.path.relpath(data)}")
    names = [name for name in names if not options.only or any(part in name for part in options.only.split(","))]
    asked = cells.wanted(cast("tuple[Target, ...]", options.targets), cast("tuple[Precision, ...]", options.precisions))
    forks.preload()
    forks.use()
    bad = 0
    for precision in dict.fromkeys(one for _, one in asked):  # all networks in fp32 first
        those = [cell for cell in asked if cell[1] == precision]
        for place, name in enumerate(names, 1):
            found = _network(name, those, data, options, f"[{precision} {place}/{len(names)}]")
            bad += sum(found.cells[key(*one)].verdict != "PASSED" for one in those)
    print(f"{bad} cells are not PASSED" if bad else "every cell PASSED", file=sys.stderr)
    return int(bad > 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = cells.offered()
    parser.add_argument("--kept", type=Path, required=True, help="the folder of results, a JSON file per network")
    parser.add_argument("--zoo", type=Path, default=ROOT.parent / "shared" / "zoo.txt", help="a network per line")
    parser.add_argument("--only", default="", help="those whose name holds one of these parts, divided by commas")
    parser.add_argument("--targets", type=lambda text: _of(text, TARGETS), default=TARGETS)
    parser.add_argument("--precisions", type=lambda text: _of(text, known), default=known)
    parser.add_argument("--again", action="store_true", help="measure again what did not pass with other sources than these")
    parser.add_argument("--fresh", action="store_true", help="measure again all that was measured with other sources than these")
    parser.add_argument("--limit", type=int, default=900, help="seconds for a network in one precision")
    parser.add_argument("--table", action="store_true", help="write docs/reference/networks.md from what is kept")
    return parser.parse_args()


def _of(text: str, known: Sequence[str]) -> tuple[str, ...]:
    given = tuple(text.split(","))
    if strange := [one for one in given if one not in known]:
        raise argparse.ArgumentTypeError(f"{strange[0]} is none of {', '.join(known)}")
    return given


def _network(
    name: str, asked: Sequence[tuple[Target, Precision]], data: Path, options: argparse.Namespace, place: str
) -> Measured:
    """Measure the cells of one network that are missing, in a process of its own."""
    state = cells.state()
    known = cells.read(options.kept, name)

    def is_missing(one: tuple[Target, Precision]) -> bool:
        cell = known.cells.get(key(*one))
        if cell is None:
            return True
        return cell.state != state and (options.fresh or (options.again and cell.verdict != "PASSED"))

    missing = [one for one in asked if is_missing(one)]
    if not missing:
        return known
    began = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="zoo-"))
    child = os.fork()
    if child == 0:
        _child(known, missing, data, state, options.kept, scratch)
    try:
        ended = _wait(child, options.limit)
    finally:
        _kill(child)
        shutil.rmtree(scratch, ignore_errors=True)
    known = cells.read(options.kept, name)
    lost = [one for one in missing if is_missing(one)]
    if lost:
        reason = f"it was ended after {options.limit} s" if ended is None else f"its process ended with status {ended}"
        cell = Cell(verdict="TIME" if ended is None else "ERROR", state=state, reason=reason)
        known = replace(known, cells=known.cells | {key(*one): cell for one in lost})
        cells.write(options.kept, known)
    print(f"{place} {name}, {known.side} pixels, {time.monotonic() - began:.0f} s", file=sys.stderr)
    for one in missing:
        print(f"    {key(*one):<18} {tables.told(known.cells[key(*one)])}", file=sys.stderr, flush=True)
    return known


def _child(
    known: Measured, missing: Sequence[tuple[Target, Precision]], data: Path, state: str, folder: Path, scratch: Path
) -> None:
    """Never comes back."""
    code = 1
    try:
        os.setsid()  # its workers end with it
        tempfile.tempdir = os.environ["TMPDIR"] = str(scratch)
        from benchmarks.zoo import measure

        measure.measure(known, missing, data, state, lambda found: cells.write(folder, found))
        code = 0
    except BaseException as error:
        print(f"{known.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def _wait(child: int, limit: int) -> int | None:
    """The child's exit code, or None where the limit came first."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.2)
    return None


def _kill(child: int) -> None:
    """End the child with all that it started, if anything of it still runs."""
    try:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


if __name__ == "__main__":
    sys.exit(main())
