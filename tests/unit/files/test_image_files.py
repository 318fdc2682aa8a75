"""Which files are pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, features

from squeeze_export.errors import UsageError
from squeeze_export.evaluation.images import read_images
from squeeze_export.files.pictures import FURTHER_FORMATS, IMAGE_SUFFIXES, LEFT_OUT, foreign_kind
from squeeze_export.files.pictures import told as sentence
from squeeze_export.golden.calibration import find_pictures
from squeeze_export.golden.images import pictures_in
from squeeze_export.preprocessing.pixels import load_image

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100


def test_every_ending_that_pillow_reads_is_taken_or_left_out_by_name():
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind not in LEFT_OUT}
    assert set(IMAGE_SUFFIXES) == known
    assert set(FURTHER_FORMATS) | set(LEFT_OUT) < {*Image.OPEN, *Image.SAVE, *Image.registered_extensions().values()}


def picture(path, **options):
    pixels = np.tile(np.arange(60, dtype=np.uint8)[None, :, None] * 4, (40, 1, 3))
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.mark.parametrize(
    "name", ["a.jfif", "a.jpe", "a.JP2", "a.tga", "a.ico", "a.pcx", "a.dib", "a.qoi", "a.sgi", "a.pbm", "a.avif"]
)
def test_a_picture_of_any_of_these_endings_is_read(tmp_path, name):
    if name.endswith("avif") and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    if name.endswith("pbm"):
        Image.new("1", (60, 40), 1).save(tmp_path / name)
    else:
        picture(tmp_path / name, **({"format": "JPEG"} if name.endswith(("jfif", "jpe")) else {}))
    assert [path.name for path in pictures_in(tmp_path).readable] == [name]
    assert load_image(tmp_path / name).mode == "RGB"


def test_heic_is_told_by_its_content_whatever_it_is_called(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(HEIC)
    assert foreign_kind(tmp_path / "photo.jpg") == "HEIC"
    with pytest.raises(UsageError, match=r"photo\.jpg is no image in a known format: it is HEIC\. Convert it to JPEG or PNG"):
        load_image(tmp_path / "photo.jpg")


def test_avif_is_named_where_pillow_was_built_without_it(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x20ftypavif\0\0\0\0avifmif1")
    monkeypatch.setattr(features, "check", lambda name: False)
    assert foreign_kind(tmp_path / "a.jpg") == "AVIF"
    monkeypatch.setattr(features, "check", lambda name: True)
    assert foreign_kind(tmp_path / "a.jpg") is None


def test_pictures_that_cannot_be_read_are_counted_and_named(tmp_path):
    for place in range(8):
        picture(tmp_path / f"{place}.png")
    (tmp_path / "8.jpg").write_bytes(HEIC)
    (tmp_path / "9.CR2").write_bytes(b"II*\0")
    (tmp_path / "._1.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert [path.name for path in pictures_in(tmp_path).readable] == [f"{place}.png" for place in range(8)]
    told = sentence(pictures_in(tmp_path).unreadable, tmp_path)
    assert told.startswith("2 files") and "8.jpg (HEIC), 9.CR2 (RAW). Convert them to JPEG or PNG" in told
    assert len(find_pictures(tmp_path)) == 8
    (tmp_path / "0.png").unlink()
    with pytest.raises(UsageError, match=r"has 7 images; .* 2 files .* cannot be read here: 8\.jpg \(HEIC\)"):
        find_pictures(tmp_path)


def test_a_folder_of_only_such_pictures_is_refused_with_their_kind(tmp_path):
    (tmp_path / "1.heic").write_bytes(HEIC)
    with pytest.raises(UsageError, match=r"1 file in .* looks like an image .*: 1\.heic \(HEIC\)\. Convert it"):
        pictures_in(tmp_path)


def test_a_table_written_on_windows_names_files_in_folders(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        picture(tmp_path / name / "1.png")
    table = "\ufefffile\tclass_index\r\ncat\\1.png\t0\r\ndog\\1.png\t1\r\n"
    (tmp_path / "labels.tsv").write_bytes(table.encode())
    found = read_images(tmp_path, num_classes=2, labels=None)
    assert [(image.name, image.label) for image in found.images] == [("cat/1.png", 0), ("dog/1.png", 1)]
    assert not found.missing
    (tmp_path / "labels.tsv").write_bytes(table.encode("utf-16"))
    with pytest.raises(UsageError, match="looks like UTF-16"):
        read_images(tmp_path, num_classes=2, labels=None)


def test_what_file_managers_leave_is_no_class_and_no_image(tmp_path):
    for name in ("cat", "dog", "__MACOSX", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
        picture(tmp_path / name / "1.png")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "cat" / "._1.png").write_bytes(b"x")
    found = read_images(tmp_path, num_classes=2, labels=("cat", "dog"))
    assert [(image.name, image.label) for image in found.images] == [("cat/1.png", 0), ("dog/1.png", 1)]
    assert found.passed_over == ()
