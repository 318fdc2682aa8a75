"""What torch.jit.trace writes otherwise than torch.export, written as torch.export does: the same numbers, to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeeze_export.sources.networks.programs import graphs

if TYPE_CHECKING:
    from torch.fx import GraphModule


def as_exported(module: GraphModule) -> None:
    """Convolutions by the name that layers have everywhere, numbers as numbers instead of tensors; in place."""
    import torch

    for node in list(module.graph.nodes):
        if node.target == torch.ops.aten.convolution.default:
            _as_conv2d(node)
        elif node.op == "get_attr":
            _as_number(module, node)
    module.graph.lint()
    module.recompile()


def _as_conv2d(node: Any) -> None:
    import torch

    values, weight, bias, stride, padding, dilation, transposed, _, groups = node.args
    if not transposed and len(stride) == 2:
        node.target = torch.ops.aten.conv2d.default
        node.args = (values, weight, bias, stride, padding, dilation, groups)


def _as_number(module: GraphModule, node: Any) -> None:
    """A number that the tracer made a tensor of. Such a tensor is none to a dispatch mode, which is given the number."""
    import torch

    value = graphs.weight(module, node)
    owner, _, leaf = str(node.target).rpartition(".")
    if not leaf.startswith("lifted_tensor") or value.dim():
        return
    aten = torch.ops.aten
    takes_numbers = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
    for user in list(node.users):
        if user.target in takes_numbers and user.args[1] is node and user.args[0] is not node:
            user.args = (user.args[0], value.item(), *user.args[2:])
    if not node.users:
        module.graph.erase_node(node)
    else:
        setattr(module.get_submodule(owner), leaf, torch.tensor(value.item(), dtype=value.dtype))
