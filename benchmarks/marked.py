"""Generated parts of a page: what stands between `<!-- name -->` and `<!-- /name -->`."""

from __future__ import annotations

import re
from pathlib import Path


def with_between(page: str, name: str, text: str) -> str:
    """The page with `text` between its marks `name`; ends the program where it has not exactly one such place."""
    marked = f"<!-- {name} -->\n{text}\n<!-- /{name} -->"
    made, count = re.subn(rf"<!-- {name} -->.*<!-- /{name} -->", lambda _: marked, page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"the page has no place for {name}")
    return made


def write_between(page: Path, name: str, text: str) -> None:
    """The same in the file of a page."""
    page.write_text(with_between(page.read_text(encoding="utf-8"), name, text), encoding="utf-8")
