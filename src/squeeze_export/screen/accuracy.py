"""The table of what --max-accuracy-drop and --min-accuracy measured, below an export's result table."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from squeeze_export.bundle.manifest import AccuracyRecord
from squeeze_export.evaluation.limit import exceeds, falls_short
from squeeze_export.screen import tables, terminal
from squeeze_export.validation.accuracy import difference_of


def accuracy_table(told: AccuracyRecord) -> Table:
    """What was found: per artifact how often it is right, the drop ± its standard error, and whether it is within the limits."""
    labelled = told.expected == "labels"
    reference = f", reference {100 * told.reference / told.images:.1f} %" if labelled else " beside the reference"
    limits = [] if told.max_drop is None else [f"Allowed is a drop of {told.max_drop:g} points"]
    limits += [] if told.min_accuracy is None else [f"Asked for is {told.min_accuracy:g} %"]
    table = Table(
        title=f"Top-1 on {told.images} {'labelled images' if labelled else 'images without labels'}{reference}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=f"{'. '.join(limits)}; one image is worth {100 / told.images:.2g}.",
        caption_justify="left",
    )
    for heading in ("target", "precision"):
        table.add_column(heading, no_wrap=True)
    for heading in ("accuracy" if labelled else "agreement", "drop in points"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for row in told.artifacts:
        shown, drop, word = "–", "–", row.status.replace("MEASURED", "within")
        if row.right is not None and row.gained is not None and row.lost is not None:
            beside = difference_of(row.gained, row.lost, told.images)
            shown, drop = f"{100 * row.right / told.images:.1f} %", tables.difference_text(beside, sign=-1)
            if told.max_drop is not None and exceeds(beside, told.images, told.max_drop):
                word = "DROPPED"
            elif told.min_accuracy is not None and falls_short(row.right, told.images, told.min_accuracy):
                word = "TOO LOW"
        table.add_row(row.target, row.key.rung, shown, drop, Text(word, style=terminal.STYLES.get(word, "")))
    return table
