from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from squeeze_export.errors import SourceError
from squeeze_export.sources.checkpoints.digests import canonical_sha256
from squeeze_export.sources.networks.weights_of import classes_in, fit, head_of
from squeeze_export.sources.weights import load_weights
from tests.unit.sources.networks import nets

NAME = "nets:Plain"


def trained(classes=7, kind=nets.Plain):
    return nets.settled(kind(num_classes=classes), seed=3)


def rebuilt(classes):
    return nets.settled(nets.Plain(num_classes=classes))


def saved(path, content):
    torch.save(content, path)
    return path


def image():
    return torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def fitted(path, module=None, **options):
    return fit(module or nets.settled(nets.Plain()), path, name=NAME, **options)


def refused(path, *words, module=None, **options):
    with pytest.raises(SourceError) as caught:
        fitted(path, module, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "torchvision's names" not in message
    return message


@pytest.mark.parametrize("rebuild", [None, rebuilt])
def test_the_number_of_classes_comes_from_the_checkpoint(tmp_path, rebuild):
    mine = trained()
    path = saved(tmp_path / "best.pth", mine.state_dict())
    before = nets.settled(nets.Plain())
    kept = copy.deepcopy(before.state_dict())
    found = fitted(path, before, rebuild=rebuild)
    assert found.num_classes == 7 == classes_in(path, before, rebuild=rebuild)
    assert torch.equal(found.module(image()), mine(image()))
    assert found.module.head.out_features == 7 and not found.module.training
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in kept.items())
    assert any("its last layer, head, was made for 7" in note for note in found.notes) == (rebuild is None)
    weights = {name: value for name, value in mine.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert (found.origin.sha256, found.origin.kind, found.origin.file_name) == (canonical_sha256(weights), "file", "best.pth")


@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (lambda state: {"state_dict": state, "epoch": 3}, "under 'state_dict'"),
        (lambda state: {"model": {f"module.{name}": value for name, value in state.items()}}, "under 'model.module'"),
        (lambda state: {f"net.backbone.{name}": value for name, value in state.items()}, "under 'net.backbone'"),
        (lambda state: {f"_orig_mod.{name}": value for name, value in state.items()}, None),
        (
            lambda state: {**{f"module.{name}": value for name, value in state.items()}, "n_averaged": torch.tensor(9)},
            "averaged weights (SWA)",
        ),
        (lambda state: {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}, None),
        (lambda state: {**state, "criterion.weight": torch.ones(7)}, "Left out, as no weights of the network: criterion.weight"),
        (lambda state: {name: value.half() if value.is_floating_point() else value for name, value in state.items()}, None),
    ],
    ids=["wrapper", "parallel", "prefix", "compiled", "swa", "no-counters", "criterion", "half"],
)
def test_checkpoints_as_they_come(tmp_path, wrap, told):
    mine = trained(5)
    for parameter in mine.state_dict().values():
        parameter.copy_(parameter.half())
    found = fitted(saved(tmp_path / "last.ckpt", wrap(mine.state_dict())))
    assert torch.equal(found.module(image()), mine(image()))
    assert told is None or any(told in note for note in found.notes), found.notes


def test_averaged_weights_come_first_and_the_key_chooses(tmp_path):
    mine, averaged = trained(5), nets.settled(nets.Plain(), seed=9)
    path = saved(tmp_path / "last.pth", {"state_dict": mine.state_dict(), "state_dict_ema": averaged.state_dict()})
    assert torch.equal(fitted(path).module(image()), averaged(image()))
    assert torch.equal(fitted(path, checkpoint_key="state_dict").module(image()), mine(image()))
    digest = fitted(path, checkpoint_key="state_dict").origin.sha256
    assert torch.equal(fitted(path, sha256=digest).module(image()), mine(image()))


def test_pruned_weights_are_multiplied_by_their_masks(tmp_path):
    mine = trained(5)
    dense = copy.deepcopy(mine)
    prune.l1_unstructured(mine.head, "weight", 0.5)
    found = fitted(saved(tmp_path / "pruned.pth", mine.state_dict()))
    assert torch.equal(found.module(image()), mine(image()))
    assert not torch.equal(found.module(image()), dense(image()))


def test_labels_inside_the_checkpoint_are_handed_on(tmp_path):
    path = saved(tmp_path / "x.pth", {"state_dict": trained(3).state_dict(), "classes": ["cat", "dog", "hen"]})
    assert fitted(path).label_claims == {"classes": ["cat", "dog", "hen"]}


def test_one_class_is_enough(tmp_path):
    path = tmp_path / "one.safetensors"
    save_file({name: value.contiguous() for name, value in trained(1).state_dict().items()}, path)
    assert fitted(path).num_classes == 1


def test_batch_norms_are_never_folded(tmp_path):
    without = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 2))
    with_norms = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    path = saved(tmp_path / "bn.pth", with_norms.state_dict())
    refused(path, "does not hold nets:Plain weights", module=without.eval())


def test_what_does_not_fit_is_named_with_its_shapes(tmp_path):
    state = trained(5).state_dict()
    state["head.weight"] = torch.zeros(5, 9)
    state["extra.weight"] = torch.zeros(2)
    del state["features.0.weight"]
    refused(
        saved(tmp_path / "other.pth", state),
        *("missing: features.0.weight (8, 3, 3, 3)", "not the network's: extra.weight (2,)"),
        "head.weight has shape (5, 9), expected (5, 8)",
    )


def test_weights_of_another_known_network_are_named(tmp_path):
    squeezenet = load_weights("squeezenet1_1", "random", seed=1, random_classes=3).state
    refused(saved(tmp_path / "squeezenet.pth", squeezenet), "these are squeezenet1_1", "use --model squeezenet1_1")
    resnet = {f"layer{stage}.0.conv{place}.weight": torch.zeros(64, 64, 3, 3) for stage in (1, 2, 3, 4) for place in (1, 2)}
    refused(saved(tmp_path / "resnet.pth", resnet), "look like ResNet", "nets:Plain has names such as features.0.weight")


def test_of_two_of_a_family_what_differs_is_said(tmp_path):
    """Both look like the same family: its name would say nothing."""

    class Staged(nn.Module):
        def __init__(self, width, blocks):
            super().__init__()
            for stage in range(1, 5):
                parts = [nn.Module() for _ in range(blocks)]
                for part in parts:
                    part.conv1, part.conv2 = nn.Conv2d(width, width, 3), nn.Conv2d(width, width, 3)
                setattr(self, f"layer{stage}", nn.Sequential(*parts))
            self.fc = nn.Linear(width, 5)

    path = saved(tmp_path / "wider.pth", Staged(6, 3).state_dict())
    refused(path, "layer1.0.conv1.weight has shape (6, 6, 3, 3), expected (4, 4, 3, 3)", module=Staged(4, 2).eval())


def test_tables_that_the_network_computes_need_not_be_there_but_must_be_the_same(tmp_path):
    class Tabled(nets.Plain):
        def __init__(self, num_classes=5):
            super().__init__(num_classes)
            self.register_buffer("places", torch.arange(6))

    mine = trained(5, Tabled)
    state = mine.state_dict()
    path = saved(tmp_path / "tabled.pth", state)
    assert torch.equal(fitted(path, nets.settled(Tabled())).module(image()), mine(image()))
    saved(path, {name: value for name, value in state.items() if name != "places"})
    assert torch.equal(fitted(path, nets.settled(Tabled())).module(image()), mine(image()))
    saved(path, {**state, "places": torch.arange(6) + 1})
    refused(path, "places is not the network's own", module=nets.settled(Tabled()))


def test_the_head_is_the_last_layer_of_so_many_outputs():
    assert head_of(nets.Plain()) == "head.weight"
    assert head_of(nets.Residual()) == "classifier.weight"
    assert head_of(nn.Linear(3, 4)) == "weight"
    behind = nn.Sequential(nn.Linear(4, 10), nn.Linear(10, 3))
    assert (head_of(behind), head_of(behind, 10)) == ("1.weight", "0.weight")
    behind.num_classes = 10
    assert head_of(behind) == "0.weight"
    with pytest.raises(SourceError, match="with 4 outputs for its classes: the last such layer, 1, has 3"):
        head_of(behind, 4)
    with pytest.raises(SourceError, match="there is no such layer"):
        head_of(nn.ReLU())
