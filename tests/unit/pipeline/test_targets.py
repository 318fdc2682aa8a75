"""`targets` of an SDK that is missing or broken; what a comparison looks like; a witness that objects."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from squeeze_export import sdks
from squeeze_export.commands import compare as compare_command
from squeeze_export.commands import targets as targets_command
from squeeze_export.contracts.agreements import Agreement, Witness
from squeeze_export.contracts.artifact import ArtifactKey
from squeeze_export.contracts.parity import ParityReport
from squeeze_export.errors import TargetUnavailableError, UnsupportedOperationError
from squeeze_export.pipeline import targets
from squeeze_export.processes.jobs import Result
from squeeze_export.screen import heatmap
from squeeze_export.validation.agreement import agreement
from squeeze_export.validation.judgement import judge_file
from squeeze_export.validation.runners import onnx_runtime, tensorflow_reference
from squeeze_export.verification.bundles import Verification
from squeeze_export.verification.comparison import Comparison, Pair, Subject


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
    remedy = "pip install --force-reinstall --no-deps"
    assert states["onnx"].executors[0].unavailable.startswith(f"onnxruntime is installed but broken: its import fails: {remedy}")
    default, other = states["tflite"].routes
    assert default.unavailable == states["tflite"].unavailable
    assert default.unavailable.startswith(f"litert-torch is installed but broken: gone: {remedy} litert-torch==")
    assert "litert-torch" not in str(other.unavailable)
    assert [executor.witness for executor in states["tflite"].executors] == [False, True]


def test_what_another_probe_covers_is_probed_only_after_it():
    order = dict(sdks.probe_order(["onnx", "onnx-tf", "tensorflow-cpu", "numpy", "torch"]))
    assert order == {"onnx-tf": ("onnx", "tensorflow-cpu"), "torch": ()}


def test_extras_that_lack_something_are_named_together(monkeypatch):
    monkeypatch.setattr(sdks, "find_spec", lambda name: None if name in ("onnxruntime", "tensorflow") else object())
    monkeypatch.setattr(sdks.sys, "version_info", (3, 11, 9))
    assert sdks.lacking_extras() == ("onnx", "onnx-tf", "witness")
    monkeypatch.setattr(sdks.sys, "version_info", (3, 12, 0))  # the extra would bring nothing
    assert sdks.lacking_extras() == ("onnx", "witness")


def test_libraries_of_source_models_are_told_with_their_pip_command_and_lacked_by_nobody(monkeypatch):
    monkeypatch.setattr(sdks, "find_spec", lambda name: None if name == "timm" else object())
    states = {state.library: state for state in targets.source_states({"torchvision": "its import fails"})}
    assert states["timm"].unavailable == "timm is not installed: pip install 'squeeze-export[timm]'"
    assert states["torchvision"].unavailable.startswith("torchvision is installed but broken: its import fails: pip install")
    assert states["transformers"].unavailable is None and states["transformers"].form == "hf:FOLDER"
    assert {*sdks.SOURCES} <= {*sdks.EXTRAS} and sdks.lacking_extras() == ()
    table = Console(width=120, file=io.StringIO())
    table.print(targets_command._sources(list(states.values())))
    told = table.file.getvalue()
    assert "timm:NAME" in told and "✗ timm is not installed: pip install 'squeeze-export[timm]'" in told


def test_what_stands_on_a_broken_sdk_is_not_called_broken_and_ctrl_c_ends_the_imports(monkeypatch):
    monkeypatch.setattr(targets, "versions_of", lambda _: {"onnx-tf": "1", "onnx": "1", "tensorflow-cpu": "2"})
    monkeypatch.setattr(targets, "probe", lambda name, _: None if name == "onnx" else f"{name} fails")
    told = SimpleNamespace(stage=lambda *_: None, done=lambda *_: None)
    assert targets.broken_sdks(told) == {"tensorflow-cpu": "tensorflow-cpu fails"}
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])

    def interrupted(name, started):
        if name == "torch":
            raise KeyboardInterrupt
        started(process)
        process.wait()

    monkeypatch.setattr(targets, "versions_of", lambda _: {"torch": "1", "onnx": "1", "onnxruntime": "2"})
    monkeypatch.setattr(targets, "probe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        targets.broken_sdks(told)
    assert process.returncode < 0


@pytest.mark.parametrize("module", [None, SimpleNamespace(__version__="9.9")], ids=["import fails", "no tf.lite"])
def test_a_broken_tensorflow_is_no_verdict_on_the_file(monkeypatch, tmp_path, module):
    monkeypatch.setitem(sys.modules, "tensorflow", module)
    monkeypatch.setattr(tensorflow_reference.litert_file, "read", lambda _: None)
    monkeypatch.setattr(tensorflow_reference.litert_file, "check_declared", lambda *_: None)
    (tmp_path / "net.tflite").write_bytes(b"")
    with pytest.raises(UnsupportedOperationError if module else TargetUnavailableError, match="pip install --force-reinstall"):
        tensorflow_reference.open(tmp_path / "net.tflite", None, "fp32")


def test_a_broken_onnx_runtime_leaves_the_file_not_run(monkeypatch, tmp_path):
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setattr(sdks, "find_spec", lambda _: object())
    (tmp_path / "net.onnx").write_bytes(b"")
    (report,) = judge_file(
        "onnx",
        tmp_path / "net.onnx",
        SimpleNamespace(outputs=()),
        "fp32",
        SimpleNamespace(reference=None, noise_floor=None),
        labels=None,
        folded=(),
    )
    assert report.verdict == "NOT_RUN"
    assert "onnx is installed but broken" in report.reason and "pip install --force-reinstall --no-deps onnx" in report.reason
    with pytest.raises(TargetUnavailableError, match="onnxruntime is installed but broken"):
        onnx_runtime.session("net.onnx", b"")


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
    other = replace(comparison(), pairs=(Pair(first="reference", second="coreml fp16", agreement=together(snr_db=30.0)),))
    heatmap.draw(other, tmp_path / "other.png")
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "other.png").read_bytes()


@pytest.mark.parametrize(("width", "blocks"), [(200, 1), (80, 3), (40, 6)])
def test_the_matrix_is_cut_into_tables_that_fit_and_not_off(width, blocks):
    names = ("reference", *(f"torchscript int8-{number}" for number in range(12)))
    pairs = tuple(Pair(first=a, second=b, agreement=together()) for a, b in combinations(names, 2))
    subjects = tuple(Subject(name=name, executor="x", failed=None) for name in names)
    console = Console(width=width, file=io.StringIO())
    made = compare_command.tables(replace(comparison(), subjects=subjects, pairs=pairs), width)
    for table in made:
        console.print(table)
    printed = console.file.getvalue()
    assert len(made) == blocks
    assert printed.count("73.2 dB") == 13 * 12 // 2
    assert all(f"int8-{number}" in printed for number in range(12)) and "…" not in printed
    assert max(map(len, printed.splitlines())) <= width


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
