"""`targets` of an SDK that is missing or broken; what a comparison looks like; a witness that objects."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from squeeze_export import heatmap, sdks, targets
from squeeze_export.agreements import Agreement, Witness
from squeeze_export.comparison import Comparison, Pair, Subject
from squeeze_export.contracts import ArtifactKey, ParityReport
from squeeze_export.jobs import Result
from squeeze_export.validation.agreement import agreement
from squeeze_export.verification import Verification


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ImportError('libmlas.so: cannot open shared object file')", "its import fails: ImportError: libmlas.so: cannot"),
        ("import os; os.kill(os.getpid(), 11)", "its import was ended by signal 11"),
        ("", None),
    ],
    ids=["library missing", "crash", "fine"],
)
def test_an_installed_sdk_that_cannot_be_imported_is_broken(tmp_path, monkeypatch, body, told):
    (tmp_path / "onnxruntime.py").write_text(body + "\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    reason = sdks.probe("onnxruntime")
    assert (reason or "").startswith(told) if told else reason is None


def test_a_broken_sdk_makes_its_route_and_its_executor_unavailable(monkeypatch):
    monkeypatch.setattr(sdks, "find_spec", lambda _: object())
    states = {state.target: state for state in targets.target_states({"onnxruntime": "its import fails", "litert-torch": "gone"})}
    assert states["onnx"].executors[0].unavailable == "onnxruntime is installed but broken: its import fails"
    default, other = states["tflite"].routes
    assert default.unavailable == states["tflite"].unavailable == "litert-torch is installed but broken: gone"
    assert "litert-torch" not in str(other.unavailable)
    assert [executor.witness for executor in states["tflite"].executors] == [False, True]


def test_what_another_probe_covers_is_probed_only_after_it():
    order = dict(sdks.probe_order(["onnx", "onnx-tf", "tensorflow-cpu", "numpy", "torch"]))
    assert order == {"onnx-tf": ("onnx", "tensorflow-cpu"), "torch": ()}


def test_extras_that_lack_something_are_named_together(monkeypatch):
    monkeypatch.setattr(sdks, "find_spec", lambda name: None if name in ("onnxruntime", "tensorflow") else object())
    assert sdks.lacking_extras() == ("onnx", "onnx-tf", "witness")


ROWS = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])


def test_agreement_measures_and_takes_power_and_margin_from_the_first():
    assert agreement("probabilities", ROWS, ROWS, floor=1e-30).snr_db is None
    other = np.array([[0.1, 0.2, 0.7], [0.1, 0.3, 0.6]])
    found = agreement("probabilities", ROWS, other, floor=1e-30)
    assert (found.max_abs_error, found.top1_agreement, found.top1_ties) == (pytest.approx(0.6), 0.5, 0)
    # Below the floor there are no digits to compare.
    tiny, other_tiny = np.array([[1.0, 1e-9, 2e-9]]), np.array([[1.0, 2e-9, 1e-9]])
    assert agreement("probabilities", tiny, other_tiny, floor=1e-4).snr_db is None
    assert agreement("probabilities", tiny, other_tiny, floor=1e-12).snr_db is not None
    features = agreement("features", ROWS, other, floor=1e-30)
    assert (features.observed, features.top1_agreement, features.top5_agreement) == ("features", None, None)


def together(**changes) -> Agreement:
    measured = Agreement(
        observed="log-probabilities",
        images=8,
        max_abs_error=2.4e-4,
        snr_db=73.2,
        top1_agreement=0.875,
        top1_ties=1,
        top5_agreement=1.0,
    )
    return replace(measured, **changes)


def comparison() -> Comparison:
    names = ("reference", "coreml fp16", "onnx fp32")
    return Comparison(
        schema_version=1,
        name="net",
        output="probabilities",
        images=tuple("abcdefgh"),
        subjects=tuple(Subject(name=name, executor="x", failed="no" if name == "onnx fp32" else None) for name in names),
        pairs=(Pair(first=names[0], second=names[1], agreement=together()),),
        exit_code=6,
    )


def test_a_cell_tells_flips_ties_and_identity():
    assert heatmap.cell(together()) == ("73.2 dB", "2.4e-04", "88/100 %", "1 tied")
    assert heatmap.cell(together(max_abs_error=0.0, snr_db=None)) == ("identical",)
    assert heatmap.cell(together(top1_agreement=None, top5_agreement=None)) == ("73.2 dB", "2.4e-04")


def test_the_picture_follows_from_the_numbers(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra [plot] is not installed")
    for name in ("one.png", "two.png"):
        heatmap.draw(comparison(), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_witness_that_objects_ends_the_proof():
    failed = ParityReport(verdict="FAILED", executor="TensorFlow", reason="other", tolerance=None, outputs=(), weights=None)
    key = ArtifactKey(target="tflite", precision="fp32")
    heard = Witness(report=failed, beside="LiteRT", agreement=None)
    passed = replace(failed, verdict="PASSED", reason=None)
    result = Result(key=key, artifact=None, reports=(passed,), failure=None, seconds=1, witnesses=(heard,))
    manifest = SimpleNamespace(artifacts=())
    found = Verification(manifest=manifest, damage=(), claims=(), results=(result,))
    assert found.reasons == ("tflite fp32: FAILED in the TensorFlow: other",)
    assert found.exit_code == 5
    unheard = replace(heard, report=replace(failed, verdict="NOT_RUN"))
    assert replace(found, results=(replace(result, witnesses=(unheard,)),)).exit_code == 6
