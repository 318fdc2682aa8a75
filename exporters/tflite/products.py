"""Convolutions with int4 filters as matrix products: XNNPACK has an int4 kernel for FULLY_CONNECTED and none for CONV_2D.

A 1x1 convolution is a FULLY_CONNECTED over the last axis as it stands. In front of a larger one the patches are laid out: PAD,
then per axis one SLICE for each place of the kernel and a CONCATENATION along the channels, columns before rows, so that a patch
has the order (row, column, channel) of the filter's own bytes. That moves floats and computes nothing; XNNPACK takes all of it in
one partition, where CONV_2D with int4 would fall back to slow kernels and cut the graph into eight. (It joins at most five
tensors in one CONCATENATION: nine slices at once would be left outside.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeeze_export.errors import ConversionError
from squeeze_export.exporters.tflite import flatbuffer

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

# Per channel scales beside float32 data came with the twelfth version of FULLY_CONNECTED; the others are good as they began.
_VERSIONS = {"PAD": 1, "SLICE": 1, "CONCATENATION": 1, "FULLY_CONNECTED": 12}


def as_products(model: Any) -> None:
    """Turn every CONV_2D whose filter is int4 into a FULLY_CONNECTED, in place; the tensors must have been named.

    The filter (O, H, W, I) becomes (O, H * W * I), its bytes as they are. Raises ConversionError where a convolution has a
    stride, a dilation, groups, or a padding that does not keep the size.
    """
    from ai_edge_litert.schema_py_generated import TensorType

    graph = model.subgraphs[0]
    writer = _Writer(model)
    operators: list[Any] = []
    for kind, operator in zip(flatbuffer.operators(model), graph.operators, strict=True):
        if kind != "CONV_2D" or graph.tensors[operator.inputs[1]].type != TensorType.INT4:
            operators.append(operator)
            continue
        given, weight, bias = (int(index) for index in operator.inputs)
        _require_plain(graph, operator, given)
        filters = graph.tensors[weight]
        outputs, height, width, channels = (int(side) for side in filters.shape)
        if (height, width) != (1, 1):
            given = writer.patches(given, height, width, operators)
        filters.shape = [outputs, height * width * channels]
        filters.shapeSignature = None
        operators.append(writer.product(operator, given, weight, bias))
    graph.operators = operators


def _require_plain(graph: Any, operator: Any, given: int) -> None:
    options = operator.builtinOptions
    name = graph.tensors[operator.inputs[1]].name.decode()
    steps = {options.strideH, options.strideW, options.dilationHFactor, options.dilationWFactor}
    _, height, width, channels = (int(side) for side in graph.tensors[operator.inputs[1]].shape)
    before, after = (tuple(int(side) for side in graph.tensors[index].shape) for index in (given, operator.outputs[0]))
    keeps = before[1:3] == after[1:3] and height % 2 == width % 2 == 1
    if steps != {1} or before[3] != channels or not keeps or channels * height * width % 2:
        raise ConversionError(
            f"{name} cannot be stored in int4: its convolution has strides, dilations or groups, changes the size from {before} "
            f"to {after}, or has an odd number of weights per channel. Export with --precision tflite=int8-dynamic."
        )


class _Writer:
    """Adds tensors and operations to a model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._graph = model.subgraphs[0]
        self._constants: dict[bytes, int] = {}

    def patches(self, given: int, height: int, width: int, operators: list[Any]) -> int:
        """Lay out the patches of a tensor (1, h, w, C) as (1, h, w, height * width * C); the operations go to `operators`."""
        import numpy as np
        from ai_edge_litert import schema_py_generated as schema

        _, rows, columns, channels = (int(side) for side in self._graph.tensors[given].shape)
        above, beside = height // 2, width // 2
        padded = self._tensor((1, rows + 2 * above, columns + 2 * beside, channels))
        sides = self._constant(np.array([[0, 0], [above, above], [beside, beside], [0, 0]], np.int32))
        operators.append(self._operator("PAD", [given, sides], padded, schema.PadOptionsT(), schema.BuiltinOptions.PadOptions))
        beside_each_other = self._shifted(padded, 2, width, (1, rows + 2 * above, columns, channels), operators)
        return self._shifted(beside_each_other, 1, height, (1, rows, columns, width * channels), operators)

    def product(self, convolution: Any, given: int, weight: int, bias: int) -> Any:
        """The FULLY_CONNECTED in place of a convolution, with its activation function."""
        from ai_edge_litert import schema_py_generated as schema

        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        options.fusedActivationFunction = convolution.builtinOptions.fusedActivationFunction
        kind = schema.BuiltinOptions.FullyConnectedOptions
        return self._operator("FULLY_CONNECTED", [given, weight, bias], int(convolution.outputs[0]), options, kind)

    def _shifted(self, given: int, axis: int, count: int, size: tuple[int, ...], operators: list[Any]) -> int:
        """Windows of `size`, each one step further along `axis`, side by side in the channels."""
        import numpy as np
        from ai_edge_litert import schema_py_generated as schema

        parts = []
        for place in range(count):
            begin = np.zeros(4, np.int32)
            begin[axis] = place
            part = self._tensor(size)
            where = [given, self._constant(begin), self._constant(np.array(size, np.int32))]
            operators.append(self._operator("SLICE", where, part, schema.SliceOptionsT(), schema.BuiltinOptions.SliceOptions))
            parts.append(part)
        joined = self._tensor((*size[:3], count * size[3]))
        options = schema.ConcatenationOptionsT()
        options.axis = 3
        kind = schema.BuiltinOptions.ConcatenationOptions
        operators.append(self._operator("CONCATENATION", parts, joined, options, kind))
        return joined

    def _tensor(self, shape: tuple[int, ...], kind: int = 0, buffer: int = 0) -> int:
        from ai_edge_litert import schema_py_generated as schema

        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = b"", list(shape), kind, buffer
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _constant(self, values: Array) -> int:
        import numpy as np
        from ai_edge_litert import schema_py_generated as schema

        key = repr(values.shape).encode() + values.tobytes()
        if key not in self._constants:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self._model.buffers.append(buffer)
            self._constants[key] = self._tensor(values.shape, schema.TensorType.INT32, len(self._model.buffers) - 1)
        return self._constants[key]

    def _operator(self, kind: str, inputs: list[int], output: int, options: Any, options_kind: int) -> Any:
        version, how = _VERSIONS[kind], (options_kind, options)
        return flatbuffer.new_operator(self._model, kind, version, inputs, [output], how)
