"""What a program may pass in place of a name or a path: a module, names of classes, pictures. Nothing is imported for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.errors import UsageError

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

    from squeeze_export.contracts.arrays import Array, PixelArray

MODULE: Final = "in-memory"  # no name of a Python module, so that no factory is called so
MODEL_FORM: Final = 'model="squeezenet1_1", or a torch.nn.Module'
# What wraps a network whose numbers stay the same, by the attribute that holds it: its weights have their own names there.
_WRAPPERS: Final = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
}
_FORM: Final = (
    'Write images="photos", a folder, or images before preprocessing: RGB or grey, uint8 or divided by 255, (N, H, W, 3), '
    "(N, 3, H, W), or a list of them"
)
CLASSES_FORM: Final = "classes=[0, 3, 1], the index of each image's class"
_OF_A_LEVEL: Final = 1e-3  # how far a float times 255 may be from a whole number: float32's rounding is a hundredth of that


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GivenPictures:
    """Pictures that a program holds, each (H, W, 3) uint8 RGB of its own size, before resize and crop."""

    pictures: tuple[PixelArray, ...]

    def __repr__(self) -> str:
        """How many there are."""
        return f"{len(self.pictures)} images in memory"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GivenScores:
    """Scores that a program holds, (N, classes) float64, of as many pictures in memory."""

    values: Array

    def __repr__(self) -> str:
        """Of how many images they are."""
        return f"scores of {len(self.values)} images in memory"


def is_module(model: object) -> TypeIs[torch.nn.Module]:
    """Whether a source model is a torch.nn.Module itself; who holds one has imported torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def module_name(module: object) -> str:
    """How a module in memory is called on the screen and in the manifest: "in-memory:" and its class."""
    return f"{MODULE}:{class_name(module)}"


def class_name(module: object) -> str:
    """The class of a module, or of what it wraps."""
    return type(unwrapped(module)).__name__


def unwrapped(module: Any) -> Any:
    """The network inside of what torch.compile, DataParallel, DistributedDataParallel and AveragedModel (SWA) make of one."""
    while True:
        kind = type(module)
        if kind.__module__.startswith("torch.") and kind.__name__ in _WRAPPERS:
            module = getattr(module, _WRAPPERS[kind.__name__])
        else:
            return module


def label_names(labels: object) -> object:
    """A list or tuple of strings as a tuple; UsageError where it holds anything else. What is no list is given back as it is."""
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        return labels
    other = next((label for label in labels if not isinstance(label, str)), None)
    if other is not None:
        raise UsageError(
            f'labels holds {other!r}, a {type(other).__name__}. Write labels=["daisy", "tulip"], one text per class.'
        )
    return tuple(labels)


def given_pictures(images: object) -> object:
    """Arrays, tensors or PIL images as GivenPictures; UsageError where they are no pictures. Anything else is given back.

    RGB or grey, channels last or first; uint8, or floats that are levels divided by 255, as torchvision's ToTensor gives them.
    """
    if isinstance(images, Sequence) and not isinstance(images, str | bytes):
        if not images:
            raise UsageError(f"images is an empty list. {_FORM}.")
        return GivenPictures(pictures=tuple(_picture(one, f"images[{place}]") for place, one in enumerate(images)))
    if not _is_array(images):
        return images
    batch = _array(images)
    if batch.ndim == 3:
        return GivenPictures(pictures=(_picture(batch, "images"),))
    if batch.ndim != 4:
        raise _refused("images", batch)
    if not len(batch):
        raise UsageError(f"images is an empty array. {_FORM}.")
    return GivenPictures(pictures=tuple(_picture(one, "images", batch) for one in batch))


def given_classes(classes: object, images: object) -> tuple[int, ...] | None:
    """The class of each picture in memory as whole numbers; None where none are given. UsageError where they do not fit."""
    import numbers

    if classes is None:
        return None
    if not isinstance(images, GivenPictures):
        raise UsageError("classes is for images in memory: a folder of images has a folder per class, or a labels.tsv.")
    found = _array(classes).tolist() if _is_array(classes) else classes
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise UsageError(f"classes is a {type(classes).__name__}. Write {CLASSES_FORM}.")
    for place, one in enumerate(found):
        if isinstance(one, bool) or not isinstance(one, numbers.Integral) or one < 0:
            raise UsageError(f"classes[{place}] is {one!r}, no whole number from 0. Write {CLASSES_FORM}.")
    if len(found) != len(images.pictures):
        raise UsageError(f"classes has {len(found)} classes for {images}. Write {CLASSES_FORM}.")
    return tuple(map(int, found))


def given_scores(scores: object, images: object) -> object:
    """An array or tensor (N, classes) as GivenScores; UsageError where it is not of the pictures. Anything else is given back."""
    import numpy as np

    if not _is_array(scores):
        return scores
    found = _array(scores)
    if not isinstance(images, GivenPictures):
        raise UsageError("reference is in memory: pass the images that it is of in memory as well, or both as files.")
    if found.dtype.kind != "f" or found.ndim != 2 or len(found) != len(images.pictures) or not np.isfinite(found).all():
        raise UsageError(
            f"reference is {found.dtype} of shape {tuple(found.shape)} for {images}. Write finite scores, floats of "
            "(images, classes)."
        )
    return GivenScores(values=found.astype(np.float64))


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") and hasattr(value, "shape")


def _array(value: Any) -> Any:
    import numpy as np

    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _picture(value: Any, what: str, whole: Any = None) -> PixelArray:
    """One (H, W, 3) uint8 array of its own memory, grey in three equal channels; `whole`: what it is one of, to be named."""
    import numpy as np

    if hasattr(value, "convert") and hasattr(value, "getbands"):  # a PIL image
        value = np.asarray(value.convert("RGB"))
    if not _is_array(value):
        raise UsageError(f"{what} is a {type(value).__name__}. {_FORM}.")
    found = _array(value)
    if found.ndim != 3 or not found.size:
        raise _refused(what, found if whole is None else whole)
    if found.shape[2] not in (1, 3) and found.shape[0] in (1, 3):  # channels first
        found = found.transpose(1, 2, 0)
    levels = _levels(found)
    if levels is None or found.shape[2] not in (1, 3):
        raise _refused(what, found if whole is None else whole)
    return np.ascontiguousarray(np.broadcast_to(levels, (*found.shape[:2], 3))).copy()


def _levels(found: Any) -> Any:
    """The uint8 levels of an array that holds them, or levels divided by 255; None of any other."""
    import numpy as np

    if found.dtype == np.uint8:
        return found
    if found.dtype.kind != "f":
        return None
    scaled = found.astype(np.float64) * 255
    levels = np.rint(scaled)
    fits = bool((np.abs(scaled - levels) <= _OF_A_LEVEL).all() and (levels >= 0).all() and (levels <= 255).all())
    return levels.astype(np.uint8) if fits else None


def _refused(what: str, found: Any) -> UsageError:
    shape = tuple(found.shape)
    told = f"{what} is {found.dtype} of shape {shape}"
    if found.dtype.kind == "f":
        return UsageError(
            f"{told}, and its numbers are no levels divided by 255. Resize and normalisation belong to the export. {_FORM}."
        )
    return UsageError(f"{told}. {_FORM}.")
