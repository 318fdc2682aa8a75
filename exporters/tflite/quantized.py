"""Int8 in a TFLite flatbuffer: which number stands for what is chosen here, and written exactly so.

Filters are symmetric per output channel. `int8-dynamic` leaves activations to the runtime, `int8-weights` widens the filters
when the file is loaded, `int8` quantises activations as well, by the smallest and largest value that calibration saw. (A moving
average instead, as ai-edge-quantizer has it, clips: 29 points of top-1 on torchvision's 1.1.) `int8-uint8` is the same inside and
takes and gives uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.signature import Quantisation
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.filters import QuantisedFilter, quantise_filter
from squeeze_export.exporters.tflite import flatbuffer

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array
    from squeeze_export.contracts.signature import OutputKind


_LARGEST_RATIO: Final = 256.0  # of a product's scale to the output's, in XNNPACK's int8 convolutions


# These only move or select values: what goes in and what comes out must have one scale.
_PASSING: Final = ("CONCATENATION", "MAX_POOL_2D")


def quantise_filters(model: Any, *, widen: bool) -> dict[str, Array]:
    """Replace every filter by int8, in place; with `widen` each is made float32 again by a DEQUANTIZE of its own.

    Returns what the convolutions now compute with, by name: decoded filters (O, H, W, I) and biases, float32. The tensors must
    have been named.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    chosen: dict[str, Array] = {}
    widened = []
    for operator in _convolutions(model):
        _, weight, bias = operator.inputs
        tensor = graph.tensors[weight]
        made = quantise_filter(flatbuffer.constant(model, weight))
        chosen[tensor.name.decode()] = made.decoded
        chosen[graph.tensors[bias].name.decode()] = flatbuffer.constant(model, bias)
        _store(model, weight, made)
        if widen:
            wide = schema.TensorT()
            wide.name, wide.shape, wide.type, wide.buffer = tensor.name + b".fp32", tensor.shape, schema.TensorType.FLOAT32, 0
            graph.tensors.append(wide)
            operator.inputs = [operator.inputs[0], len(graph.tensors) - 1, bias]
            widened.append(_operator(model, "DEQUANTIZE", weight, len(graph.tensors) - 1))
    graph.operators = widened + list(graph.operators)
    return chosen


def quantise_all(model: Any, ranges: Mapping[str, tuple[float, float]], *, pixels: bool = False) -> dict[str, Array]:
    """Make filters, biases and activations int8, in place, up to the mean in front of the scores; float32 in and out stay.

    `ranges`: smallest and largest value by tensor name; with `pixels` the input's is 0..255 whatever was seen, so that every
    pixel is a level of its own. Mean and softmax are left in float32: the mean of 8-bit numbers has more
    than 8 bits, and the order of close classes is decided by them. Returns what the convolutions compute with, by name: decoded
    filters and biases, float32.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    kinds = flatbuffer.operators(model)
    body = [operator for kind, operator in zip(kinds, graph.operators, strict=True) if kind not in ("MEAN", "SOFTMAX")]
    head = [operator for kind, operator in zip(kinds, graph.operators, strict=True) if kind in ("MEAN", "SOFTMAX")]
    if not head or len(graph.inputs) != 1:
        raise ConversionError("The network does not end in a mean over the image: it cannot be written in int8.")
    (taken,) = graph.inputs
    if pixels:
        ranges = {**ranges, graph.tensors[taken].name.decode(): (0.0, 255.0)}
    scales = _activations(model, body, ranges)
    chosen: dict[str, Array] = {}
    for operator in _convolutions(model):
        given, weight, bias = operator.inputs
        made = quantise_filter(flatbuffer.constant(model, weight))
        _check_requantisation(graph.tensors[weight].name.decode(), made, scales[given][0], scales[operator.outputs[0]][0])
        steps = (made.scales.astype(np.float64) * scales[given][0]).astype(np.float32)
        levels = np.rint(flatbuffer.constant(model, bias).astype(np.float64) / steps)
        if np.abs(levels).max(initial=0) >= 2**31:
            raise ConversionError(
                f"{graph.tensors[bias].name.decode()} is too large beside its filter for int8: export with int8-dynamic."
            )
        chosen[graph.tensors[weight].name.decode()] = made.decoded
        chosen[graph.tensors[bias].name.decode()] = levels.astype(np.int32).astype(np.float32) * steps
        _store(model, weight, made)
        _replace(model, bias, levels.astype(np.int32), schema.TensorType.INT32)
        graph.tensors[bias].quantization = _parameters(steps, np.zeros(len(steps), np.int64))
    # The file keeps its float32 input and output: one QUANTIZE behind the input, one DEQUANTIZE in front of the mean.
    inner = _twin(model, taken, b".int8")
    for operator in body:
        operator.inputs = [inner if index == taken else index for index in operator.inputs]
    last = head[0].inputs[0]
    outer = _twin(model, last, b".fp32")
    head[0].inputs = [outer, *head[0].inputs[1:]]
    for index, (scale, zero) in {**scales, inner: scales[taken]}.items():
        if index != taken:
            tensor = graph.tensors[index]
            tensor.type = schema.TensorType.INT8
            tensor.quantization = _parameters(np.asarray([scale], np.float32), np.asarray([zero], np.int64))
    graph.operators = [
        _operator(model, "QUANTIZE", taken, inner),
        *body,
        _operator(model, "DEQUANTIZE", last, outer),
        *head,
    ]
    return chosen


def give_uint8(model: Any, kind: OutputKind, ranges: Mapping[str, tuple[float, float]]) -> Quantisation:
    """Make the float32 input of a file, which is pixels, and its float32 output, in place, uint8; what the output stands for.

    Probabilities have 256 levels of 1/256, as readers of such files expect (1 itself becomes 255/256); other scores have 255
    steps between their extremes in `ranges`. XNNPACK goes from uint8 to int8 through float32 only (a QUANTIZE alone stays
    outside of its partition): DEQUANTIZE, then the QUANTIZE that stands there. Both are exact for pixels.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    (taken,), (given,) = graph.inputs, graph.outputs
    low, high = ranges[graph.tensors[given].name.decode()]
    scale, zero = (1 / 256, -128) if kind == "probabilities" else _levels(low, high)
    scores = Quantisation(scale=scale, zero_point=zero + 128)
    opened, closed = _twin(model, taken, b".fp32"), _twin(model, given, b".fp32")
    for operator in graph.operators:
        operator.inputs = [opened if index == taken else index for index in operator.inputs]
        operator.outputs = [closed if index == given else index for index in operator.outputs]
    for index, made in ((taken, Quantisation(scale=1.0, zero_point=0)), (given, scores)):
        tensor = graph.tensors[index]
        tensor.type = schema.TensorType.UINT8
        tensor.quantization = _parameters(np.asarray([made.scale], np.float32), np.asarray([made.zero_point], np.int64))
    graph.operators = [
        _operator(model, "DEQUANTIZE", taken, opened),
        *graph.operators,
        _operator(model, "QUANTIZE", closed, given),
    ]
    return scores


def measure(content: bytes, images: Sequence[Array]) -> dict[str, tuple[float, float]]:
    """Run a float32 file over the inputs (1, H, W, 3) and give the smallest and largest value of every tensor by name."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without delegates: XNNPACK keeps no values between its operations.
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    floats = [
        entry for entry in interpreter.get_tensor_details() if entry["dtype"] == np.float32 and len(entry["shape"]) in (2, 4)
    ]
    found: dict[str, tuple[float, float]] = {}
    for image in images:
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
        for entry in floats:
            values = interpreter.get_tensor(entry["index"])
            low, high = found.get(entry["name"], (np.inf, -np.inf))
            found[entry["name"]] = min(low, float(values.min())), max(high, float(values.max()))
    broken = [name for name, bounds in found.items() if not np.isfinite(bounds).all()]
    if broken:
        raise ConversionError(f"The calibration images give NaN or infinity in {broken[0]}: int8 has no range for that.")
    return found


def _activations(model: Any, body: list[Any], ranges: Mapping[str, tuple[float, float]]) -> dict[int, tuple[float, int]]:
    """Scale and zero point of every activation that the operations of `body` read or write, by tensor index."""
    graph = model.subgraphs[0]
    kinds = {id(operator): kind for kind, operator in zip(flatbuffer.operators(model), graph.operators, strict=True)}
    groups: dict[int, set[int]] = {}
    for operator in body:
        moved = [operator.inputs[0]] if kinds[id(operator)] == "CONV_2D" else list(operator.inputs)
        touched = {*moved, *operator.outputs}
        for index in touched:
            groups.setdefault(index, {index})
        if kinds[id(operator)] in _PASSING:
            joined = set().union(*(groups[index] for index in touched))
            for index in joined:
                groups[index] = joined
    scales: dict[int, tuple[float, int]] = {}
    for index, group in groups.items():
        bounds = [ranges[graph.tensors[member].name.decode()] for member in group]
        scales[index] = _levels(min(low for low, _ in bounds), max(high for _, high in bounds))
    return scales


def _check_requantisation(name: str, made: QuantisedFilter, given: float, gives: float) -> None:
    """XNNPACK refuses a convolution whose products are so much coarser than its output; LiteRT then cannot open the file."""
    ratio = float(made.scales.max()) * given / gives
    if ratio >= _LARGEST_RATIO:
        raise ConversionError(
            f"{name} cannot be int8 with one scale per tensor: a step of its products is {ratio:.3g} steps of its output, and "
            f"XNNPACK's kernels end at {_LARGEST_RATIO:g}. Its channels, or those in front of it, differ too much in scale. fp16 "
            "keeps them: export with --precision tflite=fp16."
        )


def _levels(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of int8 for values from `low` to `high`. 0 has a level of its own: padding is made of it."""
    import numpy as np

    low, high = min(0.0, low), max(0.0, high)
    scale = float(np.float32((high - low or 1.0) / 255))
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def _convolutions(model: Any) -> list[Any]:
    kinds = flatbuffer.operators(model)
    return [operator for kind, operator in zip(kinds, model.subgraphs[0].operators, strict=True) if kind == "CONV_2D"]


def _store(model: Any, index: int, made: QuantisedFilter) -> None:
    import numpy as np
    from ai_edge_litert.schema_py_generated import TensorType

    _replace(model, index, made.values, TensorType.INT8)
    model.subgraphs[0].tensors[index].quantization = _parameters(made.scales, np.zeros(len(made.scales), np.int64))


def _replace(model: Any, index: int, values: Array, kind: int) -> None:
    tensor = model.subgraphs[0].tensors[index]
    tensor.type = kind
    flatbuffer.give_data(model, tensor, values)


def _parameters(scales: Array, zeros: Array) -> Any:
    from ai_edge_litert.schema_py_generated import QuantizationParametersT

    made = QuantizationParametersT()
    made.scale, made.zeroPoint, made.quantizedDimension = scales, zeros, 0
    return made


def _twin(model: Any, index: int, suffix: bytes) -> int:
    from ai_edge_litert.schema_py_generated import TensorT, TensorType

    own = model.subgraphs[0].tensors[index]
    made = TensorT()
    made.name, made.shape, made.shapeSignature, made.buffer = own.name + suffix, own.shape, own.shapeSignature, 0
    made.type = TensorType.FLOAT32
    model.subgraphs[0].tensors.append(made)
    return len(model.subgraphs[0].tensors) - 1


def _operator(model: Any, kind: str, given: int, made: int) -> Any:
    # Of DEQUANTIZE the second version knows int8, and the fifth scales per channel; QUANTIZE is good as it is.
    return flatbuffer.new_operator(model, kind, {"DEQUANTIZE": 5, "QUANTIZE": 1}[kind], [given], [made])
