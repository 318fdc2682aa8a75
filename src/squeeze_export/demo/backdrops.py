"""Procedural photographic-looking backgrounds: walls, tables, leaves, tiles, cloth, paper, defocused rooms."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from squeeze_export.contracts.arrays import FloatArray

    Backdrop = Callable[[np.random.Generator, int, int], FloatArray]


def backdrop(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """A new background (3, height, width), values 0 to 1."""
    scene = _KINDS[int(rng.integers(len(_KINDS)))](rng, width, height)
    if rng.random() < 0.6:
        scene = scene + (noise(rng, width, height, int(rng.integers(30, 90))) - 0.5) * np.float32(rng.uniform(0, 0.12))
    return np.asarray(np.clip(scene, 0, 1), np.float32)


def colour(rng: np.random.Generator) -> FloatArray:
    """A random RGB colour (3, 1, 1), 0 to 1: any hue, more often muted than gaudy, every brightness."""
    red_green_blue = colorsys.hsv_to_rgb(rng.random(), rng.beta(1.0, 1.4), rng.uniform(0.04, 1.0))
    return np.array(red_green_blue, np.float32).reshape(3, 1, 1)


def noise(rng: np.random.Generator, width: int, height: int, cells: int) -> FloatArray:
    """Smooth random values (height, width), 0 to 1, with `cells` bumps along the short side."""
    short = min(width, height)
    grid = rng.integers(0, 256, (max(2, cells * height // short + 1), max(2, cells * width // short + 1)), np.uint8)
    return _unit(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def blur(image: Image.Image, radius: float) -> FloatArray:
    """A grey or RGB image defocused, as (height, width) or (3, height, width), 0 to 1; wide blurs are made on a smaller copy."""
    small = int(radius // 3)
    if small > 1:
        # Nothing fine is left after a wide blur, so this loses nothing.
        reduced = image.reduce(small).filter(ImageFilter.GaussianBlur(radius / small))
        image = reduced.resize(image.size, Image.Resampling.BILINEAR)
    else:
        image = image.filter(ImageFilter.GaussianBlur(radius))
    values = _unit(image)
    return np.ascontiguousarray(values.transpose(2, 0, 1)) if values.ndim == 3 else values


def _unit(image: Image.Image) -> FloatArray:
    return np.asarray(image, np.float32) / np.float32(255)


def ramp(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """A straight or round gradient (height, width) from 0 to 1."""
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        values = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    else:
        values = np.hypot(x - np.float32(width * rng.uniform(-0.2, 1.2)), y - np.float32(height * rng.uniform(-0.2, 1.2)))
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - np.float32(low)) / np.float32(high - low + 1e-6), np.float32)


def blob(rng: np.random.Generator, width: int, height: int, softness: float) -> FloatArray:
    """One soft-edged shape (height, width), 0 to 1; `softness` in fractions of the short side."""
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        draw.polygon(_corners(rng, width, height, int(rng.integers(3, 6)), 0.9), fill=255)
    else:
        draw.ellipse(_box(rng, width, height, 0.15, 0.9), fill=255)
    return blur(image, min(width, height) * softness)


def _corners(rng: np.random.Generator, width: int, height: int, count: int, spread: float) -> list[tuple[float, float]]:
    centre = rng.uniform(-0.1, 1.1, 2)
    points = centre + rng.uniform(-spread, spread, (count, 2))
    return [(float(x) * width, float(y) * height) for x, y in points]


def _box(rng: np.random.Generator, width: int, height: int, smallest: float, largest: float) -> tuple[float, float, float, float]:
    short = min(width, height)
    w, h = rng.uniform(smallest, largest, 2) * short
    x, y = rng.uniform(-0.2, 1.0) * width, rng.uniform(-0.2, 1.0) * height
    return (float(x), float(y), float(x + w), float(y + h))


def _byte(values: npt.NDArray[Any]) -> tuple[int, int, int]:
    r, g, b = (int(v) for v in np.clip(values * 255, 0, 255).ravel())
    return (r, g, b)


def _mix(first: FloatArray, second: FloatArray, share: FloatArray) -> FloatArray:
    return np.asarray(first + (second - first) * share, np.float32)


def _octaves(rng: np.random.Generator, width: int, height: int, first: int, count: int, persistence: float) -> FloatArray:
    total = np.zeros((height, width), np.float32)
    weight, weights = 1.0, 0.0
    for octave in range(count):
        total += noise(rng, width, height, first * 2**octave) * np.float32(weight)
        weights += weight
        weight *= persistence
    return total / np.float32(weights)


def _plain(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """A wall or table top with a little unevenness."""
    base = colour(rng)
    uneven = _octaves(rng, width, height, 2, 3, 0.6) - 0.5
    return np.asarray(base + uneven * np.float32(rng.uniform(0.02, 0.25)), np.float32)


def _clouds(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """Stone, rust, plaster, sky: many octaves between two or three colours."""
    share = _octaves(rng, width, height, int(rng.integers(2, 5)), 5, rng.uniform(0.45, 0.75))
    share = np.clip((share - 0.5) * np.float32(rng.uniform(1.2, 3)) + 0.5, 0, 1)
    scene = _mix(colour(rng), colour(rng), share)
    if rng.random() < 0.4:
        scene = _mix(scene, colour(rng), noise(rng, width, height, 5) ** 2)
    return scene


def _things(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """A defocused room or street: shapes of many sizes, blurred, over a gradient."""
    scene = _mix(colour(rng), colour(rng), ramp(rng, width, height))
    image = Image.fromarray(np.ascontiguousarray((scene * 255).astype(np.uint8).transpose(1, 2, 0)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 26))):
        paint = _byte(colour(rng))
        kind = rng.random()
        if kind < 0.35:
            draw.polygon(_corners(rng, width, height, int(rng.integers(3, 6)), rng.uniform(0.1, 0.5)), fill=paint)
        elif kind < 0.6:
            draw.ellipse(_box(rng, width, height, 0.03, 0.5), fill=paint)
        elif kind < 0.85:
            draw.rectangle(_box(rng, width, height, 0.03, 0.7), fill=paint)
        else:
            draw.line(
                _corners(rng, width, height, 2, 1.0), fill=paint, width=max(1, int(min(width, height) * rng.uniform(0.004, 0.04)))
            )
    return blur(image, min(width, height) * 0.05 * rng.random() ** 1.5)


def _room(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """A wall meeting a floor or table, each with its own texture and light."""
    wall, floor = (_KINDS_FLAT[int(rng.integers(len(_KINDS_FLAT)))](rng, width, height) for _ in range(2))
    x = np.arange(width, dtype=np.float32) / width
    edge = height * (rng.uniform(0.1, 0.9) + (x - 0.5) * rng.uniform(-0.35, 0.35))
    below = np.clip(np.arange(height, dtype=np.float32)[:, None] - edge[None].astype(np.float32), 0, 1)
    return np.asarray(wall + (floor - wall) * below, np.float32)


def _stripes(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """Wood, cloth, blinds: warped stripes."""
    short = np.float32(min(width, height))
    y, x = np.arange(height, dtype=np.float32)[:, None] / short, np.arange(width, dtype=np.float32)[None] / short
    angle = rng.uniform(0, np.pi)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    warp = _octaves(rng, width, height, 2, 3, 0.5) * np.float32(rng.uniform(0, 0.5))
    wave = 0.5 + 0.5 * np.sin((along + warp) * np.float32(2 * np.pi * rng.uniform(3, 28)))
    if rng.random() < 0.3:
        wave = (wave > 0.5).astype(np.float32)
    base = colour(rng)
    other = np.clip(base + rng.normal(0, 0.16, (3, 1, 1)).astype(np.float32), 0, 1)
    return _mix(base, other, wave)


def _tiles(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """Bricks or tiles with joints, each a little different."""
    short = min(width, height)
    tile_h = max(4.0, short * rng.uniform(0.06, 0.3))
    tile_w = tile_h * rng.uniform(0.8, 2.6)
    rows = (np.arange(height) / tile_h + rng.random()).astype(np.float32)
    columns = (np.arange(width)[None] / tile_w + np.floor(rows)[:, None] * rng.choice([0.0, 0.5])).astype(np.float32)
    shades = rng.normal(0, rng.uniform(0.02, 0.12), (64, 64)).astype(np.float32)
    cells = shades[np.floor(rows).astype(int)[:, None] % 64, np.floor(columns).astype(int) % 64]
    scene = colour(rng) + cells
    joint = rng.uniform(0.03, 0.1)
    gap = ((rows % 1)[:, None] < joint) | ((columns % 1) < joint * tile_h / tile_w)
    return _mix(scene.astype(np.float32), colour(rng), gap.astype(np.float32) * np.float32(rng.uniform(0.3, 1)))


def _leaves(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """Foliage, gravel, bokeh: many small round things in related colours."""
    base = colour(rng)
    image = Image.new("RGB", (width, height), _byte(base * 0.6))
    draw = ImageDraw.Draw(image)
    spread = rng.uniform(0.05, 0.2)
    size = rng.uniform(0.02, 0.16)
    for _ in range(int(rng.integers(60, 160))):
        draw.ellipse(_box(rng, width, height, size * 0.4, size * 1.6), fill=_byte(base + rng.normal(0, spread, (3, 1, 1))))
    return blur(image, min(width, height) * 0.03 * rng.random())


def _paper(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """A light sheet with fibres, perhaps ruled, squared, or with lines of grey too small to read."""
    base = np.clip(1 - (1 - colour(rng)) * np.float32(rng.uniform(0.02, 0.3)), 0, 1)
    scene = base + (noise(rng, width, height, int(rng.integers(20, 80))) - 0.5) * np.float32(rng.uniform(0.01, 0.08))
    kind = rng.random()
    pitch = max(4, int(min(width, height) * rng.uniform(0.04, 0.15)))
    line = colour(rng) * np.float32(0.3) + base * np.float32(0.7)
    if kind < 0.5:
        scene[:, int(rng.integers(pitch)) :: pitch] = line
    if kind < 0.25:
        scene[:, :, int(rng.integers(pitch)) :: pitch] = line
    return np.asarray(scene, np.float32)


_KINDS_FLAT: Final[tuple[Backdrop, ...]] = (_plain, _clouds, _stripes, _tiles, _paper)
_KINDS: Final[tuple[Backdrop, ...]] = (_plain, _clouds, _things, _things, _things, _room, _stripes, _tiles, _leaves, _paper)
