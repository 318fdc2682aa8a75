"""What results say of what failed or is missing, and what requests and progress of a wrong type are told."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import squeeze_export
from squeeze_export import Bundle, EvaluationRequest, ExportRequest, LadderRequest, Verification
from squeeze_export.api.in_python import in_python
from squeeze_export.api.progress import in_notebook, progress_of, watcher_of
from squeeze_export.bundle.manifest import MissingRecord, read_manifest
from squeeze_export.errors import UsageError
from squeeze_export.processes.jobs import Failure, Result
from tests.unit.evaluation.evaluations import REPORT, make_bundle


@pytest.fixture
def record(tmp_path):
    return read_manifest(make_bundle(tmp_path / "net", {}, {}, {}))


def test_an_artifact_that_could_not_be_judged_is_in_the_table_and_is_no_success(record):
    passed, broken, _ = record.artifacts
    results = (
        Result(key=passed.key, artifact=None, reports=(REPORT,), failure=None, seconds=1),
        Result(
            key=broken.key,
            artifact=None,
            reports=(),
            failure=Failure(error="ArtifactError", message="no file", traceback=""),
            seconds=1,
        ),
    )
    found = Verification(manifest=record, damage=(f"{record.artifacts[2].path}: missing",), claims=(), results=results)
    told = [(row["target"], row["verdict"], row["reason"]) for row in found.rows]
    assert told == [
        ("tflite", "PASSED", None),
        ("torchscript", "ERROR", "no file"),
        ("coreml", "ERROR", f"{record.artifacts[2].path}: missing"),
    ]
    assert found._repr_html_().count("<td>ERROR</td>") == 2
    assert {tuple(row) for row in found.rows} == {tuple(found.rows[0])}  # the same columns in each


def test_a_missing_artifact_is_in_the_bundles_table(record, tmp_path):
    missing = MissingRecord(target="onnx", precision="fp16", verdict="FAILED", reason="parity <FAILED>", exit_code=5)
    bundle = Bundle(path=tmp_path / "net", manifest=replace(record, missing=(missing,)))
    last = bundle.rows[-1]
    assert (last["target"], last["precision"], last["verdict"], last["reason"]) == ("onnx", "fp16", "FAILED", "parity <FAILED>")
    assert {tuple(row) for row in bundle.rows} == {tuple(bundle.rows[0])}
    assert "parity &lt;FAILED&gt;" in bundle._repr_html_()
    assert "1 missing" in repr(bundle)


def test_a_bundle_stands_for_its_folder(record, tmp_path):
    bundle = Bundle(path=tmp_path / "net", manifest=record)
    assert Path(bundle) == tmp_path / "net"
    assert EvaluationRequest(bundle=bundle, images="demo").bundle == tmp_path / "net"


def test_a_dict_is_what_json_can_hold(record, tmp_path):
    parity = replace(REPORT, tolerance=None)
    entry = replace(record.artifacts[0], parity=parity)
    made = Bundle(path=tmp_path, manifest=replace(record, artifacts=(entry,)), notes=("told",)).to_dict()
    assert made["path"] == str(tmp_path) and made["notes"] == ["told"]
    assert made["manifest"]["artifacts"][0]["target"] == "tflite"


def test_without_pandas_a_frame_is_an_import_error_that_says_what_to_install(record, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas") as caught:
        Bundle(path=tmp_path, manifest=record).to_frame()
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize("shown", [progress_of, watcher_of])
def test_progress_that_cannot_be_told_is_refused_before_the_work(shown):
    with pytest.raises(UsageError, match=r"progress is 'yes', a str\. Write progress=True"), shown("yes"):
        pytest.fail("the work began")


def test_colabs_notebooks_are_notebooks_and_prompts_are_not(monkeypatch):
    for name, module, notebook in (
        ("Shell", "google.colab._shell", True),
        ("TerminalInteractiveShell", "IPython.terminal.interactiveshell", False),
    ):
        shell = type(name, (), {"__module__": module})()
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert in_notebook() is notebook


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"bundle": 3}, 'bundle is 3, a int. Write bundle="dist/NAME"'),
        ({"images": None}, 'images is None, a NoneType. Write images="photos"'),
        ({"limit": "20"}, "limit is '20', a str. Write limit=200."),
        ({"workers": True}, "workers is True, a bool. Write workers=4."),
        ({"reference": "no"}, "reference is 'no', a str. Write reference=False."),
    ],
)
def test_a_field_of_another_type_is_told_with_the_right_form(given, told):
    with pytest.raises(UsageError) as caught:
        EvaluationRequest(**{"bundle": "dist/net", "images": "demo", **given})
    assert told in str(caught.value)


def test_a_preset_by_name_is_told_how_the_preprocessing_is_made():
    with pytest.raises(UsageError, match=r"preprocessing is 'caffe', a str\. Write preprocessing=spec_for\("):
        ExportRequest(targets=("tflite",), preprocessing="caffe")


def test_so_are_a_ladders():
    wanted = ExportRequest(targets=("tflite",))
    with pytest.raises(UsageError, match=r"runs is 1\.5, a float\. Write runs=50"):
        LadderRequest(export=wanted, images="demo", runs=1.5)
    with pytest.raises(UsageError, match="export is 'tflite', a str"):
        LadderRequest(export="tflite", images="demo")
    assert LadderRequest(export=wanted, images="photos").images == Path("photos")


def test_weights_for_no_reference_are_refused_in_the_words_of_python(tmp_path):
    with pytest.raises(UsageError, match="weights and reference=False exclude each other"):
        squeeze_export.evaluate(EvaluationRequest(bundle=tmp_path, images="demo", weights=Path("w.pth"), reference=False))
    assert in_python("Pass it with --weights PATH, or --no-reference to do without.").endswith(
        "or reference=False to do without."
    )
