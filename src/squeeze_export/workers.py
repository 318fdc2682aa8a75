"""The parent side of an export: starts one worker process per target, follows their stages, ends them together."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from squeeze_export import signals
from squeeze_export.contracts import Progress, Target
from squeeze_export.jobs import ExportJob, Failure, JobKind, JudgeJob, Result
from squeeze_export.manifest import decode, encode

_ENDED: Final = ""


class Workers:
    """Running workers, one per target, that wait for their jobs in `folder`."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._events: queue.Queue[tuple[Target, str]] = queue.Queue()
        self._processes: dict[Target, subprocess.Popen[str]] = {}
        self._began = time.monotonic()

    def start(self, target: Target, kind: JobKind) -> None:
        """Start the target's worker; stop() ends it, also where this was interrupted."""
        scratch = self._folder / f"{target}.tmp"
        scratch.mkdir(parents=True)
        # -P: a folder named like an SDK in the current directory must not be imported in its place.
        # Ctrl-C reaches the whole process group; the parent decides what becomes of its workers.
        with signals.held():
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "squeeze_export.worker", str(self._folder), target, kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=_environment(scratch),
            )
            self._processes[target] = process
        threading.Thread(target=self._follow, args=(target, process), daemon=True).start()

    def _follow(self, target: Target, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                self._events.put((target, json.loads(line)["stage"]))
        process.wait()
        self._events.put((target, _ENDED))

    def run(self, jobs: Mapping[Target, ExportJob | JudgeJob]) -> dict[Target, Result]:
        """Hand out the jobs and wait for all results, in the order of the targets. A worker that crashed gives a Failure."""
        for target, job in jobs.items():
            (self._folder / f"{target}.job.json").write_bytes(encode(job))
            stdin = self._processes[target].stdin
            assert stdin is not None
            with contextlib.suppress(BrokenPipeError):
                stdin.write("go\n")
                stdin.flush()
        results: dict[Target, Result] = {}
        while len(results) < len(jobs):
            target, stage = self._events.get()
            if stage != _ENDED:
                self._progress.stage(target, stage)
                continue
            results[target] = self._result(target)
            self._progress.done(target, _outcome(results[target]), results[target].seconds)
        return {target: results[target] for target in jobs}

    def _result(self, target: Target) -> Result:
        path = self._folder / f"{target}.result.json"
        if path.is_file():
            return decode(path.read_bytes(), Result)
        code = self._processes[target].returncode
        cause = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        if code == -9:
            cause += " (out of memory is the usual reason)"
        log = self.log(target)
        last = log.strip().splitlines()[-1] if log.strip() else "it printed nothing"
        failure = Failure(
            error="ConversionError",
            message=f"The {target} worker {cause} without a result; its last words: {last}. --verbose shows all of them.",
            traceback=log,
        )
        seconds = time.monotonic() - self._began
        return Result(target=target, artifact=None, reports=(), failure=failure, seconds=seconds)

    def log(self, target: Target) -> str:
        """Everything the SDKs printed in the worker."""
        path = self._folder / f"{target}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def stop(self) -> None:
        """End every worker that still runs; returns when none does."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
        for process in self._processes.values():
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


@contextlib.contextmanager
def workers(folder: Path, kind: JobKind, targets: Sequence[Target], progress: Progress) -> Iterator[Workers]:
    """Start a worker per target in `folder` (made if missing); none outlives the block, Ctrl-C included.

    `kind` is that of the jobs to come: a worker imports what they need while it waits for them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    running = Workers(folder, progress)
    try:
        for target in targets:
            running.start(target, kind)
        yield running
    finally:
        running.stop()


def _environment(scratch: Path) -> dict[str, str]:
    environment = dict(os.environ)
    environment["TMPDIR"] = str(scratch)  # what an SDK leaves behind goes away with the job folder
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    # Workers run side by side: a thread pool per core in each of them only makes them wait for one another.
    environment.setdefault("OMP_NUM_THREADS", "1")
    return environment


def _outcome(result: Result) -> str:
    return "error" if result.failure is not None else result.reports[0].verdict
