"""`compare` and `verify --witness` on one bundle of six artifacts in four formats, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.conftest import run_tool

ASKED = ("--target", "all", "--target", "onnx", "--precision", "torchscript=fp32,fp16", "--precision", "onnx=fp32,fp16")
SUBJECTS = ["reference", "coreml fp16", "tflite fp32", "torchscript fp32", "torchscript fp16", "onnx fp32", "onnx fp16"]

pytestmark = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="the extra [onnx] is not installed")


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Six artifacts over small crops. Never change it: copy it."""
    folder = tmp_path_factory.mktemp("six")
    small = ("--input-size", "64", "--weights", "random", "--starter", "none", "--name", "net")
    ended = run_tool(*ASKED, *small, cwd=folder, timeout=500)
    assert ended.code == 0, ended.err
    return folder / "dist" / "net"


def hidden(folder: Path, *modules: str) -> dict[str, str]:
    """An environment in which these modules are not installed, for workers as well."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import importlib.machinery\n"
        "real = importlib.machinery.PathFinder.find_spec\n"
        "def find_spec(name, path=None, target=None):\n"
        f"    return None if name.split('.')[0] in {modules!r} else real(name, path, target)\n"
        "importlib.machinery.PathFinder.find_spec = staticmethod(find_spec)\n",
        encoding="utf-8",
    )
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="the extra [plot] is not installed")
def test_the_matrix_is_full(six, tmp_path):
    picture = tmp_path / "matrix.png"
    ended = run_tool("compare", six, "--json", "--plot", picture, cwd=tmp_path, timeout=500)
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert [subject["name"] for subject in found["subjects"]] == SUBJECTS
    pairs = {(pair["first"], pair["second"]): pair["agreement"] for pair in found["pairs"]}
    assert len(pairs) == 7 * 6 // 2
    for names, together in pairs.items():
        assert together["images"] == len(found["images"]) == 8
        assert together["observed"] == "log-probabilities"
        # Random weights make near ties: a flip inside the error is one.
        assert together["top1_agreement"] + together["top1_ties"] / 8 == 1
        identical = together["snr_db"] is None and together["max_abs_error"] == 0
        halved = any("fp16" in name for name in names)
        assert identical or together["snr_db"] > (40 if halved else 100), names
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_executor_that_is_missing_is_told_and_the_rest_compared(six, tmp_path):
    env = hidden(tmp_path / "hidden", "onnxruntime")
    two = Path(shutil.copytree(six, tmp_path / "net"))  # each of the others would import its SDK for the same answer
    record = json.loads((two / "manifest.json").read_text(encoding="utf-8"))
    wanted = [("torchscript", "fp32"), ("onnx", "fp32")]
    record["artifacts"] = [entry for entry in record["artifacts"] if (entry["target"], entry["precision"]) in wanted]
    (two / "manifest.json").write_text(json.dumps(record), encoding="utf-8")
    ended = run_tool("compare", two, cwd=tmp_path, env=env, timeout=500)
    assert ended.code == 6
    assert "onnx fp32: onnx cannot be executed here" in ended.err and "pip install 'squeeze-export[onnx]'" in ended.err
    assert "torchscript" in ended.out


def test_a_damaged_bundle_is_not_compared(six, tmp_path):
    copied = Path(shutil.copytree(six, tmp_path / "net"))
    path = next((copied / "tflite").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    ended = run_tool("compare", copied, cwd=tmp_path)
    assert ended.code == 5
    assert f"tflite/{path.name}: its bytes" in ended.err


@pytest.mark.parametrize("plot", ["matrix.pdf", "missing/matrix.png", "folder.png"])
def test_a_place_where_no_picture_can_go_is_refused_first(tmp_path, plot):
    (tmp_path / "folder.png").mkdir()
    ended = run_tool("compare", "nowhere", "--plot", plot, cwd=tmp_path)
    assert ended.code == (2 if find_spec("matplotlib") else 6)
    assert "--plot" in ended.err


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="the extra [witness] is not installed")
def test_a_witness_tells_two_differences_apart(six, tmp_path):
    ended = run_tool("verify", six, "--witness", "--json", cwd=tmp_path, timeout=500)
    assert ended.code == 0, ended.err
    for entry in json.loads(ended.out)["artifacts"]:
        if entry["target"] != "tflite":
            assert entry["witnesses"] == []
            continue
        (heard,) = entry["witnesses"]
        assert heard["report"]["verdict"] == "PASSED"
        assert heard["report"]["executor"].endswith("(reference kernels)") and "XNNPACK" in heard["beside"]
        # Other code, other rounding: were they the same numbers, the witness would be the executor itself.
        assert 0 < heard["agreement"]["max_abs_error"] < 1e-4
        assert heard["agreement"]["snr_db"] > 100


def test_a_witness_that_cannot_come_is_told_before_any_work(six, tmp_path):
    ended = run_tool("verify", six, "--witness", cwd=tmp_path, env=hidden(tmp_path / "hidden", "tensorflow"))
    assert ended.code == 6
    assert "pip install 'squeeze-export[witness]'" in ended.err and "loading" not in ended.err
