"""Batch norms behind convolutions: folded where it is certain which, and else refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from squeeze_export.sources.squeezenet import Fire, SqueezeNet
from tests.unit.sources.checkpoints.checkpoints import load, refused, saved


def norm(channels):
    """A batch norm that has seen something, so that leaving it out would show."""
    made = nn.BatchNorm2d(channels)
    for tensor, low, high in ((made.running_mean, -1, 1), (made.running_var, 0.5, 2), (made.weight, -2, 2), (made.bias, -1, 1)):
        nn.init.uniform_(tensor, low, high)
    return made


class NormedFire(nn.Module):
    """A fire module with a batch norm behind each convolution, by one of three ways of naming it."""

    def __init__(self, fire, form):
        super().__init__()
        self.names = {}
        for place, name in enumerate(("squeeze", "expand1x1", "expand3x3"), 1):
            convolution = getattr(fire, name)
            behind = norm(convolution.out_channels)
            if form == "block":
                setattr(self, name, nn.Sequential(convolution, behind))
                continue
            self.names[name] = {"named": f"{name}_bn", "reversed": f"bn_{name}", "numbered": f"bn{place}"}[form]
            setattr(self, name, convolution)
            setattr(self, self.names[name], behind)

    def step(self, name, x):
        x = getattr(self, name)(x)
        return torch.relu(getattr(self, self.names[name])(x) if name in self.names else x)

    def forward(self, x):
        squeezed = self.step("squeeze", x)
        return torch.cat((self.step("expand1x1", squeezed), self.step("expand3x3", squeezed)), dim=1)


def normed(model, form=None, *, bias=True):
    """A network with a batch norm behind its first convolution, which moves every later place, and in its fire modules."""
    torch.manual_seed(5)
    made = SqueezeNet(model, 4)
    layers = [NormedFire(layer, form) if form and isinstance(layer, Fire) else layer for layer in made.features]
    if not bias:
        layers[0].register_parameter("bias", None)
    made.features = nn.Sequential(layers[0], norm(layers[0].out_channels), *layers[1:])
    return made.eval()


def same(network, loaded, model):
    plain = SqueezeNet(model, 4).eval()
    plain.load_state_dict(loaded.state)
    x = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted, got = network(x), plain(x)
    assert wanted.std() > 1e-3
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-6 * wanted.abs().max().item())


@pytest.mark.parametrize("model", ["squeezenet1_1", "squeezenet1_0"])
def test_behind_the_first_convolution_every_later_place_moves(tmp_path, model):
    network = normed(model)
    assert "features.4.squeeze.weight" in network.state_dict()
    loaded = load(saved(tmp_path / "x.pth", {"state_dict": network.state_dict()}), model)
    same(network, loaded, model)
    assert loaded.notes[0].startswith(
        "Batch norms were folded into the convolutions before them, 1 in all (features.1 into features.0)"
    )
    assert "eps of 1e-5" in loaded.notes[0]


@pytest.mark.parametrize("form", ["named", "reversed", "block"])
def test_behind_every_convolution_by_their_names(tmp_path, form):
    network = normed("squeezenet1_1", form)
    loaded = load(saved(tmp_path / "x.pth", network.state_dict()))
    same(network, loaded, "squeezenet1_1")
    assert "25 in all" in loaded.notes[0]


def test_a_convolution_without_bias_gets_one(tmp_path):
    network = normed("squeezenet1_1", bias=False)
    same(network, load(saved(tmp_path / "x.pth", network.state_dict())), "squeezenet1_1")


def test_what_names_and_channels_do_not_settle_is_refused_by_name(tmp_path):
    path = saved(tmp_path / "x.pth", normed("squeezenet1_1", "numbered").state_dict())
    told = refused(path, "cannot be taken as squeezenet1_1 weights", "features.4.bn2 is a batch norm of 64 channels")
    assert "it could belong to features.4.expand1x1 or features.4.expand3x3" in told


@pytest.mark.parametrize(
    ("place", "channels", "words"),
    [
        (2, 64, "features.2 is a batch norm of 64 channels that cannot be folded: no convolution stands directly before it"),
        (4, 128, "features.4 is a batch norm of 128 channels that cannot be folded: no convolution stands directly before it"),
        (1, 32, "features.1 is a batch norm of 32 channels that cannot be folded: features.0 has 64 output channels"),
    ],
)
def test_behind_an_activation_it_cannot_be_folded(tmp_path, place, channels, words):
    network = SqueezeNet("squeezenet1_1", 4)
    layers = list(network.features)
    network.features = nn.Sequential(*layers[:place], norm(channels), *layers[place:])
    refused(saved(tmp_path / "x.pth", network.state_dict()), words)


def test_behind_joined_convolutions_it_cannot_be_folded(tmp_path):
    network = SqueezeNet("squeezenet1_1", 4)
    network.features[3].bn = norm(128)
    refused(saved(tmp_path / "x.pth", network.state_dict()), "features.3.bn", "it stands behind several joined ones")
    complex_bypass = SqueezeNet("squeezenet1_0_complex_bypass", 4)
    complex_bypass.features[3].bn = norm(128)
    path = saved(tmp_path / "y.pth", complex_bypass.state_dict())
    refused(path, "could belong to features.3.bypass or to several joined", model="squeezenet1_0_complex_bypass")


def test_a_missing_layer_is_not_taken_for_a_moved_one(tmp_path):
    state = {name: value for name, value in normed("squeezenet1_1").state_dict().items() if not name.startswith("features.13.")}
    refused(saved(tmp_path / "x.pth", state), "the batch norms in features move its numbers")


def test_a_batch_norm_without_its_variance(tmp_path):
    state = normed("squeezenet1_1").state_dict()
    del state["features.1.running_var"]
    refused(saved(tmp_path / "x.pth", state), "features.1 is a batch norm without a mean and a variance per channel")
