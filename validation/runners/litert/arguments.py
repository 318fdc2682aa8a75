"""Shapes and constant arguments of operations beyond SqueezeNet's, held against each other before native code trusts them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from squeeze_export.errors import ArtifactError

if TYPE_CHECKING:
    from squeeze_export.validation.runners.litert.model import Operation, TfliteFile

_REDUCTIONS: Final = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
_PADS: Final = ("PAD", "PADV2", "MIRROR_PAD")
# Operations of two operands or more; all others have one at least.
_TWO: Final = frozenset(
    {"BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SLICE", "GATHER", *_REDUCTIONS, *_PADS}
)
_COUNTS: Final[Mapping[str, int]] = {"STRIDED_SLICE": 4, "SLICE": 3, "PADV2": 3, "TRANSPOSE_CONV": 3, "SELECT_V2": 3, "SELECT": 3}


def check(file: TfliteFile, operation: Operation, widened: Mapping[int, int]) -> None:
    """ArtifactError where an operation has too few operands, or its shapes or arguments do not fit each other."""
    name, inputs = operation.name, operation.inputs
    count = _COUNTS.get(name, 2 if name in _TWO else 1)
    require(len(inputs) >= count and -1 not in inputs[:count], f"{name} reads {inputs}, {count} tensors at least")
    given, made = file.shapes[inputs[0]], file.shapes[operation.outputs[0]]
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        _check_layer(file, operation, widened)
    elif name == "RESHAPE":
        require(math.prod(given) == math.prod(made), f"RESHAPE of {given} to {made}")
    elif name == "TRANSPOSE":
        order = _constant(file, operation, 1)
        fits = order is None or (sorted(order) == list(range(len(given))) and made == tuple(given[axis] for axis in order))
        require(fits, f"TRANSPOSE of {given} by {order} to {made}")
    elif name in _REDUCTIONS:
        axes = _constant(file, operation, 1)
        require(axes is None or all(-len(given) <= axis < len(given) for axis in axes), f"{name} of {given} over {axes}")
    elif name in _PADS:
        sides = _constant(file, operation, 1)
        fits = sides is None or (len(sides) == 2 * len(given) == 2 * len(made) and min(sides, default=0) >= 0)
        if fits and sides is not None:
            fits = all(made[k] == given[k] + sides[2 * k] + sides[2 * k + 1] for k in range(len(given)))
        require(fits, f"{name} of {given} by {sides} to {made}")
    elif name == "SLICE":
        begin, size = _constant(file, operation, 1), _constant(file, operation, 2)
        fits = begin is None or size is None or len(begin) == len(size) == len(given)
        if fits and begin is not None and size is not None:
            fits = all(b >= 0 and s >= -1 and b + max(s, 0) <= g for b, s, g in zip(begin, size, given, strict=True))
        require(fits, f"SLICE of {given} from {begin} by {size}")


def _check_layer(file: TfliteFile, operation: Operation, widened: Mapping[int, int]) -> None:
    name, inputs = operation.name, operation.inputs
    stored = widened.get(inputs[1], inputs[1])
    shape, given, made = file.shapes[stored], file.shapes[inputs[0]], file.shapes[operation.outputs[0]]
    require(stored == inputs[1] or file.shapes[inputs[1]] == shape, f"{name} with a filter {shape} widened to another shape")
    if name == "FULLY_CONNECTED":
        fits = len(shape) == 2 and math.prod(given) % shape[1] == 0 and made[-1:] == shape[:1]
        fits = fits and math.prod(made) * shape[1] == math.prod(given) * shape[0]
        outputs = shape[:1]
    else:
        fits = len(shape) == len(given) == len(made) == 4 and given[0] == made[0]
        outputs = shape[:1] if name == "CONV_2D" else shape[3:]
        fits = fits and made[3:] == outputs
        if fits and name == "CONV_2D":
            fits = given[3] % shape[3] == 0 and shape[0] % (given[3] // shape[3]) == 0
        elif fits:
            fits = shape[0] == 1 and shape[3] % given[3] == 0
    bias = inputs[2] if len(inputs) > 2 else -1
    require(fits, f"{name} with filter {shape} over {given} to {made}")
    require(bias == -1 or file.shapes[bias] == outputs, f"{name} with filter {shape} and bias {file.shapes[bias]}")


def _constant(file: TfliteFile, operation: Operation, place: int) -> list[int] | None:
    """A constant argument's numbers, in one row; None where it is computed."""
    index = operation.inputs[place] if len(operation.inputs) > place else -1
    if index not in file.constants:
        return None
    require(file.types[index] in ("INT32", "INT64"), f"{operation.name} is told {file.types[index]} instead of whole numbers")
    return [int(value) for value in file.constants[index].reshape(-1)]


def require(condition: bool, found: str) -> None:
    """ArtifactError with what was found, unless the condition holds."""
    if not condition:
        raise ArtifactError(f"The TFLite file is damaged or not of this tool's making: {found}. Export it again.")
