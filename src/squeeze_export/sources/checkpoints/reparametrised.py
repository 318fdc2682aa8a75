"""Weights that training stores in several tensors: pruned, weight-normalised, or spectrally normalised ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.sources.checkpoints.arrays import Unusable

if TYPE_CHECKING:
    import torch

_ORIGINAL: Final = re.compile(r"(?P<base>.*\.|)parametrizations\.(?P<leaf>\w+)\.(?P<rest>.+)")
_SPECTRAL: Final = (
    "spectral normalisation ({}), whose factor is not in the file. Take it off where the model was made "
    "(torch.nn.utils.remove_spectral_norm, or parametrize.remove_parametrizations), and save the state dict again"
)
_UNKNOWN: Final = (
    "a parametrization ({}) that the file does not describe. Apply it where the model was made "
    '(torch.nn.utils.parametrize.remove_parametrizations(module, "weight")), and save the state dict again'
)


@dataclass(frozen=True, kw_only=True)
class Merged:
    """Tensors by their plain names. `notes`: what was computed; `problems`: what could not be, by the name of the weight."""

    tensors: dict[str, Any]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def merge(tensors: dict[str, Any]) -> Merged:
    """Compute each weight from the tensors that stand for it."""
    found = dict(tensors)
    pruned: list[str] = []
    normalised: list[str] = []
    problems: list[str] = []
    for name in tensors:
        weight = name.removesuffix("_orig")
        if weight == name or weight in found:
            continue
        if f"{weight}_mask" in found:
            value = _masked(found[name], found[f"{weight}_mask"])
            if isinstance(value, str):
                problems.append(f"{weight} has {value}")
                continue
            _replace(found, weight, value, name, f"{weight}_mask")
            pruned.append(weight)
        elif f"{weight}_u" in found:
            problems.append(f"{weight} has {_SPECTRAL.format(f'{weight}_u')}")
    for name in tensors:
        weight = name.removesuffix("_g")
        if weight != name and weight not in found and f"{weight}_v" in found:
            value = _normalised(found[name], found[f"{weight}_v"])
            if isinstance(value, str):
                problems.append(f"{weight} has {value}")
                continue
            _replace(found, weight, value, name, f"{weight}_v")
            normalised.append(weight)
    groups: dict[str, dict[str, str]] = {}
    for name in tensors:
        match = _ORIGINAL.fullmatch(name)
        if match is not None:
            groups.setdefault(f"{match['base']}{match['leaf']}", {})[match["rest"]] = name
    for weight, parts in groups.items():
        value = _parametrised(found, parts)
        if isinstance(value, str):
            problems.append(f"{weight} has {value}")
            continue
        _replace(found, weight, value, *parts.values())
        (pruned if "original" in parts else normalised).append(weight)
    notes = []
    if pruned:
        notes.append(f"{len(pruned)} pruned weights were multiplied with their masks (such as {pruned[0]}).")
    if normalised:
        notes.append(
            f"{len(normalised)} weights were computed from direction and length, weight normalisation (such as {normalised[0]})."
        )
    return Merged(tensors=found, notes=tuple(notes), problems=tuple(problems))


def _parametrised(found: dict[str, Any], parts: dict[str, str]) -> Any:
    """The weight of torch.nn.utils.parametrize, or why it cannot be computed."""
    if set(parts) == {"original0", "original1"}:
        return _normalised(found[parts["original0"]], found[parts["original1"]])
    masks = [name for rest, name in parts.items() if re.fullmatch(r"\d+\.(\w*_)?mask", rest)]
    if "original" in parts and len(masks) == 1 and len(parts) == 2:
        return _masked(found[parts["original"]], found[masks[0]])
    if any(rest.endswith(("._u", "._v")) for rest in parts):
        return _SPECTRAL.format(next(iter(parts.values())))
    return _UNKNOWN.format(next(iter(parts.values())))


def _replace(found: dict[str, Any], weight: str, value: Any, *parts: str) -> None:
    for part in parts:
        del found[part]
    found[weight] = value


def _masked(original: Any, mask: Any) -> Any:
    """The product, or why there is none."""
    if isinstance(original, Unusable) or isinstance(mask, Unusable) or not original.is_floating_point():
        return f"{_kind(original)} values and {_kind(mask)} mask"
    if original.shape != mask.shape:
        return f"values of shape {tuple(original.shape)} and a mask of shape {tuple(mask.shape)}"
    return original * mask.to(original.dtype)


def _normalised(length: Any, direction: Any) -> Any:
    """Weight normalisation over every dimension but the first, direction * length / |direction|, or why it cannot be."""
    if isinstance(length, Unusable) or isinstance(direction, Unusable) or not direction.is_floating_point():
        return f"a direction that is {_kind(direction)} and a length that is {_kind(length)}"
    if direction.ndim < 2 or tuple(length.shape) != (direction.shape[0], *[1] * (direction.ndim - 1)):
        return (
            f"a direction of shape {tuple(direction.shape)} and a length of shape {tuple(length.shape)}, not one per output "
            "channel. Take the weight normalisation off where the model was made, and save the state dict again"
        )
    wide: torch.Tensor = direction.double()
    norms = wide.flatten(1).norm(dim=1).reshape(length.shape)
    return (wide * (length.double() / norms)).to(direction.dtype)


def _kind(value: Any) -> str:
    return value.kind if isinstance(value, Unusable) else str(value.dtype).removeprefix("torch.")
