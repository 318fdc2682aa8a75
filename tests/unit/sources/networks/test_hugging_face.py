from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from squeeze_export.errors import SourceError
from squeeze_export.sources.networks import hugging_face
from squeeze_export.sources.networks.building import build
from squeeze_export.sources.networks.capture import capture, compare
from squeeze_export.sources.networks.hugging_face import open_folder
from squeeze_export.sources.networks.names import parse_model
from tests.unit.sources.libraries import libraries

PREPROCESSOR = {
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.5, 0.5],
}


def folder_of(path, config, *, weights=True, **files):
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if weights:
        save_file({"a": torch.zeros(1)}, path / "model.safetensors")
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def refused(path, *words):
    with pytest.raises(SourceError) as caught:
        open_folder(path)
    message = str(caught.value)
    assert all(word in message for word in words), message
    return message


VIT = {"architectures": ["ViTForImageClassification"], "model_type": "vit"}


def test_folders_that_are_no_classifiers(tmp_path):
    refused(tmp_path / "none", "no such folder", "Give a folder")
    assert "hf download google/vit" in str(_raised("google/vit"))
    refused(tmp_path, "has no config.json, but nothing in it")
    refused(folder_of(tmp_path, {"hidden_size": 3}), "neither architecture", "hidden_size")
    refused(folder_of(tmp_path, {**VIT, "auto_map": {"AutoModel": "mine.Net"}}), "brings code of its own", "never run")
    refused(
        folder_of(tmp_path, {"architectures": ["DetrForObjectDetection"]}), "is a DetrForObjectDetection, which classifies no"
    )
    (tmp_path / "config.json").write_text("[1]", encoding="utf-8")
    refused(tmp_path, "holds a list, not a mapping")
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    refused(tmp_path, "config.json cannot be read")


def _raised(name):
    with pytest.raises(SourceError) as caught:
        open_folder(Path(name))
    return caught.value


def test_weights_that_are_missing_or_split(tmp_path):
    refused(
        folder_of(tmp_path, VIT, weights=False), "has no weights: it holds config.json", "model.safetensors or pytorch_model.bin"
    )
    (tmp_path / "model.safetensors.index.json").write_text("{}", encoding="utf-8")
    refused(tmp_path, "split over several files")


def test_timms_layout(tmp_path):
    libraries.needed("timm")
    mine = build(parse_model("timm:test_byobnet"), arguments={}, num_classes=3).module
    config = {
        "architecture": "test_byobnet",
        "num_classes": 3,
        "label_names": ["cat", "dog", "hen"],
        "pretrained_cfg": {"input_size": [3, 64, 48], "mean": [0.1, 0.2, 0.3], "crop_pct": 0.9, "crop_mode": "squash"},
    }
    folder = folder_of(tmp_path, config)
    save_file({name: value.contiguous() for name, value in mine.state_dict().items()}, folder / "model.safetensors")
    found = open_folder(folder)
    assert (found.num_classes, found.label_claims) == (3, {"names": ["cat", "dog", "hen"]})
    hint = found.preprocessing
    assert (hint.height, hint.width, hint.mean, hint.crop_pct, hint.resize_mode) == (64, 48, (0.1, 0.2, 0.3), 0.9, "squash")
    assert compare(capture(found.module, 64, 48), mine, torch.randn(2, 3, 64, 48)) == math.inf
    refused(folder_of(tmp_path, {**config, "architecture": "test_byobnett"}), "Did you mean timm:test_byobnet")


def test_transformers_layout(tmp_path):
    libraries.needed("transformers", "ViTConfig", "ViTForImageClassification")
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = ViTConfig(**sizes, image_size=32, patch_size=8, id2label={0: "cat", 1: "dog", 2: "hen"})
    mine = ViTForImageClassification(config).eval()
    mine.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR), encoding="utf-8")
    found = open_folder(tmp_path)
    assert (found.num_classes, found.label_claims) == (3, {"id2label": {"0": "cat", "1": "dog", "2": "hen"}})
    assert (found.preprocessing.height, found.preprocessing.resize_mode, found.preprocessing.std[0]) == (32, "squash", 0.25)
    taken = capture(found.module, 32, 32)
    assert taken.output == "logits"
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(taken.answers(images), mine(images).logits, atol=1e-6)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    refused(tmp_path, "does not hold the weights of ViTForImageClassification", "missing", "1 unexpected: a")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (32, 32, 1.0, "squash", "bilinear")),
        ({"size": 48, "resample": 3}, (48, 48, 1.0, "squash", "bicubic")),
        ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": 32}, (32, 32, 0.8, "short-side", "bilinear")),
        ({"size": {"shortest_edge": 32}, "crop_pct": 0.875}, (32, 32, 0.875, "short-side", "bilinear")),
        ({"do_rescale": False}, None),
        ({"rescale_factor": 1.0}, None),
        ({"resample": 9}, None),
        ({"do_center_crop": True, "crop_size": 64}, None),
        ({"size": {"longest_edge": 9}}, None),
    ],
)
def test_what_a_preprocessor_says(tmp_path, change, expected):
    folder_of(tmp_path, VIT, preprocessor_config={**PREPROCESSOR, **change})
    hint, notes = hugging_face._preprocessing(tmp_path)
    if expected is None:
        assert hint is None and "describes no preprocessing that is known here" in notes[0]
    else:
        assert (hint.height, hint.width, hint.crop_pct, hint.resize_mode, hint.interpolation) == expected
        assert notes == ()
