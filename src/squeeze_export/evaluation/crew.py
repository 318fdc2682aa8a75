"""The parent side: worker processes per artifact, fed with crops, of which only so many compute at a time."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from squeeze_export import signals
from squeeze_export.bundle.manifest import encode
from squeeze_export.evaluation.jobs import JOB, LOG, Answer, Job, Lost, Ready, Reply

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import PixelArray

# -P: a folder named like an SDK in the current directory must not be imported in its place.
WORKER: Final = (sys.executable, "-P", "-m", "squeeze_export.evaluation.worker")

# A further process for an artifact must win back its own start by this factor.
_WORTH: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some images by their places in the image set, with their crops (n, height, width, 3) uint8."""

    number: int
    places: tuple[int, ...]
    crops: PixelArray


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The first worker of `subject` is ready."""

    subject: str
    executor: str


@dataclass(frozen=True, kw_only=True)
class Answered:
    """Answers of `subject` for the first `len(tops)` images of a chunk (all, unless it was lost in the middle)."""

    subject: str
    chunk: Chunk
    tops: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Gone:
    """`subject` cannot go on; `place` is the image it ended at, if it had one. `log` is what its worker printed."""

    subject: str
    lost: Lost
    place: int | None
    log: str


Event = Opened | Answered | Gone


@dataclass
class _Subject:
    name: str
    job: Job
    waiting: queue.SimpleQueue[Chunk | None] = field(default_factory=queue.SimpleQueue)
    lanes: int = 0
    executing: int = 0
    start_seconds: float = 0.0
    run_seconds: float = 0.0
    images: int = 0
    gone: bool = False
    alone: bool = False  # a further worker could not start


class Crew:
    """Workers for `jobs` by subject, started at once, a further one where an artifact lags and a slot is free.

    At most `slots` of them load or execute at a time. What happens comes as events to the function `tell`, from threads.
    """

    def __init__(
        self,
        folder: Path,
        jobs: Mapping[str, Job],
        *,
        slots: int,
        tell: queue.SimpleQueue[object],
        command: Sequence[str] = WORKER,
    ) -> None:
        self._folder = folder
        self._command = tuple(command)
        self._slots = threading.Semaphore(slots)
        self._limit = slots
        self._tell = tell
        self._lock = threading.Lock()
        self._stopped = False
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        self._subjects = {name: _Subject(name, job) for name, job in jobs.items()}
        for subject in self._subjects.values():
            self._add_lane(subject)

    def give(self, subject: str, chunk: Chunk) -> None:
        """Queue a chunk for a subject."""
        self._subjects[subject].waiting.put(chunk)

    def reinforce(self, remaining: Mapping[str, int]) -> None:
        """Start one further worker, if a slot is idle, for the subject that lags most; `remaining` counts images to come."""
        with self._lock:
            if sum(subject.executing for subject in self._subjects.values()) >= self._limit:
                return
            best, longest = None, 0.0
            for subject in self._subjects.values():
                if (
                    subject.gone
                    or subject.alone
                    or subject.images == 0
                    or subject.waiting.empty()
                    or subject.lanes >= self._limit
                ):
                    continue
                seconds = remaining.get(subject.name, 0) * subject.run_seconds / subject.images / subject.lanes
                if seconds > max(longest, _WORTH * subject.start_seconds):
                    best, longest = subject, seconds
        if best is not None:
            self._add_lane(best)

    def stop(self) -> None:
        """End every worker, whatever it is doing; returns when none is left."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                if process.poll() is None:
                    process.kill()
        for subject in self._subjects.values():
            for _ in range(subject.lanes):
                subject.waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _add_lane(self, subject: _Subject) -> None:
        subject.lanes += 1
        lane = self._folder / f"{len(self._threads)}"
        thread = threading.Thread(target=self._serve, args=(subject, lane), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, subject: _Subject, folder: Path) -> None:
        """One lane: a process from its start to its end."""
        process = None
        place: int | None = None
        try:
            began = time.monotonic()
            with self._slot(subject):
                began = time.monotonic()
                process = self._start(subject, folder)
                if process is None:
                    return
                first = _reply(process, folder)
            subject.start_seconds = time.monotonic() - began
            if isinstance(first, Lost):
                if subject.images:  # a worker that opened the same file is at work: go on with that one
                    subject.alone = True
                else:
                    self._gone(subject, first, None, folder)
                return
            assert isinstance(first, Ready)
            self._tell.put(Opened(subject=subject.name, executor=first.executor))
            while (chunk := subject.waiting.get()) is not None and not subject.gone:
                with self._slot(subject):
                    began = time.monotonic()
                    tops, lost = _execute(process, chunk, folder)
                    with self._lock:
                        subject.run_seconds += time.monotonic() - began
                        subject.images += len(tops)
                self._tell.put(Answered(subject=subject.name, chunk=chunk, tops=tops))
                if lost is not None:
                    place = chunk.places[len(tops)]
                    self._gone(subject, lost, place, folder)
                    return
        except Exception as error:  # a lane must not end silently: the parent would wait for ever
            told = f"An unexpected {type(error).__name__}: {error}. Report what --verbose prints."
            self._gone(subject, Lost(error="ArtifactError", message=told, traceback=traceback.format_exc()), place, folder)
        finally:
            if process is not None:
                _end(process)

    @contextlib.contextmanager
    def _slot(self, subject: _Subject) -> Iterator[None]:
        with self._slots:
            with self._lock:
                subject.executing += 1
            try:
                yield
            finally:
                with self._lock:
                    subject.executing -= 1

    def _start(self, subject: _Subject, folder: Path) -> subprocess.Popen[bytes] | None:
        scratch = folder / "tmp"
        scratch.mkdir(parents=True)
        (folder / JOB).write_bytes(encode(subject.job))
        with self._lock:
            if self._stopped:
                return None
            # Ctrl-C reaches the whole process group; the parent decides what becomes of its workers.
            with (folder / LOG).open("ab") as log, signals.held():
                process = subprocess.Popen(
                    [*self._command, str(folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=_environment(scratch),
                )
            self._processes.append(process)
        return process

    def _gone(self, subject: _Subject, lost: Lost, place: int | None, folder: Path) -> None:
        with self._lock:
            if self._stopped or subject.gone:
                return
            subject.gone = True
        self._tell.put(Gone(subject=subject.name, lost=lost, place=place, log=_log(folder)))
        for _ in range(subject.lanes):
            subject.waiting.put(None)  # further lanes of the subject end too


def _execute(process: subprocess.Popen[bytes], chunk: Chunk, folder: Path) -> tuple[tuple[tuple[int, ...], ...], Lost | None]:
    """Send a chunk and read its answers; fewer than it has images where the worker was lost."""
    assert process.stdin is not None
    tops: list[tuple[int, ...]] = []
    # A worker that died has left its last words in the other pipe.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(struct.pack("<I", len(chunk.places)))
        process.stdin.write(chunk.crops.data.cast("B"))
        process.stdin.flush()
    while len(tops) < len(chunk.places):
        reply = _reply(process, folder)
        if not isinstance(reply, Answer):
            assert isinstance(reply, Lost)
            return tuple(tops), reply
        tops.append(reply.top)
    return tuple(tops), None


def _reply(process: subprocess.Popen[bytes], folder: Path) -> Reply:
    assert process.stdout is not None
    line = process.stdout.readline()
    if line:
        reply: Reply = msgspec.json.decode(line, type=Reply)
        return reply
    code = process.wait()
    how = f"ended with code {code}"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else "?"
        how = f"was ended by signal {-code} ({name})"
    if code == -signal.SIGKILL:
        how += ", for which too little memory is the usual reason"
    log = _log(folder).strip()
    last = f" Its last words: {log.splitlines()[-1]}." if log else " It printed nothing."
    return Lost(error="ArtifactError", message=f"The process that executed it {how}.{last}", traceback=log)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()  # the end of its input: it ends itself
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _log(folder: Path) -> str:
    path = folder / LOG
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _environment(scratch: Path) -> dict[str, str]:
    environment = dict(os.environ)
    environment["TMPDIR"] = str(scratch)  # what an SDK leaves behind goes away with the folder
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    # The processes run side by side: a thread pool per core in each of them only makes them wait for one another.
    environment.setdefault("OMP_NUM_THREADS", "1")
    return environment
