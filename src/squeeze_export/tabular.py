"""Results that people look at in Python: two lines of repr, a dict, a data frame, a table in a notebook."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from squeeze_export.errors import UsageError


class PandasMissing(UsageError, ImportError):
    """A data frame was asked for, and there is no pandas."""


class Tabular:
    """A result that is a table. A class has `headline`, two lines, and `rows`, one mapping per row with the same keys in each."""

    @property
    def headline(self) -> tuple[str, str]:
        """What it is, and what came of it."""
        raise NotImplementedError

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table: numbers, texts and None."""
        raise NotImplementedError

    def document(self) -> Any:
        """What `to_dict` gives, as it is written into JSON elsewhere."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Everything that is known, as JSON has it: dicts, lists, numbers and texts; None for numbers that are not finite."""
        import msgspec

        made: dict[str, Any] = json.loads(msgspec.json.encode(self.document(), enc_hook=_plain))
        return made

    def to_frame(self) -> Any:
        """The table as a pandas DataFrame. Raises PandasMissing, an ImportError and a UsageError, without pandas."""
        try:
            import pandas as pd  # type: ignore[import-untyped, import-not-found, unused-ignore]
        except ImportError as error:
            raise PandasMissing(f"to_frame() needs pandas, and {error}. Run pip install pandas, or take rows.") from error
        return pd.DataFrame(self.rows)

    def __repr__(self) -> str:
        """Two lines."""
        return "\n".join(self.headline)

    def _repr_html_(self) -> str:
        """A table for notebooks, under the two lines."""
        what, outcome = map(html.escape, self.headline)
        rows = self.rows
        heads = "".join(f"<th>{html.escape(name)}</th>" for name in (rows[0] if rows else ()))
        cells = "".join(f"<tr>{''.join(f'<td>{html.escape(_text(value))}</td>' for value in row.values())}</tr>" for row in rows)
        return f"<p><b>{what}</b><br>{outcome}</p><table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>"


def _text(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a result cannot hold {type(value).__name__}")
