"""Batch norms behind convolutions, folded into them for a network that has none.

Where a batch norm stands is told by names, places and channels; whatever these do not settle is a problem, named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from squeeze_export.sources.checkpoints.arrays import Unusable

_EPS: Final = 1e-5  # PyTorch's default; no state dict tells it
_WORDS: Final = re.compile(r"batch_?norm\d*d?|bn|norm|_", re.IGNORECASE)
_PARTS: Final = ("running_mean", "running_var", "weight", "bias")


@dataclass(frozen=True, kw_only=True)
class Folded:
    """Tensors without batch norms, by the names of the network without them. `problems`: each that could not be placed."""

    tensors: dict[str, Any]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def fold(tensors: Mapping[str, Any], expected: Sequence[str]) -> Folded:
    """Fold every batch norm into the convolution in front of it; `expected` are the names that the network has."""
    found = dict(tensors)
    norms = [name.removesuffix(".running_mean") for name in found if name.endswith(".running_mean")]
    if not norms:
        return Folded(tensors=found, notes=(), problems=())
    problems: list[str] = []
    folded: dict[str, str] = {}
    for norm in norms:
        channels = _channels(found, norm)
        if channels is None:
            problems.append(f"{norm} is a batch norm without a mean and a variance per channel")
            continue
        behind = _convolution_of(found, norm, channels, norms, expected)
        if behind in folded.values():
            problems.append(f"{norm} is a second batch norm behind {behind}")
        elif behind in _bases(found):
            folded[norm] = behind
        else:
            problems.append(f"{norm} is a batch norm of {channels} channels that cannot be folded: {behind}")
    if problems:
        return Folded(tensors=found, notes=(), problems=tuple(problems))
    for norm, convolution in folded.items():
        _merge(found, norm, convolution)
    renamed = _renamed(found, norms, expected)
    if isinstance(renamed, str):
        return Folded(tensors=found, notes=(), problems=(renamed,))
    first, into = next(iter(folded.items()))
    note = (
        f"Batch norms were folded into the convolutions before them, {len(folded)} in all ({first} into {into}), with PyTorch's "
        "eps of 1e-5. Each was taken to stand in front of the ReLU."
    )
    return Folded(tensors=renamed, notes=(note,), problems=())


def _bases(found: Mapping[str, Any]) -> dict[str, int]:
    """The convolutions, by name, with their output channels, in the file's order."""
    return {
        name.removesuffix(".weight"): int(value.shape[0])
        for name, value in found.items()
        if name.endswith(".weight") and len(value.shape) == 4 and not isinstance(value, Unusable)
    }


def _channels(found: Mapping[str, Any], norm: str) -> int | None:
    parts = [found[f"{norm}.{part}"] for part in _PARTS if f"{norm}.{part}" in found]
    shapes = {tuple(part.shape) for part in parts}
    usable = f"{norm}.running_var" in found and not any(isinstance(part, Unusable) for part in parts)
    (shape,) = shapes if len(shapes) == 1 else ((),)
    return int(shape[0]) if usable and len(shape) == 1 else None


def _convolution_of(found: Mapping[str, Any], norm: str, channels: int, norms: Sequence[str], expected: Sequence[str]) -> str:
    """The convolution directly in front of a batch norm, or in words why it is not known which."""
    parent, _, leaf = norm.rpartition(".")
    convolutions = _bases(found)
    if leaf.isdecimal():  # a place in a Sequential: what stands one place before, and nothing else, feeds it
        before = f"{parent}.{int(leaf) - 1}"
        if before not in convolutions:
            return f"no convolution stands directly before it, at {before}, so an activation stands between"
        if convolutions[before] != channels:
            return f"{before} has {convolutions[before]} output channels"
        return before
    beside = {name: width for name, width in convolutions.items() if name.rpartition(".")[0] == parent}
    core = _WORDS.sub("", leaf)
    named = [name for name in beside if core and not core.isdecimal() and _WORDS.sub("", name.rpartition(".")[2]) == core]
    if len(named) == 1:
        return named[0] if beside[named[0]] == channels else f"{named[0]} has {beside[named[0]]} output channels"
    fitting = [name for name, width in beside.items() if width == channels]
    joined = _joins(list(beside.values()), channels)
    if len(fitting) == 1 and not joined:
        return fitting[0]
    if not fitting:
        return "it stands behind several joined ones, after their ReLU" if joined else f"none in {parent} has as many"
    return f"it could belong to {' or '.join(fitting)}" + (" or to several joined" if joined else "")


def _joins(widths: list[int], channels: int) -> bool:
    """Whether the outputs of two convolutions side by side, joined, have as many channels."""
    return any(first + second == channels for place, first in enumerate(widths) for second in widths[place + 1 :])


def _merge(found: dict[str, Any], norm: str, convolution: str) -> None:
    import torch

    mean, variance = found.pop(f"{norm}.running_mean").double(), found.pop(f"{norm}.running_var").double()
    gain, shift = found.pop(f"{norm}.weight", None), found.pop(f"{norm}.bias", None)
    weight = found[f"{convolution}.weight"]
    factor = torch.ones_like(mean) if gain is None else gain.double()
    factor = factor / torch.sqrt(variance + _EPS)
    bias = found.get(f"{convolution}.bias")
    moved = (torch.zeros_like(mean) if bias is None else bias.double()) - mean
    found[f"{convolution}.weight"] = weight.double() * factor.reshape(-1, 1, 1, 1)
    found[f"{convolution}.bias"] = moved * factor + (torch.zeros_like(mean) if shift is None else shift.double())


def _renamed(found: dict[str, Any], norms: Sequence[str], expected: Sequence[str]) -> dict[str, Any] | str:
    """Names as without the batch norms: places behind a norm move up, and a block around (convolution, norm) goes."""
    names: dict[str, str] = {name: name for name in found}
    for container in sorted({name.partition(".")[0] for name in expected}):
        taken = {int(norm.split(".")[1]) for norm in norms if re.fullmatch(rf"{re.escape(container)}\.\d+", norm)}
        if not taken:
            continue
        there, wanted = _places(names, container), _places(expected, container)
        moved = {place: place - sum(norm < place for norm in taken) for place in there}
        if sorted(moved.values()) != wanted:
            return (
                f"the batch norms in {container} move its numbers: layers stand at {', '.join(map(str, there))}, which are not "
                f"{', '.join(map(str, wanted))} moved up by one for each batch norm before"
            )
        for name in names:
            segments = name.split(".")
            if segments[0] == container and segments[1].isdecimal():
                names[name] = ".".join((container, str(moved[int(segments[1])]), *segments[2:]))
    known = {name.rpartition(".")[0] for name in expected}
    for old, name in names.items():
        base, _, leaf = name.rpartition(".")
        around, _, inner = base.rpartition(".")
        if base not in known and around in known and inner in ("0", "conv", "convolution", "conv2d"):
            names[old] = f"{around}.{leaf}"
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        return f"{twice[0]} would be {' and '.join(old for old, name in names.items() if name == twice[0])} at once"
    return {names[name]: value for name, value in found.items()}


def _places(names: Iterable[str], container: str) -> list[int]:
    """The numbers that layers have in a Sequential."""
    return sorted({int(match[1]) for name in names if (match := re.match(rf"{re.escape(container)}\.(\d+)\.", name))})
