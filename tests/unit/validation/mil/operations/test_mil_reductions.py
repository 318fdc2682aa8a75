"""The operations that reduce axes, against coremltools' definitions, in fp32 and rounded once in fp16."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from squeeze_export.errors import UnsupportedOperationError
from tests.unit.validation.mil.operations.definitions import assert_rounded_once, called, defined

EXACT = {
    "reduce_l1_norm": lambda x, axes, keep: np.abs(x).sum(axes, keepdims=keep),
    "reduce_l2_norm": lambda x, axes, keep: np.sqrt((x**2).sum(axes, keepdims=keep)),
    "reduce_log_sum_exp": lambda x, axes, keep: np.log(np.exp(x).sum(axes, keepdims=keep)),
    "reduce_max": lambda x, axes, keep: x.max(axes, keepdims=keep),
    "reduce_mean": lambda x, axes, keep: x.mean(axes, keepdims=keep),
    "reduce_min": lambda x, axes, keep: x.min(axes, keepdims=keep),
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keepdims=keep),
    "reduce_sum_square": lambda x, axes, keep: (x**2).sum(axes, keepdims=keep),
}


@st.composite
def reductions(draw):
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=5, max_side=5))
    axes = draw(st.lists(st.sampled_from(range(len(shape))), min_size=1, unique=True))
    return shape, [axis - len(shape) * draw(st.booleans()) for axis in axes], draw(st.booleans()), draw(st.integers(0, 1000))


@pytest.mark.parametrize("operation", EXACT)
@given(case=reductions())
@settings(deadline=None, max_examples=30)
def test_each_is_coremltools_own(operation, case):
    shape, axes, keep, seed = case
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    values = {"x": x, "axes": np.array(axes, np.int32), "keep_dims": keep}
    found = called(operation, **values)
    expected = defined(operation, **values)
    assert found.shape == expected.shape or expected.shape == ()
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operation", EXACT)
@given(case=reductions())
@settings(deadline=None, max_examples=20)
def test_each_is_rounded_once_in_fp16(operation, case):
    shape, axes, keep, seed = case
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float16)
    found = called(operation, x=x, axes=np.array(axes), keep_dims=keep)
    exact = EXACT[operation](x.astype(np.float64), tuple(axes), keep)
    assert found.shape == exact.shape
    assert_rounded_once(found, exact, slack=1e-6 * float(np.abs(x.astype(np.float64)).sum()))


def test_a_norm_of_integers_is_refused():
    with pytest.raises(UnsupportedOperationError, match="reduce_l2_norm of integers"):
        called("reduce_l2_norm", x=np.ones((2, 2), np.int32), axes=np.array([1]))
