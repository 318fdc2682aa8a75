"""What XNNPACK leaves to slower code, written in a converted model as operations that it takes.

Each such operation cuts XNNPACK's part of the graph in two. Values are padded and joined otherwise, the same to the bit. A
product of two computed matrices is the same product by another kernel, which adds in another order.
docs/reference/networks.md lists these rewritings, each with the networks that it was found in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from squeeze_export.exporters.tflite import flatbuffer

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

_JOINED_AT_MOST: Final = 5  # tensors that XNNPACK takes in one CONCATENATION
_RIM_AT_MOST: Final = 1 << 18  # bytes of constants that a padding may add to a file
_MOVING: Final = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "MEAN")
_JOINING: Final = ("ADD", "MUL", "MAXIMUM")
_NEVER_NEGATIVE: Final = ("RELU", "RELU6", "RELU_0_TO_1", "LOGISTIC", "SOFTMAX", "ABS", "EXP", "SQUARE")


def into_one(model: Any) -> None:
    """Rewrite paddings, joins and products that XNNPACK does not take, in place."""
    _pad_otherwise(model)
    _join_otherwise(model)
    _multiply_otherwise(model)


def _pad_otherwise(model: Any) -> None:
    """Write each PADV2 of fp32 as a PAD with zeros or, where that would be another number, as joins with a constant rim."""
    import numpy as np

    graph = model.subgraphs[0]
    operators = []
    for kind, operator in zip(flatbuffer.operators(model), graph.operators, strict=True):
        known = kind == "PADV2" and _is_fp32(model, operator) and all(_is_constant(model, index) for index in operator.inputs[1:])
        if not known:
            operators.append(operator)
            continue
        given, places, value = (int(index) for index in operator.inputs)
        sides = flatbuffer.constant(model, places)
        filling = float(flatbuffer.constant(model, value).reshape(-1)[0])
        if filling == 0 or (filling < 0 and _is_never_negative(model, given) and _pools_alone(model, operator, sides)):
            operators.append(_zeros(model, given, places, operator))
        elif _rim_bytes(graph.tensors[operator.outputs[0]].shape, sides) <= _RIM_AT_MOST:
            operators += _rims(model, operator, sides, np.float32(filling))
        else:
            operators.append(operator)
    graph.operators = operators


def _zeros(model: Any, given: int, places: int, operator: Any) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    how = (schema.BuiltinOptions.PadOptions, schema.PadOptionsT())
    return flatbuffer.new_operator(model, "PAD", 1, [given, places], [int(operator.outputs[0])], how)


def _rims(model: Any, operator: Any, sides: Array, filling: Any) -> list[Any]:
    """The same tensor joined, axis after axis, with constants in front and behind."""
    import numpy as np

    graph = model.subgraphs[0]
    given, end = int(operator.inputs[0]), int(operator.outputs[0])
    axes = [axis for axis, pair in enumerate(sides) if any(pair)]
    made = []
    for axis in axes:
        shape = [int(side) for side in graph.tensors[given].shape]
        parts = [given]
        for place, count in ((0, int(sides[axis][0])), (1, int(sides[axis][1]))):
            if count:
                rim = np.full([*shape[:axis], count, *shape[axis + 1 :]], filling, np.float32)
                parts.insert(0 if place == 0 else len(parts), _new_tensor(model, graph.tensors[given], rim.shape, rim))
        shape[axis] += int(sides[axis].sum())
        output = end if axis == axes[-1] else _new_tensor(model, graph.tensors[given], shape)
        made.append(_join(model, parts, output, axis))
        given = output
    return made


def _rim_bytes(shape: Any, sides: Array) -> int:
    from math import prod

    whole = prod(int(side) for side in shape)
    return 4 * sum(whole // int(shape[axis]) * int(pair.sum()) for axis, pair in enumerate(sides))


def _pools_alone(model: Any, operator: Any, sides: Array) -> bool:
    """Whether only largest values are taken of a padded tensor, each over a window with at least one value that was given."""
    from ai_edge_litert.schema_py_generated import Padding

    graph = model.subgraphs[0]
    padded = int(operator.outputs[0])
    readers = [
        (kind, each) for kind, each in zip(flatbuffer.operators(model), graph.operators, strict=True) if padded in each.inputs
    ]
    if padded in graph.outputs or not readers or any(sides[axis].any() for axis in (0, 3)):
        return False
    for kind, each in readers:
        if kind != "MAX_POOL_2D" or each.builtinOptions.padding != Padding.VALID:
            return False
        options, outputs = each.builtinOptions, graph.tensors[each.outputs[0]].shape
        windows = ((1, options.filterHeight, options.strideH), (2, options.filterWidth, options.strideW))
        for axis, length, stride in windows:
            front, size = int(sides[axis][0]), int(graph.tensors[operator.inputs[0]].shape[axis])
            if front >= length or (int(outputs[axis]) - 1) * stride >= front + size:
                return False
    return True


def _is_never_negative(model: Any, index: int) -> bool:
    """Whether what is known of a tensor's making shows that no value in it is below zero."""
    from ai_edge_litert.schema_py_generated import ActivationFunctionType

    graph = model.subgraphs[0]
    kinds = flatbuffer.operators(model)
    writer = {int(one): place for place, each in enumerate(graph.operators) for one in each.outputs}
    bounded = (ActivationFunctionType.RELU, ActivationFunctionType.RELU6)
    open_ends, seen = [index], set[int]()
    while open_ends:
        tensor = open_ends.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if tensor not in writer:
            return False
        place = writer[tensor]
        kind, operator = kinds[place], graph.operators[place]
        if kind in _NEVER_NEGATIVE or getattr(operator.builtinOptions, "fusedActivationFunction", None) in bounded:
            continue
        if kind in _MOVING:
            open_ends.append(int(operator.inputs[0]))
        elif kind in (*_JOINING, "CONCATENATION"):
            open_ends += [int(one) for one in operator.inputs]
        else:
            return False
    return True


def _join_otherwise(model: Any) -> None:
    """Write each CONCATENATION of more tensors than XNNPACK takes as several, on top of one that begins alike where there is one.

    DenseNet joins all maps of a block anew for each layer: each join is the one before it, and one map more.
    """
    graph = model.subgraphs[0]
    operators: list[Any] = []
    begun: dict[tuple[int, tuple[int, ...]], int] = {}
    for kind, operator in zip(flatbuffer.operators(model), graph.operators, strict=True):
        if kind != "CONCATENATION" or operator.builtinOptions.fusedActivationFunction:
            operators.append(operator)
            continue
        axis = int(operator.builtinOptions.axis)
        axis += len(graph.tensors[operator.outputs[0]].shape) if axis < 0 else 0
        parts, whole = [int(index) for index in operator.inputs], tuple(int(index) for index in operator.inputs)
        if len(parts) > _JOINED_AT_MOST:
            alike = next((length for length in range(len(parts) - 1, 1, -1) if (axis, whole[:length]) in begun), 0)
            parts = [begun[axis, whole[:alike]], *parts[alike:]] if alike else parts
        while len(parts) > _JOINED_AT_MOST:
            some, rest = parts[:_JOINED_AT_MOST], parts[_JOINED_AT_MOST:]
            shape = [int(side) for side in graph.tensors[some[0]].shape]
            shape[axis] = sum(int(graph.tensors[one].shape[axis]) for one in some)
            joined = _new_tensor(model, graph.tensors[some[0]], shape)
            operators.append(_join(model, some, joined, axis))
            parts = [joined, *rest]
        operator.inputs = parts
        operators.append(operator)
        begun[axis, whole] = int(operator.outputs[0])
    graph.operators = operators


def _multiply_otherwise(model: Any) -> None:
    """Write each FULLY_CONNECTED whose kernel is computed as the BATCH_MATMUL that it is: what attention of one head becomes."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    operators = []
    for kind, operator in zip(flatbuffer.operators(model), graph.operators, strict=True):
        if kind == "FULLY_CONNECTED" and _is_product(model, operator):
            options = schema.BatchMatMulOptionsT()
            options.adjY = True
            how = (schema.BuiltinOptions.BatchMatMulOptions, options)
            factors = [int(index) for index in operator.inputs[:2]]
            operator = flatbuffer.new_operator(model, "BATCH_MATMUL", 1, factors, [int(operator.outputs[0])], how)
        operators.append(operator)
    graph.operators = operators


def _is_product(model: Any, operator: Any) -> bool:
    """Whether a layer multiplies two computed tensors of fp32 and does nothing else, its result in the shape of its input."""
    graph = model.subgraphs[0]
    written = {int(index) for each in graph.operators for index in each.outputs}
    given, kernel = (int(index) for index in operator.inputs[:2])
    if kernel not in written or any(int(index) >= 0 for index in operator.inputs[2:]) or not _is_fp32(model, operator):
        return False
    shapes = [[int(side) for side in graph.tensors[index].shape] for index in (given, kernel, int(operator.outputs[0]))]
    plain = not operator.builtinOptions.fusedActivationFunction and len(shapes[1]) == 2 <= len(shapes[0])
    return plain and shapes[2] == [*shapes[0][:-1], shapes[1][0]] and shapes[0][-1] == shapes[1][1]


def _join(model: Any, parts: list[int], output: int, axis: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    options = schema.ConcatenationOptionsT()
    options.axis = axis
    return flatbuffer.new_operator(
        model, "CONCATENATION", 1, parts, [output], (schema.BuiltinOptions.ConcatenationOptions, options)
    )


def _new_tensor(model: Any, like: Any, shape: Any, values: Array | None = None) -> int:
    """Another tensor of fp32 values, of this shape; a constant where there are values."""
    from ai_edge_litert import schema_py_generated as schema

    graph, made = model.subgraphs[0], schema.TensorT()
    made.name, made.type, made.shape, made.buffer = b"", like.type, [int(side) for side in shape], 0
    if values is not None:
        flatbuffer.give_data(model, made, values)
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def _is_constant(model: Any, index: int) -> bool:
    return model.buffers[model.subgraphs[0].tensors[int(index)].buffer].data is not None


def _is_fp32(model: Any, operator: Any) -> bool:
    from ai_edge_litert.schema_py_generated import TensorType

    return bool(model.subgraphs[0].tensors[operator.outputs[0]].type == TensorType.FLOAT32)
