"""Features of networks that are none of our own: where they are taken, and what is no place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from squeeze_export.errors import SourceError, UsageError
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.features import extractor, load_features
from squeeze_export.sources.networks import files
from squeeze_export.sources.networks.capture import capture
from squeeze_export.sources.networks.names import parse_model, wanted_of
from squeeze_export.sources.source import restore_source, save_source
from tests.captured_nets import mixed
from tests.unit.sources.networks.nets import Dictionary, Residual, settled

IMAGES = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def loaded(model, **given):
    def spec(own):
        return spec_for("torchvision", model="", **{"input_size": 48, **own})

    wanted = wanted_of(model) if isinstance(model, nn.Module) else parse_model(model)
    given = {"weights": "module", "arguments": {}, "preprocessing": spec, "seed": 0, **given}
    return load_features(wanted, name="net", given=model if isinstance(model, nn.Module) else None, **given)


def seen(module, path, *, inputs):
    """What goes into or comes out of a part of the network, kept by a hook of this test's own."""
    kept = []
    handle = module.get_submodule(path).register_forward_hook(lambda _, given, gave: kept.append(given[0] if inputs else gave))
    with torch.no_grad():
        module(IMAGES[:1])
    handle.remove()
    return kept[0]


def test_without_a_place_they_are_what_the_classifier_takes(tmp_path):
    network = mixed()
    source = loaded(network)
    assert (source.head, source.width, source.num_classes, source.labels) == ("features", 32, 7, None)
    expected = seen(network, "head", inputs=True)
    assert torch.allclose(source.module(IMAGES[:1]), expected, atol=1e-5) and torch.equal(source.eager(IMAGES[:1]), expected)
    assert "the features are the input of head: 32 numbers." in source.notes
    assert not any(name.startswith("head.") for name in source.module.state_dict())
    save_source(source, tmp_path / "source")
    again = restore_source(tmp_path / "source")
    assert (again.head, again.width, again.weights) == ("features", 32, source.weights)


@pytest.mark.parametrize(
    ("network", "at", "width"), [(mixed(), "stem", 16), (mixed(), "norm", 32), (settled(Residual()), "hidden", 6)]
)
def test_with_one_they_are_its_output_averaged_over_space(network, at, width):
    source = loaded(network, at=at)
    expected = seen(network, at, inputs=False)
    expected = expected.mean((2, 3)) if expected.dim() == 4 else expected
    assert source.width == width and torch.allclose(source.module(IMAGES[:1]), expected, atol=1e-5)


def test_a_convolution_as_the_head_is_averaged_too_and_one_of_several_outputs_is_none_here():
    assert loaded(settled(Residual())).width == 6
    assert loaded(settled(Dictionary())).width == 8


def test_what_writes_into_its_operands_is_no_part_of_features_in_front_of_it():
    class Writing(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

        def forward(self, image):
            values = self.first(image)
            values += torch.relu_(self.second(torch.relu_(values)))
            return self.fc(values.mean((2, 3)))

    network = settled(Writing())
    source = loaded(network, at="first")
    with torch.no_grad():
        expected = network.first(IMAGES[:1]).mean((2, 3))
    assert torch.equal(source.eager(IMAGES[:1]), expected)
    assert torch.allclose(source.module(IMAGES[:1]), expected, atol=1e-5)
    assert source.kernels == ("first.weight",) and list(source.module.state_dict()) == ["first.weight", "first.bias"]
    after = loaded(network, at="second")
    assert after.kernels == ("first.weight", "second.weight")
    written = seen(network, "second", inputs=False)  # not a copy: relu_ has written into it since
    assert float(after.module(IMAGES[:1]).min()) < 0 <= float(written.min())


def test_timms_pre_logits():
    class Timm(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.wide, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 9), nn.Linear(9, 5)

        def forward_features(self, image):
            return self.stem(image)

        def forward_head(self, values, pre_logits=False):
            values = torch.relu(self.wide(values.mean((2, 3))))
            return values if pre_logits else self.fc(values)

        def forward(self, image):
            return self.forward_head(self.forward_features(image))

    network = Timm().eval()
    source = loaded(network)
    assert source.width == 9 and source.num_classes == 5 and "the features are timm's pre-logits: 9 numbers." in source.notes
    assert torch.allclose(source.module(IMAGES[:1]), seen(network, "fc", inputs=True), atol=1e-5)


def test_places_that_are_none(tmp_path):
    network = mixed()
    with pytest.raises(SourceError, match=r"--features-at stm: in-memory:Mixed has no such module\. Did you mean stem"):
        loaded(network, at="stm")
    unused = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
    unused.register_module("other", nn.Linear(3, 2))
    unused.forward = lambda image: unused[2](unused[1](unused[0](image)))
    with pytest.raises(SourceError, match="computes its scores without other"):
        extractor(unused, at="other", what="it")[0](IMAGES[:1])
    files.save(capture(network, 48, 48), tmp_path / "model.pt2")
    with pytest.raises(UsageError, match=r"takes a network apart, and model\.pt2 is captured in one piece"):
        loaded(str(tmp_path / "model.pt2"))
