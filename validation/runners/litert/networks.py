"""Files of networks other than SqueezeNet: what may stand in them, their layers' weights, and what XNNPACK takes of them.

They say of themselves of what network they are. A file that says nothing is one of SqueezeNet, of which every operation is known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.artifact import Precision
from squeeze_export.contracts.signature import Signature
from squeeze_export.contracts.source import is_squeezenet
from squeeze_export.errors import ArtifactError
from squeeze_export.validation.runners.litert import arguments
from squeeze_export.validation.runners.litert.model import Operation, TfliteFile

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

# As exporters/tflite/captured/making.py writes it; siblings do not import each other, a test holds the two together.
RECORD: Final = "squeeze_export"

# What inference of a classifier is made of; none takes a branch, keeps a state or is anybody's own.
_OPERATORS: Final = frozenset(
    {"ABS", "ADD", "ARG_MAX", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BROADCAST_TO", "CAST", "CONCATENATION", "CONV_2D"}
    | {"DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DIV", "ELU", "EQUAL", "EXP", "EXPAND_DIMS", "FULLY_CONNECTED", "GATHER"}
    | {"GATHER_ND", "GELU", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "L2_NORMALIZATION", "LEAKY_RELU", "LESS"}
    | {"LESS_EQUAL", "LOG", "LOGICAL_AND", "LOGICAL_NOT", "LOGISTIC", "LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MEAN"}
    | {"MINIMUM", "MIRROR_PAD", "MUL", "NEG", "NOT_EQUAL", "PACK", "PAD", "PADV2", "POW", "PRELU", "REDUCE_MAX"}
    | {"REDUCE_MIN", "REDUCE_PROD", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR"}
    | {"RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SELECT", "SELECT_V2", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT"}
    | {"SPLIT_V", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE"}
    | {"TRANSPOSE", "TRANSPOSE_CONV", "UNPACK"}
)
_FILTERS: Final[Mapping[Precision, str]] = {"fp32": "FLOAT32", "fp16": "FLOAT16"}
_LAYERS: Final = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")


def network_of(metadata: Mapping[str, bytes]) -> str | None:
    """The network that a file says it is, None for SqueezeNet; ArtifactError where what it says cannot be read."""
    if RECORD not in metadata:
        return None
    try:
        network = json.loads(metadata[RECORD])["model"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"The TFLite file's metadata {RECORD!r} cannot be read: it is damaged. Export it again.") from error
    if not isinstance(network, str) or is_squeezenet(network):
        raise ArtifactError(
            f"The TFLite file says in its metadata {RECORD!r} that it is {network!r}: it is damaged. Export it again."
        )
    return network


def check(file: TfliteFile) -> None:
    """Hold shapes and constant arguments of a file's operations against each other: kernels take them on trust."""
    widened: dict[int, int] = {}
    for operation in file.operations:
        if operation.name == "DEQUANTIZE":
            stored = operation.inputs[0]
            arguments.require(file.types[stored] == "FLOAT16" and stored in file.constants, "DEQUANTIZE of no stored weight")
            widened[operation.outputs[0]] = stored
        arguments.check(file, operation, widened)


def check_declared(file: TfliteFile, signature: Signature, precision: Precision) -> None:
    """Hold operations and types of weights against what is declared; ArtifactError names the difference."""
    wanted = _FILTERS.get(precision)
    if wanted is None:
        raise ArtifactError(f"The file is declared {precision}, and of {file.network} there is {', '.join(_FILTERS)} only.")
    allowed = _OPERATORS | ({"DEQUANTIZE"} if precision == "fp16" else frozenset())
    if surplus := sorted({operation.name for operation in file.operations} - allowed):
        raise ArtifactError(f"The TFLite file holds operations that no classifier needs: {', '.join(surplus)}. Export it again.")
    ports = {file.types[index] for index in (*file.inputs.values(), *file.outputs.values())}
    if ports != {"FLOAT32"}:
        raise ArtifactError(f"The file is declared {precision}, but takes and gives {', '.join(sorted(ports)).lower()}.")
    kinds = {output.kind for output in signature.outputs}
    last = next((op for op in file.operations if set(op.outputs) & set(file.outputs.values())), None)
    if "probabilities" in kinds and (last is None or last.name not in ("SOFTMAX", "LOGISTIC")):
        raise ArtifactError(f"The output is declared as probabilities, but {last.name if last else 'nothing'} writes it.")
    stored = {file.types[kernel] for _, kernel in _kernels(file)}
    if stored != {wanted}:
        told = ", ".join(sorted(kind.lower() for kind in stored)) or "nothing"
        raise ArtifactError(f"The file is declared {precision}, but stores its filters as {told}.")


def stored_weights(file: TfliteFile) -> tuple[Array, ...]:
    """Every layer's kernel as PyTorch has it, and its bias, in execution order; nothing of a product of two computed values."""
    import numpy as np

    weights: list[Array] = []
    for operation, index in _kernels(file):
        kernel = file.constants[index]
        if operation.name == "CONV_2D":
            kernel = kernel.transpose(0, 3, 1, 2)
        elif operation.name == "DEPTHWISE_CONV_2D":  # (1, H, W, C * multiplier)
            kernel = kernel.transpose(3, 0, 1, 2)
        elif operation.name == "BATCH_MATMUL":
            kernel = kernel.reshape(kernel.shape[-2:]) if kernel.size == kernel.shape[-1] * kernel.shape[-2] else kernel
            kernel = kernel if operation.turned else kernel.swapaxes(-1, -2)
        weights.append(np.ascontiguousarray(kernel))
        weights += [file.constants[bias] for bias in operation.inputs[2:3] if bias in file.constants]
    return tuple(weights)


def _kernels(file: TfliteFile) -> list[tuple[Operation, int]]:
    """Each layer with the tensor of its constant kernel."""
    widened = {op.outputs[0]: op.inputs[0] for op in file.operations if op.name == "DEQUANTIZE"}
    layers = [(op, widened.get(op.inputs[1], op.inputs[1])) for op in file.operations if op.name in _LAYERS]
    return [(operation, kernel) for operation, kernel in layers if kernel in file.constants]


def taken(details: Sequence[Mapping[str, Any]], file: TfliteFile) -> str:
    """Say what XNNPACK executes of a file: the whole, or in how many parts, and which operations it leaves to others.

    `details`: the interpreter's nodes. It keeps listing operations that a delegate has replaced; those of a partition are the
    ones between what its node reads and writes.
    """
    writer = {output: place for place, operation in enumerate(file.operations) for output in operation.outputs}
    inside: set[int] = set()
    partitions = [node for node in details if node["op_name"] == "DELEGATE"]
    for node in partitions:
        read = {int(index) for index in node["inputs"]}
        open_ends = [int(index) for index in node["outputs"]]
        while open_ends:
            place = writer.get(open_ends.pop())
            if place is not None and place not in inside:
                inside.add(place)
                open_ends += [index for index in file.operations[place].inputs if index not in read]
    outside = [op for place, op in enumerate(file.operations) if place not in inside and not _folded(op, file)]
    if not outside and len(partitions) == 1:
        return "XNNPACK"
    parts = {0: "nothing", 1: "1 part"}.get(len(partitions), f"{len(partitions)} parts")
    if not outside:
        return f"XNNPACK takes the graph in {parts}"
    return f"XNNPACK takes {parts} of the graph, not {_listed(operation.name for operation in outside)}"


def _folded(operation: Operation, file: TfliteFile) -> bool:
    """A stored weight is widened once, before anything is executed, whoever does it."""
    return operation.name == "DEQUANTIZE" and operation.inputs[0] in file.constants


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(names).items()))
