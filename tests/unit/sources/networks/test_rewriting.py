"""What is rewritten for converters gives the same numbers, and the files then give them as well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.exporters import EXPORTERS
from squeeze_export.sources.captured import kernels_of
from squeeze_export.sources.networks import capture
from squeeze_export.sources.networks.programs.rewriting import rewrite
from squeeze_export.validation.runners import RUNNERS
from tests.captured_cases import flowers
from tests.tflite_cases import torchvision

SIDE = 7


class Resized(nn.Module):
    """As GhostNetV2: gates at half the size, resized to the nearest; 7 is no multiple of 3."""

    def __init__(self, side=SIDE, mode="nearest"):
        super().__init__()
        self.layer, self.side, self.mode = nn.Conv2d(3, 7, 1), side, mode

    def forward(self, image):
        values = self.layer(image)
        gate = functional.interpolate(functional.avg_pool2d(values, 2, 2), size=(self.side, self.side), mode=self.mode)
        return gate.mean((2, 3)) + (gate * functional.interpolate(values, size=(self.side, self.side))).sum((2, 3))


class Attended(nn.Module):
    """As MobileViTv2: one context for all places, expanded to them."""

    def __init__(self, user="mul"):
        super().__init__()
        self.layer, self.last, self.user = nn.Conv2d(3, 15, 1), nn.Conv2d(7, 7, 1), user

    def forward(self, image):
        scores, keys, values = self.layer(image).split([1, 7, 7], 1)
        context = (keys * torch.softmax(scores, -1)).sum(-1, keepdim=True).expand_as(values)
        if self.user == "cat":
            return torch.cat([context, values], 1).mean((2, 3))[:, :7]
        return self.last(values.relu() * context).mean((2, 3))


def captured(network):
    torch.manual_seed(3)
    return capture.capture(network.eval(), SIDE, SIDE)


def targets(module):
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("network", "gone", "left"),
    [
        (Resized(), "aten.upsample_nearest2d.vec", 1),  # the second one resizes 7 to 7
        (Resized(3), "aten.upsample_nearest2d.vec", 1),
        (Resized(mode="bilinear"), "aten.upsample_bilinear2d.vec", 1),
        (Resized(21), "aten.upsample_nearest2d.vec", 2),
        (Attended(), "aten.expand_as.default", 0),
        (Attended("cat"), "aten.expand_as.default", 1),  # cat does not expand by itself
    ],
    ids=["3 to 7", "7 to 3", "bilinear", "3 to 21", "expanded", "expanded for others"],
)
def test_not_a_bit_changes(network, gone, left):
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    module = captured(network).module()
    before = [module(image[None]) for image in images]
    there = targets(module).count(gone)
    assert rewrite(module) == (there != left)
    assert targets(module).count(gone) == left
    assert all(torch.equal(module(image[None]), kept) for image, kept in zip(images, before, strict=True))


@pytest.mark.parametrize("network", [Resized(), Attended()], ids=["nearest", "expanded"])
@pytest.mark.parametrize("target", ["tflite", "coreml"])
def test_the_file_gives_what_pytorch_gives(network, target, tmp_path):
    module = capture.rewrite(captured(network)).module()
    source = replace(
        flowers(), module=module, kernels=kernels_of(module), preprocessing=torchvision(SIDE, SIDE), program=None, labels=None
    )
    settings = ExportSettings(precision="fp32", input_kind="tensor", output_kind="logits", ios_target="iOS16")
    artifact = EXPORTERS[target].export(source, settings, tmp_path / f"network{EXPORTERS[target].SUFFIX}")
    opened = RUNNERS[target][0].open(artifact.path, artifact.signature, "fp32")
    image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    given = image.permute(0, 2, 3, 1) if target == "tflite" else image
    (found,) = opened.run({"image": np.ascontiguousarray(given.numpy())}).values()
    expected = module(image).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_program_without_any_of_it_stays_itself():
    plain = captured(Attended("cat"))
    assert capture.rewrite(plain) is plain
