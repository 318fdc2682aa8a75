"""Put ladders that `squeeze-export ladder` measured into docs/ladder.md, as one table.

    .venv/bin/python -m benchmarks.ladder_table ladder/ladder.json ... [--write]

Nothing is measured here: every figure stands in the JSON files. --write puts the table between the marks there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from benchmarks.marked import write_between

from squeeze_export.contracts.artifact import rung_name

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "ladder.md"
HEADER: Final = """\
| | bytes | as ZIP | top-1 | difference, points | same top-1 | ms, 1 thread | ms, 2 threads |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def rows(ladder: dict[str, Any]) -> list[str]:
    """The Markdown rows of one ladder: its reference, then its rungs from the heaviest; bold where no rung beats it."""
    images, reference = ladder["images"], ladder["reference"]
    first = f"| *{ladder['name']}* in PyTorch, {images} images | | | {100 * reference['top1']['value']:.1f} % | | | | |"
    made = [first]
    for rung in sorted(ladder["rungs"], key=lambda rung: -rung["bytes"]):
        name = f"{rung['target']} {rung_name(rung['precision'], rung.get('size_budget'))}"
        name = f"**{name}**" if rung["best_accuracy"] else name
        size = f"{rung['bytes']:,} | {rung['zip_bytes']:,}"
        if rung["accuracy"] is None:
            made.append(f"| {name} | {size} | {rung['status']}: {rung['reason']} | | | | |")
            continue
        beside = rung["comparison"]
        paired = beside["top1_difference"]
        difference = f"{100 * paired['value']:+.2f} ± {100 * paired['standard_error']:.2f}"
        if not paired["gained"] and not paired["lost"]:
            difference = "no image differs"  # a standard error of 0 would claim too much
        top1 = f"{100 * rung['accuracy']['top1']['value']:.1f} %"
        same = f"{100 * beside['agreement']['value']:.1f} %"
        times = " | ".join("" if rung[key] is None else f"{rung[key]:.1f}" for key in ("ms_1_thread", "ms_2_threads"))
        made.append(f"| {name} | {size} | {top1} | {difference} | {same} | {times} |")
    return made


def table(ladders: list[dict[str, Any]]) -> str:
    """The Markdown table of several ladders."""
    return "\n".join([HEADER, *(row for ladder in ladders for row in rows(ladder))])


def main() -> None:
    """Print the table; with --write, put it into the page too."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("ladders", nargs="+", type=Path)
    arguments.add_argument("--write", action="store_true")
    chosen = arguments.parse_args()
    made = table([json.loads(path.read_text(encoding="utf-8")) for path in chosen.ladders])
    print(made)
    if chosen.write:
        write_between(PAGE, "ladder", made)


if __name__ == "__main__":
    main()
