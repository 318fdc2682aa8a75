"""Operations whose axes litert-torch leaves in PyTorch's order, said so that pictures stay NHWC through them: fewer TRANSPOSEs.

PyTorch computes the same to the bit. It is done for TFLite alone: other formats keep PyTorch's order of axes.
"""

from __future__ import annotations

from typing import Any, Final

_NHWC, _NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
_SPATIAL: Final = {2, 3}


def in_nhwc(module: Any) -> None:
    """Rewrite averages over pictures and shuffles of channels in a captured module's graph, in place."""
    import torch

    aten, graph = torch.ops.aten, module.graph
    for node in [one for one in graph.nodes if one.op == "call_function"]:
        if node.target == aten.mean.dim and _is_of_pictures(node):
            _keep_axes(graph, node)
        elif (shuffled := _shuffle(node)) is not None:
            _shuffle_last(graph, node, *shuffled)
    graph.eliminate_dead_code()
    module.recompile()


def _is_of_pictures(node: Any) -> bool:
    """Whether it is the mean over rows and columns of a batch of pictures, which drops both axes."""
    axes = {int(axis) % 4 for axis in node.args[1]} if len(node.args) > 1 and node.args[1] else set()
    return len(_shape(node.args[0])) == 4 and len(_shape(node)) == 2 and axes == _SPATIAL and not node.kwargs


def _keep_axes(graph: Any, node: Any) -> None:
    """Keep both axes, of one position each, and drop them afterwards."""
    import torch

    aten = torch.ops.aten
    with graph.inserting_before(node):
        kept = graph.call_function(aten.mean.dim, (node.args[0], [2, 3], True))
        kept.meta["val"] = node.meta["val"].reshape(*_shape(node), 1, 1)
        flat = graph.call_function(aten.reshape.default, (kept, list(_shape(node))))
        flat.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(flat)


def _shuffle(node: Any) -> tuple[Any, int] | None:
    """What a shuffle of channels that ends in this node shuffles, and in how many groups; None where it is something else.

    (1, C, H, W) is seen as (1, groups, C / groups, H, W), both axes change places, and it is seen as (1, C, H, W) again.
    """
    import torch

    aten = torch.ops.aten
    views = (aten.view.default, aten.reshape.default)
    if node.target not in views or len(shape := _shape(node)) != 4:
        return None
    turned = node.args[0]
    while getattr(turned, "target", None) in (aten.contiguous.default, aten.clone.default):
        turned = turned.args[0]
    if getattr(turned, "target", None) != aten.transpose.int or {int(axis) % 5 for axis in turned.args[1:3]} != {1, 2}:
        return None
    apart = turned.args[0]
    if getattr(apart, "target", None) not in views or len(_shape(apart)) != 5 or _shape(apart.args[0]) != shape:
        return None
    batch, groups, each, *sides = _shape(apart)
    return (apart.args[0], groups) if (batch, groups * each, *sides) == shape else None


def _shuffle_last(graph: Any, node: Any, given: Any, groups: int) -> None:
    """The same with the channels behind rows and columns."""
    import torch

    aten = torch.ops.aten
    batch, channels, height, width = _shape(node)
    with graph.inserting_before(node):
        last = graph.call_function(aten.permute.default, (given, _NHWC))
        apart = graph.call_function(aten.reshape.default, (last, [batch, height, width, groups, channels // groups]))
        turned = graph.call_function(aten.transpose.int, (apart, 3, 4))
        whole = graph.call_function(aten.reshape.default, (turned, [batch, height, width, channels]))
        first = graph.call_function(aten.permute.default, (whole, _NCHW))
        first.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(first)


def _shape(node: Any) -> tuple[int, ...]:
    value = getattr(node, "meta", {}).get("val")
    return () if value is None else tuple(int(side) for side in value.shape)
