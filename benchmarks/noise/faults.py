"""The faults that benchmarks/noise plants in a network: mistakes that exporters have made."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import torch
from benchmarks.noise.artifacts import each
from benchmarks.noise.networks import MEAN, STD
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

Answers = Callable[[torch.nn.Module, torch.Tensor], "Array | None"]


def _changed(change: Callable[[torch.nn.Module], bool]) -> Answers:
    """A fault in the network's weights or settings; `change` gives False where there is no place for it."""

    def answers(module: torch.nn.Module, images: torch.Tensor) -> Array | None:
        other = copy.deepcopy(module)
        with torch.no_grad():
            there = change(other)
        return each(other, images) if there else None

    return answers


def _fed(feed: Callable[[torch.Tensor], torch.Tensor]) -> Answers:
    return lambda module, images: each(module, feed(images))


def _operation(names: tuple[str, ...], other: Callable[..., torch.Tensor]) -> Answers:
    """An operation computed by another formula, wherever it stands; `other` takes the right one first."""

    def answers(module: torch.nn.Module, images: torch.Tensor) -> Array | None:
        with _replaced(names, other) as met:
            found = each(module, images)
        return found if met else None

    return answers


@contextmanager
def _replaced(names: tuple[str, ...], other: Callable[..., torch.Tensor]) -> Iterator[list[bool]]:
    met: list[bool] = []

    class Replace(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function.overloadpacket.__name__.rstrip("_") not in names:
                return function(*args, **(kwargs or {}))
            met.append(True)
            found = other(function, *args, **(kwargs or {}))
            return args[0].copy_(found) if function._schema.is_mutable else found

    with Replace(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        yield met


def _middle(module: torch.nn.Module, kinds: Any, wanted: Callable[[Any], bool] = lambda _: True) -> Any:
    found = [part for part in module.modules() if isinstance(part, kinds) and wanted(part)]
    return found[len(found) // 2] if found else None


def _rotated(module: torch.nn.Module) -> bool:
    part = _middle(module, torch.nn.Conv2d)
    if part is not None:
        part.weight.copy_(part.weight.roll(1, 0))
    return part is not None


def _dropped(module: torch.nn.Module) -> bool:
    kinds = (torch.nn.Conv2d, torch.nn.Linear, torch.nn.modules.batchnorm._BatchNorm, torch.nn.LayerNorm)
    part = _middle(module, kinds, lambda found: found.bias is not None)
    if part is not None:
        part.bias.zero_()
    return part is not None


def _epsilon(module: torch.nn.Module) -> bool:
    found = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    for part in found:
        part.eps = 1e-5 if part.eps >= 1e-3 else 1e-3
    return bool(found)


def _floored(module: torch.nn.Module) -> bool:
    found = [part for part in module.modules() if getattr(part, "ceil_mode", False)]
    for part in found:
        part.ceil_mode = False
    return bool(found)


def _asymmetric(module: torch.nn.Module) -> bool:
    """Convolutions of stride 2 that pad behind only, as TensorFlow's SAME does at even sizes."""

    def wanted(part: Any) -> bool:
        return tuple(part.stride) == (2, 2) and isinstance(part.padding, tuple) and part.padding[0] > 0

    found = [part for part in module.modules() if isinstance(part, torch.nn.Conv2d) and wanted(part)]
    for part in found[:1]:
        pad = part.padding[0]
        part.register_forward_pre_hook(
            lambda _, given, pad=pad: (torch.nn.functional.pad(given[0], (pad - 1, pad + 1, pad - 1, pad + 1)),)
        )
        part.padding = (0, 0)
    return bool(found)


def _transposed(module: torch.nn.Module) -> bool:
    """A square matrix where there is one, else one that is read in the other order."""
    part = _middle(module, torch.nn.Linear, lambda found: found.in_features == found.out_features) or _middle(
        module, torch.nn.Linear
    )
    if part is not None:
        part.weight.copy_(part.weight.t().reshape(part.weight.shape).clone())
    return part is not None


def _wrong_axis(right: Any, values: torch.Tensor, axis: int, *more: Any) -> torch.Tensor:
    last = axis in (-1, values.dim() - 1) and values.dim() > 2
    found: torch.Tensor = right(values, values.dim() - 2 if last else axis, *more)
    return found


FAULTS: Final[dict[str, Answers]] = {
    "wrong sign of the mean": _fed(lambda images: images + torch.from_numpy(2 * MEAN / STD).view(1, 3, 1, 1)),
    "BGR for RGB": _fed(lambda images: images.flip(1)),
    "a convolution's channels rotated": _changed(_rotated),
    "a bias dropped": _changed(_dropped),
    "batch norm's eps 1e-3 for 1e-5": _changed(_epsilon),
    "floor for ceil in pools": _changed(_floored),
    "asymmetric padding, one layer": _changed(_asymmetric),
    "tanh-GELU for erf": _operation(("gelu",), lambda _, values, **__: torch.nn.functional.gelu(values, approximate="tanh")),
    "softmax over another axis": _operation(("_softmax", "_safe_softmax"), _wrong_axis),
    "a linear weight transposed": _changed(_transposed),
    "swish for hard-swish": _operation(("hardswish",), lambda _, values: values * values.sigmoid()),
}
