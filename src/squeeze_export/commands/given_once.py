"""A command that refuses an option of one value that is given twice: the parser alone would take the last in silence.

While a shell completes a line nothing is refused: the line is not finished, and an error would be printed into it.
"""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperCommand, TyperGroup, TyperOption

from squeeze_export.errors import UsageError

_SHORT: Final = 72  # of the help that a shell shows beside an option


class _GivenOnce:
    """To be put in front of a click command class."""

    def make_parser(self, ctx: Any) -> Any:
        """The parser, which looks at the order in which options came."""
        parser = super().make_parser(ctx)  # type: ignore[misc]
        if ctx.resilient_parsing:
            return parser
        inner = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            values, rest, order = inner(args)
            for parameter in order:
                single = isinstance(parameter, TyperOption) and not (parameter.multiple or parameter.is_flag or parameter.count)
                if single and order.count(parameter) > 1:
                    raise UsageError(f"{max(parameter.opts, key=len)} is given {order.count(parameter)} times. Keep one of them.")
            return values, rest, order

        parser.parse_args = parse_args
        return parser

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """What the line may go on with; the help of each in one line, without the brackets that Typer takes for markup."""
        items = super().shell_complete(ctx, incomplete)  # type: ignore[misc]
        for item in items:
            told = (item.help or "").replace("[", "(").replace("]", ")")
            item.help = told if len(told) <= _SHORT else f"{told[: _SHORT - 1].rstrip()}…"
        return items


class Command(_GivenOnce, TyperCommand):
    """A command of the command line."""


class Group(_GivenOnce, TyperGroup):
    """The command that has the others."""
