"""Scales in front of linear layers: folded as a converter would, the answers kept, the layers' names told."""

from __future__ import annotations

import torch
from torch import nn

from squeeze_export.sources.networks import capture
from tests.unit.sources.networks.quirks import SIDE, Attended, Normed, captured


def targets(program):
    return [node for node in program.module().graph.nodes if node.op == "call_function"]


def test_norms_in_front_of_linear_layers_end_in_them():
    network = Normed()
    before = captured(network)
    after, norms, scales = capture.settle(before)
    assert norms == () and set(scales) == {"query", "key", "mixed", "head"}
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert capture.compare(after, network, images, floor=120) > 120
    layer_norms = [node for node in targets(after) if node.target == torch.ops.aten.layer_norm.default]
    # The second one is read by a sum as well, which keeps its scale.
    assert sorted(node.args[2] is None for node in layer_norms) == [False, True, True]
    assert torch.ops.aten.batch_norm.default not in {node.target for node in targets(after)}
    weights, old = after.module().state_dict(), network.state_dict()
    assert torch.equal(weights["key.weight"], (old["key.weight"].double() * old["first.weight"].double()).float())
    assert weights["key.bias"].shape == (16,)


def test_a_layer_that_is_used_twice_stays_and_so_does_its_norm():
    network = Normed()
    network.mixed = network.query
    before = captured(network)
    scales = capture.settle(before)[2]
    assert set(scales) == {"key", "head"}


def test_only_the_last_axis_is_a_layers_own():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm, self.head = nn.Conv2d(3, 4, 2, 2), nn.LayerNorm(9), nn.Linear(9, 7)

        def forward(self, image):
            normed = self.norm(self.patches(image).flatten(2))
            return self.head(normed.transpose(1, 2).reshape(1, 4, 9)).mean(1)

    assert capture.settle(captured(Turned()))[2] == ()


def test_what_has_nothing_to_settle_stays_itself():
    plain = captured(Attended("cat"))
    assert capture.settle(plain) == (plain, (), ())
