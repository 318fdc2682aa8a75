"""The operations that slide a window over the image: convolution and pooling, over one, two or three spatial axes.

Sizes and paddings follow MIL's definitions; the window itself is torch's. A padding is a (before, after) pair per spatial axis.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from squeeze_export.errors import UnsupportedOperationError
from squeeze_export.validation.mil.arguments import Arguments

if TYPE_CHECKING:
    import torch

Padding = list[tuple[int, int]]


def _padding(a: Arguments, sizes: list[int], kernel: list[int], strides: list[int]) -> Padding:
    """Resolve `pad_type`. `same` keeps ceil(size / stride) windows and puts an odd element behind, `same_lower` in front."""
    kind = a.text("pad_type")
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "custom":
        pad = a.ints("pad")
        return list(zip(pad[::2], pad[1::2], strict=True))
    if kind not in ("same", "same_lower"):
        raise UnsupportedOperationError(f"pad_type {kind!r}")
    totals = [max(0, (-(-size // s) - 1) * s + k - size) for size, k, s in zip(sizes, kernel, strides, strict=True)]
    halves = [(total // 2, total - total // 2) for total in totals]
    return halves if kind == "same" else [(after, before) for before, after in halves]


def _pad(x: torch.Tensor, padding: Padding, value: float) -> torch.Tensor:
    if not any(before or after for before, after in padding):
        return x
    from torch.nn import functional

    flat = [amount for pair in reversed(padding) for amount in pair]  # torch counts from the last axis
    return functional.pad(x, flat, value=value)


def conv(a: Arguments) -> torch.Tensor:
    """Cross-correlate; the weight is (out, in / groups, *kernel)."""
    from torch.nn import functional

    x, weight = a.tensor("x"), a.tensor("weight")
    spatial = x.dim() - 2
    strides, dilations = a.ints("strides") or [1] * spatial, a.ints("dilations") or [1] * spatial
    kernel = [(size - 1) * d + 1 for size, d in zip(weight.shape[2:], dilations, strict=True)]
    padding = _padding(a, list(x.shape[2:]), kernel, strides)
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[spatial]
    symmetric = [before for before, after in padding if before == after]
    if len(symmetric) < spatial:
        x, symmetric = _pad(x, padding, 0.0), [0] * spatial
    result: torch.Tensor = convolve(
        x, weight, a.optional("bias"), stride=strides, padding=symmetric, dilation=dilations, groups=a.integer("groups", 1)
    )
    return result


def _pooling(a: Arguments) -> tuple[list[int], list[int], Padding, Padding]:
    """Kernel, strides, declared padding and, with ceil_mode, the overhang of the last window beyond it."""
    sizes = list(a.tensor("x").shape[2:])
    kernel = a.ints("kernel_sizes")
    strides = a.ints("strides") or [1] * len(sizes)
    padding = _padding(a, sizes, kernel, strides)
    overhang = []
    for size, k, s, (before, after) in zip(sizes, kernel, strides, padding, strict=True):
        room = size + before + after - k
        count = (-(-room // s) if a.flag("ceil_mode") else room // s) + 1
        if a.flag("ceil_mode") and before + after > 0 and (count - 1) * s >= size + before:
            count -= 1  # a window that would begin beyond the input is left out, as in PyTorch
        beyond = max(0, (count - 1) * s + k - (size + before + after))
        if max(before, after + beyond) >= k:
            raise UnsupportedOperationError(
                f"a pooling window of {k} that lies wholly in its padding {before, after}, stride {s}"
            )
        overhang.append((0, beyond))
    return kernel, strides, padding, overhang


def max_pool(a: Arguments) -> torch.Tensor:
    """Largest value per window; padding and overhang never win."""
    from torch.nn import functional

    kernel, strides, padding, overhang = _pooling(a)
    pool = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[len(kernel)]
    result: torch.Tensor = pool(_pad(_pad(a.tensor("x"), padding, -math.inf), overhang, -math.inf), kernel, strides)
    return result


def avg_pool(a: Arguments) -> torch.Tensor:
    """Mean per window. The padding counts as zeros unless it is excluded; the overhang of ceil_mode never counts."""
    import torch
    from torch.nn import functional

    kernel, strides, padding, overhang = _pooling(a)
    x = a.tensor("x")
    pool = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[len(kernel)]
    means: torch.Tensor = pool(_pad(_pad(x, padding, 0.0), overhang, 0.0), kernel, strides)
    ones = torch.ones((1, 1, *x.shape[2:]))
    counted = _pad(_pad(ones, padding, 0.0 if a.flag("exclude_padding_from_average") else 1.0), overhang, 0.0)
    if bool((counted == 1).all()):
        return means
    shares: torch.Tensor = pool(counted, kernel, strides)
    return means / shares
