"""The demo pictures: the same everywhere, legible, varied, and made from the outlines that ship."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from squeeze_export.demo import characters, scene

SQUARE = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], np.float32)


def digest(seed: int, index: int) -> str:
    picture, label = characters.demo_image(seed, index)
    return hashlib.sha256(picture.tobytes() + bytes([label])).hexdigest()


def test_a_picture_depends_on_seed_and_index_only() -> None:
    first = digest(5, 40)
    np.random.seed(1)
    characters.demo_image(5, 41)
    assert digest(5, 40) == first
    assert digest(5, 41) != first
    assert digest(6, 40) != first


def test_another_process_draws_the_same_picture() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from test_demo import digest; print(digest(5, 40))"
    folder = str(__file__).rsplit("/", 1)[0]
    answer = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == digest(5, 40)


def test_pictures_are_rgb_large_enough_and_not_plain() -> None:
    for index in range(12):
        picture, label = characters.demo_image(3, index)
        assert picture.mode == "RGB"
        assert min(picture.size) >= 256
        assert label == index % 34
        assert np.asarray(picture).std() > 8


def test_a_full_round_shows_every_character_of_every_face_once() -> None:
    count = 34 * len(characters.faces())
    seen = Counter((characters.face_of(9, index), index % 34) for index in range(count))
    assert set(seen.values()) == {1}
    assert len(seen) == count


def test_a_short_run_already_mixes_the_faces() -> None:
    assert len({characters.face_of(9, index) for index in range(34)}) >= 34


def test_labels_agree_with_the_file_that_ships() -> None:
    assert characters.LABELS.read_text(encoding="utf-8").splitlines() == list(characters.labels())
    assert len(set(characters.labels())) == 34
    assert not set("OI") & set(characters.labels())


@pytest.mark.parametrize("number", range(1, 9))
def test_shipped_pictures_are_demo_images(number: int) -> None:
    path = characters.IMAGES / f"demo-{number}.png"
    assert path.stat().st_size < 70_000
    drawn, _ = characters.demo_image(characters.PICTURES_SEED, characters.PICTURES[number - 1])
    with Image.open(path) as stored:
        assert stored.size == drawn.size
        # Another numpy or Pillow may round otherwise here and there; another scene would differ by tens.
        difference = np.abs(np.asarray(stored, np.float32) - np.asarray(drawn, np.float32))
    assert difference.mean() < 2


def test_shipped_pictures_have_several_shapes() -> None:
    shapes = set()
    for path in characters.IMAGES.glob("*.png"):
        with Image.open(path) as image:
            shapes.add(image.size)
    assert len(shapes) >= 5


def test_every_held_out_glyph_is_drawable_and_differs_from_the_others_of_its_face() -> None:
    assert len({face.family for face in characters.faces()}) >= 12
    for face in characters.faces():
        drawn = set()
        for character in characters.CHARACTERS:
            contours = face.glyphs[character]
            points = np.concatenate(contours)
            low, high = points.min(axis=0), points.max(axis=0)
            placed = [((c - low) * (30 / float((high - low).max())) + 1).astype(np.float32) for c in contours]
            mask = scene.fill(placed, 32, 32, 3)
            assert 0.04 < mask.mean() < 0.8, (face.family, face.style, character)
            drawn.add(mask.tobytes())
        assert len(drawn) == 34, (face.family, face.style)


def test_faces_survive_writing_and_reading(tmp_path) -> None:
    some = characters.faces()[3:5]
    characters.write_faces(tmp_path / "a.npz", some)
    characters.write_faces(tmp_path / "b.npz", some)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = characters.read_faces(tmp_path / "a.npz")
    assert [(f.family, f.style) for f in again] == [(f.family, f.style) for f in some]
    for one, other in zip(again, some, strict=True):
        for character in characters.CHARACTERS:
            assert all(np.array_equal(a, b) for a, b in zip(one.glyphs[character], other.glyphs[character], strict=True))


def test_holes_are_cut_and_dots_inside_holes_are_kept() -> None:
    hole = SQUARE[::-1] * 0.6 + 2
    dot = SQUARE * 0.2 + 4
    mask = scene.fill([dot, hole, SQUARE], 10, 10, 4)
    assert mask[1, 1] > 0.9
    assert mask[3, 3] < 0.1  # Pillow draws a polygon with its outline: one of 16 samples may be the neighbour's
    assert mask[5, 5] > 0.5


def test_overlapping_strokes_stay_solid() -> None:
    across = np.array([[0, 4], [10, 4], [10, 6], [0, 6]], np.float32)
    down = across[::-1, ::-1].copy()  # same turning sense
    mask = scene.fill([across, down], 10, 10, 4)
    assert mask[5, 5] == 1


@pytest.mark.parametrize(("width", "height"), [(256, 256), (384, 288), (200, 320)])
def test_the_character_stays_inside_the_crop_that_the_network_sees(width: int, height: int) -> None:
    side = min(width, height) * scene.VISIBLE
    for index in range(150):
        rng = np.random.default_rng(index)
        face = characters.faces()[index % len(characters.faces())]
        _, placed = scene._place(rng, face.glyphs[characters.CHARACTERS[index % 34]], width, height)
        points = np.concatenate(placed) - (width / 2, height / 2)
        assert np.abs(points).max() <= side / 2 + 0.5
        assert np.ptp(points, axis=0).max() >= 0.39 * side


def test_ink_stands_off_what_lies_behind_it() -> None:
    """A human reads what differs in brightness; measured on the finished pictures, over fill and its surroundings."""
    weak = 0
    for index in range(60):
        rng = np.random.default_rng([4, index])
        contours = characters.faces()[index % len(characters.faces())].glyphs["H"]
        picture = np.asarray(scene.render(rng, contours, 128, 128).convert("L"), np.float32)
        rng = np.random.default_rng([4, index])
        scene.backdrops.backdrop(rng, 128, 128)
        _, placed = scene._place(rng, contours, 128, 128)
        mask = scene.fill(placed, 128, 128, 3)
        rows, columns = np.nonzero(mask > 0.5)
        box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        inside, outside = picture[box][mask[box] > 0.9], picture[box][mask[box] < 0.1]
        if len(inside) and len(outside):
            weak += abs(inside.mean() - outside.mean()) < 12
    assert weak <= 2
