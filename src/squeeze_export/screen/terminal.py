"""What a person sees: a progress line per artifact on standard error, tables on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from squeeze_export.contracts.artifact import ArtifactKey
from squeeze_export.contracts.parity import OutputParity, ParityReport
from squeeze_export.screen.consoles import err as err
from squeeze_export.screen.consoles import out as out

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from squeeze_export.bundle.manifest import ArtifactRecord
    from squeeze_export.evaluation.report import Accuracy, ArtifactRow, Evaluation
    from squeeze_export.ladders.ladder import Ladder
    from squeeze_export.processes.jobs import Result
    from squeeze_export.validation.accuracy import PairedDifference, Proportion

STYLES = {"PASSED": "bold green", "FAILED": "bold red", "NOT_RUN": "bold yellow", "error": "bold red", "ready": "green"}
STYLES |= {"MEASURED": "green", "DROPPED": "bold red", "TOO LOW": "bold red", "within": "bold green"}
_TABLE_WIDTH = 79
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


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the result table."""

    key: ArtifactKey
    size_bytes: int | None
    report: ParityReport
    witness: bool = False  # not the one that decides


def result_table(title: str, rows: Sequence[Row]) -> Table:
    """Target, precision, size, max abs error, SNR, top-1 agreement, verdict; errors and SNR are of logits, or features."""
    ran: dict[str, list[str]] = {}
    for row in rows:
        ran.setdefault(row.report.executor, []).append(f"{'witness of ' if row.witness else ''}{row.key}")
    executors = [f"{', '.join(keys)}: {executor}" for executor, keys in ran.items()]
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        # No vertical lines, and who executed below it: so it stands unbroken in a terminal of 80 columns.
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=f"Executed by: {'; '.join(executors)}." if rows else None,
        caption_justify="left",
    )
    for heading in ("target", "precision"):
        table.add_column(heading, no_wrap=True)
    # Where it does not fit all the same, two columns go before the verdict would be cut; --json has everything.
    narrow = out().width < _TABLE_WIDTH
    for heading in ("SNR", "top-1\nagreement") if narrow else ("size", "max abs\nerror", "SNR", "top-1\nagreement"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        seen = logits_of(row.report)
        size = "–" if row.size_bytes is None else f"{row.size_bytes:,} B"
        table.add_row(
            "↳ witness" if row.witness else row.key.target,
            row.key.rung,
            *(() if narrow else (size, _number(seen.max_abs_error if seen else None, "{:.2e}"))),
            _decibel(seen),
            _agreement(seen),
            Text(row.report.verdict, style=STYLES[row.report.verdict]),
        )
    return table


def logits_of(report: ParityReport) -> OutputParity | None:
    """The comparison that a softmax does not soften: of logits, tapped logits, log-probabilities or features."""
    return next((output for output in report.outputs if output.observed != "probabilities"), None)


def rows_of(results: Iterable[Result], artifacts: Iterable[ArtifactRecord] = ()) -> list[Row]:
    """One row per executor of each result, witnesses last; sizes are those of the recorded artifacts."""
    sizes = {entry.key: entry.size_bytes for entry in artifacts}
    return [
        Row(key=result.key, size_bytes=sizes.get(result.key), report=report, witness=place > 0)
        for result in results
        for place, report in enumerate((*result.reports, *(witness.report for witness in result.witnesses)))
    ]


def print_tracebacks(results: Iterable[Result], logs: Mapping[str, str] | None = None) -> None:
    """Everything that is known about the failures, and the logs by subject, on standard error."""
    for result in results:
        if result.failure is not None and result.failure.traceback:
            sys.stderr.write(f"--- {result.key} ---\n{result.failure.traceback}\n")
    for subject, log in (logs or {}).items():
        sys.stderr.write(f"--- {subject} ---\n{log}\n")


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


def evaluation_table(found: Evaluation) -> Table:
    """Per row top-1 and top-5 with 95 % intervals, and beside the reference the paired differences and the agreement."""
    reference = found.reference
    executors: dict[str, list[str]] = {}
    for name, executor in (("reference", reference.executor), *((_named(row), row.executor) for row in found.artifacts)):
        if executor is not None:
            executors.setdefault(executor, []).append(name)
    table = Table(
        title=f"{found.name} on {found.images} images of {found.source}, in percent [95 % interval]",
        title_justify="left",
        title_style="bold",
        caption="Δ: accuracy less the reference's on the same images ± its standard error. Executed by: "
        + "; ".join(f"{', '.join(names)}: {executor}" for executor, names in executors.items())
        + ".",
        caption_justify="left",
    )
    table.add_column("")
    for heading in ("top-1", "top-5", "Δ top-1", "Δ top-5", "same top-1 as ref."):
        table.add_column(heading, justify="right")
    table.add_row("reference", *_accuracy(reference.status, reference.accuracy), "", "", "")
    for row in found.artifacts:
        beside = row.comparison
        table.add_row(
            _named(row),
            *_accuracy(row.status, row.accuracy),
            difference_text(beside.top1_difference if beside else None),
            difference_text(beside.top5_difference if beside else None),
            _percent(beside.agreement if beside else None),
        )
    return table


def ladder_table(found: Ladder) -> Table:
    """A line per rung: bytes, bytes as a ZIP, accuracy beside the reference's, ms; ● where no rung beats it at its size."""
    from squeeze_export.ladders.ladder import NOT_TIMED

    table = Table(
        title=f"{found.name}: precision ladder on {found.images} images of {found.source}, in percent",
        title_justify="left",
        title_style="bold",
        caption="Δ: accuracy less the reference's on the same images ± its standard error; same top-1: as the reference's. "
        f"●: on the Pareto front of its column against bytes.{found.limits_words} {NOT_TIMED} Here of {found.runs} executions.",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("target", no_wrap=True)
    table.add_column("precision", no_wrap=True)
    for heading in ("bytes", "as ZIP", "top-1", "top-5", "Δ top-1", "same\ntop-1", "ms, 1\nthread", "ms, 2\nthreads"):
        table.add_column(heading, justify="right", no_wrap=heading in ("bytes", "as ZIP", "top-1"))
    if found.reference is not None:
        top5 = "–" if found.reference.top5 is None else f"{100 * found.reference.top5.value:.1f}"
        table.add_row("reference", "", "", "", f"  {100 * found.reference.top1.value:.1f}  ", top5, "", "", "", "")
    for rung in found.rungs:
        top1: str | Text = Text(rung.status, style=STYLES.get(rung.status, ""))
        if rung.accuracy is not None:
            top1 = f"{100 * rung.accuracy.top1.value:.1f} {'●' if rung.best_accuracy else ' '}"
        top5 = "–" if rung.accuracy is None or rung.accuracy.top5 is None else f"{100 * rung.accuracy.top5.value:.1f}"
        beside = rung.comparison
        table.add_row(
            rung.target,
            rung.name,
            f"{rung.bytes:,}",
            f"{rung.zip_bytes:,}",
            top1,
            top5,
            ("✗ " if rung.refused else "") + difference_text(beside.top1_difference if beside else None),
            "–" if beside is None else f"{100 * beside.agreement.value:.1f}",
            "–" if rung.ms_1_thread is None else f"{rung.ms_1_thread:.2f} {'●' if rung.best_speed else ' '}",
            _number(rung.ms_2_threads, "{:.2f}"),
        )
    return table


def _named(row: ArtifactRow) -> str:
    return str(row.key)


def _accuracy(status: str, accuracy: Accuracy | None) -> tuple[str | Text, str]:
    if accuracy is None:
        return Text(status, style=STYLES.get(status, "")), "–"
    return _percent(accuracy.top1), _percent(accuracy.top5)


def _percent(proportion: Proportion | None) -> str:
    if proportion is None:
        return "–"
    return f"{100 * proportion.value:.1f} [{100 * proportion.low:.1f}, {100 * proportion.high:.1f}]"


def difference_text(difference: PairedDifference | None, sign: int = 1) -> str:
    """In points ± its standard error; `sign` -1 tells a drop in place of a difference."""
    if difference is None:
        return "–"
    if not difference.gained and not difference.lost:
        return "no image differs"  # a standard error of 0 would claim too much
    error = "" if difference.standard_error is None else f" ± {100 * difference.standard_error:.1f}"
    return f"{sign * 100 * difference.value:+.1f}{error}"


def some(names: Sequence[str], count: int = 10) -> str:
    """Some of the names, and how many more there are."""
    shown_names = ", ".join(names[:count])
    return shown_names if len(names) <= count else f"{shown_names} and {len(names) - count} more"


def problem(message: str) -> None:
    """Print an error for a person."""
    err().print(f"[bold red]error:[/] {escape(message)}")


def note(message: str) -> None:
    """Print a fact that the user must know, on standard error."""
    err().print(f"[bold yellow]note:[/] {escape(message)}")


def shown(path: Path) -> str:
    """A path as a person would write it: relative where it is below the current folder."""
    absolute = path.resolve()
    here = Path.cwd().resolve()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _decibel(parity: OutputParity | None) -> str:
    if parity is None:
        return "–"
    if parity.snr_db is None:
        return "∞" if parity.max_abs_error == 0 else "–"
    return f"{parity.snr_db:.1f} dB"


def _agreement(parity: OutputParity | None) -> str:
    if parity is None or parity.top1_agreement is None:
        return "–"
    ties = f" ({parity.top1_ties} tied)" if parity.top1_ties else ""
    return f"{parity.top1_agreement:.0%} of {parity.images}{ties}"
