"""A command's parameters, made of the table of options: what Typer reads off a function's signature stands nowhere else."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from squeeze_export.contracts.option import Command, Option
from squeeze_export.contracts.options import OPTIONS

F = TypeVar("F", bound=Callable[..., None])

_TYPES: Final[dict[str, Any]] = {
    "text": str,
    "path": str,
    "file": Path,
    "whole": int,
    "number": float,
    "list": list[str],
    "switch": bool,
}
BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder, such as dist/squeezenet1_1-demo.")]


def taken_by(command: Command, options: Sequence[Option] = OPTIONS) -> tuple[Option, ...]:
    """The options of a command, in the table's order, those without which it does not run first."""
    taken = [option for option in options if command in option.help]
    return tuple(sorted(taken, key=lambda option: command not in option.required))


def takes(command: Command, options: Sequence[Option] = OPTIONS) -> Callable[[F], F]:
    """Give a function the command's options as keyword parameters, behind those that it spells out itself.

    The function takes them as `**given`: an option's name and what was written, None, False or the default where nothing was.
    """

    def give(function: F) -> F:
        own = inspect.signature(function, eval_str=True)
        spelled = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        made = [_parameter(option, command) for option in taken_by(command, options)]
        first = [each for each in spelled if each.default is inspect.Parameter.empty]
        last = [each for each in spelled if each.default is not inspect.Parameter.empty]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*first, *made, *last)]
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        function.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}
        return function

    return give


def _parameter(option: Option, command: Command) -> inspect.Parameter:
    required = command in option.required
    kind = _TYPES[option.kind]
    if not required and option.kind != "switch":
        kind = kind | None
    flags = [option.flag, *([option.short] if option.short else [])]
    panel = option.heading if command == "export" else None
    told = typer.Option(*flags, metavar=option.metavar, help=option.help[command], rich_help_panel=panel)
    default: Any = inspect.Parameter.empty if required else False if option.kind == "switch" else option.default
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, told])
