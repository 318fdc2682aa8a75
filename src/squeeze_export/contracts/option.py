"""An option as a noun: what one is, whichever command takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "path", "whole", "number", "switch", "list", "file"]
Command = Literal["export", "ladder", "evaluate", "verify", "compare", "starter", "targets"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: `name` as Python spells it; on the command line and in the config file it has - for _.

    `kind`: of the value; "path" is text that names a file or folder, "file" a path that a config file cannot name. `help`: by
    command; the commands named there are those that take it. `required`: by which of them. `default`: where it is not None.
    `wants`: how the config file's error tells the type; `also`: what may stand there instead of text.
    `request_field`: of ExportRequest, where it is called otherwise; `form`:
    how a program writes it, `python`: its kind there, where it is another. Without a form ExportRequest has no field for it.
    """

    name: str
    kind: Kind
    heading: str
    help: Mapping[Command, str]
    metavar: str | None = None
    short: str | None = None
    required: frozenset[Command] = field(default_factory=frozenset)
    default: int | None = None
    wants: str | None = None
    also: Literal["whole", "numbers"] | None = None
    request_field: str | None = None
    form: str | None = None
    python: Kind | None = None

    @property
    def flag(self) -> str:
        """As the command line spells it, --like-this."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def key(self) -> str:
        """As the config file spells it."""
        return self.name.replace("_", "-")

    @property
    def in_config(self) -> bool:
        """Whether the config file takes it: what an export takes, but for the file itself."""
        return "export" in self.help and self.kind != "file"


def both(export: str, ladder: str) -> Mapping[Command, str]:
    """The help of an option that `export` and `ladder` take."""
    return {"export": export, "ladder": ladder}


def same(told: str) -> Mapping[Command, str]:
    """The help of an option that is told alike for `export` and `ladder`."""
    return both(told, told)


def measured(told: str) -> Mapping[Command, str]:
    """The help of an option of the two commands that measure accuracy."""
    return {"ladder": told, "evaluate": told}


def every(told: str, *, but: Command | None = None) -> Mapping[Command, str]:
    """The help of an option of every command with progress, but one."""
    commands: tuple[Command, ...] = ("export", "ladder", "evaluate", "verify", "compare")
    return {command: told for command in commands if command != but}


def plain(
    name: str,
    kind: Kind,
    heading: str,
    told: Mapping[Command, str],
    metavar: str | None = None,
    *,
    short: str | None = None,
    default: int | None = None,
    required: bool = False,
    wants: str | None = None,
    also: Literal["whole", "numbers"] | None = None,
) -> Option:
    """An option that no request of an export has a field for."""
    by = frozenset(told) if required else frozenset()
    return Option(
        name=name,
        kind=kind,
        heading=heading,
        help=told,
        metavar=metavar,
        short=short,
        default=default,
        required=by,
        wants=wants,
        also=also,
    )
