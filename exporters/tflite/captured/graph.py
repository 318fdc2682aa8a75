"""A captured network behind the image of a TFLite file: NHWC, normalisation in front as operations, softmax or sigmoid behind."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.signature import InputSpec, OutputKind
from squeeze_export.contracts.source import SourceModel
from squeeze_export.exporters.deployed import given, normalisation
from squeeze_export.exporters.tflite.captured import ordering

if TYPE_CHECKING:
    import torch

_IDENTICAL: Final = 1e-9


def as_signature(source: SourceModel, spec: InputSpec, kind: OutputKind, kept: Collection[str] = ()) -> torch.nn.Module:
    """Wrap the source's module for conversion: `image` NHWC -> {kind: (1, classes or features)}; a copy.

    What the layers of the kernels `kept` read and give are outputs as well, under names that no output has: a converter folds a
    product with a constant into a layer only where nobody else sees the layer's values.
    """
    import torch

    gains, offsets = normalisation(source.preprocessing, spec)
    scaled = any(abs(gain - 1) > _IDENTICAL for gain in gains)
    moved = any(abs(offset) > _IDENTICAL for offset in offsets)
    reverse = spec.color_order != source.preprocessing.color_order
    network: Any = copy.deepcopy(source.module)
    ordering.in_nhwc(network)
    if kept:
        network = _showing(network, kept)

    class Network(torch.nn.Module):
        gain: torch.Tensor
        offset: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("gain", torch.tensor(gains, dtype=torch.float32))
            self.register_buffer("offset", torch.tensor(offsets, dtype=torch.float32))

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            if reverse:  # slices: XNNPACK executes no REVERSE
                image = torch.cat([image[..., place : place + 1] for place in (2, 1, 0)], dim=3)
            if scaled:
                image = image * self.gain
            if moved:
                image = image + self.offset
            shown: dict[str, torch.Tensor] = {}
            outputs: Any = self.network(image.permute(0, 3, 1, 2))
            if kept:
                outputs, *values = outputs
                shown = {f"kept_{place}": value for place, value in enumerate(values)}
                if reverse or scaled or moved:  # otherwise it is the input itself
                    shown["kept_image"] = image
            return {kind: given(outputs, kind, source.activation), **shown}

    return Network().eval()


def _showing(module: Any, kernels: Collection[str]) -> Any:
    """Make a graph module give what the layers with these kernels read and give as well, behind its own output; in place."""
    import torch

    graph = module.graph
    (end,) = [node for node in graph.nodes if node.op == "output"]
    layers = [node for node in graph.nodes if node.op == "call_function" and _kernel(node) in kernels]
    shown = list(dict.fromkeys(value for layer in layers for value in (layer.args[0], layer)))
    with graph.inserting_before(end):
        # As the file has pictures, so that no TRANSPOSE is made for them.
        values = [
            graph.call_function(torch.ops.aten.permute.default, (value, [0, 2, 3, 1])) if _rank(value) == 4 else value
            for value in shown
            if value.op != "placeholder" and value is not end.args[0]
        ]
    end.args = ((end.args[0], *values),)
    module.recompile()
    return module


def _kernel(node: Any) -> str | None:
    read: Any = node.args[1] if len(node.args) > 1 else None
    return str(read.target) if getattr(read, "op", None) == "get_attr" else None


def _rank(node: Any) -> int:
    value = node.meta.get("val")
    return -1 if value is None else len(value.shape)
