"""What the TFLite exporter does to the network before conversion: exact pools, normalisation inside the first convolution."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from squeeze_export.contracts.source import MODELS
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.tflite import network as network_room
from tests.tflite_cases import caffe, declared, eager, inception, pictures, settings, seven_classes, torchvision


@pytest.mark.parametrize("preset", [torchvision, caffe, inception])
@pytest.mark.parametrize("input_kind", ["image", "tensor"])
def test_the_prepared_network_takes_what_is_declared(preset, input_kind):
    source = seven_classes(preprocessing=preset())
    spec = declared(source, settings(input_kind=input_kind)).input
    prepared, folded = network_room.prepare(source, spec)
    pixels = pictures(source.preprocessing, 4)
    with torch.no_grad():
        found = prepared(torch.from_numpy(spec.encode(pixels).transpose(0, 3, 1, 2).copy())).numpy()
    wanted = eager(source, pixels)
    assert np.abs(found - wanted).max() < 2e-6 * np.abs(wanted).max()
    same = input_kind == "tensor" or preset is inception
    assert folded == (() if same else ("features.0.weight", "features.0.bias"))


def test_the_source_is_not_touched():
    source = seven_classes()
    before = {name: tensor.clone() for name, tensor in source.module.state_dict().items()}
    network_room.prepare(source, declared(source, settings()).input)
    assert all(torch.equal(before[name], tensor) for name, tensor in source.module.state_dict().items())
    assert any(isinstance(m, torch.nn.MaxPool2d) and m.ceil_mode for m in source.module.modules())


def test_the_fold_is_the_closest_fp32_to_the_exact_one():
    source = seven_classes(preprocessing=caffe())
    prepared, _ = network_room.prepare(source, declared(source, settings()).input)
    weight, bias = (source.module.features[0].get_parameter(name).detach().double().numpy() for name in ("weight", "bias"))
    mean = np.array([104.0, 117.0, 123.0])
    # normalised BGR = pixel - mean; pixel = 127.5 * value + 127.5, and value is RGB
    exact = (weight * 127.5)[:, ::-1].astype(np.float32)
    shift = (bias + (weight * (127.5 - mean)[None, :, None, None]).sum((1, 2, 3))).astype(np.float32)
    assert np.array_equal(prepared.features[0].weight.detach().numpy(), exact)
    assert np.allclose(prepared.features[0].bias.detach().numpy(), shift, rtol=1e-7, atol=0)


@pytest.mark.parametrize("broken", ["padding", "no bias", "one channel", "no convolution"])
def test_a_fold_that_would_not_be_exact_is_refused(broken):
    first = {
        "padding": torch.nn.Conv2d(3, 4, 3, padding=1),
        "no bias": torch.nn.Conv2d(3, 4, 3, bias=False),
        "one channel": torch.nn.Conv2d(1, 4, 3),
        "no convolution": torch.nn.ReLU(),
    }[broken]
    with pytest.raises(ConversionError, match="--input-kind tensor"):
        network_room.fold_normalisation(torch.nn.Sequential(first), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), reverse=False)


@given(size=st.integers(1, 300), kernel=st.integers(1, 5), stride=st.integers(1, 4))
def test_ceil_mode_padding_counts_as_torch_does(size, kernel, stride):
    if size < kernel:
        return
    values = torch.arange(float(size)).view(1, 1, 1, size)
    wanted = torch.nn.functional.max_pool2d(values, (1, kernel), (1, stride), ceil_mode=True).flatten().tolist()
    try:
        padding = network_room.ceil_mode_padding("pool", size, kernel, stride)
    except ConversionError:
        return
    # TFLite's definition of its two paddings, over rising values: the maximum is a window's last element
    if padding == "VALID":
        count, front = (size - kernel) // stride + 1, 0
    else:
        count = -(-size // stride)
        front = max((count - 1) * stride + kernel - size, 0) // 2
    assert [float(min(k * stride - front + kernel, size) - 1) for k in range(count)] == wanted


@pytest.mark.parametrize(("size", "padding"), [(13, "VALID"), (12, "SAME"), (3, "VALID"), (4, "SAME")])
def test_the_networks_own_pool(size, padding):
    assert network_room.ceil_mode_padding("pool", size, 3, 2) == padding


def test_a_pool_that_tflite_cannot_express_is_refused():
    with pytest.raises(ConversionError, match="kernel 5 and stride 3 over 9"):
        network_room.ceil_mode_padding("pool", 9, 5, 3)
    dilated = torch.nn.Sequential(torch.nn.MaxPool2d(3, 2, dilation=2, ceil_mode=True))
    with pytest.raises(ConversionError, match="dilated"):
        network_room.rewrite_pools(dilated, 12, 12)


@pytest.mark.parametrize(("height", "width", "pools"), [(12, 12, 1), (13, 13, 1), (13, 12, 2), (12, 13, 2)])
def test_mixed_parity_becomes_two_pools_that_agree_on_negative_values(height, width, pools):
    original = torch.nn.Sequential(torch.nn.MaxPool2d(3, 2, ceil_mode=True))
    rewritten = torch.nn.Sequential(torch.nn.MaxPool2d(3, 2, ceil_mode=True))
    network_room.rewrite_pools(rewritten, height, width)
    values = -torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) - 1
    assert torch.equal(original(values), rewritten(values))
    assert sum(isinstance(m, torch.nn.MaxPool2d) for m in rewritten.modules()) == pools


def test_too_small_an_input_names_the_size():
    source = seven_classes(preprocessing=torchvision(8, 8))
    with pytest.raises(ConversionError, match="8x8"):
        network_room.prepare(source, declared(source, settings()).input)


@pytest.mark.parametrize("model", MODELS)
def test_expected_operators(model):
    source = seven_classes(model, preprocessing=torchvision(224, 224))
    prepared, _ = network_room.prepare(source, declared(source, settings()).input)
    pools = sum(isinstance(m, torch.nn.MaxPool2d) for m in prepared.modules())
    assert pools == 3
    adds = {"squeezenet1_0_bypass": 4, "squeezenet1_0_complex_bypass": 8}.get(model, 0)
    convolutions = 30 if model == "squeezenet1_0_complex_bypass" else 26
    wanted = Counter({"CONV_2D": convolutions, "MAX_POOL_2D": 3, "CONCATENATION": 8, "MEAN": 1})
    wanted += Counter({"ADD": adds})
    assert network_room.expected_operators(prepared, "logits", half=False) == wanted
    half = network_room.expected_operators(prepared, "probabilities", half=True)
    assert half == wanted + Counter({"SOFTMAX": 1, "DEQUANTIZE": convolutions})


def test_a_source_without_labels_or_with_other_sizes_is_no_special_case():
    source = dataclasses.replace(seven_classes(preprocessing=torchvision(65, 97)), labels=None)
    prepared, _ = network_room.prepare(source, declared(source, settings()).input)
    pixels = pictures(source.preprocessing)
    spec = declared(source, settings()).input
    with torch.no_grad():
        found = prepared(torch.from_numpy(spec.encode(pixels).transpose(0, 3, 1, 2).copy())).numpy()
    assert np.abs(found - eager(source, pixels)).max() < 1e-6
