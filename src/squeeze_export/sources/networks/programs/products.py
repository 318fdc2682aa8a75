"""Matrix products with a weight, written as the linear layers that they are.

Converters write both as the same operation, and its kernel is then nobody's: here it is the source's. Networks that come from
ONNX have such products, and those that are written without modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeeze_export.sources.networks.programs import graphs

if TYPE_CHECKING:
    from torch.fx import GraphModule


def as_linear(module: GraphModule) -> tuple[str, ...]:
    """Make linear layers, in place, of products whose second operand is a weight of two axes; the weights' names.

    The order of summation is that of a linear layer, so results may differ in their last bits.
    """
    import torch

    aten = torch.ops.aten
    graph: Any = module.graph
    names = []
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in (aten.matmul.default, aten.mm.default) or node.kwargs:
            continue
        values, weight = node.args[0].meta.get("val"), graphs.weight(module, node.args[1])
        if values is None or values.dim() < 2 or weight is None or weight.dim() != 2 or weight.dtype != torch.float32:
            continue
        name = f"{node.name}_weight"
        module.register_parameter(name, torch.nn.Parameter(weight.detach().t().contiguous(), requires_grad=False))
        with graph.inserting_before(node):
            layer = graph.call_function(aten.linear.default, (node.args[0], graph.get_attr(name)))
        layer.meta["val"] = node.meta.get("val")
        node.replace_all_uses_with(layer)
        names.append(str(node.args[1].target))
        graph.erase_node(node)
    if names:
        graph.lint()
        module.recompile()
    return tuple(names)
