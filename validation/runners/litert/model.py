"""A checked TFLite file as nouns: operations, tensors, constants, what integers stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array


_CONVOLUTIONS: Final = {"CONV_2D": 4, "FULLY_CONNECTED": 2}  # and the axes of their filters


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One node of the graph: its name in the schema and the tensors it reads and writes (-1: an optional input left out).

    `turned`: a BATCH_MATMUL takes its second operand transposed.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    turned: bool = False


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a quantised tensor's integers stand for: (value - zero point) * scale, per channel along `axis` or for all."""

    scales: Array
    zeros: Array
    axis: int


@dataclass(frozen=True, kw_only=True)
class TfliteFile:
    """A checked file: one graph, one signature, every index in range, every constant as large as its shape says.

    `inputs`, `outputs`: signature names -> tensor index. `constants`: tensor index -> values as stored; `quantised`: what
    integers stand for. `metadata`: raw, by name. `network`: what the file says it is, None for SqueezeNet.
    """

    operations: tuple[Operation, ...]
    inputs: dict[str, int]
    outputs: dict[str, int]
    types: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    constants: dict[int, Array]
    quantised: dict[int, Scale]
    metadata: dict[str, bytes]
    network: str | None = None

    def convolutions(self) -> tuple[tuple[int, int, int], ...]:
        """The tensors that each convolution reads, in execution order: data, filter and bias as stored.

        FULLY_CONNECTED is one too: over the last axis, behind which the patches may have been laid out.
        """
        widened = {op.outputs[0]: op.inputs[0] for op in self.operations if op.name == "DEQUANTIZE"}
        found = (operation.inputs for operation in self.operations if operation.name in _CONVOLUTIONS)
        return tuple((data, widened.get(weight, weight), bias) for data, weight, bias in found)

    def levels(self, index: int) -> tuple[float, int] | None:
        """Scale and zero point of a tensor that has one of each."""
        scale = self.quantised.get(index)
        return None if scale is None or scale.scales.size != 1 else (float(scale.scales[0]), int(scale.zeros[0]))

    def decoded(self, index: int) -> Array:
        """A constant's values: floats as stored, integers as what they stand for, in float32 as kernels have it."""
        import numpy as np

        stored = self.constants[index]
        if stored.dtype.kind == "f":
            return stored
        scale = self.quantised[index]
        along = [-1 if axis == scale.axis else 1 for axis in range(stored.ndim)]
        steps, zeros = (part.reshape(along) if part.size > 1 else part for part in (scale.scales, scale.zeros))
        shifted: Array = (stored - zeros).astype(np.float32) * steps
        return shifted
