"""The same numbers sooner: where a TFLite file that this exporter quantises joins channels, and how it reads pixels.

Neither step changes a value. XNNPACK copies a join pixel by pixel, so a file joins what a pool has left; and its int8 kernels
take channels by eights, so of a picture's three channels five in eight are padding: two pixels side by side are six channels.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from squeeze_export.exporters.tflite import flatbuffer

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array


def pool_before_joining(model: Any) -> None:
    """Move every pool that alone reads a CONCATENATION of channels in front of it, in place; the tensors must have been named.

    A pool works on each channel by itself, so the channels may be joined behind it.
    """
    graph = model.subgraphs[0]
    while (found := _pooled_join(model)) is not None:
        join, pool = found
        parts = [_pooled(graph, index, pool.outputs[0]) for index in join.inputs]
        pools = []
        for index, part in zip(join.inputs, parts, strict=True):
            own = copy.copy(pool)
            own.inputs, own.outputs = [index], [part]
            pools.append(own)
        left = join.outputs[0]
        join.inputs, join.outputs = parts, pool.outputs
        others = [each for each in graph.operators if each is not join]
        place = next(at for at, each in enumerate(others) if each is pool)
        graph.operators = [*others[:place], *pools, join, *others[place + 1 :]]
        _drop(model, left)


def pair_pixels(model: Any) -> None:
    """Make the first convolution, if its filter is int8, read two pixels side by side as one of six channels, in place.

    A RESHAPE in front of it moves nothing: the bytes lie so. An odd number of columns gets one of zeros by a PAD (of rows as
    plain numbers: XNNPACK takes ten times as long over columns of three). The filter (O, H, W, 3) becomes (O, H, (W + 1) / 2, 6),
    behind its last column one of zeros. Does nothing where that is not the same convolution: an even number of columns in the
    filter, a stride other than 2, or padding.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    kinds = flatbuffer.operators(model)
    place = kinds.index("CONV_2D") if "CONV_2D" in kinds else len(kinds)
    if place == len(kinds):
        return
    first = graph.operators[place]
    given, weight = (int(index) for index in first.inputs[:2])
    _, height, width, channels = (int(side) for side in graph.tensors[given].shape)
    outputs, rows, columns, _ = (int(side) for side in graph.tensors[weight].shape)
    options = first.builtinOptions
    plain = (options.dilationHFactor, options.dilationWFactor, options.strideW) == (1, 1, 2)
    small = graph.tensors[weight].type == schema.TensorType.INT8
    if not (plain and small) or options.padding != schema.Padding.VALID or channels != 3 or columns % 2 == 0:
        return
    stored = np.frombuffer(bytes(model.buffers[graph.tensors[weight].buffer].data), np.int8).reshape(outputs, rows, columns, 3)
    wider = np.pad(stored, ((0, 0), (0, 0), (0, 1), (0, 0))).reshape(outputs, rows, (columns + 1) // 2, 6)
    flatbuffer.give_data(model, graph.tensors[weight], wider)
    writer = _Writer(model, given)
    data = given
    if width % 2:
        data = writer.pad(writer.reshape(data, [1, height, 3 * width]), [[0, 0], [0, 0], [0, 3]])
    data = writer.reshape(data, [1, height, (width + 1) // 2, 6])
    options.strideW = 1
    first.inputs = [data, *first.inputs[1:]]
    graph.operators = [*graph.operators[:place], *writer.operators, *graph.operators[place:]]


class _Writer:
    """Adds operations on the values of one tensor, which keep its type and its levels."""

    def __init__(self, model: Any, like: int) -> None:
        self._model = model
        self._graph = model.subgraphs[0]
        self._like = self._graph.tensors[like]
        self.operators: list[Any] = []

    def reshape(self, given: int, shape: list[int]) -> int:
        import numpy as np
        from ai_edge_litert import schema_py_generated as schema

        options = schema.ReshapeOptionsT()
        options.newShape = shape
        return self._add("RESHAPE", given, shape, np.array(shape, np.int32), options, schema.BuiltinOptions.ReshapeOptions)

    def pad(self, given: int, sides: list[list[int]]) -> int:
        import numpy as np
        from ai_edge_litert import schema_py_generated as schema

        before = self._graph.tensors[given].shape
        shape = [int(side) + sum(more) for side, more in zip(before, sides, strict=True)]
        return self._add("PAD", given, shape, np.array(sides, np.int32), schema.PadOptionsT(), schema.BuiltinOptions.PadOptions)

    def _add(self, kind: str, given: int, shape: list[int], argument: Array, options: Any, options_kind: int) -> int:
        from ai_edge_litert import schema_py_generated as schema

        made, constant = copy.copy(self._like), schema.TensorT()
        made.name = self._like.name + f".{kind.lower()}_{len(self.operators)}".encode()
        made.shape, made.shapeSignature = shape, None
        constant.name, constant.type = made.name + b".argument", schema.TensorType.INT32
        flatbuffer.give_data(self._model, constant, argument)
        self._graph.tensors += [made, constant]
        version = 2 if kind == "PAD" and self._like.type == schema.TensorType.INT8 else 1  # the second pads int8
        inputs, outputs = [given, len(self._graph.tensors) - 1], [len(self._graph.tensors) - 2]
        how = (options_kind, options)
        self.operators.append(flatbuffer.new_operator(self._model, kind, version, inputs, outputs, how))
        return len(self._graph.tensors) - 2


def _pooled_join(model: Any) -> tuple[Any, Any] | None:
    graph = model.subgraphs[0]
    kinds = flatbuffer.operators(model)
    joins = {each.outputs[0]: each for kind, each in zip(kinds, graph.operators, strict=True) if kind == "CONCATENATION"}
    for kind, pool in zip(kinds, graph.operators, strict=True):
        join = joins.get(pool.inputs[0]) if kind == "MAX_POOL_2D" else None
        if join is None or join.builtinOptions.axis not in (3, -1) or join.outputs[0] in graph.outputs:
            continue
        if sum(join.outputs[0] in each.inputs for each in graph.operators) == 1:
            return join, pool
    return None


def _pooled(graph: Any, index: int, like: int) -> int:
    """A new tensor: the channels of tensor `index`, pooled to the size of tensor `like`."""
    made = copy.copy(graph.tensors[index])
    made.name = made.name + b".pooled"
    made.shape = [*graph.tensors[like].shape[:3], graph.tensors[index].shape[3]]
    made.shapeSignature = None
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def _drop(model: Any, index: int) -> None:
    """Take out a tensor that nothing reads or writes any more: the interpreter gives it no memory, over which readers trip."""
    graph = model.subgraphs[0]
    del graph.tensors[index]

    def moved(indices: Any) -> list[int]:
        return [int(each) - (each > index) for each in indices]

    for operator in graph.operators:
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for signature in model.signatureDefs:
        for port in (*signature.inputs, *signature.outputs):
            port.tensorIndex -= port.tensorIndex > index
