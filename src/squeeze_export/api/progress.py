"""How a program hears what goes on: rich's progress in a terminal or a notebook, a function of its own, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

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


def progress_of(told: Told) -> AbstractContextManager[Progress]:
    """The progress of an export, a verification or a comparison. None: as in a notebook, and silent elsewhere."""
    return _chosen(told, progress_lines, Silent(), "stage")


def watcher_of(told: Told) -> AbstractContextManager[Watcher]:
    """The progress of an evaluation, by the same rules."""
    return _chosen(told, evaluation_bars, SilentWatcher(), "begin")


def _chosen(
    told: Told, drawn: Callable[..., AbstractContextManager[Any]], silent: object, method: str
) -> AbstractContextManager[Any]:
    """What is drawn, what is silent, an object that has the method already, or a function that is told in words."""
    wanted = in_notebook() if told is None else told
    if wanted is True:
        return drawn(quiet=False)
    if wanted is False:
        return nullcontext(silent)
    return nullcontext(wanted if hasattr(wanted, method) else _teller(wanted))


def _teller(told: object) -> Teller:
    """Before the work: minutes later a function that cannot be called would cost them."""
    if not callable(told):
        form = "Write progress=True, progress=False, or a function of two texts, the subject and what is done with it"
        raise UsageError(f"progress is {told!r}, a {type(told).__name__}. {form}.")
    return Teller(told)
