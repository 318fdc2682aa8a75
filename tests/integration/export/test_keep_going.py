"""Options given twice, failures as JSON, and bundles that lack what did not pass."""

from __future__ import annotations

import json

import jsonschema
import pytest

from squeeze_export import ExportRequest, export
from squeeze_export.bundle.manifest import schema
from squeeze_export.errors import SqueezeExportError
from squeeze_export.processes import failure
from tests.integration.conftest import run_tool

# Weights this large overflow in fp16 arithmetic and agree in fp32: coreml fp16 fails, tflite fp32 passes.


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory):
    import torch
    from safetensors.torch import save_file

    from squeeze_export.sources.weights import load_weights

    state = dict(load_weights("squeezenet1_1", "demo", seed=0).state)
    for name in ("expand1x1", "expand3x3"):
        for kind in ("weight", "bias"):
            state[f"features.6.{name}.{kind}"] = state[f"features.6.{name}.{kind}"] * 30000
    state["features.7.squeeze.weight"] = state["features.7.squeeze.weight"] / 30000
    path = tmp_path_factory.mktemp("overflowing") / "big.safetensors"
    save_file({name: value.contiguous() if isinstance(value, torch.Tensor) else value for name, value in state.items()}, path)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("--target", "coreml", "--weights", "a.pth", "--weights", "b.pth"),
        ("evaluate", "x", "--images", "demo", "--images", "y"),
        ("ladder", "--images", "demo", "--output", "a", "-o", "b"),
        ("compare", "x", "--plot", "a.png", "--plot=b.png"),
    ],
)
def test_an_option_of_one_value_that_is_given_twice_is_refused(tmp_path, arguments):
    ended = run_tool(*arguments, cwd=tmp_path)
    assert ended.code == 2
    assert "is given 2 times. Keep one of them." in ended.err


def test_what_may_be_repeated_may_be(tmp_path):
    ended = run_tool(
        "--target", "coreml", "--target", "tflite", "--starter", "none", "-q", "-q", "--weights", "no.pth", cwd=tmp_path
    )
    assert "no.pth" in ended.err and "given 2 times" not in ended.err


def test_a_failure_as_json_has_every_artifact_and_keep_going_writes_the_others(tmp_path, overflowing):
    arguments = ("--target", "coreml,torchscript", "--weights", overflowing, "--json", "-q", "--output", tmp_path / "out")
    ended = run_tool(*arguments, cwd=tmp_path)
    told = json.loads(ended.out)
    jsonschema.validate(told, failure.schema())
    assert (ended.code, told["error"]["exit_code"], told["error"]["class"]) == (5, 5, "ExportFailed")
    verdicts = {(one["target"], one["verdict"]) for one in told["artifacts"]}
    assert verdicts == {("coreml", "FAILED"), ("torchscript", "PASSED")}
    assert all(one["reports"] and one["size_bytes"] > 1_000_000 for one in told["artifacts"])
    assert not (tmp_path / "out").exists()

    ended = run_tool(*arguments, "--keep-going", cwd=tmp_path)
    manifest = json.loads(ended.out)
    jsonschema.validate(manifest, schema())
    assert ended.code == 5
    assert [entry["target"] for entry in manifest["artifacts"]] == ["torchscript"]
    ((missing),) = manifest["missing"]
    assert (missing["target"], missing["precision"], missing["verdict"], missing["exit_code"]) == ("coreml", "fp16", "FAILED", 5)
    (made,) = (tmp_path / "out").iterdir()
    assert {path.name for path in made.iterdir()} == {
        "torchscript",
        "golden",
        "manifest.json",
        "parity.json",
        "android-torchscript",
    }

    ended = run_tool("verify", made, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "coreml fp16 is missing" in ended.err


def test_where_nothing_passes_nothing_is_written(tmp_path, overflowing):
    ended = run_tool("--target", "coreml", "--weights", overflowing, "--keep-going", "-o", tmp_path / "out", cwd=tmp_path)
    assert ended.code == 5 and "Nothing was written" in ended.err
    assert not (tmp_path / "out").exists()


def test_no_message_of_the_python_api_speaks_of_options(tmp_path, image_folder):
    """A request per kind of refusal: options of the command line are in none of their messages."""
    (tmp_path / "x").mkdir()
    wrong = (
        {"images": tmp_path / "none"}, {"weights": "none.pth"}, {"labels": "none.txt"}, {"name": "-x"},
        {"seed": -1, "weights": "random"},
        {"head": "features", "labels": "x.txt"}, {"precisions": {"torchscript": ("auto",)}}, {"max_accuracy_drop": 200.0},
        {"max_accuracy_drop": 1.0, "images": tmp_path / "x"}, {"calibration": tmp_path / "x"}, {"starters": ("ios",)},
        {"max_accuracy_drop": 1.0, "weights": "random"}, {"model": "squeezenet1_0"}, {"targets": ("torchscript", "nothing")},
    )  # fmt: skip
    for fields in wrong:
        with pytest.raises(SqueezeExportError) as told:
            export(ExportRequest(**{"targets": ("torchscript",), "output": tmp_path / "out", **fields}))
        assert "--" not in str(told.value), (fields, str(told.value))
