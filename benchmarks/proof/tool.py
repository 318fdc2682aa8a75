"""The program as a user starts it, in a process of its own, also where torchvision's compiled part does not fit torch.

python -m benchmarks.proof.tool --target all --model timm:resnet18 --weights random
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.noise.networks import declare_operators

ROOT: Final = Path(__file__).resolve().parents[2]


def start(arguments: Sequence[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the program in `folder`; what it prints goes to `log`."""
    # Modules of the folder can be imported, as where a user stands in it; the benchmarks and the program as here.
    path = os.pathsep.join([str(folder), *(part for part in sys.path if part)])
    command = [sys.executable, "-m", "benchmarks.proof.tool", *arguments]
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": path})


def run(arguments: Sequence[str], folder: Path, log: Path) -> float:
    """Run the program to its end: wall seconds. Ends this one where it fails, with what it printed."""
    began = time.monotonic()
    if start(arguments, folder, log).wait():
        raise SystemExit(log.read_text(encoding="utf-8", errors="replace"))
    return time.monotonic() - began


def measured(arguments: Sequence[str], folder: Path, log: Path) -> dict[str, Any]:
    """What `evaluate --json` finds."""
    run(["evaluate", *arguments, "--json", "--quiet"], folder, log)
    found: dict[str, Any] = json.loads(log.read_text(encoding="utf-8"))
    return found


def files_of(bundle: Path) -> dict[str, str]:
    """The sha256 of each file of the artifacts of a bundle."""
    import hashlib

    document = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    found = {}
    for artifact in document["artifacts"]:
        place = bundle / artifact["path"]
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file():
                found[path.relative_to(bundle).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


if __name__ == "__main__":
    declare_operators()
    from squeeze_export.__main__ import main

    main()
