"""Calibration images: what is read, what is refused, what is told."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from squeeze_export.errors import UsageError
from squeeze_export.golden.calibration import DEMO_COUNT, MOST, demo_calibration, read_calibration
from squeeze_export.preprocessing.spec import spec_for

SPEC = spec_for("torchvision", model="squeezenet1_1", input_size=(32, 32), resize=32)


def photographs(folder, count, *, flat=False):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        level = np.full((36, 40, 3), number % 100, np.uint8)
        if not flat:
            level[: 18 + number % 7, ::2] = 255
        Image.fromarray(level).save(folder / f"{number:04}.png")
    return folder


def test_pictures_are_read_evenly_and_in_the_order_of_their_names(tmp_path):
    found = read_calibration(photographs(tmp_path / "all", 2 * MOST), SPEC)
    assert found.pixels.shape == (MOST, 32, 32, 3) and found.pixels.dtype == np.uint8
    assert (found.record.origin, found.record.images) == ("folder", MOST)
    assert found.notes == ()
    again = read_calibration(tmp_path / "all", SPEC)
    assert again.record == found.record
    (tmp_path / "all" / "0000.png").unlink()
    assert read_calibration(tmp_path / "all", SPEC).record.sha256 != found.record.sha256


@pytest.mark.parametrize("count", [0, 7])
def test_fewer_than_eight_are_refused(tmp_path, count):
    with pytest.raises(UsageError, match=f"has {count} images; at least 8"):
        read_calibration(photographs(tmp_path / "few", count), SPEC)


def test_a_folder_that_is_none_and_a_picture_that_is_none_are_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_calibration(tmp_path / "nowhere", SPEC)
    folder = photographs(tmp_path / "broken", 8)
    (folder / "0003.png").write_bytes(b"not a picture")
    with pytest.raises(UsageError, match=r"0003\.png"):
        read_calibration(folder, SPEC)


def test_pictures_of_one_colour_are_told(tmp_path):
    folder = photographs(tmp_path / "flat", 9, flat=True)
    (told,) = read_calibration(folder, SPEC).notes
    assert told.startswith("9 of the 9 calibration images") and "one colour" in told


def test_pictures_that_are_all_alike_are_told(tmp_path):
    folder = photographs(tmp_path / "one", 8)
    one = (folder / "0000.png").read_bytes()
    for path in folder.iterdir():
        path.write_bytes(one)
    (told,) = read_calibration(folder, SPEC).notes
    assert told.startswith("all 8 calibration images") and "are alike" in told


@pytest.mark.parametrize("by", ["folder", "table"])
def test_pictures_of_one_class_are_told(tmp_path, by):
    folder = photographs(tmp_path / "set" / "cat", 8)
    if by == "table":
        rows = "".join(f"{path.name}\t3\n" for path in sorted(folder.iterdir()))
        (folder / "labels.tsv").write_text(f"file\tclass_index\n{rows}")
    (told,) = read_calibration(folder if by == "table" else tmp_path / "set", SPEC).notes
    assert told.startswith("all 8 calibration images") and "one class" in told
    photographs(tmp_path / "set" / "dog", 8)
    if by == "table":
        (folder / "labels.tsv").write_text((folder / "labels.tsv").read_text().replace("\t3", "\t4", 1))
    assert read_calibration(folder if by == "table" else tmp_path / "set", SPEC).notes == ()


def test_the_demos_own_pictures_and_who_they_are_for():
    found = demo_calibration(SPEC, of_demo=True)
    assert (found.record.origin, len(found.pixels), found.notes) == ("demo", DEMO_COUNT, ())
    assert "--calibration-data" in demo_calibration(SPEC, of_demo=False).notes[0]
