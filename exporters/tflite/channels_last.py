"""Rewrites an ONNX graph so that every picture between its operations is NHWC, for converters to runtimes that compute in NHWC.

onnx-tf translates operation by operation and keeps NCHW between them: each convolution comes with a transpose in front and
one behind, and a Concat over channels keeps those of neighbours from meeting. Here the same graph is said so that they meet: a
convolution or pool stands between two Transposes, everything else works on NHWC, and the inverse pairs that are left next
to each other fold away in TensorFlow's converter. What comes out is valid ONNX that any runtime executes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from squeeze_export.errors import ConversionError

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_CHANNELWISE: Final = frozenset({"Conv", "MaxPool"})
_ELEMENTWISE: Final = frozenset({"Relu", "Add"})
_AFTER_AVERAGING: Final = frozenset({"Softmax"})


def channels_last(model: Any) -> None:
    """Rewrite a network of Conv, MaxPool, Relu, Add, Concat, one GlobalAveragePool with Flatten, and Softmax; in place.

    The input becomes NHWC, paddings become SAME_UPPER or VALID where they say the same. ConversionError names any operation
    that this does not cover.
    """
    from onnx import helper

    shapes = _shapes(model)
    graph = model.graph
    flattened = {node.input[0]: node for node in graph.node if node.op_type == "Flatten"}
    constants = {value.name for value in graph.initializer}
    nodes: list[Any] = []
    for node in graph.node:
        kind = node.op_type
        if kind in _CHANNELWISE:
            _state_padding(node, shapes)
            entry, result, left = node.input[0], node.output[0], f"{node.output[0]}.nchw"
            nodes.append(helper.make_node("Transpose", [entry], [f"{left}.in"], name=f"{node.name}/in", perm=_TO_NCHW))
            node.input[0], node.output[0] = f"{left}.in", left
            nodes += [node, helper.make_node("Transpose", [left], [result], name=f"{node.name}/out", perm=_TO_NHWC)]
        elif kind == "Concat":
            _require(_attribute(node, "axis") == 1 and len(shapes[node.input[0]]) == 4, node)
            _set(node, "axis", 3)
            nodes.append(node)
        elif kind == "GlobalAveragePool":
            flat = flattened.get(node.output[0])
            _require(flat is not None and _attribute(flat, "axis") in (None, 1), node)
            assert flat is not None
            mean = helper.make_node("ReduceMean", [node.input[0]], [flat.output[0]], name=node.name, axes=[1, 2], keepdims=0)
            nodes.append(mean)
        elif kind == "Flatten":
            _require(len(shapes[node.input[0]]) == 4 and tuple(shapes[node.input[0]][2:]) == (1, 1), node)
        else:
            _require(kind in _ELEMENTWISE | _AFTER_AVERAGING and not set(node.input) & constants, node)
            nodes.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    sides = graph.input[0].type.tensor_type.shape.dim
    for side, size in zip(sides, [shapes[graph.input[0].name][place] for place in _TO_NHWC], strict=True):
        side.dim_value = size


def _state_padding(node: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """Say a padding by its name, if it has one: numbers become an operation of their own in TensorFlow."""
    height, width = shapes[node.input[0]][2:]
    kernel, strides = _attribute(node, "kernel_shape"), _attribute(node, "strides") or [1, 1]
    top, left, *_ = _attribute(node, "pads") or [0, 0, 0, 0]
    dilations = _attribute(node, "dilations") or [1, 1]
    _require(list(dilations) == [1, 1] and _attribute(node, "group") in (None, 1), node)
    found = [
        _padding(size, kernel[axis], strides[axis], before, shapes[node.output[0]][2 + axis])
        for axis, (size, before) in enumerate(((height, top), (width, left)))
    ]
    both = found[0] & found[1]
    _require(bool(both), node)
    for attribute in [entry for entry in node.attribute if entry.name in ("pads", "ceil_mode", "auto_pad")]:
        node.attribute.remove(attribute)
    _set(node, "auto_pad", "VALID" if "VALID" in both else "SAME_UPPER")


def _padding(size: int, kernel: int, stride: int, before: int, outputs: int) -> set[str]:
    """The names that the padding along one axis has, `before` in front; ceil mode is a padding behind."""
    # What the last window reads behind the last row; padding that no window reaches changes nothing.
    behind = max((outputs - 1) * stride + kernel - size - before, 0)
    names = set()
    if before == 0 and behind == 0:
        names.add("VALID")
    same = -(-size // stride)
    total = max((same - 1) * stride + kernel - size, 0)
    if outputs == same and before == total // 2 and behind == total - total // 2:
        names.add("SAME_UPPER")
    return names


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every value."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {
        value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def _attribute(node: Any, name: str) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), None)


def _set(node: Any, name: str, value: int | str | Sequence[int]) -> None:
    from onnx import helper

    for entry in [entry for entry in node.attribute if entry.name == name]:
        node.attribute.remove(entry)
    node.attribute.append(helper.make_attribute(name, value))


def _require(condition: bool, node: Any) -> None:
    if not condition:
        raise ConversionError(
            f"{node.name or node.output[0]} ({node.op_type}) has no place in an NHWC graph of this exporter. "
            "Use --tflite-route litert-torch."
        )
