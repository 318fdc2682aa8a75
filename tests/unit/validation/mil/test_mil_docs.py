"""The page about the executor lists exactly what the tables hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from squeeze_export.validation.mil.ops import OPERATIONS
from squeeze_export.validation.mil.weights import DECODERS

PAGE = Path(__file__).parents[4] / "docs" / "explanation" / "mil-reference-executor.md"


def _table(functions: Mapping[str, Callable[..., Any]]) -> str:
    rows = [f"| `{name}` | {(function.__doc__ or '').strip().splitlines()[0]} |" for name, function in sorted(functions.items())]
    return "\n".join(["| operation | what it computes |", "|---|---|", *rows])


@pytest.mark.parametrize(("name", "functions"), [("operations", OPERATIONS), ("weights", DECODERS)])
def test_the_page_lists_the_table(name, functions):
    found = re.search(rf"<!-- {name}: .*? -->\n(.*?)\n<!-- end of {name} -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert found[1] == _table(functions), "paste this:\n" + _table(functions)
