"""Weights that libraries publish, by name: from their caches, and what is told where those lack them. No network is asked."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import urllib.error
from enum import Enum
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from squeeze_export.contracts.source import is_published
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.captured import load_captured
from squeeze_export.sources.networks import building, library_weights
from squeeze_export.sources.networks.names import parse_model
from squeeze_export.sources.source import default_name
from tests.unit.sources.libraries import libraries
from tests.unit.sources.networks.nets import Plain, settled

NAMES = ["daisy", "rose", "tulip"]


def loaded(model, weights):
    def spec(own):
        return spec_for("torchvision", model="", **{**own, "input_size": 32})

    return load_captured(parse_model(model), name="net", weights=weights, arguments={}, labels=None, preprocessing=spec, seed=0)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A torchvision of one tiny network, its weights in torch.hub's cache; gives the module that was saved, and the file."""
    saved = settled(Plain(num_classes=3), seed=4)
    torch.save(saved.state_dict(), tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()[:8]
    url = f"https://example.org/models/tiny-{digest}.pth"
    cache = tmp_path / "hub" / "checkpoints" / f"tiny-{digest}.pth"
    cache.parent.mkdir(parents=True)
    shutil.copyfile(tmp_path / "weights.pth", cache)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    preset = SimpleNamespace(
        crop_size=[80], resize_size=[100], mean=[0.5] * 3, std=[0.25] * 3, interpolation=SimpleNamespace(value="bicubic")
    )

    class TinyWeights(Enum):
        IMAGENET1K_V2 = 2
        DEFAULT = IMAGENET1K_V2

        url = property(lambda self: url)
        meta = property(lambda self: {"categories": NAMES})

        def transforms(self):
            return preset

    models = SimpleNamespace(
        get_model_weights=lambda name: TinyWeights,
        get_model=lambda name, weights, num_classes=1000, **rest: Plain(num_classes),
    )
    monkeypatch.setattr(building, "torchvision_with", lambda name: models)
    return saved, cache


def refuses(monkeypatch):
    def urlopen(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)


@pytest.mark.parametrize("weights", ["IMAGENET1K_V2", "DEFAULT"])
def test_torchvisions_come_from_its_cache_with_their_labels_and_preprocessing(tiny, weights, monkeypatch):
    refuses(monkeypatch)
    saved, cache = tiny
    source = loaded("torchvision:tiny", weights)
    assert (source.weights.kind, source.weights.file_name) == ("library", cache.name)
    assert source.labels == tuple(NAMES) and any(
        f"torchvision's IMAGENET1K_V2, from {cache.name}" in note for note in source.notes
    )
    spec = source.preprocessing
    assert (spec.resize, spec.interpolation, spec.mean) == (40, "bicubic", (0.5, 0.5, 0.5))  # the crop is 0.8 of it
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(source.eager(images), saved(images))


def test_without_a_network_it_says_what_to_put_where(tiny, monkeypatch):
    refuses(monkeypatch)
    _, cache = tiny
    kept = cache.read_bytes()
    cache.unlink()
    with pytest.raises(SourceError) as caught:
        loaded("torchvision:tiny", "DEFAULT")
    told = str(caught.value)
    assert f"put it at {cache}" in told and f"https://example.org/models/{cache.name}" in told and "use --weights FILE" in told
    assert list(cache.parent.iterdir()) == []
    cache.write_bytes(kept[:-1] + b"x")
    with pytest.raises(SourceError, match="is damaged: its sha256 starts with"):
        loaded("torchvision:tiny", "DEFAULT")


def test_what_the_cache_holds_executes_nothing(tiny, monkeypatch):
    class Wants:
        def __reduce__(self):
            return (open, ("made-by-a-pickle", "w"))

    _, cache = tiny
    cache.unlink()
    data = pickle.dumps({"weight": Wants()}, protocol=2)
    name = f"tiny-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    cache.with_name(name).write_bytes(data)
    monkeypatch.setattr(building.torchvision_with("tiny").get_model_weights("tiny"), "url", f"https://example.org/{name}")
    monkeypatch.chdir(cache.parent)
    with pytest.raises(SourceError):
        loaded("torchvision:tiny", "DEFAULT")
    assert [path.name for path in cache.parent.iterdir()] == [name]


def test_names_that_a_library_does_not_know(tiny):
    with pytest.raises(SourceError, match=r"publishes no weights IMAGENET1K_V9 of tiny\. It has IMAGENET1K_V2, DEFAULT"):
        loaded("torchvision:tiny", "IMAGENET1K_V9")
    with pytest.raises(UsageError, match="--weights DEFAULT, those that the library publishes"):
        loaded("torchvision:tiny", "demo")


def test_names_are_no_files():
    assert is_published("torchvision:resnet18", "IMAGENET1K_V1") and is_published("timm:resnet18", "pretrained")
    for model, weights in (("torchvision:resnet18", "best.pth"), ("timm:resnet18", "DEFAULT"), ("nets:build", "pretrained")):
        assert not is_published(model, weights)
    assert default_name("torchvision:resnet18", "IMAGENET1K_V1") == "resnet18-IMAGENET1K_V1"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the Hugging Face hub, and no network; gives the folder of the repository that timm's test_resnet has."""
    libraries.needed("timm")
    import huggingface_hub
    from huggingface_hub import constants

    def offline(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("there is no network")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    return tmp_path / "models--timm--test_resnet.r160_in1k"


def test_timms_come_from_the_hubs_cache(hub):
    saved = building.build(parse_model("timm:test_resnet"), arguments={}, num_classes=None).module
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("a" * 40)
    (hub / "snapshots" / ("a" * 40)).mkdir(parents=True)
    save_file(saved.state_dict(), hub / "snapshots" / ("a" * 40) / "model.safetensors")
    found = library_weights.load(parse_model("timm:test_resnet"), "pretrained")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(found.module(images), saved(images)) and not found.module.training
    assert found.file_name == "test_resnet.r160_in1k" and found.preprocessing.height == 160
    assert found.notes == ("The weights are timm's test_resnet.r160_in1k, from timm/test_resnet.r160_in1k.",)


def test_timms_that_are_not_there_are_told_with_the_folder(hub):
    with pytest.raises(SourceError) as caught:
        library_weights.load(parse_model("timm:test_resnet"), "pretrained")
    told = str(caught.value)
    assert "there is no network" in told and str(hub) in told and "hf download timm/test_resnet.r160_in1k" in told
    assert "as --weights FILE" in told


def test_a_network_that_timm_publishes_no_weights_of(hub, monkeypatch):
    libraries.needed("timm")
    with pytest.raises(SourceError, match="publishes no weights of resnet200: pass --weights FILE"):
        library_weights.load(parse_model("timm:resnet200"), "pretrained")
