"""int4-mixed: the chosen integers stand in the file as chosen, XNNPACK computes with them, and any other file is refused."""

from __future__ import annotations

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from squeeze_export.compression.network import convolutions, decoded, hold
from squeeze_export.errors import ArtifactError, ConversionError
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.exporters.tflite import flatbuffer, int4, products
from squeeze_export.exporters.tflite import network as tflite_network
from squeeze_export.sources.source import weight_digests
from squeeze_export.validation.parity import different_weights
from squeeze_export.validation.runners.litert import runner as litert
from squeeze_export.validation.weights import compare_weights
from tests.tflite_cases import declared, eager, pictures, settings, seven_classes, softmax

SOURCE = seven_classes(labels=None)
SIGNATURE = declared(SOURCE, settings())
CALIBRATION = pictures(SOURCE.preprocessing, 8)
PATCHED, PLAIN = "features.6.expand3x3", "features.12.squeeze"  # both int4: with patches laid out in front, and without


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One export, and what went by inside it: the integers chosen, and the named fp32 model that they replaced."""
    seen, real, words = SimpleNamespace(), int4.replace_filters, []

    def looked_at(model, coded):
        seen.fresh, seen.coded = copy.deepcopy(model), dict(coded)
        real(model, coded)

    path = tmp_path_factory.mktemp("int4") / "net.tflite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int4, "replace_filters", looked_at)
        seen.artifact = tflite.export(SOURCE, settings("int4-mixed"), path, CALIBRATION, words.append)
    assert words and "coding features.0 in 8 bits" in words[0]
    return seen


def written(model, path):
    path.write_bytes(flatbuffer.serialise(model, description="changed", metadata={}))
    return path


def parsed(made):
    return flatbuffer.parse(made.artifact.path.read_bytes())


def tensor(model, name):
    return next(t for t in model.subgraphs[0].tensors if t.name == name.encode())


def test_four_bits_in_the_big_layers(made):
    assert sorted(weight.bits for weight in made.coded.values()) == [4] * 8 + [8] * 18
    largest = max(weight.values.size for weight in made.coded.values() if weight.bits == 8)
    assert min(weight.values.size for weight in made.coded.values() if weight.bits == 4) >= largest
    assert made.coded[PATCHED].bits == made.coded[PLAIN].bits == 4


def test_the_file_decodes_to_what_was_chosen_and_computes_with_it_in_one_partition(made):
    artifact = made.artifact
    runner = litert.open(artifact.path, SIGNATURE, "int4-mixed")  # refuses more than one partition
    assert artifact.signature == SIGNATURE  # float32 in and out
    stored = runner.stored_weights()
    for kernel, weight in zip(stored[::2], made.coded.values(), strict=True):
        assert np.array_equal(kernel, weight.decoded())
    assert compare_weights(stored, artifact.chosen_weights, "int4-mixed").problems == ()
    assert different_weights(artifact.chosen_weights, weight_digests(SOURCE)) == []
    packed = sum(weight.values.size * weight.bits // 8 for weight in made.coded.values())
    assert artifact.path.stat().st_size < packed + 75_000  # scales, zero points, biases, text
    # The runtime rounds activations to 8 bits: beyond that it is the network that holds the decoded integers.
    network, _ = tflite_network.prepare(SOURCE, SIGNATURE.input)
    pixels = pictures(SOURCE.preprocessing, 3)
    inputs = SIGNATURE.input.encode(pixels)
    held = dict(zip(convolutions(network), zip(stored[::2], stored[1::2], strict=True), strict=True))
    for name, layer in convolutions(network).items():
        hold(layer, *(part.copy() for part in held[name]))
    with torch.no_grad():
        exact = softmax(network(torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy())).numpy())
    found = np.concatenate([runner.run({"image": image[None]})["probabilities"] for image in inputs])
    assert np.abs(found - exact).max() < 0.02
    assert np.abs(found - softmax(eager(SOURCE, pixels))).max() < 0.1


def test_errors_are_compensated(made):
    """Against the nearest of the same number of levels, the answers move by less than half."""
    network, _ = tflite_network.prepare(SOURCE, SIGNATURE.input)
    rounded = copy.deepcopy(network)
    for name, layer in convolutions(rounded).items():
        weight, top = layer.weight.detach().numpy(), 2 ** (made.coded[name].bits - 1) - 1
        step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / top
        hold(layer, np.rint(weight / step) * step, layer.bias.detach().numpy())
    layers = {
        name: SimpleNamespace(weight=weight, bias=flatbuffer.constant(made.fresh, index).copy())
        for (name, weight), index in zip(made.coded.items(), _biases(made.fresh), strict=True)
    }
    inputs = torch.from_numpy(SIGNATURE.input.encode(CALIBRATION).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        wanted = network(inputs)
        compensated, nearest = ((other(inputs) - wanted).square().mean() for other in (decoded(network, layers), rounded))
    assert compensated < nearest / 4


def _biases(model):
    kinds = flatbuffer.operators(model)
    return [op.inputs[2] for kind, op in zip(kinds, model.subgraphs[0].operators, strict=True) if kind == "CONV_2D"]


@pytest.mark.parametrize("name", [PATCHED, PLAIN])
def test_half_a_changed_byte_is_seen(made, name, tmp_path):
    model = parsed(made)
    buffer = model.buffers[tensor(model, f"{name}.weight").buffer]
    data = bytearray(buffer.data)
    data[100] ^= 16
    buffer.data = data
    stored = litert.open(written(model, tmp_path / "changed.tflite"), SIGNATURE, "int4-mixed").stored_weights()
    told = compare_weights(stored, made.artifact.chosen_weights, "int4-mixed").problems
    assert f"1 of the source's weights are not in the file: {name}.weight" in told[0]


def test_a_file_of_another_precision_is_refused(made):
    for other in ("fp32", "fp16", "int8", "int8-dynamic", "int8-weights"):
        with pytest.raises(ArtifactError, match=r"must not hold|stores its filters"):
            litert.open(made.artifact.path, SIGNATURE, other)


def test_int4_in_a_convolution_would_leave_xnnpack(made, tmp_path):
    """What as_products is for; and the runner sees it, whatever the file calls itself."""
    model = copy.deepcopy(made.fresh)
    int4.replace_filters(model, made.coded)
    with pytest.raises(ArtifactError, match="has no FULLY_CONNECTED, PAD, SLICE"):
        litert.open(written(model, tmp_path / "plain.tflite"), SIGNATURE, "int4-mixed")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(tmp_path / "plain.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    with pytest.raises(ArtifactError, match=r"in \d+ partitions instead of 1"):
        litert._require_one_partition(interpreter, None)


def _other_begin(model):
    at = next(op for op in model.subgraphs[0].operators if len(op.inputs) == 3 and op.builtinOptionsType == _slice())
    at.inputs = [at.inputs[0], _constant_like(model, at.inputs[1], [0, 0, 1, 0]), at.inputs[2]]


def _other_order(model):
    joins = [op for op in model.subgraphs[0].operators if len(op.inputs) == 3 and op.builtinOptionsType == _concatenation()]
    joins[0].inputs = [joins[0].inputs[1], joins[0].inputs[0], joins[0].inputs[2]]


def _other_padding(model):
    sides = next(t for t in model.subgraphs[0].tensors if list(t.shape) == [4, 2])
    data = np.frombuffer(bytes(model.buffers[sides.buffer].data), np.int32).reshape(4, 2).copy()
    data[1] = [2, 0]
    model.buffers[sides.buffer].data = np.frombuffer(data.tobytes(), np.uint8)


def _constant_like(model, index, values):
    graph = model.subgraphs[0]
    made = copy.copy(graph.tensors[index])
    buffer = copy.copy(model.buffers[made.buffer])
    buffer.data = np.frombuffer(np.array(values, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    made.buffer = len(model.buffers) - 1
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def _slice():
    from ai_edge_litert.schema_py_generated import BuiltinOptions

    return BuiltinOptions.SliceOptions


def _concatenation():
    from ai_edge_litert.schema_py_generated import BuiltinOptions

    return BuiltinOptions.ConcatenationOptions


def _missing_scales(model):
    tensor(model, f"{PATCHED}.weight").quantization.scale = None


def _half_the_data(model):
    buffer = model.buffers[tensor(model, f"{PLAIN}.weight").buffer]
    buffer.data = bytes(buffer.data)[::2]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_other_begin, "a convolution reads is laid out as SLICE"),
        (_other_order, "a convolution reads is laid out as SLICE"),
        (_other_padding, "laid out as a padding other than"),
        (_missing_scales, "without a scale"),
        (_half_the_data, "bytes instead of"),
    ],
)
def test_a_broken_file_is_refused_before_native_code_sees_it(made, change, told, tmp_path):
    model = parsed(made)
    change(model)
    with pytest.raises(ArtifactError, match=told):
        litert.open(written(model, tmp_path / "broken.tflite"), SIGNATURE, "int4-mixed")


def test_other_integers_are_refused(made):
    name = next(iter(made.coded))
    other = dataclasses.replace(made.coded[name], scales=made.coded[name].scales * 2)
    with pytest.raises(ConversionError, match=rf"{name} is not the one"):
        int4.replace_filters(copy.deepcopy(made.fresh), made.coded | {name: other})
    with pytest.raises(ConversionError, match="no filter for extra"):
        int4.replace_filters(copy.deepcopy(made.fresh), made.coded | {"extra": other})
    with pytest.raises(ConversionError, match="is not the one"):
        int4.replace_filters(copy.deepcopy(made.fresh), {})


def test_a_convolution_that_is_no_matrix_product_is_refused(made):
    model = copy.deepcopy(made.fresh)
    int4.replace_filters(model, made.coded)
    kinds = flatbuffer.operators(model)
    weight = next(i for i, t in enumerate(model.subgraphs[0].tensors) if t.name == f"{PATCHED}.weight".encode())
    operators = zip(kinds, model.subgraphs[0].operators, strict=True)
    next(op for kind, op in operators if kind == "CONV_2D" and op.inputs[1] == weight).builtinOptions.strideH = 2
    with pytest.raises(ConversionError, match=rf"{PATCHED}.weight cannot be stored in int4"):
        products.as_products(model)


def test_images_are_needed(tmp_path):
    with pytest.raises(ConversionError, match="--calibration-data"):
        tflite.export(SOURCE, settings("int4-mixed"), tmp_path / "net.tflite")


@pytest.mark.parametrize("count", [1, 2, 7])
def test_packing_is_reversed(count):
    values = np.arange(-8, 8, dtype=np.int8)[:count]
    for bits in (4, 8):
        assert np.array_equal(int4.unpacked(int4.packed(values, bits), bits, count), values)
    with pytest.raises(ValueError, match="does not fit"):
        int4.packed(np.array([8], np.int8), 4)
