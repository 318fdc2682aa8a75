"""The table of operations: each MIL operation as one small function over torch tensors.

Every function computes in fp32 on tensors whose values the program's type can represent; the executor rounds the result
to the type that the program declares for it. An operation or a variant that is not here is refused, never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.errors import UnsupportedOperationError
from squeeze_export.validation.mil import movement, windows
from squeeze_export.validation.mil.arguments import Arguments
from squeeze_export.validation.mil.weights import DECODERS

if TYPE_CHECKING:
    import torch

Operation = Callable[[Arguments], Any]


def linear(a: Arguments) -> torch.Tensor:
    """x @ weight.T + bias."""
    from torch.nn import functional

    result: torch.Tensor = functional.linear(a.tensor("x"), a.tensor("weight"), a.optional("bias"))
    return result


def matmul(a: Arguments) -> torch.Tensor:
    """x @ y, either transposed first in its last two axes."""
    x, y = a.tensor("x"), a.tensor("y")
    return (x.transpose(-1, -2) if a.flag("transpose_x") else x) @ (y.transpose(-1, -2) if a.flag("transpose_y") else y)


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


def clip(a: Arguments) -> torch.Tensor:
    """Limited to alpha..beta."""
    return a.tensor("x").clamp(a.number("alpha", 0.0), a.number("beta", 1.0))


def sigmoid(a: Arguments) -> torch.Tensor:
    """1 / (1 + exp(-x))."""
    return a.tensor("x").sigmoid()


def tanh(a: Arguments) -> torch.Tensor:
    """Hyperbolic tangent."""
    return a.tensor("x").tanh()


def silu(a: Arguments) -> torch.Tensor:
    """x * sigmoid(x)."""
    return a.tensor("x") * a.tensor("x").sigmoid()


def softmax(a: Arguments) -> torch.Tensor:
    """exp(x) over its sum along `axis`."""
    return a.tensor("x").softmax(a.integer("axis", -1))


def exp(a: Arguments) -> torch.Tensor:
    """e to the power of x."""
    return a.tensor("x").exp()


def log(a: Arguments) -> torch.Tensor:
    """Natural logarithm of x + epsilon."""
    return (a.tensor("x") + a.number("epsilon", 1e-45)).log()


def square_root(a: Arguments) -> torch.Tensor:
    """Square root."""
    return a.tensor("x").sqrt()


def absolute(a: Arguments) -> torch.Tensor:
    """Without the sign."""
    return a.tensor("x").abs()


def square(a: Arguments) -> torch.Tensor:
    """x * x."""
    return a.tensor("x").square()


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


def cast(a: Arguments) -> torch.Tensor:
    """To another type; towards zero from floating point to integer. fp16 is left to the executor's rounding."""
    import torch

    kinds = {
        "fp16": torch.float32,
        "fp32": torch.float32,
        "int32": torch.int32,
        "int16": torch.int16,
        "int8": torch.int8,
        "uint8": torch.uint8,
        "bool": torch.bool,
    }
    if a.text("dtype") not in kinds:
        raise UnsupportedOperationError(f"cast to {a.text('dtype')}")
    return a.tensor("x").to(kinds[a.text("dtype")])


def classify(a: Arguments) -> tuple[torch.Tensor, torch.Tensor]:
    """The index of the most probable class, and the probabilities as one row (1, classes) in label order."""
    row = a.tensor("probabilities").reshape(1, -1)
    return row.argmax(dim=1), row


OPERATIONS: Final[Mapping[str, Operation]] = {
    "abs": absolute,
    "add": add,
    "avg_pool": windows.avg_pool,
    "batch_norm": batch_norm,
    "cast": cast,
    "classify": classify,
    "clip": clip,
    "concat": movement.concat,
    "conv": windows.conv,
    "exp": exp,
    "expand_dims": movement.expand_dims,
    "identity": movement.identity,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log": log,
    "matmul": matmul,
    "max_pool": windows.max_pool,
    "maximum": maximum,
    "minimum": minimum,
    "mul": mul,
    "pad": movement.pad,
    "pow": power,
    "real_div": real_div,
    "reduce_max": reduce_max,
    "reduce_mean": reduce_mean,
    "reduce_min": reduce_min,
    "reduce_sum": reduce_sum,
    "relu": relu,
    "relu6": relu6,
    "reshape": movement.reshape,
    "reverse": movement.reverse,
    "sigmoid": sigmoid,
    "silu": silu,
    "slice_by_index": movement.slice_by_index,
    "slice_by_size": movement.slice_by_size,
    "softmax": softmax,
    "split": movement.split,
    "sqrt": square_root,
    "square": square,
    "squeeze": movement.squeeze,
    "stack": movement.stack,
    "sub": sub,
    "tanh": tanh,
    "transpose": movement.transpose,
}

# Everything that a package may hold; constants and compressed constants are computed once, when it is opened.
IMPLEMENTED: Final[frozenset[str]] = frozenset(OPERATIONS) | frozenset(DECODERS) | {"const"}
