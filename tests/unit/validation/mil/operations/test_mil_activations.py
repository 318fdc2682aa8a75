"""The activation functions against coremltools' definitions, in fp32 and rounded once in fp16."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from squeeze_export.errors import UnsupportedOperationError
from tests.unit.validation.mil.operations.definitions import assert_rounded_once, called, defined

SHAPES = arrays.array_shapes(min_dims=1, max_dims=5, max_side=5)


def values(dtype):
    width = np.dtype(dtype).itemsize * 8
    return st.floats(-20, 20, width=width, allow_subnormal=False)


def tensors(dtype=np.float32):
    return arrays.arrays(dtype, SHAPES, elements=values(dtype))


def _gelu(x, mode):
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    if mode == "SIGMOID_APPROXIMATION":
        return x / (1 + np.exp(-1.702 * x))
    return 0.5 * x * np.vectorize(math.erfc)(-x / math.sqrt(2))


MODES = ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")


@pytest.mark.parametrize("mode", MODES)
@given(x=tensors())
@settings(deadline=None, max_examples=40)
def test_gelu_is_coremltools_gelu(mode, x):
    np.testing.assert_allclose(called("gelu", x=x, mode=mode), defined("gelu", x=x, mode=mode), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("mode", MODES)
@given(x=tensors(np.float16))
@settings(deadline=None, max_examples=40)
def test_gelu_in_fp16_is_rounded_once(mode, x):
    # 1 + erf(x) loses digits where erf is near -1: fp32's own error there goes with x.
    slack = 2e-7 * float(np.abs(x.astype(np.float64)).max())
    assert_rounded_once(called("gelu", x=x, mode=mode), _gelu(x.astype(np.float64), mode), slack)


def test_the_modes_of_gelu_differ():
    x = np.linspace(-3, 3, 61, dtype=np.float32)
    exact, by_tanh, by_sigmoid = (called("gelu", x=x, mode=mode).numpy() for mode in MODES)
    assert 1e-4 < np.abs(exact - by_tanh).max() < 1e-3 < 1e-2 < np.abs(exact - by_sigmoid).max() < 3e-2


@pytest.mark.parametrize("mode", ["", "exact", "TANH", "ERF"])
def test_an_unknown_mode_of_gelu_is_refused_by_name(mode):
    with pytest.raises(UnsupportedOperationError, match=f"gelu with mode '{mode}'"):
        called("gelu", x=np.zeros(3, np.float32), mode=mode)


@given(x=tensors(), alpha=values(np.float32), beta=values(np.float32))
@settings(deadline=None, max_examples=60)
def test_sigmoid_hard_is_coremltools_sigmoid_hard(x, alpha, beta):
    alpha, beta = np.float32(alpha), np.float32(beta)
    np.testing.assert_array_equal(
        called("sigmoid_hard", x=x, alpha=alpha, beta=beta), defined("sigmoid_hard", x=x, alpha=alpha, beta=beta)
    )


@given(x=tensors(np.float16))
@settings(deadline=None, max_examples=60)
def test_sigmoid_hard_in_fp16_takes_the_stored_sixth_and_is_rounded_once(x):
    sixth, half = np.float16(1 / 6), np.float16(0.5)
    exact = (x.astype(np.float64) * float(sixth) + 0.5).clip(0, 1)
    assert_rounded_once(called("sigmoid_hard", x=x, alpha=sixth, beta=half), exact)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_thresholded_relu_is_coremltools_thresholded_relu(dtype, data):
    x = data.draw(tensors(dtype))
    alpha = x.reshape(-1)[0] if data.draw(st.booleans()) else dtype(data.draw(values(dtype)))  # x == alpha is kept
    expected = defined("thresholded_relu", x=x.copy(), alpha=alpha)
    np.testing.assert_array_equal(called("thresholded_relu", x=x, alpha=alpha), expected.astype(np.float32))


ONE_OPERAND = {
    "elu": {"alpha": np.float32(0.75)},
    "erf": {},
    "leaky_relu": {"alpha": np.float32(0.125)},
    "rsqrt": {"epsilon": np.float32(1e-3)},
    "softplus": {},
    "softsign": {},
    "tanh": {},
    "sigmoid": {},
}


@pytest.mark.parametrize("operation", ONE_OPERAND)
@given(x=tensors())
@settings(deadline=None, max_examples=25)
def test_others_are_coremltools_own(operation, x):
    x = np.abs(x) if operation == "rsqrt" else x
    found = called(operation, x=x, **ONE_OPERAND[operation])
    np.testing.assert_allclose(found, defined(operation, x=x, **ONE_OPERAND[operation]), rtol=2e-6, atol=2e-7)


@given(x=arrays.arrays(np.float32, arrays.array_shapes(min_dims=3, max_dims=5, max_side=4), elements=values(np.float32)))
@settings(deadline=None, max_examples=25)
def test_prelu_has_an_alpha_for_each_channel(x):
    alpha = np.linspace(-1, 1, x.shape[1], dtype=np.float32) if x.ndim == 4 else np.full(x.shape[1], 0.3, np.float32)
    np.testing.assert_array_equal(called("prelu", x=x, alpha=alpha), defined("prelu", x=x, alpha=alpha))
