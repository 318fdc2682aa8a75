"""Products and quotients with constants behind convolutions and linear layers, folded into them, such as layer scales.

Converters fold them by themselves, and the kernel is then nobody's: here it is the source's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeeze_export.sources.networks.programs import folding, graphs

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule


def fold(module: GraphModule) -> tuple[str, ...]:
    """Fold, in place, every factor that alone reads a layer's result, one for all or one per channel; the layers' names.

    A sum with a constant may stand in between: it goes into the bias. Computed in float64 and rounded once. A layer whose weights
    others use as well stays, and so does its factor.
    """
    names = []
    for product in list(module.graph.nodes):
        for operand, factor, inverse in _operands(product):
            between = _sum(module, operand)
            layer, shift = (operand, None) if between is None else between
            gain = _per_channel(module, layer, factor)
            if gain is None or (inverse and not gain.all()):
                continue
            names.append(_fold(module, layer, 1 / gain if inverse else gain, shift))
            product.replace_all_uses_with(layer)
            module.graph.erase_node(product)
            if between is not None:
                module.graph.erase_node(operand)
            break
    if names:
        module.graph.lint()
        module.recompile()
    return tuple(names)


def _operands(node: Any) -> list[tuple[Any, Any, bool]]:
    """A value and what it is multiplied with, in each order; or what it is divided by, and True. Of other nodes nothing."""
    import torch

    aten = torch.ops.aten
    if node.op != "call_function" or node.kwargs:
        return []
    if node.target in (aten.mul.Tensor, aten.mul_.Tensor):
        return [(*node.args[:2], False), (*node.args[1::-1], False)]
    return [(*node.args[:2], True)] if node.target in (aten.div.Tensor, aten.div_.Tensor) else []


def _sum(module: GraphModule, node: Any) -> tuple[Any, torch.Tensor] | None:
    """The layer before a sum with a constant, and that constant per channel, float64; None where others read either."""
    import torch

    aten = torch.ops.aten
    sums = (aten.add.Tensor, aten.add_.Tensor, aten.sub.Tensor, aten.sub_.Tensor)
    if getattr(node, "target", None) not in sums or node.kwargs or len(node.users) != 1:
        return None
    minus = node.target in sums[2:]
    for layer, constant in (node.args[:2],) if minus else (node.args[:2], node.args[1::-1]):
        shift = _per_channel(module, layer, constant)
        if shift is not None:
            return layer, -shift if minus else shift
    return None


def _per_channel(module: GraphModule, layer: Any, factor: Any) -> torch.Tensor | None:
    """A constant per channel of a layer, float64; None where this is no such layer and constant."""
    import torch

    aten = torch.ops.aten
    axes = {aten.conv2d.default: 1, aten.conv2d.padding: 1, aten.linear.default: -1}
    axis = axes.get(getattr(layer, "target", None))
    if axis is None or len(layer.users) != 1 or not folding.is_own(module, layer):
        return None
    value, constant = layer.meta.get("val"), _constant(module, factor)
    if value is None or constant is None or not constant.is_floating_point() or constant.dim() > value.dim():
        return None
    channels, place = value.shape[axis], axis % value.dim()
    shape = (1,) * (value.dim() - constant.dim()) + tuple(constant.shape)
    if any(size != 1 for at, size in enumerate(shape) if at != place) or shape[place] not in (1, channels):
        return None
    return constant.detach().double().reshape(-1).expand(channels)


def _constant(module: GraphModule, node: Any) -> torch.Tensor | None:
    """What a node gives, whatever the image: a number, a weight, or one in another shape."""
    import torch

    if isinstance(node, int | float):
        return torch.tensor(float(node), dtype=torch.float64)
    aten = torch.ops.aten
    if getattr(node, "op", None) == "call_function" and not node.kwargs:
        if node.target not in (aten.view.default, aten.reshape.default, aten.unsqueeze.default):
            return None
        inner = _constant(module, node.args[0])
        found: torch.Tensor | None = None if inner is None else node.target(inner.detach(), *node.args[1:])
        return found
    weight: torch.Tensor | None = graphs.weight(module, node)
    return weight


def _fold(module: GraphModule, layer: Any, gain: torch.Tensor, shift: torch.Tensor | None) -> str:
    target = str(layer.args[1].target)
    weight = graphs.weight(module, layer.args[1]).detach().double()
    bias = graphs.weight(module, layer.args[2]) if len(layer.args) > 2 else None
    folding.replace(module, target, (weight * gain.reshape(-1, *[1] * (weight.dim() - 1))).float())
    moved = shift if bias is None else bias.detach().double() + (0 if shift is None else shift)
    if moved is not None:
        folding.replace_bias(module, layer, (moved * gain).float())
    return target.removesuffix(".weight")
