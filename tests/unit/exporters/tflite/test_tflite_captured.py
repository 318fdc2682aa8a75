"""The TFLite exporter on a network that is no SqueezeNet: right to the bit of every kernel, faults in it found."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from squeeze_export.errors import ConversionError
from squeeze_export.exporters.deployed import input_spec
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.exporters.tflite import flatbuffer
from squeeze_export.exporters.tflite.captured import graph, making, naming
from squeeze_export.golden.images import demo_images
from squeeze_export.golden.pack import make_golden
from squeeze_export.validation.judgement import judge_file
from squeeze_export.validation.runners.litert import networks
from tests import conversions
from tests.captured_cases import SIDE, flowers, golden
from tests.tflite_cases import IMAGE_BIAS, IMAGE_SCALE, LABELS, declared, settings


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return conversions.export(flowers(), settings(), tmp_path_factory.mktemp("captured") / "flowers.tflite")


@pytest.fixture(scope="module")
def model(artifact):
    return flatbuffer.parse(artifact.path.read_bytes())


def judged(artifact, order="RGB"):
    signature = declared(flowers(order), settings(artifact.precision))
    return judge_file("tflite", artifact.path, signature, artifact.precision, golden(order), labels=LABELS, folded=())[0]


def test_a_captured_network_passes_by_its_own_noise_floor(artifact):
    report = judged(artifact)
    assert report.verdict == "PASSED", report.reason
    assert report.weights.compared == report.weights.expected == 6
    assert artifact.signature == declared(flowers(), settings()) and artifact.folded_weights == ()
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "HARD_SWISH", "SOFTMAX"} <= set(artifact.operators)


def test_xnnpack_takes_the_whole_in_one_part_without_a_transpose(artifact):
    """As converted it takes two, not the padding of the pool."""
    assert judged(artifact).executor.endswith(" (XNNPACK)")
    assert artifact.signature.input.layout == "NHWC" and artifact.transposes == 0


def test_fp16_stores_every_kernel_as_such_and_passes(tmp_path):
    artifact = conversions.export(flowers(), settings("fp16"), tmp_path / "half.tflite")
    report = judged(artifact)
    assert report.verdict == "PASSED", report.reason
    assert report.weights.compared == 6 and "DEQUANTIZE" in artifact.operators


def test_logits_of_a_normalised_tensor_pass_as_well(tmp_path):
    wanted = settings(input_kind="tensor", output_kind="logits")
    artifact = tflite.export(flowers(), wanted, tmp_path / "tensor.tflite")
    report = judge_file("tflite", artifact.path, declared(flowers(), wanted), "fp32", golden(), labels=LABELS, folded=())[0]
    assert report.verdict == "PASSED", report.reason
    kinds = flatbuffer.operators(flatbuffer.parse(artifact.path.read_bytes()))
    assert kinds[:2] == ["PAD", "CONV_2D"] and kinds[-2:] == ["FULLY_CONNECTED", "MUL"]


def test_tensors_have_short_names_that_say_what_they_are(model):
    names = [tensor.name.decode() for tensor in model.subgraphs[0].tensors]
    assert len(names) == len(set(names)) and max(map(len, names)) < 30
    assert {"image", "probabilities", "stem.0", "stem.0.weight", "stem.0.bias", "head.weight", "concatenation_0"} <= set(names)


def test_a_product_behind_a_layer_stays_outside_of_its_kernel(model):
    """The converter folds the factor 3.7 into the head's weights where it may."""
    graph = model.subgraphs[0]
    index = next(i for i, tensor in enumerate(graph.tensors) if tensor.name == b"head.weight")
    assert np.array_equal(flatbuffer.constant(model, index), flowers().module.state_dict()["head.weight"])
    assert [port.name for port in model.signatureDefs[0].outputs] == [b"probabilities"]
    assert flatbuffer.operators(model)[-3:] == ["FULLY_CONNECTED", "MUL", "SOFTMAX"]


def test_nothing_is_left_that_no_operation_needs(model):
    graph = model.subgraphs[0]
    read = {int(index) for operator in graph.operators for index in (*operator.inputs, *operator.outputs)} - {-1}
    assert read == set(range(len(graph.tensors)))
    held = {tensor.buffer for tensor in graph.tensors} | {entry.buffer for entry in model.metadata}
    assert set(range(1, len(model.buffers))) <= held


def test_channels_are_reversed_for_a_network_that_takes_bgr_and_for_no_other(tmp_path):
    artifact = tflite.export(flowers("BGR"), settings(), tmp_path / "bgr.tflite")
    assert judged(artifact, "BGR").verdict == "PASSED"
    other = dataclasses.replace(flowers("BGR").preprocessing, color_order="RGB")
    pack = make_golden(dataclasses.replace(flowers("BGR"), preprocessing=other), demo_images())
    pack = dataclasses.replace(pack, noise_floor=golden("BGR").noise_floor, kernels=flowers("BGR").kernels)
    report = judge_file("tflite", artifact.path, artifact.signature, "fp32", pack, labels=LABELS, folded=())[0]
    assert report.verdict == "FAILED" and report.weights.problems == ()


def test_a_rotated_kernel_is_found(artifact, tmp_path):
    changed = flatbuffer.parse(artifact.path.read_bytes())
    tensor = next(tensor for tensor in changed.subgraphs[0].tensors if tensor.name == b"pointwise.weight")
    data = bytes(changed.buffers[tensor.buffer].data)
    changed.buffers[tensor.buffer].data = data[64:] + data[:64]
    path = tmp_path / "rotated.tflite"
    written = flatbuffer.serialise(changed, description="changed", metadata={})
    path.write_bytes(written + artifact.path.read_bytes()[len(written) :])
    report = judge_file("tflite", path, artifact.signature, "fp32", golden(), labels=None, folded=())[0]
    assert report.verdict == "FAILED" and "pointwise.weight" in " ".join(report.weights.problems)


@pytest.mark.parametrize(("kind", "exact"), [("tensor", True), ("image", False)])
def test_only_what_the_input_lacks_is_put_in_front(kind, exact):
    source = flowers()
    spec = input_spec(source.preprocessing, kind, name="image", layout="NHWC", image_scale=IMAGE_SCALE, image_bias=IMAGE_BIAS)
    image = torch.linspace(-1, 1, 3 * SIDE * SIDE).reshape(1, SIDE, SIDE, 3)
    found = graph.as_signature(source, spec, "logits")(image)["logits"]
    assert torch.equal(found, source.module(image.permute(0, 3, 1, 2))) == exact


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"precision": "int8"}, "others have fp32, fp16"), ({"tflite_route": "onnx-tf"}, "takes SqueezeNet only")],
)
def test_what_only_squeezenet_has_is_refused(tmp_path, changes, says):
    with pytest.raises(ConversionError, match=says):
        tflite.export(flowers(), dataclasses.replace(settings(), **changes), tmp_path / "net.tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["kernel", "operation"])
def test_what_the_converter_does_to_a_network_is_found(artifact, fault):
    def convert(network, spec):
        model = flatbuffer.parse(artifact.path.read_bytes())
        if fault == "kernel":
            tensor = next(tensor for tensor in model.subgraphs[0].tensors if tensor.name == b"depthwise.weight")
            data = bytes(model.buffers[tensor.buffer].data)
            model.buffers[tensor.buffer].data = data[:-4] + b"\0\0\0\0"
        else:
            code = model.operatorCodes[0]
            code.builtinCode = code.deprecatedBuiltinCode = 32
            code.customCode = b"FlexErf"
        return flatbuffer.serialise(model, description="", metadata={})

    says = "changed 1 of 6 kernels: depthwise.weight" if fault == "kernel" else "wrote FlexErf"
    with pytest.raises(ConversionError, match=says):
        making.make(flowers(), settings(), artifact.signature.input, "probabilities", convert)


def test_of_equal_kernels_one_may_stand_for_all():
    kernel = np.ones((2, 3), np.float32)
    expected = {"first.weight": kernel, "second.weight": kernel.copy(), "third.weight": kernel * 2}
    assert naming.changed(expected, {4: "first.weight"}) == ["third.weight"]


def test_exporter_and_runner_mean_the_same_record():
    assert making.RECORD == networks.RECORD
