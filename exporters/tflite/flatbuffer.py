"""The TFLite flatbuffer between converter and file: operations counted, weights found again, tensors named, written compactly."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from squeeze_export.errors import ConversionError

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array


def parse(content: bytes) -> Any:
    """Read a flatbuffer into the schema's object form, with every weight inside it.

    ai-edge-quantizer leaves weights behind the flatbuffer, where whatever repacks the file loses them without a word.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(content)


def operators(model: Any) -> list[str]:
    """Name the operations of the only subgraph in execution order; ConversionError where there are several."""
    if len(model.subgraphs) != 1:
        raise ConversionError(f"The converter wrote {len(model.subgraphs)} subgraphs where 1 was expected.")
    names = _builtin_names()
    codes = [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    return [codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


def mean_over_one_position(model: Any) -> None:
    """Call a SUM over axes of one position each a MEAN, in place: the same number, and how larger maps are averaged.

    The converter writes the average of a map of 1 x 1 as its sum.
    """

    graph = model.subgraphs[0]
    for kind, operator in zip(operators(model), graph.operators, strict=True):
        if kind != "SUM":
            continue
        shape = graph.tensors[operator.inputs[0]].shape
        if all(shape[int(axis)] == 1 for axis in constant(model, operator.inputs[1]).reshape(-1)):
            same = new_operator(model, "MEAN", 1, list(operator.inputs), list(operator.outputs))
            operator.opcodeIndex = same.opcodeIndex
    used = {operator.opcodeIndex for operator in graph.operators}
    kept = [place for place in range(len(model.operatorCodes)) if place in used]
    for operator in graph.operators:
        operator.opcodeIndex = kept.index(operator.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[place] for place in kept]


def require_operators(model: Any, expected: Counter[str]) -> list[str]:
    """Return the operations, which must be the expected ones: a TRANSPOSE or RESHAPE too many costs more than it says."""
    found = operators(model)
    surplus, missing = Counter(found) - expected, expected - Counter(found)
    if surplus or missing:
        raise ConversionError(
            f"The converter did not write the network as it is: too many {_listed(surplus)}; missing {_listed(missing)}. "
            "Install the converter's version that this release names."
        )
    return found


def new_operator(
    model: Any, kind: str, version: int, inputs: list[int], outputs: list[int], options: tuple[int, Any] | None = None
) -> Any:
    """An operation of a model that is not yet among its operators; its code becomes one of the model's, `version` if it was none.

    `options`: the number of their kind in the schema's union, and themselves.
    """
    from ai_edge_litert import schema_py_generated as schema

    number = getattr(schema.BuiltinOperator, kind)
    codes = model.operatorCodes
    place = next((at for at, code in enumerate(codes) if code.builtinCode == number), len(codes))
    if place == len(codes):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = version
        codes.append(code)
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = place, inputs, outputs
    if options is not None:
        made.builtinOptionsType, made.builtinOptions = options
    return made


def name_tensors(model: Any, convolutions: Mapping[str, tuple[Array, Array]]) -> None:
    """Give every tensor its name in the source model; in place.

    `convolutions`: name -> filter (O, H, W, I) and bias as the file must store them. Each must be found once, bit for bit:
    ConversionError otherwise. (The converter's own names are 30 KB of Python class paths.)
    """
    import numpy as np

    graph = model.subgraphs[0]
    kinds = operators(model)
    unfound = dict(convolutions)
    producer = {operator.outputs[0]: operator for operator in graph.operators}
    names: dict[int, str] = {}
    counts: Counter[str] = Counter()
    for kind, operator in zip(kinds, graph.operators, strict=True):
        if kind == "CONV_2D":
            _, weight, bias = operator.inputs
            stored = producer[weight].inputs[0] if weight in producer else weight
            values = constant(model, stored), constant(model, bias)
            match = next((n for n, pair in unfound.items() if all(map(np.array_equal, pair, values))), None)
            if match is None:
                raise ConversionError(
                    f"The converter changed a weight: none of {', '.join(unfound)} equals filter {values[0].shape} of CONV_2D "
                    f"number {counts[kind]}. Install the converter's version that this release names."
                )
            del unfound[match]
            names[operator.outputs[0]], names[stored], names[bias] = match, f"{match}.weight", f"{match}.bias"
            if stored != weight:
                names[weight] = f"{match}.weight.fp32"
        elif kind != "DEQUANTIZE":
            names[operator.outputs[0]] = f"{kind.lower()}_{counts[kind]}"
        counts[kind] += 1
    signature = model.signatureDefs[0]
    for port in (*signature.inputs, *signature.outputs):
        names[port.tensorIndex] = port.name.decode()
    for index, tensor in enumerate(graph.tensors):
        tensor.name = names.get(index, f"constant_{index}").encode()


def separate_constants(model: Any) -> None:
    """Give every convolution a filter and a bias of its own, in place: the converter lets equal ones share, not their scales."""
    graph = model.subgraphs[0]
    used: set[int] = set()
    for kind, operator in zip(operators(model), graph.operators, strict=True):
        if kind != "CONV_2D":
            continue
        inputs = list(operator.inputs)
        for place in (1, 2):
            if inputs[place] in used:
                graph.tensors.append(copy.copy(graph.tensors[inputs[place]]))
                inputs[place] = len(graph.tensors) - 1
            used.add(inputs[place])
        operator.inputs = inputs


def constant(model: Any, index: int) -> Array:
    """Decode a constant tensor; only the types that this exporter writes."""
    import numpy as np
    from ai_edge_litert.schema_py_generated import TensorType

    tensor = model.subgraphs[0].tensors[index]
    dtype = {TensorType.FLOAT32: "<f4", TensorType.FLOAT16: "<f2", TensorType.INT32: "<i4"}[tensor.type]
    data = model.buffers[tensor.buffer].data
    if data is None:
        raise ConversionError(f"The converter wrote no data for tensor {index}, a weight of shape {tuple(tensor.shape)}.")
    return np.frombuffer(bytes(data), dtype).reshape(tuple(tensor.shape))


def give_data(model: Any, tensor: Any, values: Array) -> None:
    """Give a constant tensor other data, and their shape, in a buffer of its own: the converter lets equal ones share one."""
    from ai_edge_litert.schema_py_generated import BufferT

    buffer = BufferT()
    buffer.data = values.tobytes()
    tensor.shape, tensor.shapeSignature = list(values.shape), None
    users = sum(other.buffer == tensor.buffer for other in model.subgraphs[0].tensors)
    if tensor.buffer and users == 1:  # number 0 is for tensors without data
        model.buffers[tensor.buffer] = buffer
    else:
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1


def serialise(model: Any, *, description: str, metadata: Mapping[str, bytes]) -> bytes:
    """Write a model object as TFLite file content, `metadata` added to its own by name; the model object is used up.

    The bytes depend on nothing but the arguments. Buffers are aligned to 16 bytes as the schema wants it: phones map the file
    and read the weights in place.
    """
    import flatbuffers
    from ai_edge_litert.schema_py_generated import MetadataT

    model.description = description.encode()
    buffers = [_AlignedBuffer(buffer.data) for buffer in model.buffers]
    model.metadata = list(model.metadata or [])
    for name, content in metadata.items():
        entry = MetadataT()
        entry.name, entry.buffer = name, len(buffers)
        model.metadata.append(entry)
        buffers.append(_AlignedBuffer(content))
    model.buffers = buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _AlignedBuffer:
    """A Buffer table for the schema's packer, which itself aligns data to 4 bytes only."""

    def __init__(self, data: Any) -> None:
        self.data = None if data is None else bytes(data)

    def Pack(self, builder: Any) -> Any:
        """Write the table and return its offset; named as the packer calls it."""
        from ai_edge_litert import schema_py_generated as schema

        vector = None
        if self.data:
            builder.Prep(16, len(self.data))
            vector = builder.CreateByteVector(self.data)
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def _builtin_names() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return {value: name for name, value in vars(BuiltinOperator).items() if isinstance(value, int)}


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
