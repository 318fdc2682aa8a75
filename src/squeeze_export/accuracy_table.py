"""The table of what --max-accuracy-drop measured, below an export's result table."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from squeeze_export import screen
from squeeze_export.evaluation.limit import exceeds
from squeeze_export.manifest import AccuracyRecord
from squeeze_export.validation.accuracy import difference_of


def accuracy_table(told: AccuracyRecord) -> Table:
    """What --max-accuracy-drop found: per artifact how often it is right, and the drop ± its standard error beside the limit."""
    labelled = told.expected == "labels"
    reference = f", reference {100 * told.reference / told.images:.1f} %" if labelled else " beside the reference"
    table = Table(
        title=f"Top-1 on {told.images} {'labelled images' if labelled else 'images without labels'}{reference}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=f"Allowed is a drop of {told.max_drop:g} points; one image is worth {100 / told.images:.2g}.",
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
            shown, drop = f"{100 * row.right / told.images:.1f} %", screen.difference_text(beside, sign=-1)
            word = "DROPPED" if exceeds(beside, told.images, told.max_drop) else word
        table.add_row(row.target, row.key.rung, shown, drop, Text(word, style=screen.STYLES.get(word, "")))
    return table
