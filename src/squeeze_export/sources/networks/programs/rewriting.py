"""What a converter gets wrong or refuses, written otherwise in the captured graph: the same numbers, to the bit.

docs/reference/networks.md lists these rewritings, each with the network that it was found in.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

from squeeze_export.sources.networks.programs import graphs

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule


def rewrite(module: GraphModule) -> bool:
    """Rewrite a captured network's graph, in place; whether there was anything to rewrite."""
    graph: Any = module.graph
    found = _constants(module)
    for node in [one for one in graph.nodes if one.op == "call_function" and one.meta.get("val") is not None]:
        if _nearest_as_selections(graph, node) or _without_expansion(node):
            found = True
            if not node.users:
                graph.erase_node(node)
    if found:
        graph.lint()
        module.recompile()
    return found


def _constants(module: GraphModule) -> bool:
    """What is computed from weights alone is computed here, by PyTorch, and stored in its place.

    Every converter does that, some of them in part: EdgeNeXt's position encoding came to TFLite as SIN, COS and FLOOR_DIV.
    """
    import torch

    graph: Any = module.graph
    known: dict[Any, Any] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            known[node] = graphs.weight(module, node)
        elif _is_pure(node) and all(one in known for one in node.all_input_nodes):
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
            with torch.no_grad():
                known[node] = node.target(*args, **kwargs)
    stored = [
        node
        for node, value in known.items()
        if node.op == "call_function" and isinstance(value, torch.Tensor) and any(user not in known for user in node.users)
    ]
    for node in stored:
        name = f"constant_{node.name}"
        module.register_buffer(name, known[node].detach().clone().contiguous())
        with graph.inserting_before(node):
            read = graph.get_attr(name)
        read.meta["val"] = node.meta.get("val")
        node.replace_all_uses_with(read)
    for node in reversed(list(known)):
        if not node.users:
            graph.erase_node(node)
    return bool(stored)


def _is_pure(node: Any) -> bool:
    """Whether a node always gives the same, changes nothing, and gives no more than it is given."""
    import torch

    if node.op != "call_function" or node.target in (torch.ops.aten.expand.default, torch.ops.aten.expand_as.default):
        return False
    if node.target is operator.getitem:
        return True
    tags = getattr(node.target, "tags", ())
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.is_mutable and torch.Tag.nondeterministic_seeded not in tags


def _nearest_as_selections(graph: Any, node: Any) -> bool:
    """Nearest-neighbour resizing by a factor that is no whole number, as the rows and columns that PyTorch takes.

    litert-torch 0.10 writes RESIZE_NEAREST_NEIGHBOR with half_pixel_centers, which takes others: of 3 to 7 PyTorch takes
    0 0 0 1 1 2 2 and the file 0 0 1 1 1 2 2. coremltools 9.0 writes a factor a little larger than the quotient of the sizes,
    for which no definition says what is taken.
    """
    import torch

    aten = torch.ops.aten
    if node.target not in (aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default):
        return False
    values = node.args[0]
    given, wanted = (tuple(map(int, one.meta["val"].shape[-2:])) for one in (values, node))
    if all(new % old == 0 for old, new in zip(given, wanted, strict=True)):
        return False
    places = torch.arange(math.prod(given), dtype=torch.float32).reshape(1, 1, *given)
    taken = node.target(places, *node.args[1:], **node.kwargs)[0, 0].long()
    owner: Any = graph.owning_module
    with graph.inserting_before(node):
        for axis, chosen in ((2, taken[:, 0] // given[1]), (3, taken[0] % given[1])):
            name = f"{node.name}_of_axis_{axis}"
            owner.register_buffer(name, chosen)
            old, values = values, graph.call_function(aten.index_select.default, (values, axis, graph.get_attr(name)))
            values.meta["val"] = old.meta["val"].index_select(axis, chosen)
    node.replace_all_uses_with(values)
    return True


def _without_expansion(node: Any) -> bool:
    """An expansion that only operations read which would expand by themselves is taken away.

    litert-torch 0.10 turns what such an operation reads to NHWC, but not the expansion's shape: "'tfl.mul' op operands don't
    have broadcast-compatible shapes".
    """
    import torch

    aten = torch.ops.aten
    if node.target not in (aten.expand_as.default, aten.expand.default):
        return False
    values = node.args[0]
    plain = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
    found = False
    for user in list(node.users):
        if user.target not in plain or user.meta.get("val") is None:
            continue
        shapes = [_shape(values if operand is node else operand) for operand in user.args[:2]]
        if torch.broadcast_shapes(*shapes) == _shape(user):
            user.replace_input_with(node, values)
            found = True
    return found


def _shape(operand: Any) -> torch.Size:
    import torch

    value = getattr(operand, "meta", {}).get("val")
    return torch.Size(()) if value is None else torch.Size(value.shape)
