"""Batch norms in a captured graph, folded into the convolution or linear layer in front of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeeze_export.sources.networks.programs import graphs

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule, Node


def fold(module: GraphModule) -> tuple[str, ...]:
    """Fold, in place, every eval-mode batch norm that alone uses a convolution's or linear layer's result; the layers' names.

    Computed in float64 and rounded once. A layer whose weights others use as well stays, and so does its norm.
    """
    names = []
    for norm in list(module.graph.nodes):
        layer = _foldable(module, norm)
        if layer is not None:
            names.append(_fold(module, layer, norm))
    if names:
        module.graph.lint()
        module.recompile()
    return tuple(names)


def _foldable(module: GraphModule, norm: Node) -> Node | None:
    import torch
    from torch.fx import Node

    aten = torch.ops.aten
    if norm.op != "call_function" or norm.target != aten.batch_norm.default or norm.kwargs or norm.args[5] is not False:
        return None
    # timm's linear layers with a norm, as LeViT has them, flatten a sequence for the norm and shape it back.
    layer, *steps = graphs.way(norm.args[0])
    convolutions = (aten.conv2d.default, aten.conv2d.padding)
    if not isinstance(layer, Node) or layer.target not in (*convolutions, aten.linear.default) or len(layer.users) != 1:
        return None
    result = layer.meta.get("val")
    if any(len(step.users) != 1 for step in steps) or (steps and layer.target != aten.linear.default):
        return None
    given = norm.args[0].meta.get("val")
    if layer.target == aten.linear.default and (result is None or given is None or given.dim() != 2):
        return None  # over a sequence, a batch norm's channels are not the layer's
    if not is_own(module, layer):
        return None
    statistics = [graphs.weight(module, node) for node in norm.args[1:5] if node is not None]
    known = all(value is not None for value in statistics) and None not in norm.args[3:5]
    return layer if known else None


def is_own(module: GraphModule, layer: Any) -> bool:
    """Whether nobody else reads the weights of a convolution or linear layer."""
    from torch.fx import Node

    read = [node for node in layer.args[1:3] if node is not None]
    if not all(isinstance(node, Node) and node.op == "get_attr" and len(node.users) == 1 for node in read):
        return False
    targets = [str(node.target) for node in read if isinstance(node, Node)]
    twice = [node for node in module.graph.nodes if node.op == "get_attr" and str(node.target) in targets]
    return len(twice) == len(targets) and str(targets[0]).endswith("weight")


def _fold(module: GraphModule, layer: Any, norm: Any) -> str:
    target = str(layer.args[1].target)
    weight = graphs.weight(module, layer.args[1]).detach().double()
    bias = graphs.weight(module, layer.args[2]) if len(layer.args) > 2 else None
    gain, shift, mean, variance = (graphs.weight(module, node) for node in norm.args[1:5])
    factor = (variance.double() + norm.args[7]).rsqrt()
    if gain is not None:
        factor = factor * gain.detach().double()
    moved = -mean.double() if bias is None else bias.detach().double() - mean.double()
    added = moved * factor if shift is None else moved * factor + shift.detach().double()
    replace(module, target, (weight * factor.reshape(-1, *[1] * (weight.dim() - 1))).float())
    replace_bias(module, layer, added.float())
    norm.replace_all_uses_with(norm.args[0])
    module.graph.erase_node(norm)
    return target.removesuffix(".weight")


def replace_bias(module: GraphModule, layer: Any, value: torch.Tensor) -> None:
    """Give a layer another bias, under its name, or one that it had not, under its weight's."""
    before = layer.args[2] if len(layer.args) > 2 else None
    if before is not None:
        replace(module, str(before.target), value)
        return
    named = str(layer.args[1].target).removesuffix("weight") + "bias"
    replace(module, named, value)
    with module.graph.inserting_before(layer):
        read = module.graph.get_attr(named)
    layer.args = (*layer.args[:2], read, *layer.args[3:])


def replace(module: Any, target: str, value: torch.Tensor) -> None:
    """Put another tensor in the place of a weight."""
    import torch

    parent, _, leaf = target.rpartition(".")
    owner = module.get_submodule(parent)
    if leaf in owner._parameters:
        del owner._parameters[leaf]
    setattr(owner, leaf, torch.nn.Parameter(value, requires_grad=False))
