from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from squeeze_export.contracts.source import MODELS
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources import weights
from squeeze_export.sources.source import check_name, default_name, load_source, restore_source, save_source, weight_digests

SPEC = spec_for("caffe", model="squeezenet1_0", input_size=(64, 64))


def load(weights="random", *, model="squeezenet1_1", labels=None, seed=0, name="it", head="classifier"):
    return load_source(name=name, model=model, weights=weights, seed=seed, labels=labels, preprocessing=SPEC, head=head)


@pytest.mark.parametrize(
    ("model", "choice", "name"),
    [
        ("squeezenet1_1", "random", "squeezenet1_1-random"),
        ("squeezenet1_1", "demo", "squeezenet1_1-demo"),
        ("squeezenet1_0", "imagenet", "squeezenet1_0-imagenet"),
        ("squeezenet1_0", Path("a/b/my.safetensors"), "squeezenet1_0-my"),
        ("squeezenet1_1", Path("/x/squeezenet1_1_torchvision.pth"), "squeezenet1_1_torchvision"),
        ("squeezenet1_1", Path("my weights (ä).v2.pt"), "squeezenet1_1-my_weights__ä_.v2".replace("ä", "_")),
        ("squeezenet1_1", Path("..hidden.pth"), "squeezenet1_1-..hidden"),
        ("squeezenet1_1", Path("x" * 240 + ".pth"), "squeezenet1_1-" + "x" * 86),
    ],
)
def test_default_names(model, choice, name):
    assert default_name(model, choice) == name
    assert check_name(name) == name


def test_features_say_so_in_their_name():
    assert default_name("squeezenet1_1", "demo", "features") == "squeezenet1_1-demo-features"
    assert default_name("squeezenet1_1", Path("x" * 240 + ".pth"), "features") == "squeezenet1_1-" + "x" * 77 + "-features"


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-rf", "a/b", "a b", "a\n", "ü", "x" * 101, "a\\b"])
def test_names_that_are_no_file_names_are_refused(name):
    with pytest.raises(UsageError, match="cannot be a file name"):
        load(name=name)


@pytest.mark.parametrize("model", MODELS)
def test_the_module_is_ready_to_be_judged_against(model):
    source = load(model=model)
    assert not source.module.training
    assert not any(parameter.requires_grad for parameter in source.module.parameters())
    assert all(parameter.dtype == torch.float32 and parameter.is_contiguous() for parameter in source.module.parameters())
    with torch.inference_mode():
        logits = source.module(torch.ones(2, 3, 64, 64))
    assert logits.shape == (2, source.num_classes) == (2, 1000)
    assert bool(logits.isfinite().all()) and float(logits.std()) > 0
    assert (source.model, source.labels, source.preprocessing) == (model, None, SPEC)


def test_loading_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    load()
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_decide_the_classes_of_random_weights(seven_classes):
    assert seven_classes.num_classes == 7
    assert seven_classes.labels[6] == "violet"
    assert seven_classes.module(torch.zeros(1, 3, 65, 64)).shape == (1, 7)


def test_labels_must_match_a_files_classes(tmp_path, seven_classes):
    save_file(seven_classes.module.state_dict(), tmp_path / "w.safetensors")
    labels = tmp_path / "l.txt"
    labels.write_text("a\nb\n")
    with pytest.raises(SourceError, match="2 labels, the model has 7 classes"):
        load(tmp_path / "w.safetensors", labels=labels)
    assert load(tmp_path / "w.safetensors").weights.sha256 == seven_classes.weights.sha256


def test_the_demo_weights_bring_their_labels(tmp_path, monkeypatch, seven_classes):
    demo = tmp_path / "data"
    demo.mkdir(parents=True)
    save_file(seven_classes.module.state_dict(), demo / "squeezenet1_1_demo.safetensors")
    monkeypatch.setattr(weights.resources, "files", lambda package: tmp_path)
    with pytest.raises(SourceError, match=r"labels\.txt"):
        load("demo")
    (demo / "labels.txt").write_text("\n".join("ABCDEFG"))
    assert load("demo").labels == tuple("ABCDEFG")
    own = tmp_path / "own.txt"
    own.write_text("\n".join("TUVWXYZ"))
    assert load("demo", labels=own).labels == tuple("TUVWXYZ")


def test_a_saved_source_comes_back_bit_for_bit(tmp_path, seven_classes):
    save_source(seven_classes, tmp_path / "new" / "folder")
    back = restore_source(tmp_path / "new" / "folder")
    state, again = seven_classes.module.state_dict(), back.module.state_dict()
    assert list(state) == list(again)
    assert all(state[name].numpy().tobytes() == again[name].numpy().tobytes() for name in state)
    assert (back.name, back.model, back.num_classes, back.labels) == ("seven_classes", "squeezenet1_1", 7, seven_classes.labels)
    assert back.preprocessing == seven_classes.preprocessing
    assert back.weights == seven_classes.weights
    assert not back.module.training and not any(parameter.requires_grad for parameter in back.module.parameters())


def test_a_source_without_labels_comes_back(tmp_path):
    source = load(model="squeezenet1_0_complex_bypass", seed=3)
    save_source(source, tmp_path)
    back = restore_source(tmp_path)
    assert back.labels is None and back.weights == source.weights and back.preprocessing == SPEC


@pytest.mark.parametrize(
    "damage", ["no folder", "no weights", "not JSON", "key missing", "truncated", "other weights", "other model"]
)
def test_a_damaged_saved_source_is_refused(tmp_path, seven_classes, damage):
    folder = tmp_path / "source"
    save_source(seven_classes, folder)
    description = json.loads((folder / "source.json").read_text())
    weights_file = folder / "weights.safetensors"
    match damage:
        case "no folder":
            folder = tmp_path / "none"
        case "no weights":
            weights_file.unlink()
        case "not JSON":
            (folder / "source.json").write_text("{")
        case "key missing":
            del description["labels"]
            (folder / "source.json").write_text(json.dumps(description))
        case "truncated":
            weights_file.write_bytes(weights_file.read_bytes()[:-100])
        case "other weights":
            state = load_file(weights_file)
            state["features.0.bias"][0] += 1e-6
            save_file(state, weights_file)
        case "other model":
            (folder / "source.json").write_text(json.dumps(description | {"model": "squeezenet1_0"}))
    with pytest.raises(SourceError, match="save it again"):
        restore_source(folder)


@pytest.mark.parametrize("model", MODELS)
def test_features_are_the_averages_in_front_of_the_classifier(model, tmp_path):
    whole, source = load(model=model, seed=4), load(model=model, seed=4, head="features")
    images = torch.randn(2, 3, 64, 70, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, channels = source.module(images), whole.module.features(images)
    np.testing.assert_allclose(found, channels.numpy().astype(np.float64).mean(axis=(2, 3)), rtol=1e-5, atol=1e-6)
    assert found.shape == (2, source.width) == (2, 512) and whole.width == 1000
    assert len(found.unique(dim=0)) == 2
    # The origin is the whole checkpoint's, the weights are what is left of it.
    assert (source.weights, source.num_classes, source.labels, source.head) == (whole.weights, 1000, None, "features")
    names = [name for name in whole.module.state_dict() if not name.startswith("classifier.")]
    assert list(source.module.state_dict()) == names == [digest.name for digest in weight_digests(source)]

    save_source(source, tmp_path)
    assert not any(name.startswith("classifier.") for name in load_file(tmp_path / "weights.safetensors"))
    back = restore_source(tmp_path)
    assert (back.head, back.weights, back.num_classes) == ("features", whole.weights, 1000)
    with torch.inference_mode():
        assert torch.equal(back.module(images), found)


def test_features_hold_the_whole_checkpoint_against_the_model_and_have_no_labels(tmp_path):
    state = {name: value.clone() for name, value in load().module.state_dict().items()}
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\n")
    with pytest.raises(UsageError, match="leave --labels out"):
        load(head="features", labels=labels)
    state["classifier.1.bias"][3] = torch.nan
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(SourceError, match=r"classifier\.1\.bias"):
        load(tmp_path / "w.safetensors", head="features")
    del state["classifier.1.weight"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(SourceError, match=r"missing: classifier\.1\.weight"):
        load(tmp_path / "w.safetensors", head="features")


def test_a_damaged_saved_source_of_features_is_refused(tmp_path):
    source = load(head="features")
    save_source(source, tmp_path)
    state = load_file(tmp_path / "weights.safetensors")
    state["features.0.bias"][0] += 1e-6
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(SourceError, match="other weights than were saved"):
        restore_source(tmp_path)


def test_weight_digests_are_of_the_bytes(seven_classes):
    digests = weight_digests(seven_classes)
    state = seven_classes.module.state_dict()
    assert [digest.name for digest in digests] == list(state)
    for digest in digests:
        values = state[digest.name].numpy()
        assert digest.shape == values.shape
        assert digest.fp32 == hashlib.sha256(values.tobytes()).hexdigest()
        assert digest.fp16 == hashlib.sha256(state[digest.name].half().numpy().tobytes()).hexdigest()


def test_weights_beyond_fp16_have_digests_too(seven_classes, tmp_path):
    state = {name: value.clone() for name, value in seven_classes.module.state_dict().items()}
    state["features.0.bias"][0] = 1e6
    save_file(state, tmp_path / "w.safetensors")
    digest = next(digest for digest in weight_digests(load(tmp_path / "w.safetensors")) if digest.name == "features.0.bias")
    expected = state["features.0.bias"].numpy().copy()
    expected[0] = np.inf
    assert digest.fp16 == hashlib.sha256(expected.astype(np.float16).tobytes()).hexdigest()


def test_importing_these_modules_loads_no_sdk():
    code = (
        "import sys, squeeze_export.sources.source, squeeze_export.sources.labels, squeeze_export.golden;"
        "print(sorted({'torch', 'numpy', 'PIL', 'safetensors'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
