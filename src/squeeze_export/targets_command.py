"""The command `targets`, which cli.py takes in."""

from __future__ import annotations

from typing import Annotated

import typer


def targets(json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Show what can be exported and executed on this machine, and why not."""
    from squeeze_export.targets import target_states

    states = target_states()
    if json:
        from squeeze_export.manifest import encode

        typer.echo(encode({"schema_version": 1, "targets": states}).decode(), nl=False)
        return
    from squeeze_export import screen

    screen.out().print(screen.target_table(states))
