"""The best codings within a byte budget: what coding each layer costs the answers, measured; then a choice; then the coding."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from squeeze_export.compression import budget as knapsack
from squeeze_export.compression.checkpoint import Checkpoint, digest
from squeeze_export.compression.codings import Coding, Uniform
from squeeze_export.compression.compensation import encode, encode_uniform
from squeeze_export.compression.network import CodedLayer, convolutions, hold, run, settle, stages, walk

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.arrays import FloatArray

# How many weights of a layer must be zero before its zeros are worth a bit per weight.
_SPARSE: Final = 0.3
# Finest first. One that is coarser and takes no fewer bytes (a large table over few weights) is left out.
MENU: Final = tuple(map(Coding.parse, ("pal8", "pal6", "pal8x2", "pal4", "pal6x2", "pal8x4", "pal4x2")))
SPARSE_MENU: Final = tuple(map(Coding.parse, ("keep-pal8", "keep-pal6", "keep-pal4", "keep-pal3", "keep-pal2")))
# A layer with a smaller part of all weights than this is coded finely: nothing is to gain, and early ones are slow to measure.
_SMALL: Final = 1 / 256
_LAYER_WORK: Final = 100_000  # what a layer costs in time beside its weights, in weights
JUDGED: Final = 32  # images that losses are measured on: they rank codings, and all of them see the same images

# (coding, shape (O, I, H, W), weights that are not zero) -> bytes in the file.
BytesOf = Callable[[Coding, "tuple[int, ...]", int], int]


@dataclass
class Clock:
    """Work done of work to do, told on with an estimate of the time left."""

    total: float
    told: Callable[[str, float, float], None]
    _done: float = 0.0
    _counted: float = 0.0
    _spent: float = 0.0
    _last: float = field(default_factory=time.monotonic)

    def advance(self, what: str, work: float, *, free: bool = False) -> None:
        """`work` of the total is done; `free`: it was found in a checkpoint and says nothing about speed."""
        self._done += work
        now = time.monotonic()
        if not free:
            self._counted += work
            self._spent += now - self._last
        self._last = now
        left = max(self.total - self._done, 0.0)
        self.told(what, min(self._done / self.total, 1.0), left * self._spent / self._counted if self._counted else float("nan"))


def quiet(what: str, done: float, seconds_left: float) -> None:
    """Tell nobody."""


def compress_within(
    module: torch.nn.Module,
    images: torch.Tensor,
    budget: int,
    bytes_of: BytesOf,
    *,
    seed: int = 0,
    checkpoints: Path | None = None,
    told: Callable[[str, float, float], None] = quiet,
) -> dict[str, CodedLayer]:
    """Code every convolution so that all weights together take at most `budget` bytes and the answers change least.

    `images`: (N, 3, H, W), unlabelled. `told(what, part done, seconds left or NaN)`. What a run that was stopped has computed
    under `checkpoints` is not computed again. UsageError where the budget is below the smallest reachable.
    """
    kept = Checkpoint(checkpoints, digest(module, images, seed))
    layers = convolutions(module)
    sizes = {name: layer.weight.numel() for name, layer in layers.items()}
    shapes = {name: tuple(layer.weight.shape) for name, layer in layers.items()}
    alive = {name: int((layer.weight != 0).sum()) for name, layer in layers.items()}
    costs = {name: menu(shapes[name], alive[name], sum(sizes.values()), bytes_of) for name in layers}
    # Before any work: a budget that cannot be met is refused in a moment.
    knapsack.choose({name: {coding: (0.0, cost) for coding, cost in row.items()} for name, row in costs.items()}, budget)
    work = {name: work_of(size) for name, size in sizes.items()}
    clock = Clock(total=2.0 * sum(work.values()), told=told)
    menus = {name: list(row) for name, row in costs.items()}
    # No loss depends on the budget: of several that are met at the same time one measures, and the others wait for it.
    with kept.alone(lambda: told("waiting for the same measurements, which another run makes", 0.0, float("nan"))):
        losses = _losses(module, images, menus, seed=seed, kept=kept, clock=clock, work=work)
    options = {name: {coding: (losses[name][str(coding)], cost) for coding, cost in row.items()} for name, row in costs.items()}
    chosen = knapsack.choose(options, budget)
    return code(module, images, chosen, seed=seed, kept=kept, clock=clock)


def work_of(weights: int) -> float:
    """What measuring or coding a layer of so many weights takes, in the clock's units."""
    return float(weights + _LAYER_WORK)


def smallest(module: torch.nn.Module, bytes_of: BytesOf) -> int:
    """The smallest budget that compress_within takes for this network."""
    layers = convolutions(module).values()
    total = sum(layer.weight.numel() for layer in layers)
    rows = [menu(tuple(layer.weight.shape), int((layer.weight != 0).sum()), total, bytes_of) for layer in layers]
    return knapsack.reachable([min(row.values()) for row in rows])


def menu(shape: tuple[int, ...], alive: int, total: int, bytes_of: BytesOf) -> dict[Coding, int]:
    """The codings that are tried for a layer of a network of `total` weights, finest first, and their bytes."""
    count = 1
    for size in shape:
        count *= size
    found: dict[Coding, int] = {}
    for codings in (MENU, SPARSE_MENU if alive < (1 - _SPARSE) * count else ()):
        least: int | None = None
        for coding in codings[:2] if count < _SMALL * total else codings:
            cost = bytes_of(coding, shape, alive)
            if coding.fits(shape) and (least is None or cost < least):
                found[coding], least = cost, cost
    return found


def code(
    module: torch.nn.Module,
    images: torch.Tensor,
    chosen: Mapping[str, Coding | Uniform],
    *,
    seed: int,
    kept: Checkpoint,
    clock: Clock,
) -> dict[str, CodedLayer]:
    """Code every convolution as chosen, in order, taking up what was coded before."""
    plan = hashlib.sha256(repr([(name, str(coding)) for name, coding in chosen.items()]).encode()).hexdigest()
    coded: dict[str, CodedLayer] = {}
    for visit in walk(module, images, seed=seed):
        found = kept.layer(plan, visit.name)
        how = chosen[visit.name]
        if found is not None:
            weight = found.weight
        elif isinstance(how, Uniform):
            weight = encode_uniform(visit.problem, how.bits, half=how.half)
        else:
            weight = encode(visit.problem, how, seed=seed)
        coded[visit.name] = settle(visit, weight)
        if found is None:
            kept.keep_layer(plan, coded[visit.name])
        clock.advance(f"coding {visit.name} as {how}", work_of(visit.problem.target.size), free=found is not None)
    return coded


def _losses(
    module: torch.nn.Module,
    images: torch.Tensor,
    menus: Mapping[str, list[Coding]],
    *,
    seed: int,
    kept: Checkpoint,
    clock: Clock,
    work: Mapping[str, float],
) -> dict[str, dict[str, float]]:
    """Per layer and coding: the mean KL divergence (nats) of the answers when this layer alone is coded."""
    missing = {name for name in menus if kept.losses(name) is None}
    for name in menus.keys() - missing:
        clock.advance(f"measuring {name}", work[name], free=True)
    if missing:
        judge = _Judge(module, images[:: max(1, len(images) // JUDGED)][:JUDGED])
        for visit in walk(module, images, seed=seed):
            if visit.name in missing:
                row: dict[str, float] = {}
                for coding in menus[visit.name]:
                    decoded = encode(visit.problem, coding, seed=seed, passes=0).decoded()
                    row[str(coding)] = judge.loss(visit.name, decoded, visit.bias(decoded))
                    clock.advance(f"measuring {visit.name} as {coding}", work[visit.name] / len(menus[visit.name]))
                kept.keep_losses(visit.name, row)
            visit.leave()
    return {name: kept.losses(name) or {} for name in menus}


class _Judge:
    """Measures what one changed layer does to the answers, on few images, from the layer on."""

    def __init__(self, module: torch.nn.Module, images: torch.Tensor) -> None:
        self._stages = stages(copy.deepcopy(module))
        self._at, self._inputs = 0, images
        outputs = images
        for stage in self._stages:
            outputs = run(stage.module, outputs)
        self._answers = outputs.flatten(1)

    def loss(self, name: str, weight: FloatArray, bias: FloatArray) -> float:
        """Mean KL divergence from the original's softmax (nats); names come in the order of computation."""
        while name not in dict(self._stages[self._at].layers):
            self._inputs = run(self._stages[self._at].module, self._inputs)
            self._at += 1
        layer = dict(self._stages[self._at].layers)[name]
        before = (layer.weight.data, None if layer.bias is None else layer.bias.data)
        hold(layer, weight, bias)
        outputs = self._inputs
        for stage in self._stages[self._at :]:
            outputs = run(stage.module, outputs)
        layer.weight.data = before[0]
        if layer.bias is not None:
            layer.bias.data = before[1]
        return divergence(self._answers, outputs.flatten(1))


def divergence(reference: torch.Tensor, answers: torch.Tensor) -> float:
    """Mean KL divergence of softmax(answers) from softmax(reference), both (N, width), in nats; features count as logits do."""
    ours, theirs = reference.double().log_softmax(dim=1), answers.double().log_softmax(dim=1)
    return float((ours.exp() * (ours - theirs)).sum(dim=1).mean())
