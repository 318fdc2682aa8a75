"""Coding a whole network, layer after layer, each against the inputs that the layers coded before it give."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.compression.compensation import Moments, Problem, encode, encode_uniform, pose
from squeeze_export.compression.statistics import moments

if TYPE_CHECKING:
    import torch

    from squeeze_export.compression.codings import AnyWeight, Coding
    from squeeze_export.contracts.arrays import FloatArray

_BATCH: Final = 8


@dataclass(frozen=True, kw_only=True)
class CodedLayer:
    """One convolution as it is stored: `weight`, and `bias` (O,) fp32 holding fp16 numbers, made up for what coding moved."""

    name: str
    weight: AnyWeight
    bias: FloatArray


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the network that is run as one: what is coded in it, in order, and whether on the stage's own input.

    `squeezed`: these layers see what the first of `layers` gives after ReLU; the others see the stage's input.
    """

    module: torch.nn.Module
    layers: tuple[tuple[str, torch.nn.Conv2d], ...]
    squeezed: tuple[str, ...]


def convolutions(module: torch.nn.Module) -> dict[str, torch.nn.Conv2d]:
    """Every convolution by its name in the state dict, in the order of computation."""
    import torch

    return {name: layer for name, layer in module.named_modules() if isinstance(layer, torch.nn.Conv2d)}


def stages(module: torch.nn.Module) -> list[Stage]:
    """Cut a SqueezeNet, with or without its classifier, into stages that follow one another."""
    import torch

    from squeeze_export.sources.squeezenet import Fire

    parts = [(f"features.{name}", part) for name, part in module.features.named_children()]
    if hasattr(module, "classifier"):
        parts += [(f"classifier.{name}", part) for name, part in module.classifier.named_children()]
    found: list[Stage] = []
    for name, part in parts:
        if isinstance(part, Fire):
            layers = [(f"{name}.{inner}", getattr(part, inner)) for inner in ("squeeze", "expand1x1", "expand3x3")]
            if isinstance(part.bypass, torch.nn.Conv2d):
                layers.append((f"{name}.bypass", part.bypass))
            found.append(Stage(module=part, layers=tuple(layers), squeezed=(layers[1][0], layers[2][0])))
        elif isinstance(part, torch.nn.Conv2d):
            found.append(Stage(module=part, layers=((name, part),), squeezed=()))
        else:  # ReLU, pools, dropout: nothing to code, and run together with what stands before them
            last = found.pop()
            found.append(Stage(module=torch.nn.Sequential(last.module, part).eval(), layers=last.layers, squeezed=last.squeezed))
    return found


def run(module: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Run a stage over a large batch, in small ones."""
    import torch

    with torch.inference_mode():
        return torch.cat([module(inputs[begin : begin + _BATCH]) for begin in range(0, len(inputs), _BATCH)])


def hold(layer: torch.nn.Conv2d, weight: FloatArray, bias: FloatArray) -> None:
    """Put weights and bias into a convolution, in place."""
    import torch

    layer.weight.data = torch.from_numpy(np.ascontiguousarray(weight, np.float32))
    if layer.bias is not None:
        layer.bias.data = torch.from_numpy(np.ascontiguousarray(bias, np.float32))


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A layer whose turn it is: its problem, and what becomes of it. `settle` must be called before the next layer's turn."""

    name: str
    problem: Problem
    original: torch.nn.Conv2d
    changed: torch.nn.Conv2d
    moments: Moments
    settled: list[str]

    def bias(self, decoded: FloatArray) -> FloatArray:
        """The bias (O,) that goes with these weights (O, I, H, W): it keeps the mean of every output; fp16 numbers in fp32."""
        weight, flat = self.original.weight.detach().numpy(), (len(decoded), -1)
        bias = np.zeros(len(decoded), np.float32) if self.original.bias is None else self.original.bias.detach().numpy()
        wanted = bias + weight.reshape(flat) @ self.moments.original_mean
        return np.asarray((wanted - decoded.reshape(flat) @ self.moments.mean).astype(np.float16).astype(np.float32))

    def settle(self, decoded: FloatArray, bias: FloatArray) -> None:
        """The layers after this one see what these weights and biases give."""
        hold(self.changed, decoded, bias)
        self.settled.append(self.name)

    def leave(self) -> None:
        """Keep the layer as it is."""
        self.settled.append(self.name)


def walk(module: torch.nn.Module, images: torch.Tensor, *, seed: int) -> Iterator[Visit]:
    """Visit every convolution in the order of computation; each sees what the layers settled before it give for `images`."""
    import torch

    original = compressed = images
    for ours, theirs in zip(stages(module), stages(copy.deepcopy(module)), strict=True):
        squeezed: tuple[torch.Tensor, torch.Tensor] | None = None
        for (name, layer), (_, changed) in zip(ours.layers, theirs.layers, strict=True):
            if name in ours.squeezed and squeezed is None:
                squeezed = (run(ours.layers[0][1], original).relu(), run(theirs.layers[0][1], compressed).relu())
            before, after = squeezed if squeezed is not None and name in ours.squeezed else (original, compressed)
            seen = moments(layer, before, after, seed=seed)
            problem = pose(layer.weight.detach().numpy(), seen)
            visit = Visit(name=name, problem=problem, original=layer, changed=changed, moments=seen, settled=[])
            yield visit
            if not visit.settled:
                raise ValueError(f"{name} was not settled: the next layer cannot be seen")
        with torch.inference_mode():
            original = run(ours.module, original)
            compressed = run(theirs.module, compressed)


def compress(
    module: torch.nn.Module, images: torch.Tensor, codings: Mapping[str, Coding | int], *, seed: int = 0
) -> dict[str, CodedLayer]:
    """Code every convolution of `module` as `codings` says (an int: uniform of so many bits), against (N, 3, H, W) `images`.

    Deterministic for a seed; the module itself is left as it is.
    """
    coded: dict[str, CodedLayer] = {}
    for visit in walk(module, images, seed=seed):
        how = codings[visit.name]
        weight = encode_uniform(visit.problem, how) if isinstance(how, int) else encode(visit.problem, how, seed=seed)
        coded[visit.name] = settle(visit, weight)
    return coded


def settle(visit: Visit, weight: AnyWeight) -> CodedLayer:
    """End a visit with this weight and the bias that goes with it."""
    decoded = weight.decoded()
    bias = visit.bias(decoded)
    visit.settle(decoded, bias)
    return CodedLayer(name=visit.name, weight=weight, bias=bias)


def decoded(module: torch.nn.Module, coded: Mapping[str, CodedLayer]) -> torch.nn.Module:
    """A copy of the network that holds the decoded weights: what every artifact made of them must compute."""
    changed = copy.deepcopy(module)
    for name, layer in convolutions(changed).items():
        hold(layer, coded[name].weight.decoded(), coded[name].bias)
    return changed
