"""Weights stored in half precision and computed with in the activations' own.

The mobile runtime has no half convolution. `type_as` an activation, unlike `float()`, is no constant, so that freezing cannot
widen the stored weights again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.errors import ConversionError
from squeeze_export.exporters.deployed import beyond_fp16
from squeeze_export.sources.networks.programs.graphs import layers_of

if TYPE_CHECKING:
    import torch


def store_in_half(module: torch.nn.Module) -> None:
    """Store weight and bias of every convolution and linear layer in half precision; in place.

    ConversionError where a value is beyond fp16, or a layer cannot be stored so.
    """
    import torch

    graphs = [child for child in module.modules() if isinstance(child, torch.fx.GraphModule)]
    for graph in graphs:
        _store_captured(graph)
    if not graphs:
        _store_convolutions(module)


def _store_captured(module: torch.fx.GraphModule) -> None:
    """The same of a captured program, whose layers are calls with their weights as arguments."""
    import torch

    for node in layers_of(module.graph):
        for place in (1, 2):
            value = node.args[place] if len(node.args) > place else None
            if not isinstance(value, torch.fx.Node) or value.op != "get_attr":
                continue
            name = str(value.target)
            parent, _, own = name.rpartition(".")
            holder = module.get_submodule(parent)
            values = getattr(holder, own).detach()
            if values.dtype == torch.float32:
                _check_range(name, values)
                delattr(holder, own)
                holder.register_buffer(own, values.half())
            with module.graph.inserting_before(node):
                widened = module.graph.call_function(torch.ops.aten.type_as.default, (value, node.args[0]))
            node.update_arg(place, widened)
    module.recompile()


def _store_convolutions(module: torch.nn.Module) -> None:
    """Replace every convolution by one that stores half precision and computes in its input's; in place."""
    import torch

    class HalfStoredConvolution(torch.nn.Module):
        weight: torch.Tensor
        bias: torch.Tensor

        def __init__(self, convolution: torch.nn.Conv2d) -> None:
            super().__init__()
            self.register_buffer("weight", convolution.weight.detach().half())
            self.register_buffer("bias", convolution.bias.detach().half())
            self.stride, self.padding = convolution.stride, convolution.padding

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight, bias = self.weight.type_as(x), self.bias.type_as(x)
            return torch.nn.functional.conv2d(x, weight, bias, self.stride, self.padding)

    # Only what that forward repeats may be replaced.
    found = [(name, child) for name, child in module.named_modules() if isinstance(child, torch.nn.Conv2d)]
    for name, convolution in found:
        plain = convolution.groups == 1 and convolution.dilation == (1, 1) and convolution.padding_mode == "zeros"
        if not plain or convolution.bias is None:
            raise ConversionError(f"{name} is a convolution that fp16 storage does not cover: export with fp32.")
        for kind, values in (("weight", convolution.weight), ("bias", convolution.bias)):
            _check_range(f"{name}.{kind}".removeprefix("model."), values)
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, HalfStoredConvolution(convolution).eval())


def _check_range(name: str, values: torch.Tensor) -> None:
    import torch

    largest = float(values.detach().abs().max())
    if not largest <= torch.finfo(torch.float16).max:
        raise beyond_fp16(name, largest)
