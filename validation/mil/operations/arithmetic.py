"""Arithmetic, element by element: of two tensors, broadcast as numpy does, or of one.

Each computes in fp32; the executor rounds the result once where the program declares fp16. For a sum, difference, product or
quotient of two fp16 values, and for a square root, that gives exactly what IEEE fp16 defines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.errors import UnsupportedOperationError
from squeeze_export.validation.mil.arguments import Arguments

if TYPE_CHECKING:
    import torch


def add(a: Arguments) -> torch.Tensor:
    """x + y, broadcast."""
    return a.tensor("x") + a.tensor("y")


def sub(a: Arguments) -> torch.Tensor:
    """x - y, broadcast."""
    return a.tensor("x") - a.tensor("y")


def mul(a: Arguments) -> torch.Tensor:
    """x * y, broadcast."""
    return a.tensor("x") * a.tensor("y")


def real_div(a: Arguments) -> torch.Tensor:
    """x / y of floating-point numbers, broadcast."""
    if not a.tensor("x").is_floating_point():
        raise UnsupportedOperationError("real_div of integers")
    return a.tensor("x") / a.tensor("y")


def maximum(a: Arguments) -> torch.Tensor:
    """The larger of x and y, broadcast."""
    return a.tensor("x").maximum(a.tensor("y"))


def minimum(a: Arguments) -> torch.Tensor:
    """The smaller of x and y, broadcast."""
    return a.tensor("x").minimum(a.tensor("y"))


def power(a: Arguments) -> torch.Tensor:
    """x to the power of y, broadcast."""
    return a.tensor("x").pow(a.tensor("y"))


def exp(a: Arguments) -> torch.Tensor:
    """e to the power of x."""
    return a.tensor("x").exp()


def log(a: Arguments) -> torch.Tensor:
    """Natural logarithm of x + epsilon."""
    return (a.tensor("x") + a.number("epsilon", 1e-45)).log()


def square_root(a: Arguments) -> torch.Tensor:
    """Square root."""
    return a.tensor("x").sqrt()


def inverse_square_root(a: Arguments) -> torch.Tensor:
    """1 / sqrt(x + epsilon)."""
    return (a.tensor("x") + a.number("epsilon", 1e-12)).rsqrt()


def error_function(a: Arguments) -> torch.Tensor:
    """The error function of Gauss."""
    return a.tensor("x").erf()


def absolute(a: Arguments) -> torch.Tensor:
    """Without the sign."""
    return a.tensor("x").abs()


def square(a: Arguments) -> torch.Tensor:
    """x * x."""
    return a.tensor("x").square()


def inverse(a: Arguments) -> torch.Tensor:
    """1 / (x + epsilon)."""
    return (a.tensor("x") + a.number("epsilon", 1e-4)).reciprocal()


def threshold(a: Arguments) -> torch.Tensor:
    """The larger of x and alpha."""
    return a.tensor("x").clamp(min=a.number("alpha", 0.0))


def floor(a: Arguments) -> torch.Tensor:
    """The next whole number below."""
    return a.tensor("x").floor()


def ceil(a: Arguments) -> torch.Tensor:
    """The next whole number above."""
    return a.tensor("x").ceil()


def nearest_whole(a: Arguments) -> torch.Tensor:
    """The nearest whole number; halves to the even one."""
    return a.tensor("x").round()


def sign(a: Arguments) -> torch.Tensor:
    """-1, 0 or 1."""
    return a.tensor("x").sign()


def sine(a: Arguments) -> torch.Tensor:
    """Sine."""
    return a.tensor("x").sin()


def cosine(a: Arguments) -> torch.Tensor:
    """Cosine."""
    return a.tensor("x").cos()
