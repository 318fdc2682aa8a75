"""A checkpoint of a training run through the commands: the key that chooses, what is told, and the refusals."""

from __future__ import annotations

import json

import pytest

from tests.integration.conftest import run_tool


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Two state dicts of a tiny number of classes, with an optimizer beside them."""
    import torch

    from squeeze_export.sources.weights import load_weights

    plain, averaged = (load_weights("squeezenet1_1", "random", seed=seed, random_classes=3).state for seed in (1, 2))
    path = tmp_path_factory.mktemp("run") / "model_best.pth.tar"
    content = {
        "epoch": 9,
        "state_dict": {f"module.{name}": value for name, value in plain.items()},
        "state_dict_ema": averaged,
        "best_acc1": torch.tensor(71.5),
        "optimizer": {"state": {}, "param_groups": []},
    }
    torch.save(content, path)
    return path


def test_averaged_weights_are_exported_and_it_is_told(tmp_path, checkpoint):
    from squeeze_export.sources.weights import load_weights

    averaged = load_weights("squeezenet1_1", "random", seed=2, random_classes=3).origin
    options = ("--weights", checkpoint, "--output-kind", "logits", "--starter", "none")
    ended = run_tool("--target", "torchscript", *options, cwd=tmp_path)
    assert ended.code == 0, ended.err
    (folder,) = (tmp_path / "dist").iterdir()
    source = json.loads((folder / "manifest.json").read_text())["source"]
    assert (source["weights_sha256"], source["weights_file"]) == (averaged.sha256, "model_best.pth.tar")
    assert "state_dict_ema was taken, averaged over the training. --checkpoint-key state_dict" in " ".join(ended.err.split())


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--checkpoint-key", "best"), 3, "nothing under the key 'best'. State dicts stand under state_dict; state_dict_ema"),
        (("--checkpoint-key", ""), 2, "--checkpoint-key is empty"),
        (
            ("--weights", "demo", "--checkpoint-key", "ema"),
            2,
            "--checkpoint-key ema is for weights from a file, and these are demo",
        ),
    ],
    ids=["unknown", "empty", "no file"],
)
@pytest.mark.parametrize("command", ["export", "ladder"])
def test_a_key_that_cannot_be_is_refused_before_any_work(tmp_path, checkpoint, command, options, code, words):
    if "--weights" not in options:
        options = ("--weights", checkpoint, *options)
    front = ("--target", "torchscript") if command == "export" else ("ladder", "--images", "demo", "--output", "out")
    ended = run_tool(*front, *options, cwd=tmp_path)
    assert ended.code == code, ended.err
    assert words in " ".join(ended.err.split())
    assert not (tmp_path / "dist").exists()


def test_the_config_file_takes_the_key(tmp_path, checkpoint):
    (tmp_path / "c.toml").write_text(f'target = "torchscript"\nweights = {str(checkpoint)!r}\ncheckpoint-key = "nothing"\n')
    ended = run_tool("--config", "c.toml", cwd=tmp_path)
    assert ended.code == 3
    assert "under the key 'nothing'" in " ".join(ended.err.split())


def test_an_address_and_another_network_are_told_on_the_screen(tmp_path):
    import torch

    ended = run_tool("--target", "tflite", "--weights", "https://example.org/a.pth", cwd=tmp_path)
    assert ended.code == 3
    assert "weights https://example.org/a.pth is no path" in " ".join(ended.err.split())
    names = ("conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight", "fc.weight")
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "r.pth")
    ended = run_tool("--target", "tflite", "--weights", "r.pth", cwd=tmp_path)
    assert ended.code == 3
    assert "look like ResNet" in " ".join(ended.err.split())
