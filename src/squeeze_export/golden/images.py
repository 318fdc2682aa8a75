"""The pictures of a golden pack: picked from a folder and decoded, or the demo's."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from squeeze_export.errors import UsageError
from squeeze_export.files.pictures import USUAL, Pictures, sorted_out, told
from squeeze_export.preprocessing.pixels import load_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from squeeze_export.contracts.arrays import PixelArray
    from squeeze_export.contracts.in_memory import GivenPictures

Kept = TypeVar("Kept")

MAX_IMAGES: Final = 8
_DAMAGED: Final = "cannot be decoded"


def pictures_in(folder: Path) -> Pictures:
    """The pictures that lie in `folder`, or else those in its subfolders; UsageError if none can be read."""
    if not folder.exists():
        raise UsageError(f"image folder {folder} does not exist: check --images")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: --images takes a folder with images")
    found = Pictures(readable=(), unreadable=())
    for pattern in ("*", "*/*", "**/*"):
        found = sorted_out(folder.glob(pattern), folder)
        if found.readable:
            return found
    why = told(found.unreadable, folder) if found.unreadable else f"none of its files ends in {USUAL}"
    raise UsageError(f"image folder {folder} has no images that can be read: {why}")


def given_images(given: GivenPictures) -> list[tuple[str, PixelArray]]:
    """At most 8 of the pictures that a program passes, evenly spread, with names that count them."""
    return _spread(named_pictures(given))


def named_pictures(given: GivenPictures) -> list[tuple[str, PixelArray]]:
    """All of them, with names that count them."""
    return [(f"image-{place}", picture) for place, picture in enumerate(given.pictures)]


def _spread(paths: list[Kept]) -> list[Kept]:
    """At most 8 of them, evenly spread over their order."""
    if len(paths) <= MAX_IMAGES:
        return paths
    return [paths[place * (len(paths) - 1) // (MAX_IMAGES - 1)] for place in range(MAX_IMAGES)]


def read_folder(folder: Path) -> tuple[list[tuple[str, PixelArray]], list[Path], Pictures]:
    """Decode at most 8 of a folder's pictures, evenly spread over those that can be decoded.

    Returns (file name, (H, W, 3) uint8 RGB) of each, their paths, and all pictures of the folder, each that was tried in vain
    among those that cannot be read. UsageError where none is left, and at the ninth that was tried in vain.
    """
    import numpy as np

    there = pictures_in(folder)

    decoded: dict[Path, PixelArray] = {}
    while True:
        paths = _spread(list(there.readable))
        for path in paths:
            if path in decoded:
                continue
            try:
                decoded[path] = np.array(load_image(folder / path))
            except UsageError:
                damaged = [kept for kept in there.unreadable if kept[1] == _DAMAGED]
                if len(damaged) >= MAX_IMAGES or len(there.readable) == 1:
                    raise
                there = Pictures(
                    readable=tuple(kept for kept in there.readable if kept != path),
                    unreadable=(*there.unreadable, (path, _DAMAGED)),
                )
                break
        else:
            return [(path.name, decoded[path]) for path in paths], [folder / path for path in paths], there


def read_pictures(paths: Sequence[Path]) -> list[tuple[str, PixelArray]]:
    """Decode files to (file name, (H, W, 3) uint8 RGB), whole; UsageError names the one that cannot be read."""
    import numpy as np

    return [(path.name, np.array(load_image(path))) for path in paths]


def demo_images() -> list[tuple[str, PixelArray]]:
    """The pictures that this package brings for its demo weights, as read_pictures gives them."""
    folder = Path(str(resources.files("squeeze_export.demo"))) / "data" / "images"
    paths = sorted(folder.glob("*.png")) if folder.is_dir() else []
    if not paths:
        raise UsageError("this installation of squeeze-export has no demo images: install it again, or give --images FOLDER")
    return read_pictures(paths[:MAX_IMAGES])
