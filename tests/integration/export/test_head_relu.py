"""A head without ReLU, and the user's own scores that tell it from one with."""

from __future__ import annotations

import json

import numpy as np
import pytest

from squeeze_export.preprocessing.pixels import load_pixels, normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source
from squeeze_export.validation.runners import RUNNERS
from tests.integration.conftest import run_tool

SPEC = spec_for("torchvision", model="squeezenet1_1", input_size=(64, 65))


def scores(folder, *, head_relu, **changed):
    import torch

    spec = spec_for("torchvision", model="squeezenet1_1", input_size=(64, 65), **changed)
    source = load_source(
        name="n", model="squeezenet1_1", weights="demo", seed=0, labels=None, preprocessing=spec, head_relu=head_relu
    )
    names = sorted(path.name for path in folder.glob("*.png"))[:4]
    with torch.inference_mode():
        rows = [
            source.module(torch.from_numpy(normalise(load_pixels(folder / name, spec)[None], spec)))[0].numpy() for name in names
        ]
    return names, np.stack(rows)


@pytest.fixture(scope="module")
def own(tmp_path_factory, image_folder):
    """Scores of a head without ReLU."""
    names, rows = scores(image_folder, head_relu=False)
    path = tmp_path_factory.mktemp("own") / "own.npz"
    np.savez(path, names=names, scores=rows)
    return path


def test_every_format_without_the_relu_gives_the_users_scores(tmp_path, image_folder, own):
    arguments = (
        "--target",
        "coreml,tflite,torchscript",
        "--precision",
        "fp32,int8",
        "--input-size",
        "64x65",
        "--images",
        image_folder,
    )
    where = ("--reference", own, "--output-kind", "logits", "--starter", "none", "--output", tmp_path, "--name", "net")
    ended = run_tool(*arguments, *where, "--head-relu", "no", "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    manifest = json.loads(ended.out)
    assert manifest["source"]["head_relu"] is False
    assert manifest["reference_scores"]["max_probability_error"] < 1e-5
    assert {entry["parity"]["verdict"] for entry in manifest["artifacts"]} == {"PASSED"} and len(manifest["artifacts"]) == 6
    from squeeze_export.bundle.manifest import read_manifest
    from squeeze_export.golden.files import read_golden

    pack = read_golden(tmp_path / "net" / "golden")
    assert pack.reference.logits.min() < -1
    entry = next(entry for entry in read_manifest(tmp_path / "net").artifacts if str(entry.key) == "tflite int8")
    runner = RUNNERS["tflite"][0].open(tmp_path / "net" / entry.path, entry.signature, entry.precision)
    given = runner.run({entry.signature.input.name: entry.signature.input.encode(pack.pixels[:1])})
    assert given[entry.signature.outputs[0].name].min() < -1
    # A manifest that lies about it is seen: a ReLU gives nothing below 0.
    manifest["source"]["head_relu"] = True
    (tmp_path / "net" / "manifest.json").write_text(json.dumps(manifest))
    from squeeze_export.verification import claims

    assert any(
        "head_relu" in told for told in claims.of_source(tmp_path / "net", read_manifest(tmp_path / "net"), pack, labelled=False)
    )


def test_the_wrong_head_and_the_wrong_colours_are_found_before_anything_is_exported(tmp_path, image_folder, own):
    base = ("--target", "tflite", "--input-size", "64x65", "--images", image_folder, "--output", tmp_path / "out")
    ended = run_tool(*base, "--reference", own, cwd=tmp_path)
    assert ended.code == 3
    assert "does not give the scores" in ended.err and "It does with --head-relu no" in ended.err
    names, rows = scores(image_folder, head_relu=True, color_order="BGR")
    np.savez(tmp_path / "bgr.npz", names=names, logits=rows)
    ended = run_tool(*base, "--reference", tmp_path / "bgr.npz", cwd=tmp_path)
    assert ended.code == 3 and "It does with --color-order BGR" in ended.err
    assert not (tmp_path / "out").exists()


def test_another_resize_is_found_too(tmp_path, image_folder):
    base = ("--target", "tflite", "--input-size", "64x65", "--images", image_folder, "--output", tmp_path / "out")
    for changed, told in (
        ({"interpolation": "nearest"}, "--interpolation nearest"),
        ({"resize_mode": "squash"}, "--resize-mode squash"),
        ({"resize": 65}, "--resize 65"),
    ):
        names, rows = scores(image_folder, head_relu=True, **changed)
        np.savez(tmp_path / "own.npz", names=names, logits=rows)
        ended = run_tool(*base, "--reference", tmp_path / "own.npz", cwd=tmp_path)
        assert ended.code == 3 and f"It does with {told}:" in ended.err, ended.err


def test_requests_that_cannot_be_meant(tmp_path, own):
    ended = run_tool("--target", "tflite", "--reference", own, cwd=tmp_path)
    assert ended.code == 2 and "pass their folder with --images DIR" in ended.err
    ended = run_tool("--target", "tflite", "--head", "features", "--head-relu", "no", cwd=tmp_path)
    assert ended.code == 2 and "--head features cannot be combined with --head-relu no" in ended.err
