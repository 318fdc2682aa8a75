"""The activation functions, element by element, and softmax.

Each is one step of the program: in an fp16 program the whole formula is computed in fp32 and rounded once, at its end.
Parameters (alpha, beta) are the stored ones: in an fp16 program 1/6 is the fp16 number next to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from squeeze_export.errors import UnsupportedOperationError
from squeeze_export.validation.mil.arguments import Arguments

if TYPE_CHECKING:
    import torch

# MIL's modes of gelu that torch computes under a name of its own.
_GELU: Final = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}


def relu(a: Arguments) -> torch.Tensor:
    """Negative values become zero."""
    return a.tensor("x").relu()


def relu6(a: Arguments) -> torch.Tensor:
    """Limited to 0..6."""
    return a.tensor("x").clamp(0, 6)


def leaky_relu(a: Arguments) -> torch.Tensor:
    """Negative values are multiplied by alpha."""
    x = a.tensor("x")
    return x.where(x >= 0, x * a.number("alpha", 0.01))


def prelu(a: Arguments) -> torch.Tensor:
    """Negative values are multiplied by the alpha of their channel (axis 1)."""
    x, alpha = a.tensor("x"), a.tensor("alpha")
    return x.where(x >= 0, x * alpha.reshape(-1, *[1] * (x.dim() - 2)))


def thresholded_relu(a: Arguments) -> torch.Tensor:
    """Values below alpha become zero."""
    x = a.tensor("x")
    return x.masked_fill(x < a.number("alpha", 1.0), 0)


def elu(a: Arguments) -> torch.Tensor:
    """Negative values become alpha * (exp(x) - 1)."""
    x = a.tensor("x")
    return x.where(x > 0, a.number("alpha", 1.0) * x.expm1())


def clip(a: Arguments) -> torch.Tensor:
    """Limited to alpha..beta."""
    return a.tensor("x").clamp(a.number("alpha", 0.0), a.number("beta", 1.0))


def sigmoid(a: Arguments) -> torch.Tensor:
    """1 / (1 + exp(-x))."""
    return a.tensor("x").sigmoid()


def sigmoid_hard(a: Arguments) -> torch.Tensor:
    """alpha * x + beta, limited to 0..1."""
    return (a.tensor("x") * a.number("alpha", 0.2) + a.number("beta", 0.5)).clamp(0, 1)


def tanh(a: Arguments) -> torch.Tensor:
    """Hyperbolic tangent."""
    return a.tensor("x").tanh()


def scaled_tanh(a: Arguments) -> torch.Tensor:
    """alpha * tanh(beta * x)."""
    return (a.tensor("x") * a.number("beta", 1.0)).tanh() * a.number("alpha", 1.0)


def linear_activation(a: Arguments) -> torch.Tensor:
    """alpha * x + beta."""
    return a.tensor("x") * a.number("alpha", 1.0) + a.number("beta", 0.0)


def silu(a: Arguments) -> torch.Tensor:
    """x * sigmoid(x)."""
    from torch.nn import functional

    result: torch.Tensor = functional.silu(a.tensor("x"))
    return result


def softplus(a: Arguments) -> torch.Tensor:
    """log(1 + exp(x))."""
    x = a.tensor("x")
    return x.abs().neg().exp().log1p() + x.relu()


def softsign(a: Arguments) -> torch.Tensor:
    """x / (1 + |x|)."""
    x = a.tensor("x")
    return x / (1 + x.abs())


def gelu(a: Arguments) -> torch.Tensor:
    """x times the normal distribution's integral at x: exactly, or by MIL's formula with tanh or sigmoid(1.702 x)."""
    from torch.nn import functional

    x, mode = a.tensor("x"), a.text("mode")
    if mode == "SIGMOID_APPROXIMATION":
        return x * (x * 1.702).sigmoid()
    if mode not in _GELU:
        raise UnsupportedOperationError(f"gelu with mode {mode!r}")
    result: torch.Tensor = functional.gelu(x, approximate=_GELU[mode])
    return result


def softmax(a: Arguments) -> torch.Tensor:
    """exp(x) over its sum along `axis`."""
    return a.tensor("x").softmax(a.integer("axis", -1))
