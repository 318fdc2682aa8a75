"""Cut the outlines of the 34 characters out of installed fonts, split into training and held-out designs by fonts.toml.

Writes training/out/train.npz (never shipped) and, with --held-out, the package's own data/demo/glyphs.npz.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from squeeze_export.demo import characters as demo
from squeeze_export.demo.characters import CHARACTERS, Face

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HERE: Final = Path(__file__).parent
FOLDERS: Final = (Path("/usr/share/fonts"), Path("/usr/share/texmf/fonts"))
# A line this thin disappears at 224 pixels, and such glyphs are not characters (outlined, inverted, small capitals).
UNWANTED: Final = ("thin", "hairline", "extralight", "extra light", "ultralight", "outline", "inverted", "stencil", "smallcaps")
# Quadratic and cubic curves are cut so that no piece turns by more than about 12 degrees.
STEPS: Final = 6
MAX_TRAIN_FACES: Final = 8  # per design: a family of 48 optical sizes must not outweigh one with a single style
MAX_HELD_OUT_FACES: Final = 4


def split() -> dict[str, dict[str, list[str]]]:
    """fonts.toml: {"train" | "held_out": {design: [family, ...]}}."""
    with (HERE / "fonts.toml").open("rb") as stream:
        return tomllib.load(stream)


@cache
def installed() -> dict[str, list[tuple[str, Path]]]:
    """Installed fonts with all 34 characters: {family: [(style, file), ...]} in file order; of variable ones the static cuts."""
    from fontTools.ttLib import TTFont

    found: dict[str, list[tuple[str, Path]]] = {}
    files = sorted(
        f for folder in FOLDERS for f in folder.rglob("*") if f.suffix.lower() in (".ttf", ".otf") and "[" not in f.name
    )
    for file in files:
        try:
            font = TTFont(file, lazy=True)
            table, characters = font["name"], font.getBestCmap() or {}
        except Exception as error:  # a broken font file in the system must not stop the run
            print(f"left out {file.name}: {error}", file=sys.stderr)
            continue
        if all(ord(c) in characters for c in CHARACTERS):
            family = table.getDebugName(16) or table.getDebugName(1) or ""
            style = table.getDebugName(17) or table.getDebugName(2) or ""
            found.setdefault(family, []).append((style.strip(), file))
    return found


def outlines(file: Path) -> dict[str, tuple[Any, ...]]:
    """The contours of every character, flattened, in thousandths of the em, y down."""
    from fontTools.pens.recordingPen import DecomposingRecordingPen
    from fontTools.ttLib import TTFont

    font = TTFont(file)
    glyph_set, names = font.getGlyphSet(), font.getBestCmap()
    scale = 1000 / font["head"].unitsPerEm
    cut = {}
    for character in CHARACTERS:
        pen = DecomposingRecordingPen(glyph_set)
        glyph_set[names[ord(character)]].draw(pen)
        contours = [np.round(np.array(c) * (scale, -scale)) for c in _flatten(pen.value)]
        cut[character] = tuple(c.astype(np.float32) for c in contours)
    return cut


def _flatten(commands: Iterable[tuple[str, Sequence[Any]]]) -> list[list[tuple[float, float]]]:
    from fontTools.pens.basePen import decomposeQuadraticSegment

    contours: list[list[tuple[float, float]]] = []
    for operator, points in commands:
        match operator:
            case "moveTo":
                contours.append([points[0]])
            case "lineTo":
                contours[-1].append(points[0])
            case "curveTo":
                contours[-1] += _bezier([contours[-1][-1], *points])
            case "qCurveTo":
                if points[-1] is None:  # TrueType allows a contour of control points only
                    off = points[:-1]
                    start = ((off[-1][0] + off[0][0]) / 2, (off[-1][1] + off[0][1]) / 2)
                    contours.append([start])
                    points = (*off, start)
                for control, end in decomposeQuadraticSegment(points):
                    contours[-1] += _bezier([contours[-1][-1], control, end])
    distinct = [[p for i, p in enumerate(c) if p != c[i - 1]] for c in contours]
    return [c for c in distinct if len(c) > 2]


def _bezier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    p = np.array(points, float)
    ways = np.diff(p, axis=0)
    angles = np.unwrap(np.arctan2(ways[:, 1], ways[:, 0]))
    steps = int(np.clip(np.ceil(np.ptp(angles) / np.deg2rad(90 / STEPS)), 1, 12))
    t = np.linspace(0, 1, steps + 1)[1:, None]
    n = len(points) - 1
    binomial = [1, 2, 1] if n == 2 else [1, 3, 3, 1]
    values = sum(b * (1 - t) ** (n - i) * t**i * p[i] for i, b in enumerate(binomial))
    return [(float(x), float(y)) for x, y in np.asarray(values)]


def faces(side: str, limit: int) -> tuple[Face, ...]:
    """All faces of one side of the split, at most `limit` per design, evenly over its styles; identical outlines once."""
    available, chosen, missing = installed(), [], []
    seen: set[str] = set()
    for design, families in split()[side].items():
        # One file per name: some packages hold the same style as .otf and .ttf.
        named = {(family, style): file for family in families for style, file in available.get(family, [])}
        styles = [(family, style, file) for (family, style), file in named.items()]
        styles = [s for s in styles if not any(word in f"{s[1]} {s[2].stem}".lower() for word in UNWANTED)]
        if not styles:
            missing.append(design)
            continue
        cuts: list[Face] = []
        for family, style, file in _evenly(styles, limit):
            glyphs = outlines(file)
            digest = hashlib.sha256(b"".join(c.tobytes() for g in glyphs.values() for c in g)).hexdigest()
            if digest not in seen and all(glyphs.values()):
                seen.add(digest)
                cuts.append(Face(family=design, style=f"{family} {style}", glyphs=glyphs))
        chosen += cuts
    if missing:
        raise SystemExit(
            f"fonts of these designs are not installed: {', '.join(missing)}. Install training/apt-packages.txt first."
        )
    return tuple(chosen)


def _evenly(styles: list[tuple[str, str, Path]], limit: int) -> list[tuple[str, str, Path]]:
    """At most `limit` of them: plain, bold and italic first, then the rest at even distances."""
    plain = ("regular", "bold", "italic", "medium", "roman", "book", "bold italic", "light")
    ranked = sorted(styles, key=lambda s: plain.index(s[1].lower()) if s[1].lower() in plain else len(plain))
    head = ranked[: (limit + 1) // 2]
    rest = ranked[len(head) :]
    picks = np.unique(np.linspace(0, len(rest) - 1, min(len(rest), limit - len(head))).round().astype(int)) if rest else []
    return head + [rest[int(i)] for i in picks]


@cache
def train_faces() -> tuple[Face, ...]:
    """The training side, from training/out/train.npz, cut on first use."""
    path = HERE / "out" / "train.npz"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        demo.write_faces(path, faces("train", MAX_TRAIN_FACES))
    return demo.read_faces(path)


def sheet(shown: Sequence[Face], path: Path, size: int = 40) -> None:
    """A contact sheet, one face per row, to check by eye that every outline is the character it should be."""
    from PIL import Image, ImageDraw

    from squeeze_export.demo import scene

    page = Image.new("L", (160 + size * len(CHARACTERS), size * len(shown)), 255)
    draw = ImageDraw.Draw(page)
    for row, face in enumerate(shown):
        draw.text((2, row * size + 12), f"{face.family}: {face.style}"[-26:], fill=0)
        for column, character in enumerate(CHARACTERS):
            points = np.concatenate(face.glyphs[character])
            low, high = points.min(axis=0), points.max(axis=0)
            scale = (size - 8) / float((high - low).max())
            placed = [((c - low) * scale + 4).astype(np.float32) for c in face.glyphs[character]]
            cell = 255 - scene.fill(placed, size, size, 4) * 255
            page.paste(Image.fromarray(cell.astype(np.uint8)), (160 + column * size, row * size))
    page.save(path)


def main() -> None:
    """Cut, write and, if asked, draw contact sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-out", action="store_true", help="also rewrite the package's own glyphs.npz")
    parser.add_argument("--sheets", type=Path, metavar="DIR", help="write contact sheets (PNG) of every face there")
    arguments = parser.parse_args()
    (HERE / "out" / "train.npz").unlink(missing_ok=True)
    train = train_faces()
    print(f"training: {len({f.family for f in train})} designs, {len(train)} faces")
    held_out = faces("held_out", MAX_HELD_OUT_FACES) if arguments.held_out else demo.faces()
    if arguments.held_out:
        demo.write_faces(demo.GLYPHS, held_out)
    print(f"held out: {len({f.family for f in held_out})} designs, {len(held_out)} faces")
    if arguments.sheets:
        arguments.sheets.mkdir(parents=True, exist_ok=True)
        for name, group in (("train", train), ("held_out", held_out)):
            for start in range(0, len(group), 40):
                sheet(group[start : start + 40], arguments.sheets / f"{name}-{start:03d}.png")


if __name__ == "__main__":
    main()
