"""One real bundle, made by the command that a user types; tests copy it before they damage it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def run_tool(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 300) -> Ended:
    """Run squeeze-export as a user would, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "squeeze_export", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """`squeeze-export --target all` with the defaults, made once for all test processes. Never change it: copy it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all processes of this run
    with (folder / "bundle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "dist" / "net").exists():
            ended = run_tool("--target", "all", "--name", "net", cwd=folder)
            assert ended.code == 0, ended.err
    return folder / "dist" / "net"


@pytest.fixture
def copied(bundle, tmp_path):
    """A copy of the bundle that a test may damage."""
    import shutil

    return Path(shutil.copytree(bundle, tmp_path / "net"))
