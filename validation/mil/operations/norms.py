"""The operations that normalise. The whole formula is computed in fp32; an fp16 program's result is rounded once.

The variance is that of the whole population (divided by the count). epsilon is the stored one: in an fp16 program 1e-6 is the
fp16 number next to it, 1.013e-6, and 1e-8 is zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.errors import UnsupportedOperationError
from squeeze_export.validation.mil.arguments import Arguments

if TYPE_CHECKING:
    import torch


def batch_norm(a: Arguments) -> torch.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, per channel (axis 1)."""
    from torch.nn import functional

    result: torch.Tensor = functional.batch_norm(
        a.tensor("x"),
        a.tensor("mean"),
        a.tensor("variance"),
        a.optional("gamma"),
        a.optional("beta"),
        eps=a.number("epsilon", 1e-5),
    )
    return result


def layer_norm(a: Arguments) -> torch.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, over the axes; gamma and beta have their shape, in x's order."""
    from torch.nn import functional

    x, gamma, beta, epsilon = a.tensor("x"), a.optional("gamma"), a.optional("beta"), a.number("epsilon", 1e-5)
    axes = sorted({axis % x.dim() for axis in a.ints("axes")}) if a.optional("axes") is not None else list(range(x.dim()))
    if axes == list(range(axes[0], x.dim())):
        result: torch.Tensor = functional.layer_norm(x, x.shape[axes[0] :], gamma, beta, epsilon)
        return result
    return _scaled(_normalised(x, axes, epsilon), gamma, beta, [x.shape[i] if i in axes else 1 for i in range(x.dim())])


def instance_norm(a: Arguments) -> torch.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, over each channel (axis 1) of each image; gamma, beta per channel."""
    x = a.tensor("x")
    normalised = _normalised(x, list(range(2, x.dim())), a.number("epsilon", 1e-5))
    return _scaled(normalised, a.optional("gamma"), a.optional("beta"), [-1, *[1] * (x.dim() - 2)])


def l2_norm(a: Arguments) -> torch.Tensor:
    """x / sqrt(the sum of its squares over the last three axes + epsilon)."""
    x = a.tensor("x")
    return x / (x.square().sum((-3, -2, -1), keepdim=True) + a.number("epsilon", 1e-6)).sqrt()


def local_response_norm(a: Arguments) -> torch.Tensor:
    """x / (k + alpha / size * the sum of squares of the `size` channels around) ** beta; an odd size."""
    from torch.nn import functional

    size = a.integer("size", 1)
    if size % 2 == 0:  # on which side the one more channel stands is not defined
        raise UnsupportedOperationError(f"local_response_norm over an even number of channels, {size}")
    result: torch.Tensor = functional.local_response_norm(
        a.tensor("x"), size, a.number("alpha", 1e-4), a.number("beta", 0.75), a.number("k", 1.0)
    )
    return result


def _normalised(x: torch.Tensor, axes: list[int], epsilon: float) -> torch.Tensor:
    """(x - mean) / sqrt(variance + epsilon) over the axes."""
    centred = x - x.mean(axes, keepdim=True)
    return centred * (centred.square().mean(axes, keepdim=True) + epsilon).rsqrt()


def _scaled(x: torch.Tensor, gamma: torch.Tensor | None, beta: torch.Tensor | None, shape: list[int]) -> torch.Tensor:
    x = x if gamma is None else x * gamma.reshape(shape)
    return x if beta is None else x + beta.reshape(shape)
