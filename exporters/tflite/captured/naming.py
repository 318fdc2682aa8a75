"""The tensors of a converted network under short names that say what they are, and its kernels found again bit for bit."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from squeeze_export.exporters.tflite import flatbuffer

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array


def kernels(model: Any, expected: Mapping[str, Array]) -> dict[int, str]:
    """The tensors that hold a kernel of the source, by its name: those whose values are equal to the bit, shapes as in PyTorch.

    `expected`: filters (O, I / groups, H, W) and linear weights (out, in) by name. A kernel that several layers use is there as
    often as the converter wrote it.
    """
    by_content: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, kernel in expected.items():
        by_content[_content(kernel)].append(name)
    found: dict[int, str] = {}
    for kind, operator in zip(flatbuffer.operators(model), model.subgraphs[0].operators, strict=True):
        index = _kernel_of(model, kind, operator)
        if index is None or index in found:
            continue
        values = as_in_source(kind, operator, flatbuffer.constant(model, index))
        names = by_content.get(_content(values))
        if names:
            found[index] = names.pop(0) if len(names) > 1 else names[0]
    return found


def changed(expected: Mapping[str, Array], found: Mapping[int, str]) -> list[str]:
    """The kernels that are not among those found; of equal ones the converter may write one for all."""
    held = {_content(expected[name]) for name in found.values()}
    return [name for name, kernel in expected.items() if _content(kernel) not in held]


def _content(kernel: Array) -> tuple[object, ...]:
    return kernel.shape, kernel.dtype.name, hashlib.sha256(kernel.tobytes()).digest()


def _kernel_of(model: Any, kind: str, operator: Any) -> int | None:
    """The tensor of a layer's constant kernel."""
    if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"):
        return None
    index = int(operator.inputs[1])
    return index if model.buffers[model.subgraphs[0].tensors[index].buffer].data is not None else None


def as_in_source(kind: str, operator: Any, kernel: Array) -> Array:
    """A layer's kernel in PyTorch's order of axes."""
    import numpy as np

    if kind == "CONV_2D":
        kernel = kernel.transpose(0, 3, 1, 2)
    elif kind == "DEPTHWISE_CONV_2D":
        kernel = kernel.transpose(3, 0, 1, 2)
    elif kind == "BATCH_MATMUL":
        kernel = kernel.reshape(kernel.shape[-2:]) if kernel.size == kernel.shape[-1] * kernel.shape[-2] else kernel
        kernel = kernel if operator.builtinOptions.adjY else kernel.swapaxes(-1, -2)
    return np.ascontiguousarray(kernel)


def name_tensors(model: Any, found: Mapping[int, str]) -> None:
    """Name every tensor, in place: kernels as in the source, a layer's result as the layer, others by operation and number."""
    names: dict[int, str] = {}
    taken: Counter[str] = Counter()

    def give(index: int, name: str) -> None:
        if index not in names:
            names[index] = f"{name}.{taken[name]}" if taken[name] else name
            taken[name] += 1

    graph, counts = model.subgraphs[0], Counter[str]()
    signature = model.signatureDefs[0]
    for port in (*signature.inputs, *signature.outputs):
        give(port.tensorIndex, port.name.decode())
    written = {int(index) for operator in graph.operators for index in operator.outputs}
    for kind, operator in zip(flatbuffer.operators(model), graph.operators, strict=True):
        inputs = [int(index) for index in operator.inputs]
        kernel = found.get(inputs[1]) if len(inputs) > 1 else None
        layer = None if kernel is None else kernel.removesuffix(".weight")
        if kernel is not None:
            give(inputs[1], kernel)
            if len(inputs) > 2 and inputs[2] >= 0 and inputs[2] not in written:
                give(inputs[2], f"{layer}.bias")
        for output in operator.outputs:
            give(int(output), layer or f"{kind.lower()}_{counts[kind]}")
        counts[kind] += 1
    for index, tensor in enumerate(graph.tensors):
        give(index, f"constant_{index}")
        tensor.name = names[index].encode()
