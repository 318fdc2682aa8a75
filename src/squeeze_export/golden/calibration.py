"""Calibration images: the unlabelled pictures by which some precisions choose their numbers."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from squeeze_export.bundle.manifest import CalibrationRecord
from squeeze_export.errors import UsageError
from squeeze_export.files.pictures import USUAL, Pictures, sorted_out, told
from squeeze_export.preprocessing.pixels import load_pixels, pixels

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import PixelArray
    from squeeze_export.contracts.request import ExportRequest
    from squeeze_export.contracts.signature import PreprocessingSpec
    from squeeze_export.contracts.source import SourceModel

FEWEST: Final = 8
MOST: Final = 256  # more did not change a result measurably, and every rung runs the network over all of them
DEMO_COUNT: Final = 68  # two of each character
DEMO_SEED: Final = 1  # not the pictures that `evaluate --images demo` measures with
_LABELS: Final = "labels.tsv"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """`pixels`: (N, H, W, 3) uint8 RGB. `notes`: what a user must know of them, a sentence each."""

    pixels: PixelArray
    record: CalibrationRecord
    notes: tuple[str, ...]


def demo_calibration(spec: PreprocessingSpec, *, of_demo: bool) -> Calibration:
    """Draw the demo's pictures; `of_demo`: whether the model is the one that reads them."""
    import numpy as np

    from squeeze_export.demo.characters import demo_image

    drawn = np.stack([pixels(demo_image(DEMO_SEED, index)[0], spec) for index in range(DEMO_COUNT)])
    note = (
        f"the calibration saw {DEMO_COUNT} drawn images of printed characters, which are not what this model is for. "
        "Pass --calibration-data with a folder of its own kind."
    )
    return Calibration(pixels=drawn, record=_record("demo", drawn), notes=() if of_demo else (note,))


def read_calibration(folder: Path, spec: PreprocessingSpec) -> Calibration:
    """Read at most 256 pictures of `folder` and its subfolders, evenly spread over the sorted names; labels are not used.

    Raises UsageError for a folder that is none, for fewer than 8 pictures, and for one that cannot be read. Pictures that are
    all alike, of one colour, or of one class where that can be known, are in the notes.
    """
    import numpy as np

    there = _pictures(folder)
    found = list(there.readable)
    if len(found) > MOST:
        found = [found[place * len(found) // MOST] for place in range(MOST)]
    crops = np.stack([load_pixels(folder / path, spec) for path in found])
    notes = []
    if there.unreadable:
        notes.append(told(there.unreadable, folder))
    if not (crops != crops[0]).any():
        notes.append(f"all {len(found)} calibration images in {folder} are alike, as good as one. Take images that differ.")
    flat = int((crops == crops[:, :1, :1]).all(axis=(1, 2, 3)).sum())
    if flat:
        notes.append(
            f"{flat} of the {len(found)} calibration images in {folder} are of one colour: the ranges that they give are too "
            "small for real images. Take photographs instead."
        )
    if len(_classes(folder, found)) == 1:
        notes.append(
            f"all {len(found)} calibration images in {folder} are of one class, by labels or their one folder: ranges and "
            "sensitivities of the others are not seen. Take images of many classes."
        )
    return Calibration(pixels=crops, record=_record("folder", crops), notes=tuple(notes))


def find_pictures(folder: Path) -> list[Path]:
    """The pictures of `folder` and its subfolders, relative to it, sorted; UsageError where it is none or has fewer than 8."""
    return list(_pictures(folder).readable)


def _pictures(folder: Path) -> Pictures:
    if not folder.is_dir():
        raise UsageError(f"The calibration folder {folder} {'is not a folder' if folder.exists() else 'does not exist'}.")
    found = sorted_out(folder.rglob("*"), folder)
    if len(found.readable) < FEWEST:
        also = f" {told(found.unreadable, folder)}" if found.unreadable else ""
        raise UsageError(
            f"The calibration folder {folder} has {len(found.readable)} images; at least {FEWEST} are needed, some hundred are "
            f"good. Their names end in {USUAL}.{also}"
        )
    return found


def default_notes(request: ExportRequest, source: SourceModel, images: Calibration | None, *, judged: bool) -> tuple[str, ...]:
    """What a user must know of the images that judged (if any did) and calibrated: the default ones are the demo's."""
    from squeeze_export.golden.images import MAX_IMAGES

    drawn = judged and request.images is None and source.weights.kind != "demo"
    note = f"judged on {MAX_IMAGES} drawn images that are not this model's; pass --images with a folder of its own kind."
    if images is not None and images.record.origin == "demo":
        note += " Where it was tried, --calibration-data alone changed no verdict."  # docs/explanation/parity.md has the numbers
    return (*((note,) if drawn else ()), *(images.notes if images else ()))


def _classes(folder: Path, found: list[Path]) -> set[str]:
    """The classes of the pictures as far as the folder tells: by labels.tsv, or by a folder per class; labels only warn."""
    table = folder / _LABELS
    if table.is_file():
        try:
            rows = list(
                csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
            )
        except (OSError, UnicodeDecodeError):
            return set()
        classes = {row.get("file"): row.get("class_index") or "" for row in rows}
        return {classes.get(path.as_posix(), "") for path in found}
    if any(len(path.parts) == 1 for path in found):
        return set()
    return {path.parts[0] for path in found}


def _record(origin: str, crops: PixelArray) -> CalibrationRecord:
    sha256 = hashlib.sha256(crops.tobytes()).hexdigest()
    return CalibrationRecord(origin="demo" if origin == "demo" else "folder", images=len(crops), sha256=sha256)
