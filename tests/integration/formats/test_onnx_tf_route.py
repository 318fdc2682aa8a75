"""The road to TFLite over ONNX, onnx-tf and TensorFlow: as good as the default one, and every way in which it can break."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from squeeze_export.errors import ConversionError
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.exporters.tflite import network as tflite_network
from squeeze_export.exporters.tflite import onnx_tf as tflite_onnx_tf
from squeeze_export.exporters.tflite import onnx_tf_compat as compat
from tests.tflite_cases import declared, settings, seven_classes

ROOT = Path(__file__).resolve().parents[3]

needs_the_road = pytest.mark.skipif(compat.unavailable() is not None, reason=str(compat.unavailable()))


def in_a_process(script: str, *arguments: str, seed: str) -> list[str]:
    """Run a script in a fresh interpreter; the lines of its standard output."""
    done = subprocess.run(
        # Native runtimes side by side may hang while the interpreter shuts down; everything is said by then.
        [sys.executable, "-c", textwrap.dedent(script) + "sys.stdout.flush(); __import__('os')._exit(0)\n", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


_EXPORTS = """
import hashlib, json, sys
from dataclasses import replace
from pathlib import Path
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.golden.pack import make_golden
from squeeze_export.sources.source import load_source
from squeeze_export.validation.judgement import judge_file
from squeeze_export.validation.runners.litert import runner as litert
from tests.tflite_cases import caffe, pictures, seven_classes, settings, torchvision

folder, told = Path(sys.argv[1]), {}
for name, model, spec, wanted in (
    ("plain", "squeezenet1_1", torchvision(64, 64), settings()),
    ("odd", "squeezenet1_0_complex_bypass", caffe(67, 64), settings(output_kind="logits")),
    ("half", "squeezenet1_0_bypass", torchvision(55, 51), settings("fp16", "tensor")),
    ("real", "squeezenet1_1", torchvision(224, 224), settings(output_kind="logits")),
)[: int(sys.argv[2])]:
    source, path = seven_classes(model, spec), folder / f"{name}.tflite"
    if name == "real":
        source = load_source(name=name, model=model, weights=Path(sys.argv[3]), seed=0, labels=None, preprocessing=spec)
    artifact = tflite.export(source, replace(wanted, tflite_route="onnx-tf"), path)
    pack = make_golden(source, [(f"p{k}", picture) for k, picture in enumerate(pictures(torchvision(300, 280), 3))])
    extra = {"labels": source.labels, "folded": artifact.folded_weights}
    (report,) = judge_file("tflite", path, artifact.signature, artifact.precision, pack, **extra)
    operations = [o.name for o in litert.open(path, artifact.signature, artifact.precision).file.operations]
    told[name] = {
        "verdict": report.verdict, "reason": report.reason, "route": artifact.route, "operations": operations,
        "snr": [o.snr_db for o in report.outputs], "weights": report.weights.compared + len(report.weights.exempt),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Artifacts over the road, and what their judge said; TensorFlow is imported once for them. "real" where there is data."""
    if compat.unavailable() is not None:
        pytest.skip(str(compat.unavailable()))
    data = Path(os.environ.get("SQUEEZE_EXPORT_DATA") or ROOT.parent / "shared" / "data")
    weights = data / "weights" / "squeezenet1_1_torchvision.safetensors"
    count = "4" if weights.is_file() else "3"
    return json.loads(in_a_process(_EXPORTS, str(tmp_path_factory.mktemp("road")), count, str(weights), seed="1")[-1])


@pytest.mark.parametrize(
    ("name", "operations"),
    [
        ("plain", {"CONV_2D": 26, "CONCATENATION": 8, "MAX_POOL_2D": 3, "MEAN": 1, "SOFTMAX": 1}),
        ("odd", {"CONV_2D": 30, "CONCATENATION": 8, "MAX_POOL_2D": 4, "MEAN": 1, "ADD": 8}),
        ("half", {"CONV_2D": 26, "DEQUANTIZE": 26, "CONCATENATION": 8, "MAX_POOL_2D": 5, "MEAN": 1, "SOFTMAX": 1, "ADD": 4}),
    ],
)
def test_the_file_is_as_good_as_litert_torchs(exported, name, operations):
    """The same operations, no TRANSPOSE and no PAD, all weights bit for bit, one XNNPACK partition (the runner insists)."""
    found = exported[name]
    assert found["verdict"] == "PASSED", found["reason"]
    assert found["route"] == "onnx-tf"
    assert Counter(found["operations"]) == operations
    # Of logits or log-probabilities, which is what the bars are for.
    assert found["snr"][-1] is None or found["snr"][-1] > (60 if name == "half" else 100)
    assert found["weights"] == (60 if name == "odd" else 52)


@pytest.mark.realdata
def test_it_passes_on_real_weights(exported):
    if "real" not in exported:
        pytest.skip("no real data: see the fixture real_data")
    assert exported["real"]["verdict"] == "PASSED", exported["real"]["reason"]
    assert exported["real"]["snr"][-1] > 120
    (row,) = (
        line
        for line in (ROOT / "docs" / "explanation" / "onnx.md").read_text(encoding="utf-8").splitlines()
        if "turned to NHWC |" in line
    )
    assert [int(figure) for figure in row.split("|")[2:5]] == [len(exported["real"]["operations"]), 0, 0]


_BROKEN = """
import importlib, json, sys
import tensorflow  # once for all; every case starts without onnx_tf
from squeeze_export.exporters.tflite import onnx_tf_compat as compat
import onnx, onnx.helper

def attempt(hidden):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("onnx_tf", "tensorflow_addons")]:
        del sys.modules[name]
    real = compat._stand_ins
    def without():
        from contextlib import contextmanager
        @contextmanager
        def context():
            with real():
                for name in hidden:
                    sys.modules[name] = None  # hides it, as if it were not installed
                    for holder in (onnx, onnx.helper) if name == "onnx.mapping" else ():
                        if hasattr(holder, "mapping"):
                            del holder.mapping
                try:
                    yield
                finally:
                    for holder in (onnx, onnx.helper):
                        holder.mapping = None
        return context()
    compat._stand_ins = without if hidden else real
    try:
        compat.load_backend()
        return "imported"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        compat._stand_ins = real
        for holder in (onnx, onnx.helper):
            if getattr(holder, "mapping", 0) is None:
                del holder.mapping

told = {name: attempt([name]) for name in compat.STAND_INS}
told["half imported"] = [name for name in sys.modules if name.partition(".")[0] == "onnx_tf"]
told["complete"] = attempt([])
told["left behind"] = [name for name in compat.STAND_INS if name in sys.modules]
told["attributes"] = [hasattr(holder, "mapping") for holder in (onnx, onnx.helper)]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """What a second process says, with TensorFlow imported once: onnx-tf without its stand-ins, then the same export again."""
    if compat.unavailable() is not None:
        pytest.skip(str(compat.unavailable()))
    broken, again = in_a_process(_BROKEN + _EXPORTS, str(tmp_path_factory.mktemp("again")), "1", seed="4242")[-2:]
    return json.loads(broken), json.loads(again)


def test_its_bytes_follow_from_source_and_settings(exported, second):
    assert second[1]["plain"]["sha256"] == exported["plain"]["sha256"]


def test_each_missing_module_is_told_and_the_stand_ins_do_not_stay(second):
    """Without one of its stand-ins onnx-tf fails as it fails for everybody; with them it imports, and they are gone again."""
    told = second[0]
    for name in compat.STAND_INS:
        assert told[name].startswith("ConversionError: onnx-tf is installed but cannot be imported"), told[name]
        assert name.rpartition(".")[2] in told[name]
        assert "pip install 'squeeze-export[onnx-tf]'" in told[name] and "--tflite-route litert-torch" in told[name]
    assert told["half imported"] == []
    assert told["complete"] == "imported"
    assert (told["left behind"], told["attributes"]) == ([], [False, False])


@pytest.mark.parametrize(("operation", "module"), [("Hardmax", "tensorflow_addons"), ("Bernoulli", "tensorflow_probability")])
def test_an_operation_that_needs_a_stand_in_is_refused_by_name(operation, module):
    with pytest.raises(ConversionError, match=f"{operation} with {module}"):
        compat.refuse_stubbed(["Conv", operation, "Relu"])
    compat.refuse_stubbed(["Conv", "Relu"])


@needs_the_road
def test_the_road_asks_before_it_converts(monkeypatch):
    asked = []

    def refuse(operations):
        asked.extend(operations)
        raise ConversionError("refused")

    monkeypatch.setattr(tflite_onnx_tf.onnx_tf_compat, "refuse_stubbed", refuse)
    source = seven_classes()
    network, _ = tflite_network.prepare(source, declared(source, settings()).input)
    with pytest.raises(ConversionError, match="refused"):
        tflite_onnx_tf.convert(network, declared(source, settings()).input, declared(source, settings()).outputs[0])
    assert {"Conv", "Concat"} <= set(asked)


@pytest.mark.parametrize(
    ("tensorflow", "onnx_tf", "told"),
    [
        ("2.22.0", "1.10.0", "TensorFlow 2.22.0 is too new"),
        ("3.0.0", "1.10.0", "TensorFlow 3.0.0 is too new"),
        ("2.19.1", "1.10.0", "TensorFlow 2.19.1 is not the one that works"),
        (None, "1.10.0", "TensorFlow of unknown version"),
        ("2.21.0", "1.9.0", "onnx-tf 1.9.0 is installed where 1.10.0 is needed"),
    ],
)
def test_other_versions_are_refused_in_a_sentence(monkeypatch, tensorflow, onnx_tf, told):
    monkeypatch.setattr(compat, "missing", lambda *_, **__: None)
    monkeypatch.setattr(compat, "find_spec", lambda _: object())
    monkeypatch.setattr(compat, "tensorflow_version", lambda: tensorflow)
    monkeypatch.setattr(compat, "version_of", lambda _: onnx_tf)
    assert told in str(compat.unavailable())
    assert "pip install 'squeeze-export[onnx-tf]'" in str(compat.unavailable())


def test_everything_that_is_missing_is_told_at_once(monkeypatch):
    monkeypatch.setattr("squeeze_export.sdks.find_spec", lambda _: None)
    assert tflite.unavailable("onnx-tf") == (
        "torch, ai-edge-litert, ai-edge-quantizer and flatbuffers are not installed: "
        "pip install torch ai-edge-litert ai-edge-quantizer flatbuffers"
    )
    monkeypatch.setattr(compat, "find_spec", lambda _: object())
    assert compat.unavailable() == "onnx, onnx-tf and tensorflow are not installed: pip install 'squeeze-export[onnx-tf]'"
    monkeypatch.setattr(compat, "find_spec", lambda _: None)
    monkeypatch.setattr(compat.sys, "version_info", (3, 12, 0))
    assert "Python 3.11" in str(compat.unavailable())


@needs_the_road
def test_an_sdk_that_fails_in_the_middle_is_a_conversion_error(monkeypatch, tmp_path):
    monkeypatch.setattr(tflite_onnx_tf, "_through_tensorflow", lambda _: 1 / 0)
    with pytest.raises(ConversionError, match="ZeroDivisionError"):
        tflite.export(seven_classes(), replace(settings(), tflite_route="onnx-tf"), tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())
