"""The tables of results, for standard output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from squeeze_export.contracts.artifact import ArtifactKey
from squeeze_export.contracts.parity import OutputParity, ParityReport
from squeeze_export.screen.consoles import err as err
from squeeze_export.screen.consoles import out as out

if TYPE_CHECKING:
    from squeeze_export.bundle.manifest import ArtifactRecord
    from squeeze_export.evaluation.report import Accuracy, ArtifactRow, Evaluation
    from squeeze_export.ladders.ladder import Ladder
    from squeeze_export.processes.jobs import Result
    from squeeze_export.validation.accuracy import PairedDifference, Proportion

from squeeze_export.screen.terminal import STYLES

_TABLE_WIDTH = 79


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
        f"●: on its platform's Pareto front of the column against bytes.{found.limits_words} {NOT_TIMED} "
        f"Here of {found.runs} executions.",
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
