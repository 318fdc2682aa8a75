"""The `targets` command: what this machine can do, and the pip command for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from squeeze_export.commands.parameters import takes
from squeeze_export.streams import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from squeeze_export.pipeline.targets import ExecutorState, RouteState, SourceState, TargetState


@takes("targets")
def targets(
    **given: Any,
) -> None:
    """Show what can be exported and executed on this machine, and why not."""
    json, quiet = given["json"], given["quiet"]
    from squeeze_export.pipeline.targets import broken_sdks, source_states, target_states
    from squeeze_export.screen import live, terminal
    from squeeze_export.sdks import lacking_extras

    broken: dict[str, str] = {}
    if not given["no_import"]:
        with live.progress_lines(quiet=quiet) as lines:
            broken = broken_sdks(lines)
    states, sources, extras = target_states(broken), source_states(broken), lacking_extras()
    remedy = f"pip install 'squeeze-export[{','.join(extras)}]'" if extras else None
    if json:
        from squeeze_export.bundle.manifest import encode

        record = {
            "schema_version": 1,
            "targets": states,
            "sources": sources,
            "imported": not given["no_import"],
            "broken": broken,
            "missing": remedy,
        }
        print_json(encode(record))
        return
    terminal.out().print(_table(states))
    terminal.out().print(_sources(sources))
    if remedy is not None and not quiet:
        terminal.note(f"{remedy} brings everything that is missing here.")


def _sources(states: Sequence[SourceState]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in ("--model", "built by"):
        table.add_column(heading, overflow="fold")
    for state in states:
        version = state.versions.get(state.library)
        built = Text("✓ " if state.unavailable is None else "✗ ", style="green" if state.unavailable is None else "yellow")
        built.append(f"{state.library} {version}" if state.unavailable is None else str(state.unavailable), style="not dim")
        table.add_row(state.form, built)
    return table


def _role(part: RouteState | ExecutorState, *, among: int) -> str:
    from squeeze_export.pipeline.targets import RouteState

    if isinstance(part, RouteState):
        return " (default)" if part.default and among > 1 else ""
    return " (decides)" if part.decides else " (witness)" if part.witness else ""


def _table(states: Sequence[TargetState]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    for heading in ("target", "export", "execute and prove", "precisions", "versions"):
        table.add_column(heading, overflow="fold")
    for state in states:
        versions: dict[str, str] = {}
        columns = (Text(), Text())
        sides: tuple[Sequence[RouteState | ExecutorState], ...] = (state.routes, state.executors)
        for column, parts in zip(columns, sides, strict=True):
            for part in parts:
                versions |= part.versions
                fine = part.unavailable is None
                column.append("✓ " if fine else "✗ ", style="green" if fine else "yellow")
                column.append(part.name + _role(part, among=len(parts)))
                column.append("\n" if fine else f": {part.unavailable}\n", style="dim")
            column.rstrip()
        table.add_row(
            state.target,
            *columns,
            ", ".join(f"{name} (default)" if name == state.default_precision else name for name in state.precisions),
            "\n".join(f"{name} {version}" for name, version in versions.items()),
        )
    return table
