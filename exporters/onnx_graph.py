"""A PyTorch module as an ONNX graph: traced, tidied, checked, with bytes that follow from the module alone."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.signature import InputSpec, OutputSpec
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.deployed import beyond_fp16

if TYPE_CHECKING:
    import torch

# Every operation used here has been what it is since 13, and ONNX Runtime reads 17 since its 1.13 (2022). onnx-tf ends at 18.
OPSET: Final = 17
_WEIGHTS_PREFIX: Final = "model."  # of graph.deployed(): the source model stands in an attribute of that name


def traced(module: torch.nn.Module, spec: InputSpec, output: OutputSpec) -> Any:
    """Trace `module` on a grey image and give its ModelProto: weights named as in the source's state dict, no copies of them.

    Raises ConversionError where the trace depends on the example input.
    """
    import onnx
    import torch

    buffer = io.BytesIO()
    with _quiet(), torch.no_grad():
        # The tracing exporter, not the torch.export one: that needs onnxscript besides and writes stack traces, with this
        # machine's paths, into every node.
        torch.onnx.export(
            module,
            (torch.full(spec.shape, 0.5),),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=[spec.name],
            output_names=[output.name],
        )
    model = onnx.load_model_from_string(buffer.getvalue())
    share_weights(model.graph)
    rename_values(model.graph, {value.name: value.name.removeprefix(_WEIGHTS_PREFIX) for value in model.graph.initializer})
    return model


def share_weights(graph: Any) -> None:
    """Take out the Identity nodes by which torch names equal weights (biases of zeros) a second time; in place."""
    weights = {value.name for value in graph.initializer}
    aliases: dict[str, str] = {}
    for node in [node for node in graph.node if node.op_type == "Identity" and node.input[0] in weights]:
        aliases[node.output[0]] = aliases.get(node.input[0], node.input[0])
        weights.add(node.output[0])
        graph.node.remove(node)
    rename_values(graph, aliases)


def rename_values(graph: Any, names: dict[str, str]) -> None:
    """Give values other names wherever they are read, written or stored; in place."""
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    for value in graph.initializer:
        value.name = names.get(value.name, value.name)


_KERNELS: Final = {"Conv": (1,), "Gemm": (1,), "MatMul": (0, 1)}  # which inputs of a layer may be its kernel


def store_in_half(graph: Any) -> None:
    """Store the kernel of each convolution and linear layer as fp16, widened by a Cast before it; biases stay fp32. In place.

    Computed with in fp32: an fp16 graph runs in fp16 on some machines only and is widened on others, so that nothing proven here
    would hold there. ConversionError for a kernel beyond fp16.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    stored = {value.name: value for value in graph.initializer if len(value.dims) > 1 and value.data_type == TensorProto.FLOAT}
    casts: dict[str, Any] = {}
    for name in (node.input[place] for node in graph.node for place in _KERNELS.get(node.op_type, ())):
        if name not in stored or name in casts:
            continue
        values = numpy_helper.to_array(stored[name])
        largest = float(np.abs(values).max())
        if not largest <= float(np.finfo(np.float16).max):
            raise beyond_fp16(name, largest)
        stored[name].CopyFrom(numpy_helper.from_array(values.astype(np.float16), name))
        casts[name] = helper.make_node("Cast", [name], [f"{name}.fp32"], name=f"/Cast/{name}", to=TensorProto.FLOAT)
    for node in graph.node:  # whoever else reads it gets what the layers get
        for place, name in enumerate(node.input):
            if name in casts:
                node.input[place] = casts[name].output[0]
    nodes = [*casts.values(), *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def checked_bytes(model: Any, spec: InputSpec, output: OutputSpec) -> bytes:
    """Serialise a model that the checker and strict shape inference pass and that has exactly the declared input and output."""
    import onnx

    for side, known in zip(model.graph.output[0].type.tensor_type.shape.dim, output.shape, strict=False):
        if not side.HasField("dim_value"):  # torch leaves a size open that it did not follow, such as behind a pad
            side.dim_value = known
    try:
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"torch wrote a graph that the ONNX checker refuses: {_first_line(error)}.") from error
    # What inference finds stands in `value_info` for every value; the declared output must be what comes out of that.
    found = [_port(value) for value in (*inferred.graph.input, *inferred.graph.output)]
    declared = [(port.name, port.shape, port.dtype) for port in (spec, output)]
    if found != declared:
        raise ConversionError(f"torch wrote a graph with the ports {found} where {declared} are declared.")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _port(value: Any) -> tuple[str, tuple[int, ...], str]:
    import onnx

    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return value.name, tuple(side.dim_value for side in tensor.shape.dim), dtype


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's advice; a trace that depends on its example input is a ConversionError."""
    import torch

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    # Recorded, not raised at once: an exception out of torch's C++ tracer surfaces as a SystemError that says nothing.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of the tracing exporter: see traced()
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # what is left is computed at run time
        try:
            yield
        finally:
            logger.setLevel(level)
    for warning in caught:
        if issubclass(warning.category, torch.jit.TracerWarning):
            raise ConversionError(
                f"The trace of this model depends on its example input ({warning.message}): others would give wrong scores. "
                "Take the decision out of the model's forward."
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no message").rstrip(".")
