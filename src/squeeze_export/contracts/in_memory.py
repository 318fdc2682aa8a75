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

    from squeeze_export.contracts.arrays import PixelArray

MODULE: Final = "in-memory"  # no name of a Python module, so that no factory is called so
MODEL_FORM: Final = 'model="squeezenet1_1", or a torch.nn.Module'
# What wraps a network whose numbers stay the same, by the attribute that holds it: its weights have their own names there.
_WRAPPERS: Final = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
}
_FORM: Final = 'Write images="photos", a folder, or images before preprocessing: uint8 RGB, (N, H, W, 3) or a list of (H, W, 3)'


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GivenPictures:
    """Pictures that a program holds, each (H, W, 3) uint8 RGB of its own size, before resize and crop."""

    pictures: tuple[PixelArray, ...]

    def __repr__(self) -> str:
        """How many there are."""
        return f"{len(self.pictures)} images in memory"


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
    """Arrays, tensors or PIL images as GivenPictures; UsageError where they are no uint8 RGB. Anything else is given back."""
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


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") and hasattr(value, "shape")


def _array(value: Any) -> Any:
    import numpy as np

    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _picture(value: Any, what: str, whole: Any = None) -> PixelArray:
    """One (H, W, 3) uint8 array of its own memory; `whole`: what it is one of, to be named."""
    import numpy as np

    if hasattr(value, "convert") and hasattr(value, "getbands"):  # a PIL image
        value = np.asarray(value.convert("RGB"))
    if not _is_array(value):
        raise UsageError(f"{what} is a {type(value).__name__}. {_FORM}.")
    found = _array(value)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3 or not found.size:
        raise _refused(what, found if whole is None else whole)
    return np.array(found)


def _refused(what: str, found: Any) -> UsageError:
    shape = tuple(found.shape)
    told = f"{what} is {found.dtype} of shape {shape}"
    if found.dtype.kind == "f":
        return UsageError(
            f"{told}. Floats do not say how they were made: resize, scale and normalisation belong to the export. {_FORM}."
        )
    if found.dtype.name == "uint8" and found.ndim in (3, 4) and shape[-3] == 3:
        order = "1, 2, 0" if found.ndim == 3 else "0, 2, 3, 1"
        return UsageError(f"{told}, channels first. Write images.permute({order}), or of NumPy images.transpose({order}).")
    return UsageError(f"{told}. {_FORM}.")
