"""Executes an `.onnx` file with ONNX Runtime on the CPU, after reading and checking the file itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.artifact import Precision
from squeeze_export.contracts.parity import Runner
from squeeze_export.contracts.signature import Signature
from squeeze_export.contracts.source import is_squeezenet
from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.sdks import missing, working

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

NAME: Final = "ONNX Runtime"
PACKAGES: Final = ("onnxruntime", "onnx")

# What exporters/onnx/exporter.py writes; siblings do not import each other, a test holds the two together.
LABELS: Final = "labels"
RECORD: Final = "squeeze_export"

# The network, the normalisation in front of it (Slice: the channels of an RGB image in reverse), and averaging behind it.
_OPERATORS: Final = frozenset(
    {"Conv", "Relu", "MaxPool", "Concat", "Add", "Mul", "Slice", "Constant", "GlobalAveragePool", "Flatten"}
)
# What inference of a classifier is made of besides; none takes a branch, draws a number or reads a file.
_OF_OTHER_NETWORKS: Final = frozenset(
    {"Abs", "AveragePool", "BatchNormalization", "Cast", "Clip", "ConstantOfShape", "ConvTranspose", "DepthToSpace", "Div", "Elu"}
    | {"Equal", "Erf", "Exp", "Expand", "Gather", "Gelu", "Gemm", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization"}
    | {"LayerNormalization", "LeakyRelu", "Log", "MatMul", "Max", "Min", "Neg", "PRelu", "Pad", "Pow", "Range", "Reciprocal"}
    | {"ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Resize", "Shape", "Sigmoid", "Softmax", "Softplus"}
    | {"SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where"}
)
_NO_KERNEL: Final = re.compile(r"Could not find an implementation for (?P<operation>\S+) node with name '(?P<name>[^']*)'")


def unavailable() -> str | None:
    """Why nothing can be executed here (naming the remedy), or None. Loads no SDK."""
    return missing(("onnxruntime", "onnx"), extra="onnx")


def open(path: Path, signature: Signature, precision: Precision) -> Runner:
    """Open the file at `path`, hold it against what is declared, and make ready to execute it on one thread.

    Raises ArtifactError where the file is damaged or differs from what is declared, UnsupportedOperationError where this ONNX
    Runtime has no kernel for an operation in the type that the file needs, TargetUnavailableError where it cannot be imported.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path.name} cannot be read: {error.strerror}. Export it again.") from error
    model = _read(path.name, content)
    labels = _check_declared(path.name, model, signature, precision)
    weights = _weights(path.name, model.graph)
    wrong = next((w for w in weights if w.ndim > 1 and w.dtype.name != ("float16" if precision == "fp16" else "float32")), None)
    if wrong is not None:
        raise ArtifactError(f"{path.name} stores a filter as {wrong.dtype.name}, and {precision} is declared: export it again.")
    return _OnnxRunner(path.name, session(path.name, content), weights, labels)


def session(name: str, content: bytes) -> Any:
    """Give ONNX Runtime the file's content: one thread, the CPU's kernels; errors as `open` raises them."""
    with working("onnxruntime"):
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised as well
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of its C++ statuses share no base of their own
        lacking = _NO_KERNEL.search(str(error))
        if lacking is not None:
            raise UnsupportedOperationError(
                f"ONNX Runtime {version('onnxruntime')} has no CPU kernel for {lacking['operation']} (node {lacking['name']!r} "
                f"of {name}) in the type it is given. Export with --precision onnx=fp32, or verify where that kernel is."
            ) from error
        raise ArtifactError(f"ONNX Runtime refuses {name}: {_first_line(error)}. Export it again.") from error


class _OnnxRunner:
    """See contracts.parity.Runner."""

    def __init__(self, name: str, session: Any, weights: tuple[Array, ...], labels: tuple[str, ...] | None) -> None:
        self.labels = labels
        self.executor = f"{NAME} {version('onnxruntime')} (CPU)"
        self._name, self._session, self._weights = name, session, weights
        self._inputs = {port.name: (tuple(port.shape), _DTYPES.get(port.type, port.type)) for port in session.get_inputs()}

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Execute once, one image; ArtifactError where names, shape or dtype are not the file's."""
        given = {name: (tuple(value.shape), value.dtype.name) for name, value in inputs.items()}
        if given != self._inputs:
            raise ArtifactError(f"{self._name} takes {self._inputs}, but was given {given}.")
        try:
            results = self._session.run(None, dict(inputs))
        except Exception as error:
            raise ArtifactError(f"ONNX Runtime could not execute {self._name}: {_first_line(error)}. Export it again.") from error
        return dict(zip((port.name for port in self._session.get_outputs()), results, strict=True))

    def stored_weights(self) -> tuple[Array, ...]:
        """Filter (O, I, H, W) and bias (O,) of every convolution in execution order, as stored; shared ones are repeated."""
        return self._weights


_DTYPES: Final = {"tensor(float)": "float32", "tensor(float16)": "float16"}


def _read(name: str, content: bytes) -> Any:
    """Parse and check the whole file, strict shape inference included."""
    with working("onnx"):
        import onnx

    try:
        model = onnx.load_model_from_string(content)
        if any(value.external_data or value.data_location for value in model.graph.initializer):
            raise ArtifactError(f"{name} keeps weights in another file, which nobody has proven: export it again.")
        onnx.checker.check_model(model, full_check=True)
    except ArtifactError:
        raise
    except Exception as error:  # protobuf's DecodeError, the checker's and the inference's own, and what damage makes of them
        raise ArtifactError(f"{name} is damaged or no ONNX file ({_first_line(error)}). Export it again.") from error
    return model


def _check_declared(name: str, model: Any, signature: Signature, precision: Precision) -> tuple[str, ...] | None:
    """Hold ports, operations and metadata against what is declared; gives the labels in the metadata."""
    ports = [(signature.input.name, signature.input.shape, signature.input.dtype)]
    ports += [(output.name, output.shape, output.dtype) for output in signature.outputs]
    found = [_port(value) for value in (*model.graph.input, *model.graph.output)]
    if found != ports:
        raise ArtifactError(f"{name} has the inputs and outputs {found}, declared are {ports}. Export it again.")
    domains = {entry.domain for entry in model.opset_import} | {node.domain for node in model.graph.node}
    if domains != {""} or model.functions:
        raise ArtifactError(f"{name} uses operations of {sorted(domains - {''}) or 'its own'}: export it again.")
    kinds = {output.kind for output in signature.outputs}
    labels, network = _check_record(name, {entry.key: entry.value for entry in model.metadata_props}, signature, precision)
    allowed = {*_OPERATORS, *(("Softmax",) if "probabilities" in kinds else ()), *(("Cast",) if precision == "fp16" else ())}
    if not is_squeezenet(network):
        allowed |= _OF_OTHER_NETWORKS
    if surplus := sorted({node.op_type for node in model.graph.node} - allowed):
        raise ArtifactError(
            f"{name} holds operations that this artifact must not hold: {', '.join(surplus)}. "
            f"Allowed: {', '.join(sorted(allowed))}."
        )
    written = {output: node.op_type for node in model.graph.node for output in node.output}
    last = written.get(signature.outputs[0].name, "nothing")
    ends = {"Softmax"} if is_squeezenet(network) else {"Softmax", "Sigmoid"}
    # Another network's own logits may come from whatever it has.
    if ("probabilities" in kinds) != (last in ends) and ("probabilities" in kinds or is_squeezenet(network)):
        raise ArtifactError(f"{name} declares {', '.join(sorted(kinds))}, but the operation that writes them is {last}.")
    return labels


def _check_record(
    name: str, properties: Mapping[str, str], signature: Signature, precision: Precision
) -> tuple[tuple[str, ...] | None, str]:
    """The labels in the metadata, and the network that the file says it is."""
    try:
        record = json.loads(properties[RECORD])
        network = str(record["model"])
        found = {"signature": record["signature"], "precision": record["precision"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{name} has no readable property {RECORD!r}: it was not written by squeeze-export.") from error
    declared = json.loads(json.dumps({"signature": asdict(signature), "precision": precision}))
    for what, wanted in declared.items():
        if found[what] != wanted:
            raise ArtifactError(
                f"{name} says of itself {json.dumps(found[what])}, and {json.dumps(wanted)} is declared as its {what}: it is not "
                "the artifact of this manifest; export it again."
            )
    labels, classes = properties.get(LABELS, "").splitlines(), signature.outputs[0].shape[-1]
    if labels and len(labels) != classes:
        raise ArtifactError(f"{name} holds {len(labels)} labels for {classes} classes: export it again.")
    return tuple(labels) or None, network


def _weights(name: str, graph: Any) -> tuple[Array, ...]:
    """Filter and bias of every Conv, through the Cast that widens an fp16 filter; of linear layers (out, in) and bias."""
    from onnx import numpy_helper

    stored = {value.name: value for value in graph.initializer}
    widened = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    weights: list[Array] = []
    for node in graph.node:
        if node.op_type in ("Gemm", "MatMul"):
            weights += _linear(node, stored, widened)
        if node.op_type != "Conv":
            continue
        sources = [widened.get(value, value) for value in node.input[1:]]
        if not sources or not set(sources) <= set(stored):
            raise ArtifactError(f"{name}: the convolution {node.name!r} has a filter or bias that is not stored in the file.")
        weights += [numpy_helper.to_array(stored[source]) for source in sources]
    return tuple(weights)


def _linear(node: Any, stored: Mapping[str, Any], widened: Mapping[str, str]) -> list[Array]:
    """A linear layer's weight, (out, in) as PyTorch has it, and its bias; nothing of a product of two computed values."""
    from onnx import numpy_helper

    arrays = [numpy_helper.to_array(stored[name]) for value in node.input[1:] if (name := widened.get(value, value)) in stored]
    turned = node.op_type == "Gemm" and any(entry.name == "transB" and entry.i == 1 for entry in node.attribute)
    return [array if array.ndim != 2 or turned else array.T for array in arrays]


def _port(value: Any) -> tuple[str, tuple[int, ...], str]:
    from onnx import helper

    tensor = value.type.tensor_type
    return (
        value.name,
        tuple(side.dim_value for side in tensor.shape.dim),
        helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
    )


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0].rstrip('.')}"
