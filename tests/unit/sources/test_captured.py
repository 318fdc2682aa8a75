"""A source model of a network that is none of our own: what goes together, and what is refused before anything is converted."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from squeeze_export.contracts.in_memory import class_name
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.captured import load_captured
from squeeze_export.sources.networks import files
from squeeze_export.sources.networks.building import of_module
from squeeze_export.sources.networks.capture import capture
from squeeze_export.sources.networks.names import parse_model, wanted_of
from tests.captured_nets import mixed

LABELS = tuple("abcdefg")


def loaded(model, **given):
    def spec(own):
        return spec_for("torchvision", model="", **{"input_size": 48, **own})

    given = {"weights": "module", "arguments": {}, "labels": None, "preprocessing": spec, "seed": 0, **given}
    if isinstance(model, nn.Module):
        return load_captured(wanted_of(model), name="net", given=model, **given)
    return load_captured(parse_model(model), name="net", **given)


def test_a_module_in_memory_is_the_source_and_stays_as_it_was():
    mine = mixed().train()
    source = loaded(mine, labels=LABELS)
    assert (source.model, source.weights.kind, source.weights.seed) == ("in-memory:Mixed", "module", None)
    assert source.labels == LABELS and source.num_classes == 7
    assert source.notes[0] == "in-memory:Mixed was in training mode: it was put into eval mode."
    assert mine.training and mine.head.weight.requires_grad
    image = torch.randn(1, 3, 48, 48)
    assert torch.allclose(source.module(image), mine.eval()(image), atol=1e-4)


COMPILED = partial(torch.compile, backend="eager")  # another backend is imported at once, which takes seconds


def test_labels_of_another_number_are_refused_before_the_capture(monkeypatch):
    monkeypatch.setattr("squeeze_export.sources.captured.capture.capture", lambda *_, **__: pytest.fail("it was captured"))
    with pytest.raises(SourceError, match="has 6 labels, the model has 7 classes"):
        loaded(mixed(), labels=LABELS[:6])


@pytest.mark.parametrize("wrap", [nn.DataParallel, COMPILED, torch.optim.swa_utils.AveragedModel])
def test_what_wraps_a_network_is_taken_off(wrap):
    mine = nn.Sequential(nn.Linear(2, 2)).eval()
    wrapped = wrap(mine)
    found = of_module(wrapped)
    assert list(found.module.state_dict()) == ["0.weight", "0.bias"] and found.notes == ()
    assert class_name(wrapped) == "Sequential"


def test_a_checkpoint_goes_into_a_module_in_memory(tmp_path):
    other = mixed(classes=5)
    torch.save({"model": {f"module.{name}": value for name, value in other.state_dict().items()}}, tmp_path / "best.pth")
    source = loaded(mixed(), weights=tmp_path / "best.pth")
    assert source.num_classes == 5 and any("its last layer, head, was made for 5" in note for note in source.notes)
    assert source.weights.kind == "file" and torch.equal(source.eager.head.weight, other.head.weight)


def test_a_factorys_draws_are_those_of_the_seed():
    first, second, other = (loaded("tests.unit.sources.test_captured:Drawn", seed=seed) for seed in (3, 3, 4))
    assert first.weights == second.weights and first.weights.seed == 3 and first.weights.sha256 != other.weights.sha256


class Drawn(nn.Module):
    """Two classes, from a generator that nobody seeded."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, image):
        return self.head(image.mean((2, 3)))


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({"labels": LABELS[:6]}, SourceError, "has 6 labels, the model has 7 classes"),
        ({"weights": "random"}, UsageError, "has weights already, and --weights random would draw others"),
        ({"arguments": {"width": 3}}, UsageError, "--model-arg is for a MODULE:FACTORY"),
    ],
)
def test_what_does_not_go_with_a_module_in_memory(given, kind, told):
    with pytest.raises(kind, match=told):
        loaded(mixed(), **given)


def test_a_program_has_its_size_and_its_weights(tmp_path):
    path = tmp_path / "model.pt2"
    files.save(capture(mixed(), 48, 48), path)
    assert loaded(str(path)).preprocessing.height == 48
    with pytest.raises(SourceError, match=r"model\.pt2 takes 3 channels of 48x48, and the preprocessing gives 3 of 64x64"):
        loaded(str(path), preprocessing=lambda own: spec_for("torchvision", model="", input_size=64))
    for weights in ("random", tmp_path / "best.pth"):
        with pytest.raises(UsageError, match=r"model\.pt2 holds its weights\. Leave --weights out"):
            loaded(str(path), weights=weights)
