"""Graphs said so that pictures stay NHWC: PyTorch gives the same to the bit, and the file has fewer TRANSPOSEs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from squeeze_export.exporters.tflite.captured import ordering
from squeeze_export.sources.networks import capture

SIDE = 8


class Shuffled(nn.Module):
    """ShuffleNet's shuffle behind a layer."""

    def __init__(self, groups=2, axes=(1, 2)):
        super().__init__()
        self.layer, self.groups, self.axes = nn.Conv2d(3, 8, 1), groups, axes

    def forward(self, image):
        values = self.layer(image)
        batch, channels, height, width = values.shape
        values = values.view(batch, self.groups, channels // self.groups, height, width)
        return values.transpose(*self.axes).reshape(batch, channels, height, width).flatten(1)


class Averaged(nn.Module):
    """A mean over the picture."""

    def __init__(self, over):
        super().__init__()
        self.layer, self.over = nn.Conv2d(3, 8, 1), over

    def forward(self, image):
        return self.layer(image).mean(self.over)


def ordered(network):
    """The operations of a network's graph, rewritten, which give the same."""
    module = capture.capture(network.eval(), SIDE, SIDE).module()
    changed = copy.deepcopy(module)
    ordering.in_nhwc(changed)
    image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(module(image), changed(image))
    return [str(node.target) for node in changed.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("changes", [{}, {"groups": 4}, {"axes": (-3, -4)}])
def test_a_shuffle_moves_the_last_axis(changes):
    assert ordered(Shuffled(**changes)).count("aten.permute.default") == 2


def test_another_turn_of_axes_stays_as_it_is():
    assert "aten.permute.default" not in ordered(Shuffled(axes=(2, 3)))


@pytest.mark.parametrize("over", [(2, 3), (-1, -2)])
def test_a_mean_over_the_picture_keeps_its_axes_until_it_is_taken(over):
    assert ordered(Averaged(over))[-2:] == ["aten.mean.dim", "aten.reshape.default"]


def test_a_mean_over_rows_alone_stays():
    class Rows(nn.Module):
        def forward(self, image):
            return image.mean(2).flatten(1)

    module = capture.capture(Rows().eval(), SIDE, SIDE).module()
    ordering.in_nhwc(module)
    assert [node.args[1] for node in module.graph.nodes if str(node.target) == "aten.mean.dim"] == [[2]]
