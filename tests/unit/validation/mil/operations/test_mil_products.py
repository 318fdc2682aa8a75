"""The products of matrices against coremltools' definitions and torch, in fp32 and rounded once in fp16."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from squeeze_export.errors import UnsupportedOperationError
from tests.unit.validation.mil.operations.definitions import assert_rounded_once, called, defined

SIDE = st.integers(1, 4)


def drawn(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@given(b=SIDE, c=SIDE, h=SIDE, w=SIDE, u=SIDE, flat=st.tuples(*[st.booleans()] * 4), letters=st.permutations("nchwu"))
@settings(deadline=None, max_examples=50)
def test_einsum_is_coremltools_einsum(b, c, h, w, u, flat, letters):
    """Of rank 4, whatever the letters, with batch and height of either operand being one."""
    n_, c_, h_, w_, u_ = letters
    equation = f"{n_}{c_}{h_}{w_},{n_}{w_}{h_}{u_}->{n_}{c_}{h_}{u_}"
    x = drawn(1, 1 if flat[0] else b, c, 1 if flat[1] else h, w)
    y = drawn(2, 1 if flat[2] else b, w, 1 if flat[3] else h, u)
    found = called("einsum", values=(x, y), equation=equation)
    np.testing.assert_allclose(found, np.einsum("nchw,nwhu->nchu", x, y), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found, defined("einsum", values=(x, y), equation=equation), rtol=1e-5, atol=1e-5)


@given(c=SIDE, h=SIDE, w=SIDE, u=SIDE, flat=st.booleans())
@settings(deadline=None, max_examples=25)
def test_einsum_of_rank_three(c, h, w, u, flat):
    x, y = drawn(1, c, h, w), drawn(2, w, 1 if flat else h, u)
    values = {"values": (x, y), "equation": "chw,whr->chr"}
    np.testing.assert_allclose(called("einsum", **values), defined("einsum", **values), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("equation", ["ij,jk->ik", "nchw,nwhu->nhcu", "nchw,nchw->nch", "bhid,bhjd->bhij", "abcdefghij->a"])
def test_another_equation_is_refused(equation):
    with pytest.raises(UnsupportedOperationError, match="einsum with the equation"):
        called("einsum", values=(drawn(1, 2, 2, 2, 2), drawn(2, 2, 2, 2, 2)), equation=equation)


@given(
    batch=SIDE, rows=SIDE, inner=st.integers(1, 60), columns=SIDE, flips=st.tuples(st.booleans(), st.booleans()),
    flat=st.tuples(st.booleans(), st.booleans()),
)  # fmt: skip
@settings(deadline=None, max_examples=40)
def test_matmul_broadcasts_and_is_rounded_once_in_fp16(batch, rows, inner, columns, flips, flat):
    x, y = drawn(1, 1 if flat[0] else batch, rows, inner, dtype=np.float16), drawn(2, inner, columns, dtype=np.float16)
    y = y if flat[1] else np.stack([y + index for index in range(batch)])
    exact = x.astype(np.float64) @ y.astype(np.float64)
    x, y = x.swapaxes(-1, -2) if flips[0] else x, y.swapaxes(-1, -2) if flips[1] else y
    found = called("matmul", x=x, y=y, transpose_x=flips[0], transpose_y=flips[1])
    assert_rounded_once(found, exact, slack=1e-6 * float(np.abs(exact).max() + inner))
    folded = defined("matmul", x=x.astype(np.float32), y=y.astype(np.float32), transpose_x=flips[0], transpose_y=flips[1])
    np.testing.assert_allclose(found, folded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mask", [None, "bool", "float", "row"])
@given(batch=SIDE, heads=SIDE, length=SIDE, source=SIDE, width=SIDE, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_attention_is_coremltools_and_torchs(mask, batch, heads, length, source, width, seed):
    query, key = drawn(seed, batch, heads, length, width), drawn(seed + 1, batch, heads, source, width)
    values = {"query": query, "key": key, "value": drawn(seed + 2, batch, heads, source, width + 1)}
    if mask is not None:
        values["attn_mask"] = drawn(seed + 3, *((source,) if mask == "row" else (length, source)))
        if mask == "bool":
            values["attn_mask"] = values["attn_mask"] > 0
            values["attn_mask"][:, 0] = True  # a row of nothing has no softmax
    found = called("scaled_dot_product_attention", **values)
    tensors = [torch.from_numpy(values[name]) for name in ("query", "key", "value")]
    masks = None if mask is None else torch.from_numpy(values["attn_mask"]).expand(length, source)
    expected = functional.scaled_dot_product_attention(*tensors, attn_mask=masks)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    folded = defined("scaled_dot_product_attention", "iOS18", **values)
    np.testing.assert_allclose(found, folded, rtol=1e-5, atol=1e-6)
