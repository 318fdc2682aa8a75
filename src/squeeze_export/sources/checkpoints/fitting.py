"""Held against a network: which tensors of a state dict are its weights, under which prefix, and what had to be done to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.sources.checkpoints import batchnorm, reparametrised
from squeeze_export.sources.checkpoints.arrays import Unusable

if TYPE_CHECKING:
    import torch

# Segments that wrappers put into the middle of names: torch.compile, FSDP, activation checkpointing.
_WRAPPING: Final = re.compile(r"(?:^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_fpw_module)\.")
# Counters, of batch norms, of averaging (SWA), of profilers (thop): no weights of anything.
_COUNTERS: Final = re.compile(r"(^|\.)(num_batches_tracked|n_averaged|total_ops|total_params|_extra_state)$")
# What belongs to the training and not to the network: left out, and said.
_OF_TRAINING: Final = re.compile(
    r"(\w*_)?(loss|losses|loss_\w+|criterion\w*|crit|metrics?|\w*metrics|\w*_acc|acc|accuracy|\w*accuracy|auroc|f1|confmat|"
    r"class_weights?|pos_weight|ema\w*|teacher\w*|queue\w*|mixup|distill\w*)(\.|$)",
    re.IGNORECASE,
)
_NORMALISING: Final = re.compile(r"(^|\.|_)(mean|std)$")
_RANDOM_CLASSES: Final = 1000
_MOST_PREFIXES: Final = 12


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network's names and shapes, by the number of classes. `head`: the name of the weight whose first dimension that is.

    `own`: a network that the user named, and none of the SqueezeNets: messages then advise by its own names. `fixed`: tensors
    that it computes itself, such as tables of places; a file need not hold them, and where it does they must be the same.
    `fewest`: how many classes weights must have at least.
    """

    name: str
    head: str
    shapes: Callable[[int], Mapping[str, tuple[int, ...]]]
    own: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    fewest: int = 2


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How tensors fit: `tensors` are the network's own, in its order, where there are neither differences nor problems.

    `prefix`: what stood in front of every name, with its dot. `missing`, `unexpected`, `reshaped`: names with their shapes, as a
    message shows them. `problems`: what cannot be computed or would be lost, a sentence without its full stop each. `matched`:
    how many of the network's names were there.
    """

    prefix: str
    tensors: Mapping[str, Any]
    num_classes: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    problems: tuple[str, ...]
    matched: int
    notes: tuple[str, ...]

    @property
    def differences(self) -> tuple[str, ...]:
        """What is not as in the network."""
        return (*self.missing, *self.unexpected, *self.reshaped)

    @property
    def whole(self) -> bool:
        """Whether these are the network's weights, and all of them."""
        return not self.differences and not self.problems


def fits(network: Network, tensors: Mapping[str, Any]) -> list[Fit]:
    """Every way in which the tensors may be the network's weights, one per prefix, the best first; at least one."""
    named = {_WRAPPING.sub("", name): value for name, value in tensors.items()}
    merged = reparametrised.merge(named)
    expected = list(network.shapes(_RANDOM_CLASSES))
    found = [_fit(network, merged, prefix) for prefix in _prefixes(merged.tensors, expected)]
    return sorted(found, key=lambda fit: (not fit.whole, -fit.matched))


def _prefixes(tensors: Mapping[str, Any], expected: list[str]) -> list[str]:
    """What may stand in front of the network's names, the one with the most of its names first."""
    heads = {name.partition(".")[0] for name in expected}
    exact = set(expected)
    votes: Counter[str] = Counter()
    for name in tensors:
        segments = name.split(".")
        for place, segment in enumerate(segments):
            if segment in heads:
                prefix = "".join(f"{part}." for part in segments[:place])
                votes[prefix] += 100 if name[len(prefix) :] in exact else 1
    return [prefix for prefix, _ in votes.most_common(_MOST_PREFIXES)] or [""]


def _fit(network: Network, merged: reparametrised.Merged, prefix: str) -> Fit:
    inside = {name[len(prefix) :]: value for name, value in merged.tensors.items() if name.startswith(prefix)}
    outside = {name: value for name, value in merged.tensors.items() if not name.startswith(prefix)}
    expected = network.shapes(_RANDOM_CLASSES)
    notes = list(merged.notes)
    problems = [problem for problem in merged.problems if problem.startswith(prefix)]
    counters = [name for name in inside if (_COUNTERS.search(name) or name in network.fixed) and name not in expected]
    problems += [
        f"{prefix}{name} is not the network's own" for name in counters if not _same(inside[name], network.fixed.get(name))
    ]
    kept = {name: value for name, value in inside.items() if name not in counters}
    if any(name.endswith(".n_averaged") or name == "n_averaged" for name in (*inside, *outside)):
        notes.append("These are averaged weights (SWA): n_averaged, their counter, was left out.")
    if not network.own and not any(name.endswith("running_mean") for name in expected):
        folded = batchnorm.fold(kept, list(expected))
        kept, notes, problems = folded.tensors, [*notes, *folded.notes], [*problems, *folded.problems]
    head = kept.get(network.head)
    num_classes = int(head.shape[0]) if head is not None and len(head.shape) > 0 else _RANDOM_CLASSES
    shapes = network.shapes(max(num_classes, 1))
    left_out = [name for name in kept if name not in shapes and _OF_TRAINING.match(name)]
    bias = f"{network.head.rpartition('.')[0]}.bias"
    if head is not None and bias in shapes and bias not in kept:
        kept[bias] = _zeros(shapes[bias])
        notes.append(f"{prefix}{bias} is not in the file: it is taken as zero, as of a last layer without bias.")
    found = {name: tuple(value.shape) for name, value in kept.items() if name not in left_out}
    missing = [f"{name} {_expected(network, name, shape, head)}" for name, shape in shapes.items() if name not in found]
    unexpected = [f"{prefix}{name} {shape}" for name, shape in sorted(found.items()) if name not in shapes]
    reshaped = [
        f"{prefix}{name} has shape {found[name]}, expected {_expected(network, name, shape, head)}"
        for name, shape in shapes.items()
        if found.get(name, shape) != shape
    ]
    differences = (*missing, *unexpected, *reshaped)
    # Another copy of the network beside it, such as a momentum encoder, has the network's own names.
    tails = tuple(f".{name}" for name in shapes)
    foreign = {name: value for name, value in outside.items() if not name.endswith(tails)}
    behind = [name for name, value in foreign.items() if _stands_behind(name, value, num_classes)]
    if behind and not differences:
        shown = f"{behind[0]} {tuple(foreign[behind[0]].shape)}"
        problems.append(f"{shown} is a further layer that takes the network's {num_classes} outputs, and it would be lost")
    if not differences:
        notes += _said_of(outside, [f"{prefix}{name}" for name in left_out], prefix)
    return Fit(
        prefix=prefix,
        tensors={name: kept[name] for name in shapes if name in kept},
        num_classes=num_classes,
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        reshaped=tuple(reshaped),
        problems=tuple(problems),
        matched=sum(name in found for name in shapes),
        notes=tuple(notes),
    )


def _same(found: Any, fixed: Any) -> bool:
    """Whether a tensor is the one that the network computes itself; of others, such as counters, anything is right."""
    if fixed is None:
        return True
    return not isinstance(found, Unusable) and tuple(found.shape) == tuple(fixed.shape) and bool((found == fixed).all())


def _expected(network: Network, name: str, shape: tuple[int, ...], head: Any) -> str:
    """The shape for a message; without a head in the file nobody knows the number of classes."""
    if head is not None or name.rpartition(".")[0] != network.head.rpartition(".")[0]:
        return str(shape)
    return f"(classes{''.join(f', {size}' for size in shape[1:])})"


def _stands_behind(name: str, value: Any, num_classes: int) -> bool:
    """Whether a tensor beside the network is the weight of a layer on top of its scores."""
    shape = tuple(value.shape)
    return len(shape) in (2, 4) and shape[1] == num_classes and shape[2:] in ((), (1, 1)) and not _OF_TRAINING.match(name)


def _said_of(outside: Mapping[str, Any], left_out: list[str], prefix: str) -> list[str]:
    """What was left out, in words; what looks like a normalisation inside the model is named with its numbers."""
    notes = []
    depth = max(prefix.count("."), 1)
    groups: dict[str, list[str]] = {}  # by the part of the model, as deep as the network stands in it
    for name in (*left_out, *(name for name in outside if not _COUNTERS.search(name))):
        groups.setdefault(".".join(name.split(".")[:depth]), []).append(name)
    if groups:
        told = [names[0] if len(names) == 1 else f"{part} ({len(names)} tensors)" for part, names in groups.items()]
        shown = ", ".join(told[:4]) + (f" and {len(told) - 4} more" if told[4:] else "")
        notes.append(f"Left out, as no weights of the network: {shown}.")
    for name, value in outside.items():
        if _NORMALISING.search(name) and not isinstance(value, Unusable) and value.numel() == 3:
            numbers = ", ".join(f"{number:.4g}" for number in value.flatten().tolist())
            notes.append(
                f"{name} ({numbers}) was left out: if the model normalised its images by it, the preprocessing must do so."
            )
    return notes


def _zeros(shape: tuple[int, ...]) -> torch.Tensor:
    import torch

    return torch.zeros(shape, dtype=torch.float32, device="cpu")  # whatever the caller's defaults are
