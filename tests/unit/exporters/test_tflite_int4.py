"""Chosen integers in a .tflite file: they stand there as chosen, and the runtime computes with them."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from squeeze_export.compression.codings import UniformWeight
from squeeze_export.compression.network import convolutions, hold
from squeeze_export.errors import ConversionError
from squeeze_export.exporters import tflite, tflite_flatbuffer, tflite_int4
from squeeze_export.exporters.tflite_network import as_signature


@pytest.fixture(scope="module")
def made(seven_classes):
    """The named fp32 file of a network that holds decoded integers, and these integers."""
    network = copy.deepcopy(seven_classes.module)
    sizes = {name: layer.weight.numel() for name, layer in convolutions(network).items()}
    bits = tflite_int4.bits_by_layer(sizes)
    generator, coded = np.random.default_rng(1), {}
    for name, layer in convolutions(network).items():
        top, shape = 2 ** (bits[name] - 1) - 1, tuple(layer.weight.shape)
        scales = (generator.uniform(0.5, 2, shape[0]) / top / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        values = generator.integers(-top, top + 1, shape).astype(np.int8)
        coded[name] = UniformWeight(bits=bits[name], values=values, scales=scales)
        hold(layer, coded[name].decoded(), np.full(shape[0], 0.1, np.float32))
    spec = tflite.input_spec(seven_classes.preprocessing, "tensor", name="image", layout="NHWC", image_scale=1.0, image_bias=0.0)
    prepared, _ = tflite.tflite_network.prepare(dataclasses.replace(seven_classes, module=network), spec)
    with tflite._quiet():
        model = tflite_flatbuffer.parse(tflite._convert(as_signature(prepared, "logits"), spec))
    tflite_flatbuffer.name_tensors(model, tflite._as_stored(tflite.tflite_network.convolutions(prepared), half=False))
    return network, coded, model, spec


def test_four_bits_in_the_big_layers(made):
    _, coded, _, _ = made
    assert sorted(weight.bits for weight in coded.values()) == [4] * 8 + [8] * 18
    largest = max(weight.values.size for weight in coded.values() if weight.bits == 8)
    assert min(weight.values.size for weight in coded.values() if weight.bits == 4) >= largest


def test_the_file_holds_the_integers_and_computes_with_them(made):
    network, coded, fresh, spec = made
    model = copy.deepcopy(fresh)
    tflite_int4.replace_filters(model, coded)
    content = tflite_flatbuffer.serialise(model, description="", metadata={})
    assert len(content) < sum(w.values.size * w.bits // 8 for w in coded.values()) + 55_000  # scales, biases, text
    again = tflite_flatbuffer.parse(content)
    found = {tensor.name.decode(): tensor for tensor in again.subgraphs[0].tensors}
    for name, weight in coded.items():
        tensor = found[f"{name}.weight"]
        data = bytes(again.buffers[tensor.buffer].data)
        values = tflite_int4.unpacked(data, weight.bits, weight.values.size).reshape(tuple(tensor.shape))
        assert np.array_equal(values, weight.values.transpose(0, 2, 3, 1))
        assert np.array_equal(tensor.quantization.scale, weight.scales)
    interpreter = Interpreter(model_content=content, num_threads=1)
    runner = interpreter.get_signature_runner()
    wave = np.sin(np.arange(np.prod(spec.shape)).reshape(spec.shape) / 7).astype(np.float32)
    answered = next(iter(runner(**{spec.name: wave}).values()))
    wanted = network(torch.from_numpy(wave.transpose(0, 3, 1, 2).copy())).detach().numpy()
    # The runtime rounds activations to 8 bits: 26 layers of that leave about two digits.
    assert np.abs(answered - wanted).max() < 0.1 * np.abs(wanted).max()


def test_other_integers_are_refused(made):
    _, coded, fresh, _ = made
    name = next(iter(coded))
    other = dataclasses.replace(coded[name], scales=coded[name].scales * 2)
    with pytest.raises(ConversionError, match=rf"{name} is not the one"):
        tflite_int4.replace_filters(copy.deepcopy(fresh), coded | {name: other})
    with pytest.raises(ConversionError, match="no filter for extra"):
        tflite_int4.replace_filters(copy.deepcopy(fresh), coded | {"extra": other})
    with pytest.raises(ConversionError, match="is not the one"):
        tflite_int4.replace_filters(copy.deepcopy(fresh), {})


@pytest.mark.parametrize("count", [1, 2, 7])
def test_packing_is_reversed(count):
    values = np.arange(-8, 8, dtype=np.int8)[:count]
    for bits in (4, 8):
        assert np.array_equal(tflite_int4.unpacked(tflite_int4.packed(values, bits), bits, count), values)
    with pytest.raises(ValueError, match="does not fit"):
        tflite_int4.packed(np.array([8], np.int8), 4)
