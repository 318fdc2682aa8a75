"""A network of the user's own, from the command line to a bundle that verifies, and what it is refused for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.integration.conftest import run_tool

NETWORKS = Path(__file__).parents[2] / "captured_nets.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the user's own code in it, where commands run."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "nets").mkdir()
    shutil.copyfile(NETWORKS, folder / "nets" / "flowers.py")
    return folder


EXPORT = ("--model", "nets.flowers:mixed", "--input-size", "48", "--model-arg", "width=24")


@pytest.fixture(scope="module")
def bundle(place):
    ended = run_tool(*EXPORT, "--target", "all", "--output", "dist", cwd=place)
    assert ended.code == 0, ended.err
    assert "batch norms behind 2 layers, such as stem.0, were folded into them" in ended.err
    return place / "dist" / "flowers-mixed"


def test_the_bundle_says_what_it_was_made_of_and_has_both_apps(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["source"]["model"] == "nets.flowers:mixed" and manifest["source"]["weights_kind"] == "module"
    assert {artifact["parity"]["verdict"] for artifact in manifest["artifacts"]} == {"PASSED"}
    assert (bundle / "ios").is_dir() and (bundle / "android-tflite").is_dir()
    contract = json.loads(next((bundle / "ios").rglob("contract.json")).read_text())
    assert contract["model"] == "nets.flowers:mixed"


def test_it_verifies_also_where_the_users_code_is_not(bundle, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(bundle, copied)
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 0, ended.err
    document = json.loads((copied / "manifest.json").read_text())
    document["source"]["model"] = "squeezenet1_1"
    (copied / "manifest.json").write_text(json.dumps(document))
    assert run_tool("verify", copied, cwd=tmp_path).code != 0


def test_the_same_command_gives_the_same_files(place, bundle):
    """Of TFLite, tests/unit/exporters/tflite/test_tflite.py says it: that would take as long as the other two."""
    again = ("--target", "coreml,torchscript", "--output", "again")
    ended = run_tool(*EXPORT, *again, cwd=place, env={"PYTHONHASHSEED": "78"}, fresh=True)
    assert ended.code == 0, ended.err
    for file in ("coreml/flowers-mixed.mlpackage", "torchscript/flowers-mixed.ptl", "golden/pixels.bin", "golden/logits.bin"):
        first, second = bundle / file, place / "again" / "flowers-mixed" / file
        files = [first] if first.is_file() else [path for path in first.rglob("*") if path.is_file()]
        assert files and all(
            path.read_bytes() == (second if path == first else second / path.relative_to(first)).read_bytes() for path in files
        )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((*EXPORT, "--target", "coreml", "--precision", "int8"), 2, "is made of SqueezeNet only so far"),
        ((*EXPORT, "--target", "coreml", "--max-accuracy-drop", "1"), 2, "--max-accuracy-drop 1 needs images to measure on"),
        ((*EXPORT, "--target", "tflite", "--tflite-route", "onnx-tf"), 2, "--tflite-route onnx-tf is for SqueezeNet so far"),
        (("--model", "squeezenet1_1", "--activation", "sigmoid", "--target", "coreml"), 2, "--activation sigmoid is for other"),
        (("--model", "nets.flowers:headed", "--model-arg", "ending=tuple", "--target", "coreml"), 3, "--model-output 0"),
        (("--model", "nets.flowers:mixd", "--target", "coreml"), 3, "mixd"),
        (("--model", "nets.flowers:mixed", "--model-arg", "width=x", "--target", "coreml"), 3, "raised TypeError"),
        (("--model", "none.pt2", "--target", "coreml"), 3, "does not exist"),
        (("--model", "squeezenet1_2", "--target", "coreml"), 2, "Did you mean"),
        (("--model", "squeezenet1_1", "--model-arg", "a=1", "--target", "coreml"), 2, "--model-arg is for a MODULE:FACTORY"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(place, arguments, code, told):
    ended = run_tool(*arguments, "--output", "none", cwd=place)
    assert ended.code == code and told in ended.err, ended.err
    assert not (place / "none").exists()
