"""ONNX from the source model to the numbers of the saved file, and what the runner refuses to take for it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")

from squeeze_export.errors import ArtifactError, ConversionError, UnsupportedOperationError  # noqa: E402
from squeeze_export.exporters import onnx_graph  # noqa: E402
from squeeze_export.exporters.deployed import deployed, output_spec  # noqa: E402
from squeeze_export.exporters.onnx import exporter  # noqa: E402
from squeeze_export.exporters.tflite import channels_last  # noqa: E402
from squeeze_export.golden.pack import make_golden  # noqa: E402
from squeeze_export.sources.source import load_source  # noqa: E402
from squeeze_export.validation.judgement import judge_file  # noqa: E402
from squeeze_export.validation.runners import onnx_runtime as runner  # noqa: E402
from tests.tflite_cases import LABELS, caffe, inception, pictures, settings, seven_classes, torchvision  # noqa: E402

ROOT = Path(__file__).resolve().parents[4]


def judged(artifact, source):
    pack = make_golden(source, [(f"picture {k}", picture) for k, picture in enumerate(pictures(torchvision(300, 280), 3))])
    (report,) = judge_file("onnx", artifact.path, artifact.signature, artifact.precision, pack, labels=source.labels, folded=())
    return report


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """One fp16 artifact; tests that change it write their own file."""
    source = seven_classes()
    return source, exporter.export(source, settings("fp16"), tmp_path_factory.mktemp("onnx") / "net.onnx")


@pytest.mark.parametrize(
    ("model", "preprocessing", "wanted", "least"),
    [
        ("squeezenet1_1", torchvision(224, 224), settings(), 100),
        ("squeezenet1_0_complex_bypass", caffe(67, 64), settings(output_kind="logits"), 100),
        ("squeezenet1_0_bypass", inception(), settings("fp16", output_kind="logits"), 60),
        ("squeezenet1_0", caffe(55, 51), settings(input_kind="tensor", output_kind="logits"), 100),
    ],
    ids=["torchvision", "reversed channels", "fp16 logits", "tensor"],
)
def test_it_agrees_with_eager_and_holds_the_sources_weights(tmp_path, model, preprocessing, wanted, least):
    source = seven_classes(model, preprocessing)
    report = judged(exporter.export(source, wanted, tmp_path / "net.onnx"), source)
    assert report.verdict == "PASSED", report.reason
    assert all(output.snr_db is None or output.snr_db > least for output in report.outputs if output.observed != "probabilities")
    # Every one: normalisation is operations in front of the network, not folded into a weight.
    assert report.weights.compared == report.weights.expected == len(source.module.state_dict())


def test_features_agree(tmp_path):
    source = load_source(
        name="net", model="squeezenet1_1", weights="random", seed=3, labels=None, preprocessing=torchvision(), head="features"
    )
    artifact = exporter.export(source, settings(output_kind="features"), tmp_path / "net.onnx")
    assert judged(artifact, source).verdict == "PASSED"
    # Biases of zeros are equal to one another, and torch stores equal weights once: no Identity may be left of that.
    assert "Identity" not in artifact.operators


def test_an_app_finds_labels_and_preprocessing_in_the_file(halves):
    _, artifact = halves
    session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert found["labels"].splitlines() == list(LABELS)
    assert json.loads(found["squeeze_export"])["preprocessing"]["resize"] == 256
    assert found["model_license"] == "None: random, untrained weights"
    assert (found["Image.BitmapPixelFormat"], found["Image.NominalPixelRange"]) == ("Rgb8", "Normalized_0_1")
    assert [port.name for port in (*session.get_inputs(), *session.get_outputs())] == ["image", "probabilities"]
    assert artifact.path.stat().st_size < 0.52 * 2_922_826  # of the fp32 file


def test_bytes_depend_on_source_and_settings_only(tmp_path, halves):
    """Another process, hash seed and destination, and another export before."""
    script = (
        "import sys; from pathlib import Path; from squeeze_export.exporters.onnx import exporter as onnx\n"
        "from tests.tflite_cases import settings, seven_classes\n"
        "path = Path(sys.argv[1]); path.parent.mkdir()\n"
        "onnx.export(seven_classes('squeezenet1_0'), settings(), path.with_name('before.onnx'))\n"
        "onnx.export(seven_classes(), settings('fp16'), path)\n"
    )
    path = tmp_path / "Käfer folder" / "second file.onnx"
    environment = {**os.environ, "PYTHONHASHSEED": "4242"}
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, cwd=ROOT, env=environment, timeout=300)
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(halves[1].path.read_bytes()).digest()
    assert os.fsencode(str(ROOT)) not in path.read_bytes()


def test_what_the_exporter_writes_is_what_the_runner_reads():
    assert (exporter.LABELS, exporter.RECORD) == (runner.LABELS, runner.RECORD)


def test_weights_beyond_fp16_are_refused(tmp_path):
    source = seven_classes()
    with torch.no_grad():
        source.module.features[3].squeeze.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(ConversionError, match=r"features\.3\.squeeze\.weight reaches 1e\+06"):
        exporter.export(source, settings("fp16"), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def flip_a_weight(model):
    stored = next(value for value in model.graph.initializer if value.name == "features.3.squeeze.weight")
    data = bytearray(stored.raw_data)
    data[1] ^= 0x40
    stored.raw_data = bytes(data)


def rename_the_output(model):
    onnx_graph.rename_values(model.graph, {"probabilities": "scores"})
    model.graph.output[0].name = "scores"


def lose_the_softmax(model):
    onnx_graph.rename_values(model.graph, {model.graph.node[-1].input[0]: "probabilities", "probabilities": "unused"})
    del model.graph.node[-1]


def insert_a_foreign_operation(model):
    last = model.graph.node[-1]
    model.graph.node.insert(len(model.graph.node) - 1, onnx.helper.make_node("Erf", [last.input[0]], ["erf"]))
    last.input[0] = "erf"


def claim_fp32(model):
    entry = next(entry for entry in model.metadata_props if entry.key == "squeeze_export")
    entry.value = json.dumps({**json.loads(entry.value), "precision": "fp32"})


def drop_a_label(model):
    entry = next(entry for entry in model.metadata_props if entry.key == "labels")
    entry.value = entry.value.rpartition("\n")[0]


def store_a_weight_outside(model):
    stored = model.graph.initializer[5]
    stored.ClearField("raw_data")
    stored.data_location = onnx.TensorProto.EXTERNAL
    stored.external_data.add(key="location", value="elsewhere.bin")


def widen_a_filter(model):
    stored = next(value for value in model.graph.initializer if value.name == "features.3.squeeze.weight")
    stored.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(stored).astype(np.float32), stored.name))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (flip_a_weight, "features.3.squeeze.weight"),
        (rename_the_output, "scores"),
        (lose_the_softmax, "GlobalAveragePool|Flatten"),
        (insert_a_foreign_operation, "Erf"),
        (claim_fp32, "precision"),
        (drop_a_label, "6 labels for 7 classes"),
        (store_a_weight_outside, "another file"),
        (widen_a_filter, "float32, and fp16 is declared"),
    ],
)
def test_a_changed_file_fails(tmp_path, halves, damage, told):
    source, artifact = halves
    model = onnx.load(artifact.path)
    damage(model)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    report = judged(replace(artifact, path=path), source)
    assert report.verdict == "FAILED"
    assert any(word in report.reason for word in told.split("|")), report.reason


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_a_truncated_file_fails(tmp_path, halves, keep):
    source, artifact = halves
    content = artifact.path.read_bytes()
    path = tmp_path / "net.onnx"
    path.write_bytes(content[: int(keep * len(content))])
    report = judged(replace(artifact, path=path), source)
    assert (report.verdict, report.outputs) == ("FAILED", ())


def test_an_operation_without_a_kernel_is_not_run_and_named(tmp_path, halves):
    """ONNX Runtime's CPU has no Relu for bfloat16, as small builds of it have none for fp16."""
    source, artifact = halves
    model = onnx.load(artifact.path)
    place, relu = next((place, node) for place, node in enumerate(model.graph.node) if node.op_type == "Relu")
    narrow = onnx.helper.make_node("Cast", [relu.input[0]], ["narrow"], to=onnx.TensorProto.BFLOAT16)
    wide = onnx.helper.make_node("Cast", ["narrow relu"], [relu.output[0]], to=onnx.TensorProto.FLOAT)
    relu.input[0], relu.output[0] = "narrow", "narrow relu"
    model.graph.node.insert(place + 1, wide)
    model.graph.node.insert(place, narrow)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    report = judged(replace(artifact, path=path), source)
    assert report.verdict == "NOT_RUN"
    assert "no CPU kernel for Relu" in report.reason and relu.name in report.reason


def test_the_runner_takes_only_what_is_declared(halves):
    _, artifact = halves
    opened = runner.open(artifact.path, artifact.signature, "fp16")
    for wrong in ({"picture": np.zeros((1, 3, 64, 64), np.float32)}, {"image": np.zeros((1, 3, 64, 64))}):
        with pytest.raises(ArtifactError, match="was given"):
            opened.run(wrong)
    with pytest.raises((ArtifactError, UnsupportedOperationError)):
        runner.open(artifact.path, replace(artifact.signature, outputs=()), "fp16")


# The NHWC rewrite that the road over onnx-tf begins with


@pytest.mark.parametrize(("height", "width"), [(64, 64), (55, 51)])
def test_channels_last_is_the_same_network(height, width):
    from squeeze_export.exporters.deployed import input_spec
    from squeeze_export.exporters.tflite import network as tflite_network
    from squeeze_export.exporters.tflite import onnx_tf

    source = seven_classes("squeezenet1_0_complex_bypass", torchvision(height, width))
    spec = input_spec(source.preprocessing, "tensor", name="image", layout="NHWC", image_scale=1.0, image_bias=0.0)
    output = output_spec(source, "probabilities")
    network, _ = tflite_network.prepare(source, spec)
    nchw = replace(spec, layout="NCHW", shape=(1, 3, height, width))
    model = onnx_graph.traced(onnx_tf.as_classifier(network, "probabilities"), nchw, output)
    before = runner.session("before", model.SerializeToString())
    channels_last.channels_last(model)
    after = runner.session("after", onnx_graph.checked_bytes(model, spec, output))
    image = np.random.default_rng(5).normal(size=spec.shape).astype(np.float32)
    (wanted,), (found,) = before.run(None, {"image": image.transpose(0, 3, 1, 2)}), after.run(None, {"image": image})
    assert np.abs(found - wanted).max() < 1e-6
    # Only transposes are added, and no padding is left as numbers.
    assert not any(entry.name in ("pads", "ceil_mode") for node in model.graph.node for entry in node.attribute)


def test_channels_last_refuses_what_it_does_not_know(tmp_path):
    source = seven_classes()
    spec = exporter.export(source, settings(), tmp_path / "net.onnx").signature.input
    model = onnx_graph.traced(deployed(source, spec, "logits"), spec, output_spec(source, "logits"))
    with pytest.raises(ConversionError, match=r"/Mul \(Mul\) has no place"):
        channels_last.channels_last(model)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "outputs", "names"),
    [
        (13, 3, 1, 1, 13, {"SAME_UPPER"}),
        (13, 3, 2, 0, 6, {"VALID"}),
        (12, 3, 2, 0, 6, {"SAME_UPPER"}),  # ceil mode: one row is read behind the last
        (12, 3, 2, 0, 5, {"VALID"}),
        (12, 1, 1, 0, 12, {"VALID", "SAME_UPPER"}),
        (12, 3, 2, 1, 6, set()),  # padded in front: TensorFlow would pad behind
        (13, 5, 1, 1, 11, set()),
    ],
)
def test_a_padding_has_its_name_only_where_it_means_the_same(size, kernel, stride, before, outputs, names):
    assert channels_last._padding(size, kernel, stride, before, outputs) == names
