"""The heads that benchmarks/few_classes.py judges, and the faults that it plants in them."""

from __future__ import annotations

import argparse
import copy
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from squeeze_export.preprocessing.pixels import load_pixels, normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array
    from squeeze_export.contracts.source import SourceModel

CLASSES: Final = (2, 2, 2, 3, 4, 5, 7, 8, 10)  # of the heads that are trained
ROWS: Final = (2, 5, 10)  # and of those that are rows of the weights' own head
STEPS, BATCH = 300, 32


@dataclass(frozen=True, kw_only=True)
class Head:
    """One classifier: `kernel` (classes, 512, 1, 1) and `bias` (classes)."""

    name: str
    kernel: torch.Tensor
    bias: torch.Tensor


def state_of(weights: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file."""
    from safetensors.torch import load_file

    return dict(load_file(weights))


def heads_of(state: dict[str, torch.Tensor], options: argparse.Namespace) -> Iterator[Head]:
    """Train and cut the heads that were asked for; the same folder gives the same heads."""
    weights, folder = options.weights, options.calibration
    whole = load_source(
        name="whole",
        model="squeezenet1_1",
        weights=weights,
        seed=0,
        labels=None,
        preprocessing=spec_for("torchvision", model="squeezenet1_1"),
    )
    with (folder / "labels.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    labels = np.array([int(row["class_index"]) for row in rows])
    with torch.inference_mode():
        maps = torch.cat(
            [
                whole.module.features(  # type: ignore[operator]
                    torch.from_numpy(normalise(load_pixels(folder / row["file"], whole.preprocessing)[None], whole.preprocessing))
                )
                for row in rows
            ]
        ).clone()
    for place in range(options.first, min(options.first + options.heads, len(CLASSES) + len(ROWS))):
        if place < len(CLASSES):
            seed = options.seed + place
            yield _trained(f"{CLASSES[place]} ranges, seed {seed}", CLASSES[place], seed, maps, labels)
            continue
        classes = ROWS[place - len(CLASSES)]
        seed = options.seed + place
        chosen = np.random.default_rng(seed).choice(1000, classes, replace=False)
        kernel, bias = state["classifier.1.weight"][chosen].clone(), state["classifier.1.bias"][chosen].clone()
        yield Head(name=f"{classes} rows, seed {seed}", kernel=kernel, bias=bias)


def _trained(name: str, classes: int, seed: int, maps: torch.Tensor, labels: Array) -> Head:
    """Cut the classes into ranges, none of which has fewer than half of its share of the photographs, and learn to tell them."""
    random = np.random.default_rng(seed)
    while True:
        cuts = np.sort(random.choice(np.arange(1, 1000), classes - 1, replace=False))
        wanted = np.searchsorted(cuts, labels, side="right")
        if np.bincount(wanted, minlength=classes).min() >= len(labels) / classes / 2:
            break
    generator = torch.Generator().manual_seed(seed)
    kernel = (0.01 * torch.randn(classes, 512, 1, 1, generator=generator)).requires_grad_()
    bias = torch.zeros(classes, requires_grad=True)
    # As published training does: dropout in front of the classifier, a little weight decay, and its ReLU and average behind.
    optimiser = torch.optim.AdamW([kernel, bias], lr=1e-3 * (1 + seed % 3), weight_decay=0.01)
    expected = torch.from_numpy(wanted)
    for _ in range(STEPS):
        batch = torch.randint(len(maps), (BATCH,), generator=generator)
        kept = (torch.rand((BATCH, 512, 1, 1), generator=generator) > 0.5) * 2.0
        scores = torch.relu(torch.nn.functional.conv2d(maps[batch] * kept, kernel, bias)).mean(dim=(2, 3))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(scores, expected[batch]).backward()
        optimiser.step()
    with torch.no_grad():
        found = torch.relu(torch.nn.functional.conv2d(maps, kernel, bias)).mean(dim=(2, 3))
        right = float((found.argmax(1) == expected).float().mean())
    print(
        f"{name}: {right:.0%} of the calibration photographs right, logits up to {found.max():.1f}", file=sys.stderr, flush=True
    )
    return Head(name=name, kernel=kernel.detach(), bias=bias.detach())


def source_of(state: dict[str, torch.Tensor], head: Head, folder: Path) -> SourceModel:
    """The weights with this head, as an export loads them."""
    from safetensors.torch import save_file

    path = folder / "head.safetensors"
    save_file({**state, "classifier.1.weight": head.kernel.contiguous(), "classifier.1.bias": head.bias.contiguous()}, path)
    return load_source(
        name="few",
        model="squeezenet1_1",
        weights=path,
        seed=0,
        labels=None,
        preprocessing=spec_for("torchvision", model="squeezenet1_1"),
    )


def planted(source: SourceModel) -> dict[str, torch.nn.Module]:
    """The source with one fault each, fed what the source is fed."""

    def changed(change: Any) -> torch.nn.Module:
        module = copy.deepcopy(source.module)
        with torch.no_grad():
            change(dict(module.named_parameters()))
        return module

    def fed(feed: Any) -> torch.nn.Module:
        class Fed(torch.nn.Module):
            def forward(self, values: torch.Tensor) -> torch.Tensor:
                found: torch.Tensor = source.module(feed(values))
                return found

        return Fed()

    spec = source.preprocessing
    shift = torch.tensor([2 * mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]).view(1, 3, 1, 1)

    def rolled(name: str) -> Any:
        return lambda weights: weights[name].copy_(weights[name].roll(1, 0))

    def scaled(name: str, factor: float) -> Any:
        return lambda weights: weights[name].mul_(factor)

    return {
        "mean added instead of taken off": fed(lambda values: values + shift),
        "BGR for RGB": fed(lambda values: values.flip(1)),
        "channels of features.6.squeeze rotated": changed(rolled("features.6.squeeze.weight")),
        "channels of features.12.expand1x1 rotated": changed(rolled("features.12.expand1x1.weight")),
        "classes rotated": changed(lambda weights: [rolled(f"classifier.1.{part}")(weights) for part in ("weight", "bias")]),
        "bias of features.3.squeeze dropped": changed(scaled("features.3.squeeze.bias", 0.0)),
        "scale of features.9.expand3x3 doubled": changed(scaled("features.9.expand3x3.weight", 2.0)),
    }
