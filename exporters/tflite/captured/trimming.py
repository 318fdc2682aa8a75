"""What is done to a converted model as a whole: outputs taken away with all that only they needed, kernels stored as fp16."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any, Final

from squeeze_export.exporters.tflite import flatbuffer

_DEQUANTIZE_OF_FP16: Final = 3  # the version of DEQUANTIZE that takes it


def keep_outputs(model: Any, kept: Collection[str]) -> None:
    """Take away every output but these, and the operations, tensors and data that nothing is left to need; in place."""
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    signature.outputs = [port for port in signature.outputs if port.name.decode() in kept]
    graph.outputs = [port.tensorIndex for port in signature.outputs]
    needed = {int(index) for index in graph.outputs}
    operators = []
    for operator in reversed(graph.operators):
        if needed & {int(index) for index in operator.outputs}:
            operators.append(operator)
            needed |= {int(index) for index in operator.inputs}
    graph.operators = operators[::-1]
    drop_unused(model)


def drop_unused(model: Any) -> None:
    """Take away tensors, data and operation codes that no operation uses; in place."""
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    lists = [graph.inputs, graph.outputs, *(part for o in graph.operators for part in (o.inputs, o.outputs))]
    used = sorted({int(index) for part in lists for index in part} - {-1})
    place = {index: at for at, index in enumerate(used)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in used]
    graph.inputs, graph.outputs = ([place[int(index)] for index in part] for part in (graph.inputs, graph.outputs))
    for operator in graph.operators:
        operator.inputs, operator.outputs = ([place[int(i)] for i in part] for part in (operator.inputs, operator.outputs))
    for port in (*signature.inputs, *signature.outputs):
        port.tensorIndex = place[port.tensorIndex]
    codes = sorted({operator.opcodeIndex for operator in graph.operators})
    model.operatorCodes = [model.operatorCodes[code] for code in codes]
    for operator in graph.operators:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
    holders = [*graph.tensors, *(model.metadata or ())]
    buffers = sorted({0} | {holder.buffer for holder in holders})  # number 0 is for tensors without data
    model.buffers = [model.buffers[buffer] for buffer in buffers]
    for holder in holders:
        holder.buffer = buffers.index(holder.buffer)


def halve(model: Any, kernels: Mapping[int, str]) -> None:
    """Store each of these tensors as fp16, widened by a DEQUANTIZE that XNNPACK folds away; in place."""
    import numpy as np
    from ai_edge_litert.schema_py_generated import BufferT, TensorType

    graph = model.subgraphs[0]
    widening = []
    for index in sorted(kernels):
        wide = graph.tensors[index]
        narrow, buffer = copy.copy(wide), BufferT()
        buffer.data = flatbuffer.constant(model, index).astype(np.float16).tobytes()
        model.buffers.append(buffer)
        narrow.type, narrow.buffer = TensorType.FLOAT16, len(model.buffers) - 1
        wide.name, wide.buffer = wide.name + b".fp32", 0
        graph.tensors.append(narrow)
        widening.append(flatbuffer.new_operator(model, "DEQUANTIZE", _DEQUANTIZE_OF_FP16, [len(graph.tensors) - 1], [index]))
    graph.operators = [*widening, *graph.operators]
    drop_unused(model)
