"""Commands as a user types them, and a copy of the bundle that the README's first one makes."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WARM = Path(__file__).resolve().parent / "warm"
SHARED = "SQUEEZE_EXPORT_TESTS"  # what all test processes share: the id of the one that lives longest, and its folder


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def run_tool(
    *arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 300, fresh: bool = False
) -> Ended:
    """Run squeeze-export as a user would, in a process of its own: a fresh interpreter, or one that has the libraries loaded.

    An environment that changes Python itself always gets a fresh one.
    """
    command, whole = list(map(str, arguments)), {**os.environ, "NO_COLOR": "1", **(env or {})}
    if fresh or sys.platform != "linux" or any(name.startswith("PYTHON") for name in env or {}):
        done = subprocess.run(
            [sys.executable, "-m", "squeeze_export", *command],
            cwd=cwd,
            env=whole,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        ended = Ended(done.returncode, done.stdout, done.stderr)
    else:
        ended = _forked(command, cwd, whole, timeout)
    assert "Traceback" not in ended.err, ended.err
    return ended


def run_python(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a user's Python in a fresh interpreter, whose workers begin in processes that have their SDK."""
    whole = f"import sys; sys.executable = {warm_executable()!r}\n{code}"
    return subprocess.run([sys.executable, "-c", whole], cwd=cwd, capture_output=True, text=True, timeout=500, check=False)


@functools.cache
def _server() -> subprocess.Popen[bytes]:
    """One for each test process; it ends with it, when its standard input is closed."""
    command = [sys.executable, str(WARM / "commands.py")]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    atexit.register(server.communicate)
    return server


@functools.cache
def warm_executable() -> str:
    """What begins the workers of forked commands: warm/stand_in.py, with the folder and the owner of its sockets."""
    program = Path(tempfile.mkdtemp(prefix="warm-")) / "python"
    atexit.register(shutil.rmtree, program.parent, ignore_errors=True)
    owner, folder = os.environ[SHARED].split(":", 1)
    stand_in = [sys.executable, "-IS", str(WARM / "stand_in.py"), owner, folder]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(stand_in)} "$@"\n')
    program.chmod(0o755)
    return str(program)


def _forked(arguments: list[str], cwd: Path, env: dict[str, str], timeout: float) -> Ended:
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        request = {"arguments": arguments, "cwd": str(cwd), "env": env, "out": out.name, "err": err.name}
        request["executable"] = warm_executable()
        process = None
        try:
            server.stdin.write(f"{json.dumps(request)}\n".encode())
            process = int(server.stdout.readline())
            if not select.select([server.stdout], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(arguments, timeout)
            code = int(server.stdout.readline())
        except BaseException:  # the next command would read what belongs to this one
            server.kill()
            if process is not None:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            _server.cache_clear()
            raise
        return Ended(code, Path(out.name).read_text(encoding="utf-8"), Path(err.name).read_text(encoding="utf-8"))


@pytest.fixture
def copied(bundle, tmp_path):
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(bundle, tmp_path / "net"))
