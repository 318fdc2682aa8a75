"""Draw docs/ladder.svg, top-1 against bytes, from the table in docs/ladder.md: `.venv/bin/python -m benchmarks.ladder_picture`.

Nothing is measured here. The same table gives the same picture.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from squeeze_export.ladders.rungs import PLATFORMS

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE, PICTURE = ROOT / "docs" / "ladder.md", ROOT / "docs" / "ladder.svg"
STYLES: Final = {"coreml": ("o", "#0b6e99"), "tflite": ("s", "#c8541f"), "torchscript": ("^", "#5a7d2b")}
_ROW: Final = re.compile(r"\| (\**)(\w+) ([\w:-]+)\** \| ([\d,]+) \| [\d,]+ \| ([\d.]+) % \|")
_REFERENCE: Final = re.compile(r"\| \*([\w-]+)\* in PyTorch, (\d+) images \| \| \| ([\d.]+) %")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One rung: `best` where none of the same weights and platform with as few bytes is more accurate."""

    weights: str
    target: str
    precision: str
    bytes: int
    top1: float
    best: bool


def points(page: str) -> tuple[list[Point], dict[str, float]]:
    """The rungs of the table, and PyTorch's own top-1 by weights, in percent."""
    found, references, weights = [], {}, ""
    for line in page.splitlines():
        if reference := _REFERENCE.match(line):
            weights = reference[1]
            references[weights] = float(reference[3])
        elif row := _ROW.match(line):
            size = int(row[4].replace(",", ""))
            best = bool(row[1])
            found.append(Point(weights=weights, target=row[2], precision=row[3], bytes=size, top1=float(row[5]), best=best))
    return found, references


def drawn_from(found: list[Point], references: dict[str, float]) -> str:
    """What the picture says that it shows: a digest of the rungs, so that a table that has moved on is seen."""
    return hashlib.sha256(repr((found, references)).encode()).hexdigest()


def draw(found: list[Point], references: dict[str, float], picture: Path = PICTURE) -> None:
    """Write the picture: a point per rung, a line along those that are best on a platform, PyTorch's top-1 as a level."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "squeeze-export", "svg.fonttype": "none", "font.family": "sans-serif"}
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.2))
    for weights, level in references.items():
        axes.axhline(level, color="#999999", linewidth=0.8, linestyle=":")
        axes.text(5.25e6, level + 0.4, f"{weights} in PyTorch", ha="right", fontsize=8, color="#666666")
        for targets in PLATFORMS.values():
            own = [each for each in found if each.weights == weights and each.best and each.target in targets]
            front = sorted(own, key=lambda each: each.bytes)
            axes.plot([each.bytes for each in front], [each.top1 for each in front], color="#bbbbbb", linewidth=1, zorder=1)
    named = {}
    for each in found:
        marker, colour = STYLES[each.target]
        face = colour if each.best else "white"
        drawn = axes.scatter(each.bytes, each.top1, marker=marker, s=34, color=colour, facecolor=face, zorder=2)
        named.setdefault(each.target, drawn)
        if each.best:
            above = each.weights == next(iter(references))
            place = (5, 5) if above else (5, -12)
            axes.annotate(each.precision, (each.bytes, each.top1), xytext=place, textcoords="offset points", fontsize=8)
    axes.axvline(500_000, color="#999999", linewidth=0.8)
    axes.text(505_000, 44.6, "500,000 bytes", fontsize=8, color="#666666")
    axes.set_xscale("log")
    axes.set_xticks([4e5, 5e5, 7e5, 1e6, 1.4e6, 2.5e6, 5e6], ["0.4", "0.5", "0.7", "1.0", "1.4", "2.5", "5.0"])
    axes.minorticks_off()
    axes.set_xlabel("file size, MB (1000 class names inside)")
    axes.set_ylabel("top-1, % of 320 photographs")
    words = {"coreml": "Core ML", "tflite": "TFLite", "torchscript": "TorchScript Lite"}
    labels = [words[target] for target in named]
    axes.legend(named.values(), labels, frameon=False, fontsize=8, loc="lower right", title="filled: none smaller is better")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None, "Identifier": drawn_from(found, references)})


def main() -> None:
    """Draw it."""
    draw(*points(PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
