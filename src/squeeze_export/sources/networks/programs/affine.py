"""Scales and offsets in front of linear layers, folded into them: what a layer norm ends with, and a batch norm as a whole.

A converter that meets one folds it by itself, and its kernel is then nobody's: here it is the source's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from squeeze_export.sources.networks.programs import folding, graphs

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule


@dataclass(frozen=True, kw_only=True)
class _Affine:
    """A node that ends with values * gain + shift along the last axis, both float64; `plain`: makes a node of the values."""

    gain: torch.Tensor
    shift: torch.Tensor | None
    plain: Any


def fold(module: GraphModule) -> tuple[str, ...]:
    """Fold, in place, what stands directly in front of linear layers, but for reshapes; the layers' names.

    Computed in float64 and rounded once. A layer whose weights others use as well stays. Other readers of a norm keep it.
    """
    import torch

    graph: Any = module.graph
    made: dict[Any, Any] = {}
    names = []
    for layer in list(graph.nodes):
        if layer.op != "call_function" or layer.target != torch.ops.aten.linear.default or not folding.is_own(module, layer):
            continue
        way = graphs.way(layer.args[0])
        norm = way[0]
        affine = _affine(module, norm)
        if affine is None:
            continue
        if norm not in made:
            with graph.inserting_after(norm):
                made[norm] = affine.plain()
        start, old = made[norm], norm
        for step in way[1:]:
            with graph.inserting_before(layer):
                start, old = graph.node_copy(step, lambda node, old=old, start=start: start if node is old else node), step
        layer.args = (start, *layer.args[1:])
        names.append(_fold(module, layer, affine))
    if names:
        _erase_unread(graph)
        graph.lint()
        module.recompile()
    return tuple(names)


def _affine(module: GraphModule, node: Any) -> _Affine | None:
    import torch

    aten = torch.ops.aten
    value = node.meta.get("val")
    if node.op != "call_function" or node.kwargs or value is None:
        return None
    if node.target == aten.layer_norm.default and len(node.args) > 2 and len(node.args[1]) == 1:
        gain, shift = (graphs.weight(module, one) for one in (*node.args[2:4], None)[:2])
        if gain is None:
            return None
        rest = (None, None, *node.args[4:])

        def plain() -> Any:
            new = module.graph.call_function(node.target, (*node.args[:2], *rest))
            new.meta["val"] = value
            return new

        return _Affine(gain=gain.double(), shift=None if shift is None else shift.double(), plain=plain)
    if node.target == aten.batch_norm.default and value.dim() == 2 and node.args[5] is False:
        weight, bias, mean, variance = (graphs.weight(module, one) for one in node.args[1:5])
        if mean is None or variance is None or any(graphs.writes(user) for user in node.args[0].users):
            return None
        gain = (variance.double() + node.args[7]).rsqrt()
        gain = gain if weight is None else gain * weight.double()
        shift = -mean.double() * gain
        return _Affine(gain=gain, shift=shift if bias is None else shift + bias.double(), plain=lambda: node.args[0])
    return None


def _fold(module: GraphModule, layer: Any, affine: _Affine) -> str:
    target = str(layer.args[1].target)
    weight = graphs.weight(module, layer.args[1]).detach().double()
    bias = graphs.weight(module, layer.args[2]) if len(layer.args) > 2 else None
    folding.replace(module, target, (weight * affine.gain).float())
    if affine.shift is not None:
        added = weight @ affine.shift
        folding.replace_bias(module, layer, (added if bias is None else added + bias.detach().double()).float())
    return target.removesuffix(".weight")


def _erase_unread(graph: Any) -> None:
    """Norms, and what led from them to layers, that nothing reads any more."""
    for node in reversed(list(graph.nodes)):
        if not node.users and (node.op == "get_attr" or (node.op == "call_function" and not graphs.writes(node))):
            graph.erase_node(node)
