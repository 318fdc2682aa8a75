"""Rewrite what is generated, `python -m tests.generate`: the JSON schema of the manifest. Tests hold the copies to it."""

from __future__ import annotations

import json
from pathlib import Path

from squeeze_export.manifest import schema

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write every generated file."""
    text = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    (ROOT / "src" / "squeeze_export" / "manifest.schema.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
