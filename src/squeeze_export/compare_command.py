"""The `compare` command: the agreement of every artifact of a bundle with every other and with the reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from squeeze_export.comparison import Comparison


def compare(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder, such as dist/squeezenet1_1-demo.")],
    plot: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the matrix as a heat map into this file (extra: plot).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the matrix as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Do all apps say the same? Run every artifact on the golden pack and hold each against each other and the reference."""
    from squeeze_export import heatmap, screen
    from squeeze_export.comparison import compare as run_compare
    from squeeze_export.manifest import encode

    if plot is not None:
        heatmap.check_destination(plot)
    with screen.progress_lines(quiet=quiet) as lines:
        found = run_compare(bundle, lines)
    if plot is not None:
        heatmap.draw(found, plot)
    if json:
        typer.echo(encode(found).decode(), nl=False)
    elif not quiet:
        screen.out().print(_table(found))
    failed = [f"{subject.name}: {subject.failed}" for subject in found.subjects if subject.failed is not None]
    if failed and not json:
        screen.problem("Not every artifact could be executed.\n" + "\n".join(failed))
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def _table(found: Comparison) -> Table:
    from rich.table import Table

    from squeeze_export.heatmap import cell

    observed = next((pair.agreement.observed for pair in found.pairs), found.output)
    ranked = "" if found.output == "features" else ", same top-1/top-5"
    table = Table(
        title=f"{found.name}: agreement on {len(found.images)} images",
        title_justify="left",
        title_style="bold",
        caption=f"In each cell: SNR of the {observed}, largest error of the {found.output}{ranked}.",
        caption_justify="left",
        show_lines=True,
    )
    names = [subject.name for subject in found.subjects]
    table.add_column("", min_width=11)
    # The matrix is the same on both sides of its diagonal but for which of the two gives power and margin: one side is shown.
    for name in names[1:]:
        table.add_column(name.replace(" ", "\n"), justify="right", min_width=8)
    for row, first in enumerate(names[:-1]):
        cells = []
        for column, second in enumerate(names[1:], start=1):
            together = found.between(first, second) if column > row else None
            cells.append("" if column <= row else "–" if together is None else "\n".join(cell(together)))
        table.add_row(first.replace(" ", "\n"), *cells)
    return table
