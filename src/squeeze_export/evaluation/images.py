"""Images to evaluate on: labelled by a labels.tsv, by a folder per class or as demo pictures; or, where allowed, unlabelled."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from squeeze_export.contracts.in_memory import GivenPictures
from squeeze_export.errors import UsageError
from squeeze_export.files.litter import is_litter
from squeeze_export.files.pictures import USUAL, looks_like_a_picture
from squeeze_export.golden.images import named_pictures
from squeeze_export.sources.labels.carried import ids_in
from squeeze_export.sources.labels.entries import SYNSET

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import PixelArray
    from squeeze_export.contracts.signature import PreprocessingSpec

LABELS_FILE: Final = "labels.tsv"
DEMO_COUNT: Final = 2000
DEMO_SEED: Final = 0

_LISTED: Final = 5


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """One image and its class, None where nothing tells it. `path` is None for demo picture number `index`, and for `picture`.

    `name` is what a person finds it by. `picture`: (H, W, 3) uint8 RGB that a program holds.
    """

    name: str
    label: int | None
    path: Path | None
    index: int = 0
    picture: PixelArray | None = field(default=None, compare=False)

    @property
    def is_demo(self) -> bool:
        """Whether it is drawn."""
        return self.path is None and self.picture is None


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """What is evaluated, in a fixed order, and what is not.

    `missing`: named in labels.tsv, but not there. `passed_over`: there, but without a label (or no picture by its name).
    `labelled`: every image has a label; otherwise none has.
    """

    images: tuple[LabelledImage, ...]
    missing: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    labelled: bool = True


def read_any_images(folder: Path, *, num_classes: int, labels: tuple[str, ...] | None) -> ImageSet:
    """As read_images, but pictures that lie in a folder with neither labels.tsv nor subfolders are taken without labels.

    A labels.tsv or subfolders that cannot be read as labels are refused (UsageError) all the same, never passed over.
    """
    if folder.is_dir() and not (folder / LABELS_FILE).is_file() and not _subfolders(folder):
        names = [name for name in _files(folder) if _is_picture(name)]
        if names:
            images = tuple(LabelledImage(name=name, label=None, path=folder / name) for name in names)
            return ImageSet(images=images, labelled=False)
    return read_images(folder, num_classes=num_classes, labels=labels)


def read_images(folder: Path, *, num_classes: int, labels: tuple[str, ...] | None) -> ImageSet:
    """Find the labelled images of `folder`, sorted by name; UsageError where it is not as docs/how-to/measure-accuracy.md says.

    `labels` are the bundle's, in class order, or None if it has none.
    """
    check_classes(num_classes)
    if not folder.exists():
        raise UsageError(f"The image folder {folder} does not exist. Check --images.")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. --images takes a folder with labelled images, or demo.")
    if (folder / LABELS_FILE).is_file():
        return _from_table(folder, num_classes, labels)
    return _from_folders(folder, num_classes, labels)


def check_classes(num_classes: int) -> None:
    """UsageError where a network names no class that could be right."""
    if num_classes == 1:
        raise UsageError(
            "The network gives one score per image, and accuracy needs two classes: export it with two --labels, of no and yes."
        )


def given_images(given: GivenPictures, classes: tuple[int, ...] | None, *, num_classes: int) -> ImageSet:
    """Pictures that a program holds, with a class each or without any; UsageError for a class that the model does not have."""
    outside = [f"classes[{place}] is {label}" for place, label in enumerate(classes or ()) if label >= num_classes]
    if outside:
        raise UsageError(f"The model has {num_classes} classes, numbered from 0 to {num_classes - 1}: {_some(outside)}.")
    images = tuple(
        LabelledImage(name=name, label=None if classes is None else classes[place], path=None, picture=picture)
        for place, (name, picture) in enumerate(named_pictures(given))
    )
    return ImageSet(images=images, labelled=classes is not None)


def limited(images: ImageSet, limit: int | None) -> ImageSet:
    """At most `limit` images, evenly spread over the order, so that a folder per class loses none of its classes first."""
    total = len(images.images)
    if limit is None or limit >= total:
        return images
    return replace(images, images=tuple(images.images[place * total // limit] for place in range(limit)))


def demo_images(count: int, labels: tuple[str, ...] | None) -> ImageSet:
    """The first `count` demo pictures of the fixed seed; UsageError where the bundle does not have the demo's classes."""
    from squeeze_export.demo import characters

    drawn = characters.labels()
    if labels != drawn:
        found = "no labels" if labels is None else f"{len(labels)} labels ({', '.join(labels[:3])}, …)"
        raise UsageError(
            f"The demo images show printed characters, {len(drawn)} classes; this bundle has {found}. "
            "Evaluate it on its own classes: --images DIR with labelled images."
        )
    # Classes take turns in the demo set: the picture itself is drawn later, by a worker thread.
    return ImageSet(
        images=tuple(
            LabelledImage(name=f"demo image {index}", label=index % len(drawn), path=None, index=index) for index in range(count)
        )
    )


def image_key(image: LabelledImage) -> bytes | str:
    """A digest that tells this image from every other, or (str) why the file cannot be read."""
    if image.picture is not None:
        return hashlib.sha256(f"picture {image.picture.shape} ".encode() + image.picture.tobytes()).digest()
    if image.path is None:
        return hashlib.sha256(f"demo {_generator()} {DEMO_SEED} {image.index}".encode()).digest()
    if not image.path.is_file():
        return f"image {image.path} is not a file"
    try:
        with image.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        return f"image {image.path} cannot be read: {error.strerror}"


def images_digest(images: Iterable[tuple[bytes, int | None]]) -> str:
    """sha256 over a line per image, sorted: its digest in hex (of a file, the sha256), a space, and its class, or - for none."""
    lines = sorted(f"{key.hex()} {'-' if label is None else label}\n" for key, label in images)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@cache
def _generator() -> str:
    """Digest of everything that demo pictures are drawn from: this package's code and its demo data."""
    package = Path(str(resources.files("squeeze_export.demo")))
    parts = hashlib.sha256()
    for path in sorted((*package.glob("*.py"), *(package / "data").rglob("*"))):
        if path.is_file():
            parts.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return parts.hexdigest()


def crop_of(image: LabelledImage, spec: PreprocessingSpec) -> PixelArray:
    """Decode or draw, resize and crop one image: (height, width, 3) uint8 RGB; UsageError names a file that cannot be read."""
    from squeeze_export.preprocessing.pixels import load_pixels, picture_pixels, pixels

    if image.path is not None:
        return load_pixels(image.path, spec)
    if image.picture is not None:
        return picture_pixels(image.picture, spec)
    from squeeze_export.demo.characters import demo_image

    picture, label = demo_image(DEMO_SEED, image.index)
    if label != image.label:
        raise AssertionError(f"demo image {image.index} shows class {label}, not {image.label}")
    return pixels(picture, spec)


def _from_table(folder: Path, num_classes: int, labels: tuple[str, ...] | None) -> ImageSet:
    path = folder / LABELS_FILE
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        utf16 = " It looks like UTF-16." if path.read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise UsageError(f"{path} is not UTF-8 text.{utf16} Save it as UTF-8.") from error
    rows = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(rows, [])
    if not {"file", "class_index"} <= set(header):
        found = ", ".join(header) or "nothing"
        raise UsageError(
            f"{path} must begin with a header row that has the columns file and class_index, separated by tabs; found {found}."
        )
    file_column, class_column = header.index("file"), header.index("class_index")
    images: dict[str, LabelledImage] = {}
    outside: list[str] = []
    told: list[tuple[str, int, list[str]]] = []
    for row in rows:
        if not any(row):
            continue
        where = f"{path}, line {rows.line_num}"
        if len(row) <= max(file_column, class_column):
            raise UsageError(f"{where} has {len(row)} columns where the header has {len(header)}.")
        name, written = row[file_column].strip(), row[class_column].strip()
        if "\\" in name and not (folder / name).exists():
            name = name.replace("\\", "/")  # as Windows writes it
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UsageError(f"{where}: {name!r} is not the name of a file below {folder}.")
        name = PurePosixPath(name).as_posix()
        if name in images:
            raise UsageError(f"{where} names {name} a second time: every image has one row.")
        if not _is_index(written):
            raise UsageError(f"{where}: the class_index {written!r} of {name} is not a whole number from 0.")
        if int(written) >= num_classes:
            outside.append(f"{name} has {written} (line {rows.line_num})")
        images[name] = LabelledImage(name=name, label=int(written), path=folder / name)
        told.append((f"line {rows.line_num}", int(written), [cell.strip() for cell in row]))
    if not images:
        raise UsageError(f"{path} names no images.")
    if outside:
        raise UsageError(
            f"{path} has classes that the model does not: it has {num_classes}, numbered from 0 to {num_classes - 1}. "
            f"{_some(outside)}."
        )
    _refuse_other_labels(path, told, labels)
    present = [image for image in images.values() if image.path is not None and image.path.exists()]
    if not present:
        raise UsageError(f"None of the {len(images)} files that {path} names is in {folder}: {_some(list(images))}.")
    passed_over = [name for name in _files(folder) if name not in images and _is_picture(name)]
    return ImageSet(
        images=tuple(sorted(present, key=lambda image: image.name)),
        missing=tuple(sorted(set(images) - {image.name for image in present})),
        passed_over=tuple(passed_over),
    )


def _refuse_other_labels(path: Path, rows: list[tuple[str, int, list[str]]], labels: tuple[str, ...] | None) -> None:
    """UsageError where most rows name, beside the class's index, a label or an ImageNet id that the bundle has at another."""
    places = {**{_plain(label): index for index, label in enumerate(labels or ())}, **_by_id(labels)}
    named = [(where, label, cell) for where, label, cells in rows for cell in cells if not _is_index(cell) and cell in places]
    moved = [(where, label, cell) for where, label, cell in named if places[cell] != label]
    if 2 * len(moved) > len(rows):
        where, label, cell = moved[0]
        raise UsageError(
            f"{path}, {where}: class_index {label} goes with {cell}, which is class {places[cell]} by the bundle's labels "
            f"({len(moved)} of {len(rows)} images). One of them is in another order than the model."
        )


def _by_id(labels: tuple[str, ...] | None) -> dict[str, int]:
    """The class of each ImageNet id, where every label has one: `dog (n02084071)`."""
    return {synset: index for index, synset in enumerate(ids_in(labels or ()))}


def _from_folders(folder: Path, num_classes: int, labels: tuple[str, ...] | None) -> ImageSet:
    names = _subfolders(folder)
    if not names:
        raise UsageError(
            f"{folder} has no labelled images: put a {LABELS_FILE} with the columns file and class_index beside them, "
            "or the images of each class into a folder of their own."
        )
    classes = _classes_of(folder, names, num_classes, labels)
    images: list[LabelledImage] = []
    passed_over: list[str] = []
    for name in _files(folder):
        top, _, rest = name.partition("/")
        if rest and "/" not in rest and _is_picture(name):
            images.append(LabelledImage(name=name, label=classes[top], path=folder / name))
        else:
            passed_over.append(name)
    if not images:
        raise UsageError(f"The class folders of {folder} have no images: none of their files ends in {USUAL}.")
    return ImageSet(images=tuple(images), passed_over=tuple(passed_over))


def _classes_of(folder: Path, names: list[str], num_classes: int, labels: tuple[str, ...] | None) -> Mapping[str, int]:
    """Read the folders' names, all of them as labels or all of them as class indices; never some this way and some that."""
    by_label = {_plain(label): index for index, label in enumerate(labels or ())}
    if not any(_plain(name) in by_label for name in names):
        by_label = _by_id(labels)
    as_labels = {name: by_label[_plain(name)] for name in names if _plain(name) in by_label}
    as_indices = {name: int(name) for name in names if _is_index(name)}
    if len(as_labels) == len(as_indices) == len(names) and as_labels != as_indices:
        raise UsageError(
            f"The folders of {folder} can be read as labels and as class indices, which differ "
            f"({next(name for name in names if as_labels[name] != as_indices[name])}): say with a {LABELS_FILE} which is meant."
        )
    if len(as_labels) == len(names):
        return as_labels
    if len(as_indices) < len(names):
        strangers = [name for name in names if name not in (as_labels or as_indices)]
        ids = any(map(SYNSET.fullmatch, strangers))
        hint = f" For ImageNet's ids, take labels that have them, or write a {LABELS_FILE}." if ids else ""
        known = f"or all by its labels ({_some(labels)})" if labels else "(the bundle has no labels)"
        raise UsageError(
            f"The folders of {folder} must all be named by the model's class index, 0 to {num_classes - 1}, {known}. "
            f"These are not: {_some(strangers)}.{hint}"
        )
    outside = [name for name in names if as_indices[name] >= num_classes]
    if outside:
        raise UsageError(
            f"{folder} has folders for classes that the model does not have: {_some(outside)}; "
            f"it has {num_classes}, numbered from 0 to {num_classes - 1}."
        )
    if len(set(as_indices.values())) < len(names):
        raise UsageError(f"Two folders of {folder} are named by the same class index: {_some(names)}.")
    return as_indices


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not _hidden(entry.name))


def _files(folder: Path) -> list[str]:
    """Every file below `folder` as a relative POSIX path, sorted; nothing hidden."""
    found = []
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):  # class folders are often links; a circle of them ends
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not _hidden(name)]
        seen.add(real)
        relative = Path(place).relative_to(folder)
        found += [(relative / name).as_posix() for name in files if not _hidden(name)]
    return sorted(name for name in found if name != LABELS_FILE)


def _hidden(name: str) -> bool:
    return name.startswith(".") or is_litter(name)


def _is_picture(name: str) -> bool:
    # Also what nothing here reads: that is an image that cannot be read, not no picture.
    return looks_like_a_picture(name)


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _plain(text: str) -> str:
    # File systems of Apple write an accent as a character of its own.
    return unicodedata.normalize("NFC", text)


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    shown = ", ".join(listed[:_LISTED])
    return shown if len(listed) <= _LISTED else f"{shown} and {len(listed) - _LISTED} more"
