"""Generated parts of a page: what stands between `<!-- name -->` and `<!-- /name -->`."""

from __future__ import annotations

import re
from pathlib import Path


def write_between(page: Path, name: str, text: str) -> None:
    """Put `text` between the marks `name` of a page; ends the program where the page has not exactly one such place."""
    marked = f"<!-- {name} -->\n{text}\n<!-- /{name} -->"
    place = rf"<!-- {name} -->.*<!-- /{name} -->"
    written, count = re.subn(place, lambda _: marked, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{page} has no place for {name}")
    page.write_text(written, encoding="utf-8")
