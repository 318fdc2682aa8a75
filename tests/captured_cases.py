"""A tiny network that is no SqueezeNet, captured by torch.export: layers of each kind that a converter treats in its own way."""

from __future__ import annotations

import dataclasses
from functools import cache

import torch
from torch import nn

from squeeze_export.contracts.source import SourceModel, WeightsOrigin
from squeeze_export.golden.images import demo_images
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.pixels import normalise
from squeeze_export.sources.captured import kernels_of
from squeeze_export.sources.networks import capture
from squeeze_export.validation import noise
from tests.tflite_cases import LABELS, caffe, torchvision

SIDE = 48


class Flowers(nn.Module):
    """A padded stem and pool, a depthwise layer, squeeze and excite, layer norm, GELU; the head's product is one to be folded."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Conv2d(8, 16, 3, 1, 1, groups=8)
        self.pointwise = nn.Conv2d(16, 24, 1, bias=False)
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(24, 8, 1), nn.ReLU(), nn.Conv2d(8, 24, 1), nn.Hardsigmoid()
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.norm = nn.LayerNorm(24)
        self.head = nn.Linear(24, 7)

    def forward(self, image):
        values = self.pool(self.pointwise(nn.functional.silu(self.depthwise(self.stem(image)))))
        values = (values * self.squeeze(values)).mean((2, 3))
        return self.head(nn.functional.gelu(self.norm(values))) * 3.7


@cache
def flowers(order="RGB"):
    """The source model; the same each time, its weights drawn from one seed. `order`: the channels that it takes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = Flowers()
        network.stem[1].running_mean.normal_(0, 0.3)
        network.stem[1].running_var.uniform_(0.5, 2)
    captured, _ = capture.fold_batch_norms(capture.capture(network.eval(), SIDE, SIDE))
    module = captured.module().requires_grad_(False)
    return SourceModel(
        name="flowers",
        model="nets.flowers:build",
        module=module,
        num_classes=7,
        labels=LABELS,
        preprocessing=torchvision(SIDE, SIDE) if order == "RGB" else caffe(SIDE, SIDE),
        weights=WeightsOrigin(kind="module", sha256="0" * 64, file_name=None, seed=None),
        kernels=kernels_of(module),
        program=captured,
    )


@cache
def golden(order="RGB"):
    """What an export of `flowers` is judged by."""
    source = flowers(order)
    pack = make_golden(source, demo_images())
    floor = noise.measure(source.module, normalise(pack.pixels, pack.preprocessing))
    return dataclasses.replace(pack, noise_floor=floor, kernels=source.kernels)
