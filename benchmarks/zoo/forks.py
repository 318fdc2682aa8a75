"""The program's workers as forks of a process that has imported every SDK: imports would be most of the time.

Nothing else differs: the same job files, the same code, a process for each file, one after the other.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile
from typing import Any, Final

from squeeze_export.processes import worker, workers
from squeeze_export.sdks import load_coremltools

_SDKS: Final = ("litert_torch", "ai_edge_litert.interpreter", "onnx", "onnxruntime", "torchvision", "timm")

SECONDS: Final[dict[str, float]] = {}  # of the processor, by the artifact's key in file names: what its worker took


def preload() -> None:
    """Import here what every process would."""
    from benchmarks.noise.networks import declare_operators

    declare_operators()
    load_coremltools()
    for name in _SDKS:
        importlib.import_module(name)


def use() -> None:
    """Let this process, and its forks, start one worker at a time, as a fork."""
    workers.at_once = lambda: 1  # type: ignore[assignment]
    workers.subprocess = _Forking()  # type: ignore[assignment]


class _Forking:
    """In the place of the module subprocess, for a command `python -P -m squeeze_export.processes.worker ...`."""

    PIPE: Final = subprocess.PIPE

    def Popen(self, command: list[str], *, env: dict[str, str], **_: Any) -> _Fork:
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        arguments = command[command.index("squeeze_export.processes.worker") + 1 :]
        child = os.fork()
        if child == 0:
            code = 3
            try:
                os.close(write_in)
                os.close(read_out)
                os.dup2(read_in, 0)
                os.dup2(write_out, 1)
                sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
                os.environ.update(env)
                tempfile.tempdir = None  # it is in the environment
                code = worker.main(arguments)
            finally:
                os._exit(code)
        os.close(read_in)
        os.close(write_out)
        return _Fork(child, arguments[1], write_in, read_out)


class _Fork:
    """What `workers` asks of a subprocess.Popen."""

    def __init__(self, child: int, name: str, write_in: int, read_out: int) -> None:
        self._child, self._name = child, name
        self.stdin, self.stdout = os.fdopen(write_in, "w", encoding="utf-8"), os.fdopen(read_out, encoding="utf-8")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int | None:
        """The exit code."""
        return self._ended(0)

    def _ended(self, how: int) -> int | None:
        if self.returncode is None:
            try:
                done, status, used = os.wait4(self._child, how)
            except ChildProcessError:  # the other thread that waits has it
                return self.returncode
            if done:
                SECONDS[self._name] = used.ru_utime + used.ru_stime
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        """End it."""
        os.kill(self._child, signal.SIGKILL)
