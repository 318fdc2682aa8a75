"""The operations that reduce axes. Sums are accumulated in fp32, whatever their length; an fp16 program's result is rounded once.

So the squares below a norm never overflow here, where a device that adds in fp16 may do so from 256 on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.errors import UnsupportedOperationError
from squeeze_export.validation.mil.arguments import Arguments

if TYPE_CHECKING:
    import torch


def _axes(a: Arguments) -> list[int]:
    return a.ints("axes") if a.optional("axes") is not None else list(range(a.tensor("x").dim()))


def reduce_mean(a: Arguments) -> torch.Tensor:
    """Mean over the axes."""
    return a.tensor("x").mean(_axes(a), keepdim=a.flag("keep_dims"))


def reduce_sum(a: Arguments) -> torch.Tensor:
    """Sum over the axes."""
    return a.tensor("x").sum(_axes(a), keepdim=a.flag("keep_dims"))


def reduce_max(a: Arguments) -> torch.Tensor:
    """Largest over the axes."""
    return a.tensor("x").amax(_axes(a), keepdim=a.flag("keep_dims"))


def reduce_min(a: Arguments) -> torch.Tensor:
    """Smallest over the axes."""
    return a.tensor("x").amin(_axes(a), keepdim=a.flag("keep_dims"))


def reduce_sum_square(a: Arguments) -> torch.Tensor:
    """Sum of the squares over the axes."""
    return a.tensor("x").square().sum(_axes(a), keepdim=a.flag("keep_dims"))


def reduce_l1_norm(a: Arguments) -> torch.Tensor:
    """Sum without the signs over the axes."""
    return a.tensor("x").abs().sum(_axes(a), keepdim=a.flag("keep_dims"))


def reduce_l2_norm(a: Arguments) -> torch.Tensor:
    """Root of the sum of the squares over the axes, of floating-point numbers."""
    if not a.tensor("x").is_floating_point():
        raise UnsupportedOperationError("reduce_l2_norm of integers")
    return reduce_sum_square(a).sqrt()


def reduce_log_sum_exp(a: Arguments) -> torch.Tensor:
    """Logarithm of the sum of the exponentials over the axes."""
    return a.tensor("x").logsumexp(_axes(a), keepdim=a.flag("keep_dims"))
