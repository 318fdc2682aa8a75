"""What a converter gets wrong or refuses, written otherwise in the captured graph: the same numbers, to the bit.

docs/reference/networks.md lists these rewritings, each with the network that it was found in.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Container, Mapping
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
        if _nearest_as_selections(graph, node) or _without_expansion(node) or _with_its_shape(node):
            found = True
            if not node.users:
                graph.erase_node(node)
    if found:
        graph.lint()
        module.recompile()
    return found


def _constants(module: GraphModule) -> bool:
    """What is computed from weights alone is computed here, by PyTorch, and stored in its place.

    Every converter does that, some of them in part: EdgeNeXt's position encoding came to TFLite as SIN, COS and FLOOR_DIV. And
    torch's ONNX exporter loses what is written into a slice of a tensor: Swin's mask of shifted windows came out as zeros.
    """
    import torch

    graph: Any = module.graph
    known: dict[Any, Any] = {}
    read: dict[Any, torch.Tensor] = {}  # by nodes that are not constant, as it was then
    weights: set[int] = set()  # the memory of the network's own, which nothing here may change
    for node in graph.nodes:
        if node.op == "get_attr":
            known[node] = graphs.weight(module, node)
            if isinstance(known[node], torch.Tensor):
                weights.add(_memory(known[node]))
        elif _is_known(node, known, weights):
            given = {one: known[one] if one in known else _zeros(one) for one in node.all_input_nodes}
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), given.__getitem__)
            with torch.no_grad():
                known[node] = node.target(*args, **kwargs)
        else:
            made = [one for one in node.all_input_nodes if one.op == "call_function" and isinstance(known.get(one), torch.Tensor)]
            if any(one in _written(node) for one in made):
                return False  # an image's numbers are written into it
            read |= {one: known[one].detach().clone().contiguous() for one in made if one not in read}
    if any(not torch.equal(seen, known[one]) for one, seen in read.items()):
        return False  # written to after it was read: it is no constant
    for node, value in read.items():
        name = f"constant_{node.name}"
        module.register_buffer(name, value)
        with graph.inserting_before(node):
            stored = graph.get_attr(name)
        stored.meta["val"] = node.meta.get("val")
        node.replace_all_uses_with(stored)
    for node in reversed(list(known)):
        if not node.users:
            graph.erase_node(node)
    return bool(read)


def _is_known(node: Any, known: Mapping[Any, Any], weights: Container[int]) -> bool:
    """Whether a node gives the same for every image, no more than it is given, and writes to nothing but what was made here."""
    import torch

    aten = torch.ops.aten
    if node.op != "call_function" or node.target in (aten.expand.default, aten.expand_as.default):
        return False
    if node.target is operator.getitem:
        return node.args[0] in known
    schema = getattr(node.target, "_schema", None)
    if schema is None or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        return False
    shaped = (aten.new_zeros.default, aten.new_ones.default, aten.new_full.default)
    like = (aten.zeros_like.default, aten.ones_like.default, aten.full_like.default)
    if node.target in (*shaped, *like):  # the tensor given says no more than a shape and a type
        return True
    if any(one not in known for one in node.all_input_nodes):
        return False
    if not schema.is_mutable:
        return True
    written = _written(node)
    return bool(written) and all(isinstance(known[one], torch.Tensor) and _memory(known[one]) not in weights for one in written)


def _written(node: Any) -> list[Any]:
    """What a node is given and changes."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return []
    pairs = zip(node.args, schema.arguments, strict=False)
    return [given for given, declared in pairs if declared.alias_info is not None and declared.alias_info.is_write]


def _memory(value: torch.Tensor) -> int:
    return int(value.untyped_storage().data_ptr())


def _zeros(node: Any) -> torch.Tensor:
    """Zeros in the shape and type of what a node gives."""
    import torch

    value = node.meta["val"]
    return torch.zeros(tuple(value.shape), dtype=value.dtype)


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


def _with_its_shape(node: Any) -> bool:
    """A shape taken from another tensor is written out: that tensor has one reader less, and may be folded into."""
    import torch

    aten = torch.ops.aten
    if node.target not in (aten.reshape_as.default, aten.view_as.default):
        return False
    node.target = aten.reshape.default
    node.args = (node.args[0], list(_shape(node)))
    return True


def _shape(operand: Any) -> torch.Size:
    import torch

    value = getattr(operand, "meta", {}).get("val")
    return torch.Size(()) if value is None else torch.Size(value.shape)
