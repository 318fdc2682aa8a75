from __future__ import annotations

import pytest
import torch

from squeeze_export.contracts.source import MODELS
from squeeze_export.preprocessing.spec import SMALLEST_SIDE
from squeeze_export.sources.squeezenet import SqueezeNet, initialise

# 1.0 and 1.1: published (torchvision's table). Simple bypass adds nothing; complex bypass adds the 1x1 convolutions around
# fire 2, 4, 6 and 8: 96*128+128 + 128*256+256 + 256*384+384 + 384*512+512 = 341,248.
PARAMETERS = {
    "squeezenet1_1": 1_235_496,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_0_bypass": 1_248_424,
    "squeezenet1_0_complex_bypass": 1_248_424 + 341_248,
}


def network(model, classes=1000):
    built = SqueezeNet(model, classes).eval()
    initialise(built, torch.Generator().manual_seed(1))
    return built


@pytest.mark.parametrize("model", MODELS)
def test_parameter_counts_are_the_published_ones(model):
    assert sum(parameter.numel() for parameter in SqueezeNet(model, 1000).parameters()) == PARAMETERS[model]


@pytest.mark.parametrize("model", MODELS)
def test_the_smallest_side_works_and_one_less_does_not(model):
    small = network(model, 3)
    side = SMALLEST_SIDE[model]
    with torch.no_grad():
        assert small(torch.zeros(1, 3, side, side + 3)).shape == (1, 3)
        with pytest.raises(RuntimeError):
            small(torch.zeros(1, 3, side - 1, side + 3))


def test_the_bypasses_change_what_is_computed():
    # The same weights by name, so any difference comes from the bypass.
    plain, simple, complicated = (network(f"squeezenet1_0{suffix}", 4) for suffix in ("", "_bypass", "_complex_bypass"))
    simple.load_state_dict(plain.state_dict())
    complicated.load_state_dict(plain.state_dict(), strict=False)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        outputs = [model(image) for model in (plain, simple, complicated)]
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])


def test_the_complex_bypass_follows_the_paper():
    keys = [key for key in SqueezeNet("squeezenet1_0_complex_bypass", 2).state_dict() if "bypass" in key]
    # fire 2, 4, 6 and 8 stand at 3, 5, 8 and 10 of torchvision's Sequential.
    assert keys == [f"features.{place}.bypass.{kind}" for place in (3, 5, 8, 10) for kind in ("weight", "bias")]


def test_initialise_is_seeded_and_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    first = torch.Generator().manual_seed(5)
    network_a, network_b, network_c = (SqueezeNet("squeezenet1_1", 2) for _ in range(3))
    torch.set_rng_state(before)
    initialise(network_a, first)
    initialise(network_b, torch.Generator().manual_seed(5))
    initialise(network_c, torch.Generator().manual_seed(6))
    assert torch.equal(torch.get_rng_state(), before)
    states = [torch.cat([value.flatten() for value in network.parameters()]) for network in (network_a, network_b, network_c)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
