"""The Python API on one bundle of the demo: every function, what its result shows, and the schemas of what is printed."""

from __future__ import annotations

import json
import sys

import jsonschema
import pytest

import squeeze_export
from squeeze_export import EvaluationRequest, ExportRequest, LadderRequest
from squeeze_export.bundle.manifest import encode
from squeeze_export.commands.schema import schema_of_document
from tests.integration.conftest import warm_executable

NAME = "demo"


@pytest.fixture(scope="module", autouse=True)
def warm():
    """Workers begin in processes that have their SDK: what they do is their own doing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", warm_executable())
        yield


def fits(document, value):
    """The value, as it is printed, is what the published schema says."""
    jsonschema.validate(json.loads(encode(value)), schema_of_document(document))


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, told):
    wanted = ExportRequest(targets=("tflite", "torchscript"), output=str(tmp_path_factory.mktemp("dist")), name=NAME, starters=())
    return squeeze_export.export(wanted, progress=lambda *words: told.append(words))


def test_an_export_shows_itself_and_tells_its_progress(bundle, told):
    assert repr(bundle) == f"Bundle demo in {bundle.path}\nartifacts: 2 PASSED"
    assert [row["target"] for row in bundle.rows] == ["tflite", "torchscript"]
    assert all(row["verdict"] == "PASSED" and row["snr_db"] > 100 and row["bytes"] > 1e6 for row in bundle.rows)
    assert "<td>tflite</td>" in bundle._repr_html_()
    assert bundle.to_dict()["manifest"]["name"] == NAME
    assert ("source", "loading") in told and ("bundle", f"stands in {bundle.path}") in told
    fits("parity", json.loads((bundle.path / "parity.json").read_text()))


def test_it_is_proven_again(bundle):
    found = squeeze_export.verify(bundle.path)
    assert repr(found) == "Verification of demo: 2 artifacts executed\nproven again"
    assert [(row["target"], row["verdict"]) for row in found.rows] == [("tflite", "PASSED"), ("torchscript", "PASSED")]
    fits("verify", found.document())
    (bundle.path / "labels.txt").rename(bundle.path / "away.txt")
    try:
        broken = squeeze_export.verify(str(bundle.path))
    finally:
        (bundle.path / "away.txt").rename(bundle.path / "labels.txt")
    assert "reasons why it is not proven" in repr(broken)
    fits("verify", broken.document())


def test_its_artifacts_are_compared(bundle):
    found = squeeze_export.compare(bundle.path)
    assert repr(found).startswith("Comparison of demo on 8 images: probabilities\n3 of 3 answered")
    assert len(found.rows) == 3 and found.between("tflite fp32", "torchscript fp32").top1_agreement == 1
    fits("compare", found)


def test_its_accuracy_is_measured(bundle):
    found = squeeze_export.evaluate(EvaluationRequest(bundle=str(bundle.path), images="demo", limit=20))
    assert repr(found).endswith("2 of 2 artifacts measured, reference MEASURED, exit code 0")
    assert found.rows[0]["subject"] == "reference" and found.rows[1]["top1"] == found.rows[0]["top1"]
    assert found.to_dict()["schema_version"] == 1
    fits("evaluate", found.record())


def test_a_ladder_is_climbed(tmp_path):
    wanted = ExportRequest(targets=("tflite",), precisions={"tflite": ("fp32", "fp16")}, output=tmp_path, name=NAME)
    found = squeeze_export.ladder(LadderRequest(export=wanted, images="demo", limit=20, runs=1))
    assert repr(found).startswith("Ladder of demo on 20 images of demo\n2 of 2 precisions measured")
    assert found.rows[0]["bytes"] > found.rows[1]["bytes"] and found.rows[0]["ms_1_thread"] > 0
    assert {"demo", "ladder.csv", "ladder.json"} <= {path.name for path in tmp_path.iterdir()}
    fits("ladder", found)


def test_an_app_is_made_of_it(bundle, tmp_path):
    made = squeeze_export.make_starter(bundle.path, "android", tmp_path / "app", app_id="com.example.demo")
    assert (made / "settings.gradle.kts").is_file()
    with pytest.raises(squeeze_export.SqueezeExportError, match="no artifact for the ios starter"):
        squeeze_export.make_starter(bundle.path, "ios", tmp_path / "phone")
