"""Rewrite what is generated (`python -m tests.generate`): the JSON schema, the table of tolerances. Tests hold them to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from squeeze_export.manifest import schema
from squeeze_export.validation.tolerances import TOLERANCES

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "src" / "squeeze_export" / "manifest.schema.json"
PARITY = ROOT / "docs" / "parity.md"


def schema_text() -> str:
    """What manifest.schema.json must hold."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def with_tolerances(page: str) -> str:
    """The page with its table of tolerances as the code has it."""
    rows = ["| target | precision | SNR | centred SNR | error of peak | why |", "| --- | --- | --- | --- | --- | --- |"]
    for (target, precision), bar in TOLERANCES.items():
        numbers = f"{bar.min_snr_db:g} dB | {bar.min_centred_snr_db:g} dB | {bar.max_error_of_peak:g}"
        rows.append(f"| {target} | {precision} | {numbers} | {bar.reason} |")
    table = "\n".join(["<!-- tolerances -->", *rows, "<!-- /tolerances -->"])
    made, count = re.subn(r"<!-- tolerances -->.*<!-- /tolerances -->", lambda _: table, page, flags=re.DOTALL)
    assert count == 1
    return made


def main() -> None:
    """Write every generated file."""
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    PARITY.write_text(with_tolerances(PARITY.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
