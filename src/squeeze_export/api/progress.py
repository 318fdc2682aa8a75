"""How a program hears what goes on: rich's progress in a terminal or a notebook, a function of its own, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, cast

from squeeze_export.contracts.request import Progress
from squeeze_export.errors import UsageError
from squeeze_export.evaluation.run import Watcher
from squeeze_export.pipeline.results import Silent
from squeeze_export.screen.live import evaluation_bars, progress_lines

Told: TypeAlias = bool | Callable[[str, str], object] | Progress | Watcher | None


class Teller:
    """Tells a function in words: the subject (an artifact, "source", "reference") and what is done with it."""

    def __init__(self, told: Callable[[str, str], object]) -> None:
        self._told = told
        self._counts: dict[str, tuple[int, int]] = {}

    def stage(self, subject: str, stage: str) -> None:
        """See contracts.request.Progress."""
        self._told(subject, stage)

    def count(self, subject: str, done: int, total: int) -> None:
        """See contracts.request.Progress."""
        self._told(subject, f"{done} of {total} images")

    def done(self, subject: str, outcome: str, seconds: float) -> None:
        """See contracts.request.Progress."""
        self._told(subject, f"{outcome} in {seconds:.1f} s")

    def published(self, path: Path) -> None:
        """See contracts.request.Progress."""
        self._told("bundle", f"stands in {path}")

    def notice(self, text: str) -> None:
        """See evaluation.run.Watcher."""
        self._told("note", text)

    def begin(self, subject: str, known: int, total: int) -> None:
        """See evaluation.run.Watcher."""
        self._counts[subject] = (known, total)
        self._told(subject, f"{known} of {total} images")

    def advance(self, subject: str, count: int) -> None:
        """See evaluation.run.Watcher."""
        done, total = self._counts[subject]
        self._counts[subject] = (done + count, total)
        self._told(subject, f"{done + count} of {total} images")

    def end(self, subject: str, status: str) -> None:
        """See evaluation.run.Watcher."""
        self._told(subject, status)


class SilentWatcher:
    """An evaluation that nobody watches."""

    def notice(self, text: str) -> None:
        """Say nothing."""

    def begin(self, subject: str, known: int, total: int) -> None:
        """Say nothing."""

    def advance(self, subject: str, count: int) -> None:
        """Say nothing."""

    def end(self, subject: str, status: str) -> None:
        """Say nothing."""


def in_notebook() -> bool:
    """Whether a notebook runs this: its cells are executed by a kernel, not at a prompt."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell" or type(shell).__module__.startswith("google.colab")


@contextmanager
def progress_of(told: Told) -> Iterator[Progress]:
    """The progress of an export, a verification or a comparison. None: as in a notebook, and silent elsewhere."""
    shown = in_notebook() if told is None else told
    if shown is True:
        with progress_lines(quiet=False) as lines:
            yield lines
    elif shown is False:
        yield Silent()
    else:
        yield cast("Progress", shown if hasattr(shown, "stage") else _teller(shown))


@contextmanager
def watcher_of(told: Told) -> Iterator[Watcher]:
    """The progress of an evaluation, by the same rules."""
    shown = in_notebook() if told is None else told
    if shown is True:
        with evaluation_bars(quiet=False) as bars:
            yield bars
    elif shown is False:
        yield SilentWatcher()
    else:
        yield cast("Watcher", shown if hasattr(shown, "begin") else _teller(shown))


def _teller(told: object) -> Teller:
    """Before the work: minutes later a function that cannot be called would cost them."""
    if not callable(told):
        form = "Write progress=True, progress=False, or a function of two texts, the subject and what is done with it"
        raise UsageError(f"progress is {told!r}, a {type(told).__name__}. {form}.")
    return Teller(told)
