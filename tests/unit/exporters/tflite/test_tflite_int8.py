"""Int8 files hold exactly the numbers that were chosen, each the nearest to its weight, and are refused where they do not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from squeeze_export.errors import ArtifactError, ConversionError
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.exporters.tflite import flatbuffer, layout
from squeeze_export.exporters.tflite import network as tflite_network
from squeeze_export.exporters.tflite import quantized as tflite_quantized
from squeeze_export.sources.source import weight_digests
from squeeze_export.validation.parity import different_weights
from squeeze_export.validation.runners.litert import runner as litert
from squeeze_export.validation.weights import compare_weights
from tests import conversions
from tests.tflite_cases import declared, eager, pictures, settings, seven_classes, softmax

PRECISIONS = ("int8", "int8-dynamic", "int8-weights")


def zero_biases():
    """Equal biases of several layers become one tensor in the converter's file, whose scales must not be one."""
    source = seven_classes(labels=None)
    with torch.no_grad():
        for module in source.module.modules():
            if isinstance(module, torch.nn.Conv2d) and module.out_channels == 64:
                module.bias.zero_()
    return source


SOURCE = zero_biases()
SIGNATURE = declared(SOURCE, settings())
CALIBRATION = pictures(SOURCE.preprocessing, 8)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    return {
        precision: conversions.export(SOURCE, settings(precision), folder / f"{precision}.tflite", CALIBRATION)
        for precision in PRECISIONS
    }


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_file_decodes_to_what_was_chosen_and_agrees_with_eager(artifacts, precision):
    artifact = artifacts[precision]
    runner = litert.open(artifact.path, SIGNATURE, precision)
    assert artifact.signature == SIGNATURE  # float32 in and out
    stored = runner.stored_weights()
    assert compare_weights(stored, artifact.chosen_weights, precision).problems == ()
    assert different_weights(artifact.chosen_weights, weight_digests(SOURCE)) == []
    pixels = pictures(SOURCE.preprocessing, 3)
    found = [runner.run({"image": SIGNATURE.input.encode(image[None])})["probabilities"] for image in pixels]
    assert np.abs(np.concatenate(found) - softmax(eager(SOURCE, pixels))).max() < 0.03
    network, _ = tflite_network.prepare(SOURCE, SIGNATURE.input)
    for kernel, wanted in zip(stored[::2], tflite_network.convolutions(network).values(), strict=True):
        weight = wanted.weight.detach().numpy()
        step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
        assert (np.abs(kernel - weight) <= step * 0.5001).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_changed_integer_is_seen(artifacts, precision, tmp_path):
    artifact = artifacts[precision]
    model = flatbuffer.parse(artifact.path.read_bytes())
    tensor = next(t for t in model.subgraphs[0].tensors if t.name == b"features.6.squeeze.weight")
    data = bytearray(model.buffers[tensor.buffer].data)
    data[100] ^= 1
    model.buffers[tensor.buffer].data = data
    path = tmp_path / "changed.tflite"
    path.write_bytes(flatbuffer.serialise(model, description="changed", metadata={}))
    stored = litert.open(path, SIGNATURE, precision).stored_weights()
    told = compare_weights(stored, artifact.chosen_weights, precision).problems
    assert "1 of the source's weights are not in the file: features.6.squeeze.weight" in told[0]
    lacking = different_weights(artifact.chosen_weights[1:], weight_digests(SOURCE))
    assert lacking and "features.0.weight" in lacking[0]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_of_another_precision_is_refused(artifacts, precision):
    for other in ("fp32", "fp16", *PRECISIONS):
        if other != precision:
            with pytest.raises(ArtifactError):
                litert.open(artifacts[precision].path, SIGNATURE, other)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda scale: scale * np.nan, "no positive number"),
        (lambda scale: -scale, "no positive number"),
        (lambda scale: scale[:2], "scales"),
        (lambda scale: None, "without a scale"),
    ],
)
def test_a_broken_scale_is_refused_before_native_code_sees_it(artifacts, change, told, tmp_path):
    model = flatbuffer.parse(artifacts["int8-dynamic"].path.read_bytes())
    tensor = next(t for t in model.subgraphs[0].tensors if t.name == b"features.6.squeeze.weight")
    tensor.quantization.scale = change(tensor.quantization.scale)
    path = tmp_path / "broken.tflite"
    path.write_bytes(flatbuffer.serialise(model, description="broken", metadata={}))
    with pytest.raises(ArtifactError, match=told):
        litert.open(path, SIGNATURE, "int8-dynamic")


@pytest.mark.parametrize("side", [96, 97])
def test_the_layout_changes_no_score(side, tmp_path, monkeypatch):
    """Pools in front of joins and pixels in pairs are there to be sooner, and for nothing else; an odd side is padded."""
    source = seven_classes(preprocessing=replace(SOURCE.preprocessing, resize=side, height=side, width=side))
    signature, calibration = declared(source, settings()), pictures(source.preprocessing, 8)
    real = tflite._convert
    converted = cache(lambda: real(network, signature.input))
    network = tflite_network.as_signature(tflite_network.prepare(source, signature.input)[0], "probabilities")
    monkeypatch.setattr(tflite, "_convert", lambda *_: converted())
    bright = pictures(source.preprocessing, 3) // 4 + 192  # a range of the runtime's own must not be that of the padding
    for precision in ("int8", "int8-dynamic"):
        artifacts = [tflite.export(source, settings(precision), tmp_path / f"{precision}.tflite", calibration)]
        with monkeypatch.context() as patch:
            patch.setattr(layout, "pool_before_joining", lambda model: None)
            patch.setattr(layout, "pair_pixels", lambda model: None)
            artifacts.append(tflite.export(source, settings(precision), tmp_path / f"{precision}-plain.tflite", calibration))
        moved = [{"RESHAPE", "PAD"} & {*artifact.operators} for artifact in artifacts]
        assert moved == [{"RESHAPE", *(["PAD"] if side % 2 else [])}, set()]
        runners = [litert.open(artifact.path, signature, precision) for artifact in artifacts]
        counts = [sum(operation.name == "MAX_POOL_2D" for operation in runner.file.operations) for runner in runners]
        assert counts == [5, 3] if side == 97 else counts[0] > counts[1]
        for image in (*bright, *pictures(source.preprocessing, 2)):
            first, second = (runner.run({"image": signature.input.encode(image[None])}) for runner in runners)
            assert np.array_equal(first["probabilities"], second["probabilities"])
        for ours, others in zip(*(runner.stored_weights() for runner in runners), strict=True):
            assert np.array_equal(ours, others)
        with pytest.raises(ArtifactError, match=r"must not hold: .*RESHAPE"):
            litert.open(artifacts[0].path, signature, "int4-mixed")
        if side % 2:
            model = flatbuffer.parse(artifacts[0].path.read_bytes())
            pad = model.subgraphs[0].operators[flatbuffer.operators(model).index("PAD")]
            sides = model.buffers[model.subgraphs[0].tensors[pad.inputs[1]].buffer]
            sides.data = np.array([[0, 0], [0, 0], [3, 0]], np.int32).tobytes()  # in front of each row instead of behind it
            path = tmp_path / "padded.tflite"
            path.write_bytes(flatbuffer.serialise(model, description="padded in front", metadata={}))
            with pytest.raises(ArtifactError, match="rows padded by"):
                litert.open(path, signature, precision)


def _weighs(model, reshape, filters):
    filters[0, 0, -1, 5] = 1


def _unread(model, reshape, filters):
    reshape.inputs = [reshape.inputs[0]]


def _elsewhere(model, reshape, filters):
    """Rows in pairs instead of columns."""
    tensor = model.subgraphs[0].tensors[reshape.outputs[0]]
    tensor.shape = [1, tensor.shape[1] // 2, tensor.shape[2] * 2, 6]


def _other_levels(model, reshape, filters):
    model.subgraphs[0].tensors[reshape.outputs[0]].quantization.scale = [0.5]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_weighs, "last column weighs something"),
        (_unread, "a RESHAPE to None"),
        (_elsewhere, "not pixels in pairs"),
        (_other_levels, "RESHAPE of levels"),
    ],
)
def test_pixels_in_other_pairs_are_refused(artifacts, damage, told, tmp_path):
    model = flatbuffer.parse(artifacts["int8"].path.read_bytes())
    graph = model.subgraphs[0]
    place = flatbuffer.operators(model).index("RESHAPE")
    weight = graph.tensors[graph.operators[place + 1].inputs[1]]
    filters = np.frombuffer(bytes(model.buffers[weight.buffer].data), np.int8).reshape(weight.shape).copy()
    damage(model, graph.operators[place], filters)
    model.buffers[weight.buffer].data = filters.tobytes()
    path = tmp_path / "other.tflite"
    path.write_bytes(flatbuffer.serialise(model, description="other pairs", metadata={}))
    with pytest.raises(ArtifactError, match=told):
        litert.open(path, SIGNATURE, "int8").stored_weights()


def test_no_value_that_calibration_saw_is_clipped(artifacts):
    model = flatbuffer.parse(artifacts["int8"].path.read_bytes())
    levels = {
        tensor.name.decode(): (float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]))
        for tensor in model.subgraphs[0].tensors
        if tensor.quantization is not None and tensor.quantization.scale is not None and len(tensor.quantization.scale) == 1
    }
    seen = {}
    network, _ = tflite_network.prepare(SOURCE, SIGNATURE.input)
    for name, module in tflite_network.convolutions(network).items():
        module.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, float(out.max())))
    images = SIGNATURE.input.encode(CALIBRATION).transpose(0, 3, 1, 2)
    with torch.no_grad():
        network(torch.from_numpy(np.ascontiguousarray(images)))
    assert set(seen) <= set(levels)
    for name, highest in seen.items():
        scale, zero = levels[name]
        assert (127 - zero) * scale >= highest * (1 - 1e-5), name  # ReLU follows every one of them


def test_int8_needs_images_and_a_network_with_a_mean(artifacts):
    with pytest.raises(ConversionError, match="--calibration-data"):
        tflite._quantise(None, settings("int8"), SIGNATURE.input, SIGNATURE.outputs[0], None)
    model = flatbuffer.parse(artifacts["int8-dynamic"].path.read_bytes())
    model.subgraphs[0].operators = model.subgraphs[0].operators[:-2]
    with pytest.raises(ConversionError, match="does not end in a mean"):
        tflite_quantized.quantise_all(model, {})


def test_the_same_source_gives_the_same_bytes(artifacts, tmp_path):
    again = conversions.export(replace(SOURCE), settings("int8"), tmp_path / "again.tflite", CALIBRATION)
    assert again.path.read_bytes() == artifacts["int8"].path.read_bytes()
