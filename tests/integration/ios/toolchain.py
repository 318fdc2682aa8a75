"""Swift for the tests: the one on PATH, or the Debian root that .ci/install-swift makes; otherwise the tests say so and skip."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INSTALLER = ROOT / ".ci" / "install-swift"
REQUIRED = "SQUEEZE_EXPORT_REQUIRE_SWIFT"

Shell = Callable[[Path, str], subprocess.CompletedProcess[str]]


def find_swift() -> Shell | None:
    """A function that runs a shell script in a folder, with `swift` and `swiftc` on its PATH, or None."""
    if shutil.which("swift") and shutil.which("swiftc"):
        return lambda folder, script: _run(["sh", "-c", script], folder)
    root = Path(os.environ.get("SWIFT_ROOT") or Path.home() / ".cache" / "swift-root")
    if (root / ".ready").exists() and os.geteuid() == 0:
        return lambda folder, script: _run([str(INSTALLER), "run", str(folder), "sh", "-c", script], folder)
    return None


def require_swift() -> Shell:
    """The same, or a skip that says what is not checked and how to change that; a failure where CI must not skip."""
    shell = find_swift()
    if shell is None:
        message = (
            "NOT CHECKED: the Swift code of the iOS starter, because there is no Swift here. Install it with "
            "`.ci/install-swift` (Debian, as root: 4 GB, some minutes), or put a Swift 6 toolchain on PATH."
        )
        if os.environ.get(REQUIRED):
            pytest.fail(f"{message} {REQUIRED} is set, so this is a failure.")
        pytest.skip(message)
    return shell


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=590)
