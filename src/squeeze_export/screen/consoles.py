"""The two consoles: results on standard output, progress and errors on standard error, in what their encodings can show."""

from __future__ import annotations

import sys
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from squeeze_export.streams import plain

# Wide enough for every table when the output goes to a file, where rich would assume 80 columns and fold words.
_PLAIN_WIDTH: Final = 120


class PlainConsole(Console):
    """A console that words signs plainly before it lays them out, where its encoding lacks them: columns stay columns."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, of strings, Text and tables."""
        try:
            "✓Δ±●…–∞".encode(self.encoding)
        except UnicodeEncodeError:
            objects = tuple(self._plain(item) for item in objects)
        super().print(*objects, **options)

    def _plain(self, item: Any) -> Any:
        if isinstance(item, str):
            return plain(item, self.encoding)
        if isinstance(item, Text):
            worded = Text(style=item.style, justify=item.justify, overflow=item.overflow, no_wrap=item.no_wrap, end=item.end)
            for segment in item.render(self):
                worded.append(plain(segment.text, self.encoding), segment.style)
            return worded
        if isinstance(item, Table):
            item.title, item.caption = self._plain(item.title), self._plain(item.caption)
            for column in item.columns:
                column.header, column.footer = self._plain(column.header), self._plain(column.footer)
                column._cells = [self._plain(cell) for cell in column._cells]
        return item


def out() -> Console:
    """The console for results."""
    return PlainConsole(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def err() -> Console:
    """The console for progress and errors."""
    return PlainConsole(stderr=True, width=None if sys.stderr.isatty() else _PLAIN_WIDTH, highlight=False, soft_wrap=True)
