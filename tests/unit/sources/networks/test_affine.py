"""Scales in front of linear layers: folded as a converter would, the answers kept, the layers' names told."""

from __future__ import annotations

import torch
from torch import nn

from squeeze_export.sources.captured import kernels_of
from squeeze_export.sources.networks import capture
from squeeze_export.sources.networks.programs import affine, scales
from tests.unit.sources.networks.quirks import SIDE, Attended, Normed, Sequenced, captured


def targets(program):
    return [node for node in program.module().graph.nodes if node.op == "call_function"]


def test_norms_in_front_of_linear_layers_end_in_them():
    network = Normed()
    before = captured(network)
    after, told = capture.settle(before)
    assert told == ("the scales of norms in front of 4 layers, such as key, were folded into them.",)
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert capture.compare(after, network, images, floor=120) > 120
    layer_norms = [node for node in targets(after) if node.target == torch.ops.aten.layer_norm.default]
    # The second one is read by a sum as well, which keeps its scale.
    assert sorted(node.args[2] is None for node in layer_norms) == [False, True, True]
    assert torch.ops.aten.batch_norm.default not in {node.target for node in targets(after)}
    weights, old = after.module().state_dict(), network.state_dict()
    assert torch.equal(weights["key.weight"], (old["key.weight"].double() * old["first.weight"].double()).float())
    assert weights["key.bias"].shape == (16,)


def test_norms_over_flattened_sequences_go_into_the_layers_before_them():
    before = captured(Sequenced())
    after, told = capture.settle(before)
    assert told == ("batch norms behind the layer first were folded into it.",)  # across norms places, which are no channels
    left = [str(node.args[1].target) for node in after.module().graph.nodes if str(node.target) == "aten.batch_norm.default"]
    assert left == ["across.weight"]
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert capture.compare(after, before.module(), images, floor=110) > 110


def test_a_layer_that_is_used_twice_stays_and_so_does_its_norm():
    network = Normed()
    network.mixed = network.query
    before = captured(network)
    assert set(affine.fold(before.module())) == {"key", "head"}


def test_only_the_last_axis_is_a_layers_own():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm, self.head = nn.Conv2d(3, 4, 2, 2), nn.LayerNorm(9), nn.Linear(9, 7)

        def forward(self, image):
            normed = self.norm(self.patches(image).flatten(2))
            return self.head(normed.transpose(1, 2).reshape(1, 4, 9)).mean(1)

    assert affine.fold(captured(Turned()).module()) == ()


class Factors(nn.Module):
    """Layer scales as ConvNeXt, FastViT and timm's LayerScale2d write them, plain numbers, and products that are none."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, bias=False)
        self.third, self.fourth = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.linear, self.head, self.tail = nn.Linear(4, 4), nn.Linear(4, 7), nn.Linear(7, 7)
        self.scale, self.viewed, self.places = (nn.Parameter(torch.ones(shape)) for shape in ((4, 1, 1), (4,), (7, 7)))

    def forward(self, image):
        values = self.scale * self.first(image).mul_(0.5)
        values = values + self.second(values).mul_(self.viewed.view(1, -1, 1, 1))
        values = values + self.third(values) * self.places  # a factor per place
        gate = self.fourth(values)
        values = gate * torch.sigmoid(gate) * self.scale  # no layer before it
        values = values.flatten(2).transpose(1, 2)
        return self.tail(self.head(self.linear(values) * self.viewed) / 2).mean(1)


def test_factors_behind_layers_end_in_them():
    network = Factors()
    before = captured(network)
    module = before.module()
    assert scales.fold(module) == ("first", "first", "second", "linear", "head")
    after, _ = capture.settle(before)
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert capture.compare(after, network, images, floor=120) > 120
    old = network.state_dict()
    assert torch.equal(module.state_dict()["linear.bias"], (old["linear.bias"].double() * old["viewed"].double()).float())


class FromOnnx(nn.Module):
    """As onnx2torch writes them: biases and the parts of a hard sigmoid as operations of their own, a product with a weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 3, 1, bias=bias) for bias in (False, True))
        self.third, self.fourth = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.added, self.divided, self.bias = (nn.Parameter(torch.rand(shape) + 1) for shape in ((3,), (3, 1, 1), (7,)))
        self.weight, self.places = nn.Parameter(torch.randn(4, 7)), nn.Parameter(torch.randn(SIDE, SIDE))

    def forward(self, image):
        gate = torch.clip((self.first(image) + self.added.reshape(1, -1, 1, 1)) * 0.2 + 0.5, 0, 1)
        values = self.third(image * gate + (self.second(image) - 2) / self.divided)
        values = (self.fourth(values) + self.places) * 3  # a term per place stays, and so does the factor
        return values.mean((2, 3)) @ self.weight + self.bias


def test_terms_between_a_layer_and_its_factor_end_in_the_bias_and_products_with_weights_are_layers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = FromOnnx()
    before = captured(network)
    after, told = capture.settle(before)
    assert told == (
        "products with 1 weights, such as weight, were made linear layers.",
        "factors behind 2 layers, such as first, were folded into them.",
    )
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert capture.compare(after, network, images, floor=120) > 120
    weights, old = after.module().state_dict(), {name: value.double() for name, value in network.state_dict().items()}
    assert torch.equal(weights["first.weight"], (old["first.weight"] * 0.2).float())
    assert torch.equal(weights["first.bias"], (old["added"] * 0.2).float())
    divided = old["divided"].reshape(-1)
    assert torch.equal(weights["second.bias"], ((old["second.bias"] - 2) * (1 / divided)).float())
    assert torch.equal(weights["fourth.weight"], network.fourth.weight)
    assert len(kernels_of(after.module())) == 5
    assert torch.equal(weights[kernels_of(after.module())[-1]], network.weight.t())


def test_a_division_by_nothing_stays():
    class Divided(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 7)

        def forward(self, image):
            return (self.head(image.mean((2, 3))) / torch.tensor([1.0, 1, 1, 0, 1, 1, 1])).clip(-3, 3)

    assert scales.fold(captured(Divided()).module()) == ()


def test_what_has_nothing_to_settle_stays_itself():
    plain = captured(Attended("cat"))
    assert capture.settle(plain) == (plain, ())
