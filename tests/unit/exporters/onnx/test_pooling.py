"""Rows selected so that plain averages of them are PyTorch's adaptive ones."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from squeeze_export.exporters.onnx.pooling import selected

sides = st.integers(1, 15)


@given(sides, sides)
def test_averages_are_those_of_adaptive_pooling(there, wanted):
    values = torch.rand(1, 1, there, dtype=torch.float64, generator=torch.Generator().manual_seed(there))
    rows, length = selected(there, wanted)
    assert len(rows) == wanted * length
    found = torch.nn.functional.avg_pool1d(values[:, :, rows], length, length)
    torch.testing.assert_close(found, torch.nn.functional.adaptive_avg_pool1d(values, wanted), rtol=1e-12, atol=1e-12)
