"""Reads and checks a `.tflite` file before native code sees it, which does not survive every damaged file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.artifact import Precision
from squeeze_export.contracts.signature import OutputKind, Signature
from squeeze_export.errors import ArtifactError
from squeeze_export.validation.runners.litert import networks, patches
from squeeze_export.validation.runners.litert.model import _CONVOLUTIONS, Operation, Scale, TfliteFile

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array


SIGNATURE_KEY: Final = "serving_default"


# What an image classifier of this project's family is made of. Anything else (a TRANSPOSE, a RESHAPE, a PAD) means that the
# converter did not keep the network as it was.
_OPERATORS: Final = frozenset({"CONV_2D", "MAX_POOL_2D", "CONCATENATION", "ADD", "MEAN"})


_INTEGERS: Final = ("INT4", "INT8", "INT32")
_BITS: Final = {"FLOAT32": 32, "FLOAT16": 16, "INT32": 32, "INT8": 8, "UINT8": 8, "INT4": 4}
_NUMPY_TYPES: Final = {"FLOAT32": "<f4", "FLOAT16": "<f2", "INT32": "<i4", "INT8": "<i1", "UINT8": "<u1"}
_BITS_OF_OTHERS: Final = {"FLOAT32": 32, "FLOAT16": 16, "INT32": 32, "INT64": 64, "BOOL": 8}  # in networks other than SqueezeNet
_NUMPY_TYPES_OF_OTHERS: Final = {"FLOAT32": "<f4", "FLOAT16": "<f2", "INT32": "<i4", "INT64": "<i8", "BOOL": "?"}


@dataclass(frozen=True, kw_only=True)
class Form:
    """The types in which a precision stores its filters, what its convolutions read, and the operations that it adds.

    `ports`: the type of what goes in and comes out. `may`: operations that it adds where the picture's size lets it.
    """

    filters: frozenset[str]
    activations: str
    adds: frozenset[str]
    ports: str = "FLOAT32"
    may: frozenset[str] = frozenset()


_QUANTISES: Final = frozenset({"QUANTIZE", "DEQUANTIZE"})
_PAIRS: Final = frozenset({"RESHAPE", "PAD"})  # litert_patches.check_moves: in one way only


FORMS: Final[Mapping[Precision, Form]] = {
    "fp32": Form(filters=frozenset({"FLOAT32"}), activations="FLOAT32", adds=frozenset()),
    "fp16": Form(filters=frozenset({"FLOAT16"}), activations="FLOAT32", adds=frozenset({"DEQUANTIZE"})),
    "int8": Form(filters=frozenset({"INT8"}), activations="INT8", adds=_QUANTISES, may=_PAIRS),
    "int8-uint8": Form(filters=frozenset({"INT8"}), activations="INT8", adds=_QUANTISES, ports="UINT8", may=_PAIRS),
    "int8-dynamic": Form(filters=frozenset({"INT8"}), activations="FLOAT32", adds=frozenset(), may=_PAIRS),
    "int8-weights": Form(filters=frozenset({"INT8"}), activations="FLOAT32", adds=frozenset({"DEQUANTIZE"})),
    # XNNPACK's int4 kernel is that of FULLY_CONNECTED: patches are laid out in front of it.
    "int4-mixed": Form(
        filters=frozenset({"INT4", "INT8"}),
        activations="FLOAT32",
        adds=frozenset({"PAD", "SLICE", "FULLY_CONNECTED"}),
    ),
}


def read(content: bytes) -> TfliteFile:
    """Parse the whole flatbuffer and check what native code would take on trust; ArtifactError says what is wrong."""
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise ArtifactError(
            f"This is not a TFLite file: {len(content)} bytes, identifier {content[4:8]!r} instead of b'TFL3'. Export it again."
        )
    try:
        from ai_edge_litert.schema_py_generated import ModelT

        model = ModelT.InitFromPackedBuf(content, 0)
        return _checked(model)
    except ArtifactError:
        raise
    except Exception as error:  # whatever an offset into nowhere becomes in the schema's reader
        raise ArtifactError(
            f"The TFLite file is damaged: its flatbuffer cannot be read ({type(error).__name__}: {error}). Export it again."
        ) from error


def check_declared(file: TfliteFile, signature: Signature, precision: Precision) -> None:
    """Hold the file's signature, operations and weight types against what is declared; ArtifactError names the difference."""
    _check_ports("input", file, file.inputs, [(signature.input.name, signature.input.shape, signature.input.dtype)])
    _check_ports("output", file, file.outputs, [(o.name, o.shape, o.dtype) for o in signature.outputs])
    if file.network is not None:
        networks.check_declared(file, signature, precision)
        return
    allowed = set(_OPERATORS)
    kinds: set[OutputKind] = {output.kind for output in signature.outputs}
    if "probabilities" in kinds:
        allowed.add("SOFTMAX")
    form = FORMS[precision]
    allowed |= form.adds | form.may
    found = {operation.name for operation in file.operations}
    if surplus := sorted(found - allowed):
        raise ArtifactError(
            f"The TFLite file holds operations that this artifact must not hold: {', '.join(surplus)}. Allowed: "
            f"{', '.join(sorted(allowed))}."
        )
    ports = {file.types[index] for index in (*file.inputs.values(), *file.outputs.values())}
    if ports != {form.ports}:
        raise ArtifactError(f"The file is declared {precision}, but takes and gives {', '.join(sorted(ports)).lower()}.")
    last = _writer(file, set(file.outputs.values()))
    if last is not None and last.name == "QUANTIZE" and form.ports == "UINT8":
        last = _writer(file, set(last.inputs))
    ended = "none" if last is None else last.name
    if (ended == "SOFTMAX") != ("probabilities" in kinds):
        raise ArtifactError(f"The output is declared as {', '.join(kinds)}, but the operation that writes it is {ended}.")
    convolutions = file.convolutions()
    stored = {file.types[weight] for _, weight, _ in convolutions}
    if stored != form.filters:
        told = ", ".join(sorted(kind.lower() for kind in stored)) or "nothing"
        raise ArtifactError(f"The file is declared {precision}, but stores its filters as {told}.")
    given = {file.types[data] for data, _, _ in convolutions}
    if given != {form.activations}:
        told = ", ".join(sorted(kind.lower() for kind in given))
        raise ArtifactError(f"The file is declared {precision}, but its convolutions read {told}.")
    if missing := sorted(form.adds - found):
        raise ArtifactError(f"The file is declared {precision}, but has no {', '.join(missing)}.")
    if form.ports == "UINT8":
        _check_levels(file, signature)


def _writer(file: TfliteFile, tensors: set[int]) -> Operation | None:
    return next((operation for operation in file.operations if set(operation.outputs) & tensors), None)


def _check_levels(file: TfliteFile, signature: Signature) -> None:
    """Every pixel must be a level of its own up to the first convolution, and an output's levels what the signature says."""
    pixels = signature.input
    if (pixels.scale, pixels.bias) != ((1.0,) * 3, (0.0,) * 3):
        raise ArtifactError(
            f"The input {pixels.name} of uint8 is declared with scale {pixels.scale} and bias {pixels.bias}: it takes pixels as "
            "they are, scale 1 and bias 0. Export it again."
        )
    index = file.inputs[pixels.name]
    for kind, zero in (("DEQUANTIZE", 0), ("QUANTIZE", -128)):
        step = next((op for op in file.operations if index in op.inputs), None)
        if step is None or step.name != kind:
            raise ArtifactError(
                f"The pixels go into {step.name if step else 'nothing'} instead of {kind}. Export the file again."
            )
        found = file.levels(index if zero == 0 else step.outputs[0])
        if found != (1.0, zero):
            raise ArtifactError(
                f"The pixels stand for (level - zero) * scale with {found}, not with {(1.0, zero)}. Export it again."
            )
        index = step.outputs[0]
    for output in signature.outputs:
        declared = output.quantisation
        found = file.levels(file.outputs[output.name])
        if declared is None or found != (declared.scale, declared.zero_point):
            told = "nothing" if declared is None else f"{(declared.scale, declared.zero_point)}"
            raise ArtifactError(
                f"{output.name} has scale and zero point {found} in the file, declared is {told}. Export it again."
            )


def _checked(model: Any) -> TfliteFile:
    from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

    names = {value: name for name, value in vars(BuiltinOperator).items() if isinstance(value, int)}
    types = {value: name for name, value in vars(TensorType).items() if isinstance(value, int)}
    _require(model.version == 3, f"schema version {model.version} instead of 3")
    _require(len(model.subgraphs or ()) == 1, f"{len(model.subgraphs or ())} subgraphs instead of 1")
    graph, buffers = model.subgraphs[0], model.buffers or []
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes or ()]
    tensors = graph.tensors or []
    for index, buffer in enumerate(buffers):
        _require(not buffer.offset and not buffer.size, f"buffer {index} lies outside the flatbuffer, where repacking loses it")
    metadata = _metadata(model, buffers)
    network = networks.network_of(metadata)
    bits = _BITS if network is None else _BITS_OF_OTHERS
    tensor_types = tuple(types.get(tensor.type, str(tensor.type)) for tensor in tensors)
    shapes = tuple(_indices(tensor.shape) for tensor in tensors)
    constants: dict[int, Array] = {}
    quantised: dict[int, Scale] = {}
    for index, tensor in enumerate(tensors):
        _require(all(side > 0 for side in shapes[index]), f"tensor {index} has shape {shapes[index]}")
        _require(tensor_types[index] in bits, f"tensor {index} has type {tensor_types[index]}")
        _require(0 <= tensor.buffer < len(buffers), f"tensor {index} names buffer {tensor.buffer} of {len(buffers)}")
        _text(tensor.name)  # the interpreter's own listing dies of a name that is not UTF-8
        _require(not tensor.isVariable and tensor.sparsity is None, f"tensor {index} is variable or sparse")
        scale = _scale(index, tensor, tensor_types[index], shapes[index])
        if scale is not None:
            quantised[index] = scale
        data = buffers[tensor.buffer].data
        if data is not None and len(data):
            constants[index] = _constant(index, bytes(data), tensor_types[index], shapes[index])
    operations = []
    for index, operator in enumerate(graph.operators or ()):
        _require(0 <= operator.opcodeIndex < len(codes), f"operation {index} names operator code {operator.opcodeIndex}")
        name = names.get(codes[operator.opcodeIndex], f"number {codes[operator.opcodeIndex]}")
        inputs, outputs = _indices(operator.inputs), _indices(operator.outputs)
        _require(all(-1 <= i < len(tensors) for i in inputs), f"{name} (operation {index}) reads tensors {inputs}")
        _require(bool(outputs) and all(0 <= i < len(tensors) for i in outputs), f"{name} (operation {index}) writes {outputs}")
        turned = name == "BATCH_MATMUL" and bool(getattr(operator.builtinOptions, "adjY", False))
        operations.append(Operation(name=name, inputs=inputs, outputs=outputs, turned=turned))
    _require(bool(operations), "no operations")
    signatures = model.signatureDefs or []
    keys = [_text(signature.signatureKey) for signature in signatures]
    _require(keys == [SIGNATURE_KEY], f"signatures {keys} instead of [{SIGNATURE_KEY!r}]")
    ports = [
        {_text(port.name): int(port.tensorIndex) for port in side or ()} for side in (signatures[0].inputs, signatures[0].outputs)
    ]
    for port, own in zip(ports, (graph.inputs, graph.outputs), strict=True):
        _require(sorted(port.values()) == sorted(_indices(own)), f"signature tensors {port} are not the graph's {_indices(own)}")
        _require(all(0 <= i < len(tensors) for i in port.values()), f"signature tensors {port} of {len(tensors)}")
    file = TfliteFile(
        operations=tuple(operations),
        inputs=ports[0],
        outputs=ports[1],
        types=tensor_types,
        shapes=shapes,
        constants=constants,
        quantised=quantised,
        metadata=metadata,
        network=network,
    )
    _check_dataflow(file)
    return file


def _scale(index: int, tensor: Any, kind: str, shape: tuple[int, ...]) -> Scale | None:
    """What a tensor's integers stand for; None where the converter left no scale. Kernels take these numbers on trust."""
    import numpy as np

    stored = tensor.quantization
    if stored is None or stored.scale is None or not len(stored.scale):
        return None
    scales, zeros = np.asarray(stored.scale, np.float32), np.asarray(stored.zeroPoint, np.int64)
    axis = int(stored.quantizedDimension)
    channels = shape[axis] if 0 <= axis < len(shape) else 0
    _require(kind in (*_INTEGERS, "UINT8"), f"tensor {index} of {kind} has a scale")
    _require(len(scales) == len(zeros) and len(scales) in (1, channels), f"tensor {index} {shape} has {len(scales)} scales")
    _require(bool((np.isfinite(scales) & (scales > 0)).all()), f"tensor {index} has a scale that is no positive number")
    lowest, highest = {"INT8": (-128, 127), "UINT8": (0, 255)}.get(kind, (0, 0))
    _require(bool(((lowest <= zeros) & (zeros <= highest)).all()), f"tensor {index} has a zero point out of {kind}")
    return Scale(scales=scales, zeros=zeros, axis=axis)


def _metadata(model: Any, buffers: Sequence[Any]) -> dict[str, bytes]:
    found = {}
    for entry in model.metadata or ():
        _require(0 <= entry.buffer < len(buffers), f"metadata {entry.name!r} names buffer {entry.buffer} of {len(buffers)}")
        data = buffers[entry.buffer].data
        found[_text(entry.name)] = b"" if data is None else bytes(data)
    return found


def _check_dataflow(file: TfliteFile) -> None:
    """Every tensor is written once before it is read, and every convolution has a constant filter and bias that fit."""
    ready = {*file.constants, *file.inputs.values(), -1}
    widened: dict[int, int] = {}
    for operation in file.operations:
        _require(set(operation.inputs) <= ready, f"{operation.name} reads {operation.inputs} before it is written")
        _require(not set(operation.outputs) & ready, f"{operation.name} writes {operation.outputs} again")
        ready.update(operation.outputs)
        if file.network is not None:
            continue
        if operation.name == "DEQUANTIZE":
            if operation.inputs[0] in file.constants:
                widened[operation.outputs[0]] = operation.inputs[0]
            else:
                told = "DEQUANTIZE widens something that is neither a stored weight nor an int8 activation nor pixels"
                pixels = operation.inputs[0] in file.inputs.values() and file.types[operation.inputs[0]] == "UINT8"
                _require(pixels or file.types[operation.inputs[0]] == "INT8", told)
        if operation.name in _CONVOLUTIONS:
            _check_convolution(file, operation, widened)
    _require(set(file.outputs.values()) <= ready, f"outputs {file.outputs} are never written")
    if file.network is None:
        patches.check_moves(file)
    else:
        networks.check(file)


def _check_convolution(file: TfliteFile, operation: Operation, widened: Mapping[int, int]) -> None:
    name = operation.name
    _require(len(operation.inputs) == 3, f"{name} has {len(operation.inputs)} inputs")
    data, weight, bias = operation.inputs
    stored = widened.get(weight, weight)
    _require({stored, bias} <= set(file.constants), f"{name} has a filter or bias that is not stored in the file")
    whole = all(file.types[index] not in _INTEGERS or index in file.quantised for index in (stored, bias))
    _require(whole, f"{name} has an integer filter or bias without a scale")
    shape, given, made = file.shapes[stored], file.shapes[data], file.shapes[operation.outputs[0]]
    fits = len(shape) == _CONVOLUTIONS[name] and len(given) == 4 and file.shapes[bias] == shape[:1]
    _require(
        fits and given[3] == shape[-1] and made[3:] == shape[:1],
        f"{name} with filter {shape} and bias {file.shapes[bias]} over {given}",
    )
    if name == "FULLY_CONNECTED":
        _require(made[:3] == given[:3], f"FULLY_CONNECTED makes {made} of {given}")
        patches.kernel(file, data)


def _check_ports(
    side: str, file: TfliteFile, found: dict[str, int], declared: Sequence[tuple[str, tuple[int, ...], str]]
) -> None:
    actual = [(name, file.shapes[index], file.types[index].lower()) for name, index in sorted(found.items())]
    if actual != sorted(declared):
        raise ArtifactError(f"The TFLite file's {side} is {_ports(actual)}, declared is {_ports(sorted(declared))}.")


def _ports(ports: Sequence[tuple[str, tuple[int, ...], str]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))} {dtype}" for name, shape, dtype in ports) or "none"


def _constant(index: int, data: bytes, kind: str, shape: tuple[int, ...]) -> Array:
    import numpy as np

    wanted = (math.prod(shape) * (_BITS | _BITS_OF_OTHERS)[kind] + 7) // 8
    _require(len(data) == wanted, f"constant {index} of {kind} {shape} has {len(data)} bytes instead of {wanted}")
    if kind == "INT4":  # two to a byte, the first in the low half; int8 from here on
        pairs = np.frombuffer(data, np.uint8)
        halves = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[: math.prod(shape)]
        return ((halves.astype(np.int8) ^ 8) - 8).reshape(shape)
    return np.frombuffer(data, (_NUMPY_TYPES | _NUMPY_TYPES_OF_OTHERS)[kind]).reshape(shape)


def _indices(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(value) for value in values)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _require(condition: bool, found: str) -> None:
    if not condition:
        raise ArtifactError(f"The TFLite file is damaged or not of this tool's making: {found}. Export it again.")
