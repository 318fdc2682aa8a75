"""What a person sees: a progress line per artifact on standard error, tables on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from squeeze_export.screen.consoles import err as err
from squeeze_export.screen.consoles import out as out

if TYPE_CHECKING:
    from squeeze_export.processes.jobs import Result

STYLES = {"PASSED": "bold green", "FAILED": "bold red", "NOT_RUN": "bold yellow", "error": "bold red", "ready": "green"}
STYLES |= {"MEASURED": "green", "DROPPED": "bold red", "TOO LOW": "bold red", "within": "bold green"}


def print_tracebacks(results: Iterable[Result], logs: Mapping[str, str] | None = None) -> None:
    """Everything that is known about the failures, and the logs by subject, on standard error."""
    for result in results:
        if result.failure is not None and result.failure.traceback:
            sys.stderr.write(f"--- {result.key} ---\n{result.failure.traceback}\n")
    for subject, log in (logs or {}).items():
        sys.stderr.write(f"--- {subject} ---\n{log}\n")


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
