"""The parent side of an export: starts one worker process per artifact, follows their stages, ends them together."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from squeeze_export import signals
from squeeze_export.bundle.manifest import decode, encode
from squeeze_export.contracts.artifact import ArtifactKey, TfliteRoute
from squeeze_export.contracts.request import Progress
from squeeze_export.processes.jobs import Failure, Job, JobKind, Result

_ENDED: Final = ""
# A worker with its SDK takes up to a gigabyte. Three at once, one per target, pay off on two cores: imports wait for the disk.
_AT_ONCE: Final = 3
_WORKER_BYTES: Final = 2**30
_SECONDS_TO_FOLLOW: Final = 5.0  # of an ended worker's last lines; a process that it left behind may hold them open for ever


class Workers:
    """Workers, one process per artifact, for jobs in `folder`; the first ones start at once and wait for their jobs."""

    def __init__(
        self, folder: Path, kind: JobKind, keys: Sequence[ArtifactKey], progress: Progress, tflite_route: TfliteRoute
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._route = tflite_route
        self._progress = progress
        self._events: queue.Queue[tuple[ArtifactKey, str]] = queue.Queue()
        self._processes: dict[ArtifactKey, subprocess.Popen[str]] = {}
        self._followers: list[threading.Thread] = []
        self._waiting = deque(keys)
        self._began = time.monotonic()

    def start(self) -> None:
        """Start as many as may run at once; stop() ends them, also where this was interrupted."""
        for _ in range(min(at_once(), len(self._waiting))):
            self._start(self._waiting.popleft())

    def _start(self, key: ArtifactKey) -> None:
        scratch = self._folder / f"{key.name}.tmp"
        scratch.mkdir(parents=True)
        what = (key.name, key.target, self._kind, self._route)
        # -P: a folder named like an SDK in the current directory must not be imported in its place.
        # Ctrl-C reaches the whole process group; the parent decides what becomes of its workers.
        with signals.held():
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "squeeze_export.processes.worker", str(self._folder), *what],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=_environment(scratch),
            )
            self._processes[key] = process
        follower = threading.Thread(target=self._follow, args=(key, process), daemon=True)
        self._followers.append(follower)
        follower.start()

    def _follow(self, key: ArtifactKey, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:  # closed here: closed elsewhere, it might be in the middle of a line
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._events.put((key, json.loads(line)["stage"]))
        process.wait()
        self._events.put((key, _ENDED))

    def run(self, jobs: Sequence[Job]) -> tuple[Result, ...]:
        """Hand out one job per key and wait for all results, in the order of the jobs. A worker that crashed gives a Failure."""
        for job in jobs:
            (self._folder / f"{job.key.name}.job.json").write_bytes(encode(job))
        for key in tuple(self._processes):
            self._go(key)
        results: dict[ArtifactKey, Result] = {}
        while len(results) < len(jobs):
            key, stage = self._events.get()
            if stage != _ENDED:
                self._progress.stage(str(key), stage)
                continue
            results[key] = self._result(key)
            self._progress.done(str(key), _outcome(results[key]), results[key].seconds)
            if self._waiting:
                following = self._waiting.popleft()
                self._start(following)
                self._go(following)
        return tuple(results[job.key] for job in jobs)

    def _go(self, key: ArtifactKey) -> None:
        stdin = self._processes[key].stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):
            stdin.write("go\n")
            stdin.flush()

    def _result(self, key: ArtifactKey) -> Result:
        path = self._folder / f"{key.name}.result.json"
        if path.is_file():
            return decode(path.read_bytes(), Result)
        code = self._processes[key].returncode
        cause = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        if code == -9:
            cause += " (out of memory is the usual reason)"
        log = self.log(key)
        last = log.strip().splitlines()[-1] if log.strip() else "it printed nothing"
        failure = Failure(
            error="ConversionError",
            message=f"The {key} worker {cause} without a result; its last words: {last}. --verbose shows all of them.",
            traceback=log,
        )
        seconds = time.monotonic() - self._began
        return Result(key=key, artifact=None, reports=(), failure=failure, seconds=seconds)

    def log(self, key: ArtifactKey) -> str:
        """Everything the SDKs printed in the worker."""
        path = self._folder / f"{key.name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def stop(self) -> None:
        """End every worker that still runs; returns when none does."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
        for process in self._processes.values():
            process.wait()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        for follower in self._followers:
            follower.join(_SECONDS_TO_FOLLOW)


@contextlib.contextmanager
def workers(
    folder: Path,
    kind: JobKind,
    keys: Sequence[ArtifactKey],
    progress: Progress,
    *,
    tflite_route: TfliteRoute = "litert-torch",
) -> Iterator[Workers]:
    """Have a worker per artifact in `folder` (made if missing), `at_once` of them at a time; none outlives the block.

    `kind` and `tflite_route` are those of the jobs to come: a worker imports what they need while it waits for them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    running = Workers(folder, kind, keys, progress, tflite_route)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def at_once() -> int:
    """How many workers run side by side on this machine: three, more where there are more cores, fewer where memory is short."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(max(_AT_ONCE, os.cpu_count() or 1), memory // _WORKER_BYTES))


def _environment(scratch: Path) -> dict[str, str]:
    environment = dict(os.environ)
    environment["TMPDIR"] = str(scratch)  # what an SDK leaves behind goes away with the job folder
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    # Workers run side by side: a thread pool per core in each of them only makes them wait for one another.
    environment.setdefault("OMP_NUM_THREADS", "1")
    return environment


def _outcome(result: Result) -> str:
    if result.failure is not None:
        return "error"
    return result.reports[0].verdict if result.reports else "ready"
