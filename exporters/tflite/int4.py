"""`int4-mixed` in a TFLite flatbuffer: int4 in the big filters, int8 in the others, activations left to the runtime.

The integers are chosen on calibration images, errors compensated (docs/explanation/compression.md). The runtime quantises a
convolution's float32 input itself and computes with the integers (dynamic range).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.errors import ConversionError
from squeeze_export.exporters.progress import Spoken
from squeeze_export.exporters.tflite import flatbuffer

if TYPE_CHECKING:
    import torch

    from squeeze_export.compression.codings import UniformWeight
    from squeeze_export.compression.network import CodedLayer
    from squeeze_export.contracts.arrays import Array, FloatArray

BIG_LAYERS: Final = 8  # of SqueezeNet 1.1 they hold 88 % of the weights; the others gain little and lose as much


def bits_by_layer(sizes: Mapping[str, int]) -> dict[str, int]:
    """4 bits for the layers with most weights, 8 for the others; of equals the first count as larger."""
    biggest = sorted(sizes, key=lambda name: -sizes[name])[:BIG_LAYERS]
    return {name: 4 if name in biggest else 8 for name in sizes}


def choose(network: torch.nn.Module, images: FloatArray, told: Callable[[str], None] | None = None) -> dict[str, CodedLayer]:
    """Choose integers and bias for every convolution of `network` by (N, 3, H, W) `images`, which are what it takes.

    Deterministic for the same arguments. `told` hears how far it is, in words.
    """
    import torch

    from squeeze_export.compression.automatic import Clock, work_of
    from squeeze_export.compression.compensation import encode_uniform
    from squeeze_export.compression.network import convolutions, settle, walk

    sizes = {name: layer.weight.numel() for name, layer in convolutions(network).items()}
    bits = bits_by_layer(sizes)
    clock = Clock(total=sum(map(work_of, sizes.values())), told=Spoken(told))
    coded: dict[str, CodedLayer] = {}
    for visit in walk(network, torch.from_numpy(images), seed=0):
        coded[visit.name] = settle(visit, encode_uniform(visit.problem, bits[visit.name]))
        clock.advance(f"coding {visit.name} in {bits[visit.name]} bits", work_of(sizes[visit.name]))
    return coded


def replace_filters(model: Any, coded: Mapping[str, UniformWeight]) -> None:
    """Store every filter as the integers chosen for it, in place; the tensors must have been named.

    `coded`: by the convolution's name, weights (O, I, H, W). Each must be what the fp32 filter of that name holds decoded, bit
    for bit, and no filter may be left over: ConversionError otherwise.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    unfound = dict(coded)
    for kind, operator in zip(flatbuffer.operators(model), graph.operators, strict=True):
        if kind != "CONV_2D":
            continue
        index = operator.inputs[1]
        tensor = graph.tensors[index]
        name = tensor.name.decode().removesuffix(".weight")
        weight = unfound.pop(name, None)
        if weight is None or not np.array_equal(_as_filter(weight.decoded()), flatbuffer.constant(model, index)):
            raise ConversionError(f"The filter {name} is not the one that was compressed: export it again from the same weights.")
        values = _as_filter(weight.values)
        tensor.type = schema.TensorType.INT4 if weight.bits == 4 else schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.asarray(weight.scales, np.float32)
        tensor.quantization.zeroPoint = np.zeros(len(weight.scales), np.int64)
        tensor.quantization.quantizedDimension = 0
        # A buffer of its own: filters that are alike may share one.
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(packed(values, weight.bits), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    if unfound:
        raise ConversionError(f"The file has no filter for {', '.join(unfound)}: it was made of another network.")
    _drop_unused(model)


def packed(values: Array, bits: int) -> bytes:
    """Signed integers as the file stores them: int8 as they are, int4 two to a byte, the first in the low half."""
    import numpy as np

    flat = np.ascontiguousarray(values, np.int8).reshape(-1)
    if bits == 8:
        return flat.tobytes()
    if flat.size and (int(flat.min()) < -8 or int(flat.max()) > 7):
        raise ValueError(f"{int(flat.min())} to {int(flat.max())} does not fit 4 bits")
    even = np.pad(flat, (0, flat.size % 2)).astype(np.uint8) & 15
    return (even[::2] | (even[1::2] << 4)).tobytes()


def unpacked(content: bytes, bits: int, count: int) -> Array:
    """What packed() made of `count` integers, int8."""
    import numpy as np

    if bits == 8:
        return np.frombuffer(content, np.int8)[:count]
    pairs = np.frombuffer(content, np.uint8)
    halves = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[:count]
    return ((halves.astype(np.int8) ^ 8) - 8).astype(np.int8)


def _as_filter(values: Array) -> Array:
    import numpy as np

    return np.ascontiguousarray(values.transpose(0, 2, 3, 1))


def _drop_unused(model: Any) -> None:
    """Empty the buffers that no tensor refers to any more; their numbers stay."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
