"""The embedded demo: its labels, its weights, and endless labelled pictures in fonts that the weights were not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.demo import scene

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

    from squeeze_export.contracts.arrays import FloatArray

DATA: Final = Path(__file__).parent / "data"
WEIGHTS: Final = DATA / "squeezenet1_1_demo.safetensors"
LABELS: Final = DATA / "labels.txt"
IMAGES: Final = DATA / "images"
GLYPHS: Final = DATA / "glyphs.npz"

# 0-9 and A-Z without O and I, which most fonts draw like 0 and 1.
CHARACTERS: Final = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"

# images/demo-1.png ... are demo_image(PICTURES_SEED, index) for these: unlike scenes, several aspect ratios, small files.
PICTURES_SEED: Final = 2026
PICTURES: Final = (64, 213, 201, 253, 208, 207, 162, 29)

# (width, height) of demo pictures; all have more pixels than the network needs.
_SIZES: Final = ((256, 256), (320, 256), (256, 320), (342, 256), (288, 384), (384, 288))


@dataclass(frozen=True, kw_only=True)
class Face:
    """One style of one font family: its closed contours per character, in thousandths of the em, y down."""

    family: str
    style: str
    glyphs: Mapping[str, tuple[FloatArray, ...]]

    def __hash__(self) -> int:
        return hash((self.family, self.style))


def labels() -> tuple[str, ...]:
    """The 34 labels in class order."""
    return tuple(CHARACTERS)


def demo_image(seed: int, index: int) -> tuple[Image.Image, int]:
    """Picture number `index` of the endless demo set `seed`, and its class: RGB, short side 256 or 288, aspect 3:4 to 4:3.

    Depends on the two numbers only, not on process, order or numpy's global state. Classes take turns and faces change with them,
    so that pictures 0 to 34 * len(faces()) - 1 show every character of every held-out face once.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    label = index % len(CHARACTERS)
    width, height = _SIZES[int(rng.integers(len(_SIZES)))]
    face = faces()[face_of(seed, index)]
    return scene.render(rng, face.glyphs[CHARACTERS[label]], width, height), label


def face_of(seed: int, index: int) -> int:
    """Which of faces() picture `index` of demo set `seed` shows."""
    count = len(faces())
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed]))).permutation(count)
    # The class number staggers the faces, so that a short run already mixes them.
    return int(order[(index // len(CHARACTERS) + index % len(CHARACTERS)) % count])


@cache
def faces() -> tuple[Face, ...]:
    """The held-out faces that ship with the package."""
    return read_faces(GLYPHS)


def read_faces(path: Path) -> tuple[Face, ...]:
    """Read a glyph file as write_faces left it."""
    with np.load(path, allow_pickle=False) as stored:
        names = [str(name) for name in stored["names"]]
        steps, ends, counts = stored["steps"], stored["contour_ends"], stored["contours_per_glyph"]
    points = np.cumsum(steps.astype(np.int32), axis=0)  # steps of a whole file in one go: sums stay far inside 32 bits
    contours = iter(np.split(points.astype(np.float32), ends[:-1]))
    per_glyph = iter(counts.tolist())
    found = []
    for name in names:
        family, style = name.split("\t")
        glyphs = {character: tuple(next(contours) for _ in range(next(per_glyph))) for character in CHARACTERS}
        found.append(Face(family=family, style=style, glyphs=glyphs))
    return tuple(found)


def write_faces(path: Path, written: tuple[Face, ...]) -> None:
    """Write a glyph file: the same faces give the same bytes with the same numpy and zlib.

    `names`: "family<TAB>style". `steps`: int16 (points, 2), each point minus the one before it, over all contours of all glyphs.
    `contour_ends`: where each contour ends in `steps`. `contours_per_glyph`: face by face, in the order of CHARACTERS.
    """
    contours = [contour for face in written for character in CHARACTERS for contour in face.glyphs[character]]
    points = np.round(np.concatenate(contours)).astype(np.int32)
    np.savez_compressed(
        path,
        names=np.array([f"{face.family}\t{face.style}" for face in written]),
        steps=np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int32)).astype(np.int16),
        contour_ends=np.cumsum([len(contour) for contour in contours]).astype(np.int32),
        contours_per_glyph=np.array([len(face.glyphs[c]) for face in written for c in CHARACTERS], np.uint8),
    )
