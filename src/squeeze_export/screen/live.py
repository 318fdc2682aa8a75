"""Progress on standard error: redrawn on a terminal and in a notebook, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Column

from squeeze_export.screen.consoles import err as err
from squeeze_export.screen.consoles import out as out

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


from squeeze_export.screen.terminal import STYLES

_SECONDS_BETWEEN_LINES = 10.0


@dataclass
class Lines:
    """Progress as lines: drawn and redrawn on a terminal, one line per change elsewhere."""

    console: Console
    live: RichProgress | None
    written: Path | None = None
    _tasks: dict[str, TaskID] = field(default_factory=dict)
    _began: dict[str, float] = field(default_factory=dict)
    _counted: dict[str, float] = field(default_factory=dict)

    def stage(self, subject: str, stage: str) -> None:
        """See contracts.request.Progress."""
        self._began.setdefault(subject, time.monotonic())
        if self.live is None:
            self.console.print(f"{subject:<20} {stage}…")
        elif subject in self._tasks:
            self.live.update(self._tasks[subject], stage=f"{with_bar(stage)}…")
        else:
            self._tasks[subject] = self.live.add_task(subject, total=None, stage=f"{with_bar(stage)}…")

    def count(self, subject: str, done: int, total: int) -> None:
        """See contracts.request.Progress."""
        last = self._counted.get(subject, 0.0)
        # Without a terminal a line now and then: one per picture would bury the rest.
        if self.live is not None or (done < total and time.monotonic() - last > _SECONDS_BETWEEN_LINES):
            self._counted[subject] = time.monotonic()
            self.stage(subject, f"{done} of {total} images")

    def done(self, subject: str, outcome: str, seconds: float) -> None:
        """See contracts.request.Progress."""
        style = STYLES.get(outcome, "none")
        told = f"[{style}]{outcome}[/] in {seconds:.1f} s"
        if self.live is None or subject not in self._tasks:
            self.console.print(f"{subject:<20} {told}")
        else:
            self.live.update(self._tasks[subject], stage=told, total=1, completed=1)

    def published(self, path: Path) -> None:
        """See contracts.request.Progress."""
        self.written = path


def with_bar(stage: str) -> str:
    """A stage that begins with its part done, such as "35%, 1:01 left: coding", with a bar of ten cells in front."""
    done, percent, _ = stage.partition("%")
    cells = round(int(done) / 10) if percent and done.isdecimal() else None
    return stage if cells is None else f"{'━' * cells}{'┄' * (10 - cells)} {stage}"


def _redraws(console: Console) -> bool:
    """Whether what was drawn can be drawn again: on a terminal, and in a notebook where rich finds its widgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


@contextmanager
def progress_lines(*, quiet: bool) -> Iterator[Lines]:
    """Show progress for the time of the block, on standard error."""
    console = Console(quiet=True) if quiet else err()
    if quiet or not _redraws(console):
        yield Lines(console, None)
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    subject = TextColumn("{task.description:<20}", table_column=Column(no_wrap=True, min_width=20))
    stage = TextColumn("{task.fields[stage]}", table_column=Column(no_wrap=True))  # what a narrow terminal cuts
    elapsed = TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7))
    with Progress(SpinnerColumn(finished_text="✓"), subject, stage, elapsed, console=console) as live:
        yield Lines(console, live)


@dataclass
class Bars:
    """How an evaluation goes: a bar per subject with the time left on a terminal, a line now and then elsewhere."""

    console: Console
    live: RichProgress | None
    _tasks: dict[str, TaskID] = field(default_factory=dict)
    _done: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    _told: dict[str, float] = field(default_factory=dict)

    def notice(self, text: str) -> None:
        """See evaluation.walk.Watcher."""
        self.console.print(f"[bold yellow]note:[/] {escape(text)}")

    def begin(self, subject: str, known: int, total: int) -> None:
        """See evaluation.walk.Watcher."""
        self._done[subject] = (known, known, total)
        self._told[subject] = time.monotonic()
        if self.live is not None:
            self._tasks[subject] = self.live.add_task(subject, total=total, completed=known, status="")
        elif known:
            self.console.print(f"{subject}: {known} of {total} images known from a run before")

    def advance(self, subject: str, count: int) -> None:
        """See evaluation.walk.Watcher."""
        known, done, total = self._done[subject]
        self._done[subject] = (known, done + count, total)
        if self.live is not None:
            self.live.advance(self._tasks[subject], count)
        elif time.monotonic() - self._told[subject] > _SECONDS_BETWEEN_LINES:
            self._told[subject] = time.monotonic()
            self.console.print(f"{subject}: {done + count} of {total} images")

    def end(self, subject: str, status: str) -> None:
        """See evaluation.walk.Watcher."""
        style = STYLES.get(status, "")
        if self.live is not None:
            self.live.update(self._tasks[subject], status=f"[{style}]{status}[/]" if style else status)
        else:
            self.console.print(f"{subject}: {self._done[subject][1]} of {self._done[subject][2]} images, {status}")


@contextmanager
def evaluation_bars(*, quiet: bool) -> Iterator[Bars]:
    """Show an evaluation's progress for the time of the block, on standard error; --quiet still tells notices."""
    console = err()
    if quiet:
        yield _QuietBars(console, None)
        return
    if not _redraws(console):
        yield Bars(console, None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, TextColumn("{task.fields[status]}"), console=console, speed_estimate_period=120) as live:
        yield Bars(console, live)


class _QuietBars(Bars):
    def begin(self, subject: str, known: int, total: int) -> None: ...

    def advance(self, subject: str, count: int) -> None: ...

    def end(self, subject: str, status: str) -> None: ...
