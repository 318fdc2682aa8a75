"""Which images an evaluation takes, with which class, and what it says of a folder that is not as it must be."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from squeeze_export.contracts.signature import PreprocessingSpec
from squeeze_export.errors import UsageError
from squeeze_export.evaluation.images import LabelledImage, crop_of, demo_images, image_key, limited, read_images

COLOURS = ("red", "orange", "yellow", "green", "blue", "indigo", "violet")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def table(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "labels.tsv").write_text(text, encoding="utf-8")
    return folder


def classes(folder: Path, labels: tuple[str, ...] | None = COLOURS) -> dict[str, int]:
    return {image.name: image.label for image in read_images(folder, num_classes=7, labels=labels).images}


def test_a_table_gives_file_and_class_whatever_else_it_has(tmp_path):
    touch(tmp_path, "b.png", "a.jpg", "deep/c.png")
    table(tmp_path, '\ufeffauthor\tclass_index\tfile\r\n"Nick" Name\t0\tb.png\r\n')
    with (tmp_path / "labels.tsv").open("a", encoding="utf-8") as file:
        file.write("X\t6\ta.jpg\n\nY\t2\tdeep/c.png\n")
    assert classes(tmp_path) == {"a.jpg": 6, "b.png": 0, "deep/c.png": 2}


def test_a_table_is_held_against_the_files(tmp_path):
    touch(tmp_path, "a.png", "extra.jpg", "deep/other.HEIC", "notes.txt", ".hidden.png")
    table(tmp_path, "file\tclass_index\na.png\t1\ngone.png\t2\nlost.png\t3\n")
    found = read_images(tmp_path, num_classes=7, labels=None)
    assert [image.name for image in found.images] == ["a.png"]
    assert found.missing == ("gone.png", "lost.png")
    assert found.passed_over == ("deep/other.HEIC", "extra.jpg")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "found nothing"),
        ("name\tlabel\na.png\t1\n", "found name, label"),
        ("file,class_index\na.png,1\n", "separated by tabs; found file,class_index"),
        ("file\tclass_index\n", "names no images"),
        ("file\tclass_index\na.png\t7\n", r"has 7, numbered from 0 to 6.*a.png has 7 \(line 2\)"),
        ("file\tclass_index\na.png\t-1\n", "line 2: the class_index '-1' of a.png"),
        ("file\tclass_index\na.png\t1.0\n", "'1.0'"),
        ("file\tclass_index\na.png\tred\n", "'red'"),
        ("file\tclass_index\na.png\t٣\n", "not a whole number"),
        ("file\tclass_index\na.png\n", "line 2 has 1 columns"),
        ("file\tclass_index\na.png\t1\na.png\t1\n", "line 3 names a.png a second time"),
        ("file\tclass_index\na.png\t1\n./a.png\t2\n", "line 3 names a.png a second time"),
        ("file\tclass_index\n../a.png\t1\n", "not the name of a file below"),
        ("file\tclass_index\n/a.png\t1\n", "not the name of a file below"),
        ("file\tclass_index\nx.png\t1\ny.png\t2\n", "None of the 2 files .* x.png, y.png"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(tmp_path, text, told):
    touch(tmp_path, "a.png")
    with pytest.raises(UsageError, match=told):
        read_images(table(tmp_path, text), num_classes=7, labels=COLOURS)


IDS = ("n00000004", "n00000001", "n00000003", "n00000002", "n00000006", "n00000005", "n00000007")
WITH_IDS = tuple(f"{colour} ({synset})" for colour, synset in zip(COLOURS, IDS, strict=True))


def test_a_table_whose_ids_or_names_stand_elsewhere_in_the_labels_is_refused(tmp_path):
    """Labels sorted by name, images counted by id: each index is right for one of them only."""
    touch(tmp_path, *(f"{index}.png" for index in range(7)))
    by_id = sorted(IDS)
    rows = "".join(f"{index}.png\t{index}\t{synset}\n" for index, synset in enumerate(by_id))
    table(tmp_path, "file\tclass_index\tsynset\n" + rows)
    with pytest.raises(
        UsageError, match=r"line 2: class_index 0 goes with n00000001, which is class 1 by the bundle's labels \(5 of 7"
    ):
        classes(tmp_path, WITH_IDS)
    assert classes(tmp_path, COLOURS)["3.png"] == 3  # nothing to compare
    assert classes(tmp_path, tuple(f"{synset} x{synset}" for synset in by_id))["3.png"] == 3
    names = "".join(f"{index}.png\t{index}\t{name}\n" for index, name in enumerate(reversed(COLOURS)))
    table(tmp_path, "file\tclass_index\tname\n" + names)
    with pytest.raises(UsageError, match="goes with violet, which is class 6"):
        classes(tmp_path)
    table(tmp_path, "file\tclass_index\tauthor\n" + "".join(f"{i}.png\t{i}\t{'red' if i == 3 else 'x'}\n" for i in range(7)))
    assert classes(tmp_path)["3.png"] == 3  # an author called red


def test_folders_may_be_named_by_an_id_that_the_labels_have(tmp_path):
    touch(tmp_path, "n00000001/a.png", "n00000005/b.png")
    assert classes(tmp_path, WITH_IDS) == {"n00000001/a.png": 1, "n00000005/b.png": 5}
    with pytest.raises(UsageError, match="ImageNet's ids, take labels that have them"):
        classes(tmp_path)


def test_a_table_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "labels.tsv").write_bytes("file\tclass_index\nÄ.png\t1\n".encode("latin-1"))
    with pytest.raises(UsageError, match="UTF-8"):
        read_images(tmp_path, num_classes=7, labels=None)


def test_folders_may_be_named_by_label(tmp_path):
    touch(tmp_path, "violet/1.png", "red/2.jpg", "red/3.JPEG")
    assert classes(tmp_path) == {"violet/1.png": 6, "red/2.jpg": 0, "red/3.JPEG": 0}


def test_folders_may_be_named_by_index(tmp_path):
    touch(tmp_path, "0/1.png", "06/2.png")
    assert classes(tmp_path) == classes(tmp_path, None) == {"0/1.png": 0, "06/2.png": 6}


def test_an_accent_is_the_same_however_the_file_system_writes_it(tmp_path):
    touch(tmp_path, unicodedata.normalize("NFD", "café") + "/1.png")
    (image,) = read_images(tmp_path, num_classes=2, labels=("thé", unicodedata.normalize("NFC", "café"))).images
    assert image.label == 1


def test_class_folders_may_be_links_and_a_circle_ends(tmp_path):
    touch(tmp_path / "elsewhere", "1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "red").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "set")
    assert classes(tmp_path / "set") == {"red/1.png": 0}


def test_what_stands_beside_the_class_folders_is_named(tmp_path):
    touch(tmp_path, "red/1.png", "red/notes.txt", "red/deeper/2.png", "loose.png", "README.md", ".DS_Store", "red/.thumb.png")
    found = read_images(tmp_path, num_classes=7, labels=COLOURS)
    assert [image.name for image in found.images] == ["red/1.png"]
    assert found.passed_over == ("README.md", "loose.png", "red/deeper/2.png", "red/notes.txt")


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (("red", "pink"), "These are not: pink"),
        (("red", "3"), "These are not: 3"),
        (("3", "x", "y"), "These are not: x, y"),
        (("3", "7"), "does not have: 7; it has 7"),
        (("3", "03"), "same class index"),
    ],
)
def test_folders_that_name_no_class_are_refused(tmp_path, folders, told):
    touch(tmp_path, *(f"{name}/1.png" for name in folders))
    with pytest.raises(UsageError, match=told):
        read_images(tmp_path, num_classes=7, labels=COLOURS)


def test_names_that_mean_one_class_as_label_and_another_as_index_are_refused(tmp_path):
    touch(tmp_path, "1/a.png", "0/a.png")
    assert read_images(tmp_path, num_classes=2, labels=("0", "1")).images[1].label == 1
    with pytest.raises(UsageError, match=r"say with a labels\.tsv which is meant"):
        read_images(tmp_path, num_classes=2, labels=("1", "0"))


def test_folders_without_pictures_or_labels_are_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        classes(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no labelled images"):
        classes(tmp_path)
    touch(tmp_path, "a.png")
    with pytest.raises(UsageError, match="not a folder"):
        classes(tmp_path / "a.png")
    with pytest.raises(UsageError, match="no labelled images"):
        classes(tmp_path)
    (tmp_path / "red").mkdir()
    with pytest.raises(UsageError, match=r"class folders .* have no images"):
        classes(tmp_path)


def test_a_limit_is_spread_evenly(tmp_path):
    touch(tmp_path, *(f"{name}/{place}.png" for name in COLOURS for place in range(10)))
    images = read_images(tmp_path, num_classes=7, labels=COLOURS)
    assert limited(images, None) is images
    assert limited(images, 70) is images
    some = limited(images, 14).images
    assert len({image.name for image in some}) == 14
    assert sorted(image.label for image in some) == sorted([*range(7), *range(7)])


def test_an_image_is_known_by_its_bytes(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    a, b, c = (image_key(LabelledImage(name=name, label=0, path=tmp_path / name)) for name in ("a.png", "b.png", "c.png"))
    assert a == c != b
    (tmp_path / "folder.png").mkdir()
    assert "is not a file" in image_key(LabelledImage(name="folder.png", label=0, path=tmp_path / "folder.png"))


def test_demo_pictures_are_drawn_with_their_class():
    from squeeze_export.demo import characters

    images = demo_images(40, characters.labels()).images
    assert [image.label for image in images] == [*range(34), *range(6)]
    assert len({image_key(image) for image in images}) == 40
    spec = PreprocessingSpec(resize=40, height=32, width=24, color_order="RGB", scale=1, mean=(0, 0, 0), std=(1, 1, 1))
    assert crop_of(images[35], spec).shape == (32, 24, 3)
    assert characters.demo_image(0, 35)[1] == images[35].label


@pytest.mark.parametrize("labels", [None, COLOURS, tuple("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789")])
def test_demo_pictures_are_refused_for_other_classes(labels):
    with pytest.raises(UsageError, match="34 classes; this bundle has"):
        demo_images(10, labels)
