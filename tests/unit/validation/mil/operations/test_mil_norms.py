"""The operations that normalise, against coremltools' definitions or torch, in fp32 and rounded once in fp16."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional

from squeeze_export.errors import UnsupportedOperationError
from tests.unit.validation.mil.operations.definitions import assert_rounded_once, called, defined


def drawn(seed, shape, dtype=np.float32, offset=0.0):
    return (np.random.default_rng(seed).normal(size=shape) + offset).astype(dtype)


def _layer_norm(x, axes, gamma, beta, epsilon):
    axes = sorted(axis % x.ndim for axis in axes)
    shape = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
    centred = x - x.mean(tuple(axes), keepdims=True)
    normalised = centred / np.sqrt((centred**2).mean(tuple(axes), keepdims=True) + epsilon)
    return normalised * (1 if gamma is None else gamma.reshape(shape)) + (0 if beta is None else beta.reshape(shape))


@st.composite
def layers(draw):
    """A shape, some of its axes in any order and from either end, whether there are gamma and beta, and a seed."""
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=5, min_side=2, max_side=4))
    axes = draw(st.lists(st.sampled_from(range(len(shape))), min_size=1, unique=True))
    signed = [axis - len(shape) * draw(st.booleans()) for axis in axes]
    return shape, signed, draw(st.booleans()), draw(st.integers(0, 1000))


def _parameters(shape, axes, given_, seed, dtype):
    normalised = [shape[axis] for axis in sorted(axis % len(shape) for axis in axes)]
    return (drawn(seed + 1, normalised, dtype), drawn(seed + 2, normalised, dtype)) if given_ else (None, None)


@given(case=layers(), epsilon=st.sampled_from([1e-6, 1e-5, 1e-3, 0.5]))
@settings(deadline=None, max_examples=80)
def test_layer_norm_is_coremltools_layer_norm(case, epsilon):
    shape, axes, with_parameters, seed = case
    x, epsilon = drawn(seed, shape), np.float32(epsilon)
    gamma, beta = _parameters(shape, axes, with_parameters, seed, np.float32)
    values = {"x": x, "axes": np.array(axes, np.int32), "epsilon": epsilon}
    values |= {"gamma": gamma, "beta": beta} if with_parameters else {}
    expected = defined("layer_norm", **values)
    np.testing.assert_allclose(called("layer_norm", **values), expected, rtol=1e-4, atol=1e-4)
    exact = _layer_norm(x.astype(np.float64), axes, gamma, beta, float(epsilon))
    np.testing.assert_allclose(expected, exact, rtol=1e-3, atol=1e-3)


@given(case=layers())
@settings(deadline=None, max_examples=60)
def test_layer_norm_in_fp16_is_rounded_once(case):
    shape, axes, with_parameters, seed = case
    x = drawn(seed, shape, np.float16, offset=1)
    gamma, beta = _parameters(shape, axes, with_parameters, seed, np.float16)
    epsilon = np.float16(1e-3)
    values = {"x": x, "axes": np.array(axes, np.int32), "epsilon": epsilon, "gamma": gamma, "beta": beta}
    wide = [None if value is None else value.astype(np.float64) for value in (gamma, beta)]
    exact = _layer_norm(x.astype(np.float64), axes, *wide, float(epsilon))
    assert_rounded_once(called("layer_norm", **values), exact, slack=2e-5)


def test_layer_norm_of_all_axes_is_the_default():
    x = drawn(3, (2, 3, 4))
    np.testing.assert_array_equal(
        called("layer_norm", x=x, epsilon=np.float32(1e-5)),
        called("layer_norm", x=x, axes=np.array([0, 1, 2]), epsilon=np.float32(1e-5)),
    )


def test_sums_of_an_fp16_layer_norm_do_not_overflow():
    """4096 numbers near 200: their sum and the sum of their squares lie far beyond fp16."""
    x = drawn(5, (1, 4096), np.float16, offset=200)
    exact = _layer_norm(x.astype(np.float64), [1], None, None, float(np.float16(1e-5)))
    values = {"x": x, "axes": np.array([1]), "epsilon": np.float16(1e-5)}
    assert_rounded_once(called("layer_norm", **values), exact, slack=1e-4)
    assert_rounded_once(called("reduce_l2_norm", x=x, axes=np.array([1])), np.sqrt((x.astype(np.float64) ** 2).sum(1)), 1e-2)


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 4, 3, 2), (2, 3, 1, 2)])
@pytest.mark.parametrize("with_parameters", [False, True])
def test_instance_norm_is_torchs(shape, with_parameters):
    x = drawn(1, shape)
    gamma, beta = (drawn(2, shape[1]), drawn(3, shape[1])) if with_parameters else (None, None)
    expected = functional.instance_norm(
        torch.from_numpy(x), weight=torch.from_numpy(gamma) if with_parameters else None,
        bias=torch.from_numpy(beta) if with_parameters else None, eps=1e-3,
    )  # fmt: skip
    found = called("instance_norm", x=x, gamma=gamma, beta=beta, epsilon=np.float32(1e-3))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@given(shape=arrays.array_shapes(min_dims=3, max_dims=5, max_side=4), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_l2_norm_is_coremltools_l2_norm(shape, seed):
    x, epsilon = drawn(seed, shape), np.float32(1e-6)
    np.testing.assert_allclose(called("l2_norm", x=x, epsilon=epsilon), defined("l2_norm", x=x, epsilon=epsilon), rtol=1e-5)


def test_local_response_norm_over_an_even_number_of_channels_is_refused():
    with pytest.raises(UnsupportedOperationError, match="even number of channels, 4"):
        called("local_response_norm", x=drawn(0, (1, 6, 2, 2)), size=4)
