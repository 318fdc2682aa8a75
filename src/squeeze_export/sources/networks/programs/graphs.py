"""Programs of torch.export as plain graphs: nodes that change no number are taken out, and what is left is a module again."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, cast

from squeeze_export.errors import SourceError
from squeeze_export.sources.networks import faults

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node


def layers_of(graph: Any) -> list[Node]:
    """The convolutions and linear layers of a captured module's graph; their second argument is the kernel, the third a bias."""
    import torch

    kinds = (torch.ops.aten.conv2d.default, torch.ops.aten.conv2d.padding, torch.ops.aten.linear.default)
    return [node for node in graph.nodes if node.op == "call_function" and node.target in kinds]


def user_inputs(program: ExportedProgram) -> list[Any]:
    """What the program takes, as the tensors' descriptions (shape, dtype), in their order."""
    names = set(program.graph_signature.user_inputs)
    return [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]


def check_input(program: ExportedProgram) -> None:
    """SourceError unless the program takes one fp32 batch of images and nothing else."""
    import torch

    found = user_inputs(program)
    if len(found) != 1 or not isinstance(found[0], torch.Tensor) or found[0].dim() != 4:
        shown = ", ".join(str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__ for value in found)
        raise SourceError(
            f"the program takes {shown or 'nothing'}: a classifier takes one batch of images, (1, channels, height, width)"
        )
    if found[0].dtype != torch.float32:
        raise SourceError(f"the program takes numbers of {str(found[0].dtype).removeprefix('torch.')}: export it for fp32")


def input_shape(program: ExportedProgram) -> tuple[int, int, int, int]:
    """The shape of the one image that a program takes; SourceError where it takes something else."""
    check_input(program)
    batch, channels, height, width = (int(size) for size in user_inputs(program)[0].shape)
    return batch, channels, height, width


def exported(module: torch.nn.Module, sample: torch.Tensor) -> ExportedProgram:
    """torch.export of a module for exactly this input; raises whatever torch.export does."""
    import torch

    with torch.no_grad(), faults.quiet():
        return torch.export.export(module, (sample.contiguous(),), strict=False)


def in_training(node: Node) -> bool:
    """Whether a node computes as in training: a batch norm by the batch's own statistics, or a dropout that drops."""
    import torch

    aten = torch.ops.aten
    if node.op != "call_function" or len(node.args) < 3:
        return False
    if node.target == aten.batch_norm.default:
        return len(node.args) > 5 and node.args[5] is True
    return node.target in (aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default) and node.args[2] is True


def tidied(program: ExportedProgram) -> ExportedProgram:
    """Take out, in place, nodes that change no number (alias, detach, dropout in eval mode, checks of dtypes)."""
    results = set(program.graph_signature.user_outputs)
    for node in list(program.graph.nodes):
        if _is_check(node) and not node.users:
            program.graph.erase_node(node)
        elif _changes_nothing(node) and node.name not in results:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    program.graph_module.recompile()
    return program


def _changes_nothing(node: Node) -> bool:
    import torch

    aten = torch.ops.aten
    if node.op != "call_function":
        return False
    if node.target in (aten.alias.default, aten.detach.default, aten.detach_.default):
        return True
    dropouts = (aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default, aten.alpha_dropout.default)
    return bool(node.target in dropouts and len(node.args) > 2 and node.args[2] is False)


def _is_check(node: Node) -> bool:
    import torch

    return bool(node.op == "call_function" and node.target == torch.ops.aten._assert_tensor_metadata.default)


def module_of(program: ExportedProgram, output: int = 0) -> GraphModule:
    """A program as a plain module: one tensor in, one out (the output at that place); weights that no node uses are left out."""
    import torch
    from torch.fx.graph import CodeGen

    unlifted = cast(Any, program.module(check_guards=False))
    graph = unlifted.graph
    graph.set_codegen(CodeGen())  # inputs and outputs as they are, instead of trees
    (end,) = [node for node in graph.nodes if node.op == "output"]
    results = torch.utils._pytree.tree_leaves(end.args[0])
    end.args = (results[output],)
    _drop_unneeded(graph)
    return plain(unlifted)


def plain(module: Any) -> GraphModule:
    """A module of the same graph with only the weights that the graph uses, in eval mode and without gradients."""
    from torch.fx import GraphModule

    for node in list(module.graph.nodes):
        if node.op == "get_attr" and not node.users:
            module.graph.erase_node(node)
    made = GraphModule(module, module.graph)
    for part in made.modules():
        part.training = False
    return made.requires_grad_(False)


def prune(module: Any) -> None:
    """Take out, in place, what the output does not need, also where it writes into its operands; and clones that keep nothing."""
    import torch

    _drop_unneeded(module.graph)
    written = {node.args[0] for node in module.graph.nodes if writes(node)}
    for node in list(module.graph.nodes):
        if node.target == torch.ops.aten.clone.default and not {node, node.args[0]} & written:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.recompile()


def _drop_unneeded(graph: Any) -> None:
    needed: set[Any] = set()
    for node in reversed(graph.nodes):
        # Backwards: what a later node that is needed reads is among them, so a write into that is needed as well.
        if node.op in ("output", "placeholder") or node in needed or (writes(node) and _viewed(node.args[0]) & needed):
            needed |= {node, *node.all_input_nodes}
            needed |= _viewed(node.args[0]) if writes(node) else set()
    for node in reversed(list(graph.nodes)):
        if node not in needed:
            graph.erase_node(node)


def _viewed(node: Any) -> set[Any]:
    """A node and whatever it is a view of, such as the tensor that a slice is taken of."""
    import torch

    found = {node}
    while node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
        first = node.target._schema.arguments[:1]
        if not first or first[0].alias_info is None or not node.all_input_nodes:
            break
        node = node.all_input_nodes[0]
        found.add(node)
    return found


def writes(node: Any) -> bool:
    """Whether an operation changes what it is given."""
    import torch

    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def inline(module: Any) -> bool:
    """Put what stands under `with torch.no_grad()`, or under an autocast that is off, into the graph itself; whether any did.

    In place. Neither changes a number here; torch.export keeps such blocks as graphs of their own, which no exporter takes.
    """
    found = False
    for node in list(module.graph.nodes):
        block = _block(node)
        if block is None:
            continue
        inner, operands = block
        part = getattr(module, inner.target)
        inline(part)
        places = [one for one in part.graph.nodes if one.op == "placeholder"]
        with module.graph.inserting_before(node):
            results = module.graph.graph_copy(part.graph, dict(zip(places, operands, strict=True)))
        for user in list(node.users):
            user.replace_all_uses_with(results[user.args[1]])
            module.graph.erase_node(user)
        module.graph.erase_node(node)
        found = True
    if found:
        module.recompile()
    return found


def _block(node: Node) -> tuple[Any, tuple[Any, ...]] | None:
    """The graph that a node runs as it is, and what it is given; None where a node is something else."""
    named = str(node.target) if node.op == "call_function" else ""
    if named.endswith("wrap_with_set_grad_enabled"):
        return node.args[1], node.args[2:]
    if named.endswith("wrap_with_autocast") and node.args[2] is False:
        return node.args[4], node.args[5:]
    return None


def strangers(program: ExportedProgram) -> list[str]:
    """The operations in a program that are none of PyTorch's own, such as an autocast, a branch or another library's."""
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    return list(dict.fromkeys(f"torch.ops.{target}" for target in targets if _is_strange(target)))


def _is_strange(target: Any) -> bool:
    import torch

    if isinstance(target, torch._ops.HigherOrderOperator):
        return True
    return isinstance(target, torch._ops.OpOverload) and target.namespace not in ("aten", "prim", "prims")


def way(node: Any) -> list[Any]:
    """The nodes from a norm, or whatever there is, to `node`, over those that leave the last axis as it is."""
    import torch

    aten = torch.ops.aten
    carrying = (
        *(aten.reshape.default, aten.view.default, aten.flatten.using_ints, aten.unflatten.int),
        *(aten.clone.default, aten.contiguous.default, aten.unsqueeze.default, aten.squeeze.dim),
    )
    found: list[Any] = [node]
    while (step := found[0]).op == "call_function" and step.target in carrying:
        before = step.args[0]
        sizes = [value.shape[-1] if (value := one.meta.get("val")) is not None else 0 for one in (before, step)]
        if sizes[0] != sizes[1] or sizes[0] < 2:
            break
        found.insert(0, before)
    return found


def weight(module: Any, node: object) -> Any:
    """The tensor that a node reads from the module; None where it is no such node."""
    if getattr(node, "op", None) != "get_attr":
        return None
    return operator.attrgetter(str(cast(Any, node).target))(module)
