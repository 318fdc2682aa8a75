"""Draw a printed character into a photographic-looking scene: outlines in, an RGB picture out; numpy and Pillow only.

Everything is measured in fractions of the picture's short side, so the same random numbers give the same scene, finer or
coarser, at any size. Training pictures and demo pictures come from this one function and differ only in whose outlines they show.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from squeeze_export.demo import backdrops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from squeeze_export.contracts.arrays import FloatArray, PixelArray

# What the default preprocessing keeps of the short side: a crop of 224 out of 256. The character stands inside it.
VISIBLE: Final = 224 / 256
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)

# Scenes are (3, height, width) float32, values about 0 to 1: with colour first, numpy mixes by a mask four times faster.


def render(rng: np.random.Generator, contours: Sequence[FloatArray], width: int, height: int) -> Image.Image:
    """Paint one character, given as closed contours (points, 2) with y down in any unit, into a new width x height scene.

    The character's longer side fills 40 to 88 % of what the default crop keeps, turned by at most 14 degrees, in perspective.
    """
    short = min(width, height)
    scene = backdrops.backdrop(rng, width, height)
    place, glyph = _place(rng, contours, width, height)
    if rng.random() < 0.55:
        scene = _card(rng, scene, place, short)
    mask = fill(glyph, width, height, oversampling=3 if short >= 160 else 4)
    scene = _calm(scene, mask, limit=0.05 + 0.05 * rng.random())
    scene = _ink(rng, scene, mask, short)
    scene = _light(rng, scene, short)
    return _camera(rng, scene, short)


class _Placement:
    """A plane seen by the camera: maps points given in units of half the character's longer side to pixels."""

    def __init__(self, matrix: FloatArray) -> None:
        self.matrix = matrix

    def __call__(self, points: FloatArray) -> FloatArray:
        flat = np.concatenate([points, np.ones((len(points), 1), np.float32)], axis=1) @ self.matrix.T
        return np.asarray(flat[:, :2] / flat[:, 2:], np.float32)


def _place(
    rng: np.random.Generator, contours: Sequence[FloatArray], width: int, height: int
) -> tuple[_Placement, list[FloatArray]]:
    """Choose size, turn, shear, perspective and position so that the whole character stays inside the visible crop."""
    points = np.concatenate(contours)
    low, high = points.min(axis=0), points.max(axis=0)
    unit = max(float((high - low).max()) / 2, 1e-6)
    centred = [((c - (low + high) / 2) / unit).astype(np.float32) for c in contours]

    angle = np.deg2rad(np.clip(rng.normal(0, 6.5), -14, 14))
    stretch = np.exp(rng.uniform(-0.14, 0.14))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shear = np.array([[stretch, rng.normal(0, 0.07), 0], [0, 1 / stretch, 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, 1, 0], [*np.clip(rng.normal(0, 0.09, 2), -0.2, 0.2), 1]])
    plane = _Placement((tilt @ turn @ shear).astype(np.float32))

    seen = plane(np.concatenate(centred))
    low, high = seen.min(axis=0), seen.max(axis=0)
    visible = min(width, height) * VISIBLE
    scale = rng.uniform(0.40, 0.88) * visible / float((high - low).max())
    slack = (visible - (high - low) * scale) / 2
    shift = np.array([width / 2, height / 2]) + slack * np.clip(rng.normal(0, 0.4, 2), -0.95, 0.95)
    centre = (low + high) / 2 * scale
    move = np.array([[scale, 0, shift[0] - centre[0]], [0, scale, shift[1] - centre[1]], [0, 0, 1]])
    place = _Placement((move @ plane.matrix).astype(np.float32))
    return place, [place(c) for c in centred]


def fill(contours: Sequence[FloatArray], width: int, height: int, oversampling: int) -> FloatArray:
    """Coverage (height, width), 0 to 1, of closed contours given in pixels.

    Painted from the largest to the smallest: one that turns like the largest adds, one that turns the other way cuts out. This is
    right for overlapping strokes (which the even-odd rule would punch holes into) and for the dot inside a zero.
    """
    areas = [_area(c) for c in contours]
    order = sorted(range(len(contours)), key=lambda i: -abs(areas[i]))
    points = np.concatenate(contours)
    left, top = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 2, (width, height))
    coverage = np.zeros((height, width), np.float32)
    if right <= left or bottom <= top:
        return coverage
    fine = Image.new("L", (int(right - left) * oversampling, int(bottom - top) * oversampling))
    draw = ImageDraw.Draw(fine)
    for i in order:
        # -0.5: Pillow's polygons take integer coordinates as pixel centres.
        corners = ((contours[i] - (left, top)) * oversampling - 0.5).ravel().tolist()
        draw.polygon(corners, fill=255 if areas[i] * areas[order[0]] > 0 else 0)
    coverage[top:bottom, left:right] = np.asarray(fine.reduce(oversampling), np.float32) / 255
    return coverage


def _area(contour: FloatArray) -> float:
    x, y = contour[:, 0].astype(np.float64), contour[:, 1].astype(np.float64)
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _blurred(mask: FloatArray, radius: float) -> FloatArray:
    return backdrops.blur(Image.fromarray((mask * 255).astype(np.uint8)), radius)


def _over(scene: FloatArray, paint: FloatArray, mask: FloatArray) -> FloatArray:
    return np.asarray(scene + (paint - scene) * mask, np.float32)


def _card(rng: np.random.Generator, scene: FloatArray, place: _Placement, short: int) -> FloatArray:
    """Put a sheet, sign or label behind the character, in the same perspective, with its shadow."""
    height, width = scene.shape[1:]
    half = rng.uniform(1.15, 2.0, 2)
    offset = rng.uniform(-0.1, 0.1, 2)
    if rng.random() < 0.2:
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        outline = np.stack([np.cos(turn), np.sin(turn)], axis=1) * max(half) * 1.1
    else:
        outline = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + offset
    mask = fill([place(outline.astype(np.float32))], width, height, 2)
    if rng.random() < 0.6:
        shadow = np.roll(_blurred(mask, short * rng.uniform(0.01, 0.05)), tuple(rng.integers(1, max(3, short // 20), 2)), (0, 1))
        scene = scene * (1 - shadow * np.float32(rng.uniform(0.2, 0.55)))
    colour = backdrops.colour(rng)
    if rng.random() < 0.45:
        colour = np.asarray(1 - (1 - colour) * np.float32(rng.uniform(0.05, 0.4)), np.float32)
    grain = backdrops.noise(rng, width, height, int(rng.integers(2, 40))) - 0.5
    sheet = np.clip(colour + grain * np.float32(rng.uniform(0, 0.12)), 0, 1)
    scene = _over(scene, sheet, mask)
    if rng.random() < 0.3:
        inner = outline * rng.uniform(0.86, 0.94)
        ring = fill([place((inner * 1.05).astype(np.float32))], width, height, 2) - fill(
            [place(inner.astype(np.float32))], width, height, 2
        )
        scene = _over(scene, backdrops.colour(rng), np.clip(ring, 0, 1))
    return scene


def _calm(scene: FloatArray, mask: FloatArray, limit: float) -> FloatArray:
    """Reduce the contrast of what lies behind the character where it is so busy that a human would lose the strokes."""
    near = mask > 0.5
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if not len(rows):
        return scene
    box = scene[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    deviation = float(_luma(box).std())
    if deviation <= limit:
        return scene
    mean = box.mean(axis=(1, 2), keepdims=True)
    return np.asarray(mean + (scene - mean) * np.float32(limit / deviation), np.float32)


def _luma(colours: FloatArray) -> FloatArray:
    return np.asarray(np.tensordot(_LUMA, colours, axes=1), np.float32)


def _ink(rng: np.random.Generator, scene: FloatArray, mask: FloatArray, short: int) -> FloatArray:
    """Paint the character in a colour that stands off its surroundings, now and then with shadow, edge, gradient or wear."""
    height, width = mask.shape
    area = float(mask.sum()) + 1e-6
    around = np.asarray(scene.reshape(3, -1) @ mask.ravel() / area, np.float32).reshape(3, 1, 1)
    contrast = rng.uniform(0.27, 0.6)
    ink = backdrops.colour(rng)
    for _ in range(8):
        if abs(_luma(ink - around).item()) >= contrast:
            break
        ink = backdrops.colour(rng)
    else:
        ink = np.full((3, 1, 1), 0.04 if _luma(around).item() > 0.5 else 0.96, np.float32)
    kind = rng.random()
    if kind < 0.2:
        shadow = np.roll(_blurred(mask, short * rng.uniform(0.004, 0.03)), tuple(rng.integers(1, max(3, short // 28), 2)), (0, 1))
        scene = scene * (1 - shadow * np.float32(rng.uniform(0.2, 0.6)))
    elif kind < 0.3:
        # An edge of the opposite tone, as on stickers and shirts.
        size = 3 if short < 160 else 5
        wide = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(size))
        edge = np.full((3, 1, 1), 0.05 if _luma(ink).item() > 0.5 else 0.95, np.float32)
        scene = _over(scene, edge, np.asarray(wide, np.float32) / np.float32(255))
    paint = ink
    if rng.random() < 0.25:
        ramp = backdrops.ramp(rng, width, height) - 0.5
        paint = np.clip(paint + ramp * np.float32(rng.uniform(0.08, 0.22)), 0, 1)
    if rng.random() < 0.15:
        worn = backdrops.noise(rng, width, height, int(rng.integers(8, 40)))
        mask = mask * np.clip((worn - rng.uniform(0.05, 0.25)) * 12 + 0.4, 0.35, 1).astype(np.float32)
    return _over(scene, paint, mask * np.float32(rng.uniform(0.88, 1.0)))


def _light(rng: np.random.Generator, scene: FloatArray, short: int) -> FloatArray:
    """Uneven light: falloff across the picture, a cast shadow, a reflection."""
    height, width = scene.shape[1:]
    gain = 1.06 - backdrops.ramp(rng, width, height) * np.float32(rng.uniform(0, 0.5))
    if rng.random() < 0.25:
        gain = gain * (1 - backdrops.blob(rng, width, height, rng.uniform(0.005, 0.06)) * np.float32(rng.uniform(0.15, 0.42)))
    scene = scene * gain
    if rng.random() < 0.12:
        scene = scene + backdrops.blob(rng, width, height, 0.12) * np.float32(rng.uniform(0.1, 0.3))
    return scene


def _camera(rng: np.random.Generator, scene: FloatArray, short: int) -> Image.Image:
    """White balance, exposure, tone, defocus or shake, sensor noise and JPEG."""
    height, width = scene.shape[1:]
    gains = np.exp(rng.normal(0, 0.06, 3) + rng.normal(-0.02, 0.1))
    shift, gamma = rng.uniform(-0.03, 0.05), np.exp(rng.normal(0, 0.15))
    levels = np.clip(np.arange(256)[None] / 255 * gains[:, None] + shift, 0, 1) ** gamma
    image = Image.fromarray(_bytes(scene * 255)).point((levels * 255).round().astype(int).ravel().tolist())
    if rng.random() < 0.7:
        image = image.filter(ImageFilter.GaussianBlur(short * 0.0065 * rng.random() ** 2))
    strength = 14 * rng.random() ** 2
    shaken = rng.random() < 0.12
    if shaken or strength > 1:
        pixels = np.asarray(image, np.float32).transpose(2, 0, 1)
        if shaken:
            pixels = _shaken(rng, pixels, short)
        # The grain is that of a camera picture scaled down: some per pixel, some in coloured blotches.
        grain = rng.standard_normal((height, width), np.float32) * np.float32(strength)
        blotches = rng.standard_normal((3, height // 2 + 1, width // 2 + 1), np.float32) * np.float32(strength * 0.6)
        image = Image.fromarray(_bytes(pixels + grain + blotches.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]))
    if rng.random() < 0.5:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(rng.integers(40, 93)))
        image = Image.open(stream).convert("RGB")
    return image


def _bytes(scene: FloatArray) -> PixelArray:
    return np.ascontiguousarray(np.clip(scene, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _shaken(rng: np.random.Generator, pixels: FloatArray, short: int) -> FloatArray:
    """Average copies along a short straight path, at most 2 % of the short side."""
    length = short * rng.uniform(0.005, 0.02)
    direction = rng.uniform(0, 2 * np.pi)
    total = np.zeros_like(pixels)
    for step in np.linspace(-0.5, 0.5, 4):
        rows, columns = round(step * length * np.sin(direction)), round(step * length * np.cos(direction))
        total += np.roll(pixels, (rows, columns), (1, 2))
    return np.asarray(total / 4, np.float32)
