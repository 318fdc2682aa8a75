"""The `compare` command: the agreement of every artifact of a bundle with every other and with the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from squeeze_export.commands.parameters import BundleFolder, takes
from squeeze_export.streams import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from squeeze_export.verification.comparison import Comparison


@takes("compare")
def compare(
    bundle: BundleFolder,
    **given: Any,
) -> None:
    """Do all apps say the same? Run every artifact on the golden pack and hold each against each other and the reference."""
    plot, json, quiet = given["plot"], given["json"], given["quiet"]
    from squeeze_export.bundle.manifest import encode
    from squeeze_export.screen import heatmap, live, terminal
    from squeeze_export.verification.comparison import compare as run_compare

    if plot is not None:
        heatmap.check_destination(plot)
    with live.progress_lines(quiet=quiet) as lines:
        found = run_compare(bundle, lines)
    if plot is not None:
        heatmap.draw(found, plot)
    if json:
        print_json(encode(found))
    elif not quiet:
        console = terminal.out()
        for table in tables(found, console.width):
            console.print(table)
    failed = [f"{subject.name}: {subject.failed}" for subject in found.subjects if subject.failed is not None]
    if failed and not json:
        terminal.problem("Not every artifact could be executed.\n" + "\n".join(failed))
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def tables(found: Comparison, width: int) -> list[Table]:
    """The matrix above its diagonal, in as many tables side by side as fit into `width` columns; none of it is cut off."""
    from rich.table import Table

    from squeeze_export.screen.heatmap import cell

    names = [subject.name for subject in found.subjects]
    # The matrix is the same on both sides of its diagonal but for which of the two gives power and margin: one side is shown.
    cells: dict[tuple[int, int], tuple[str, ...]] = {}
    for row, first in enumerate(names):
        for column in range(row + 1, len(names)):
            together = found.between(first, names[column])
            cells[row, column] = ("–",) if together is None else cell(together)
    heads = [tuple(name.split(" ")) for name in names]
    left = max(len(line) for head in heads[:-1] for line in head)
    blocks: list[list[int]] = []
    room = 0
    for column in range(1, len(names)):
        wide = 1 + max(len(line) for lines in (heads[column], *(cells[row, column] for row in range(column))) for line in lines)
        if not blocks or room < wide:
            blocks.append([])
            room = width - left - 2
        blocks[-1].append(column)
        room -= wide
    observed = next((pair.agreement.observed for pair in found.pairs), found.output)
    ranked = "" if found.output == "features" else ", same top-1/top-5"
    made = []
    for place, columns in enumerate(blocks):
        table = Table(padding=(0, 0), show_lines=True)
        if place == 0:
            table.title, table.title_justify, table.title_style = _title(found), "left", "bold"
        if place == len(blocks) - 1:
            table.caption = f"In each cell: SNR of the {observed}, largest error of the {found.output}{ranked}."
            table.caption_justify = "left"
        table.add_column("", no_wrap=True)
        for column in columns:
            table.add_column("\n".join(heads[column]), justify="right", no_wrap=True)
        for row in range(columns[-1]):
            table.add_row("\n".join(heads[row]), *("\n".join(cells.get((row, column), ())) for column in columns))
        made.append(table)
    return made


def _title(found: Comparison) -> str:
    return f"{found.name}: agreement on {len(found.images)} images"
