"""Adaptive average pooling to a size that is no divisor of its input's, for which torch's ONNX exporter has no words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def spell_out(module: torch.nn.Module) -> None:
    """Write such pooling in the graphs of captured networks as a selection of rows and columns and a plain average; in place.

    Windows of PyTorch overlap or differ in size then. Each becomes as long as the least common multiple of all, its rows taken
    several times alike, so that the average is the same but for the rounding of its sum.
    """
    import torch

    for part in list(module.modules()):
        if isinstance(part, torch.fx.GraphModule):
            _spell_out(part)


def _spell_out(module: Any) -> None:
    import torch

    aten = torch.ops.aten
    for node in [one for one in module.graph.nodes if one.target == aten.adaptive_avg_pool2d.default]:
        values = node.args[0]
        sides = [tuple(map(int, one.meta["val"].shape[-2:])) for one in (values, node)]
        if all(given % wanted == 0 for given, wanted in zip(*sides, strict=True)):
            continue
        window = []
        with module.graph.inserting_before(node):
            for axis, given, wanted in zip((2, 3), *sides, strict=True):
                rows, length = selected(given, wanted)
                name = f"{node.name}_of_axis_{axis}"
                module.register_buffer(name, torch.tensor(rows))
                values = module.graph.call_function(aten.index_select.default, (values, axis, module.graph.get_attr(name)))
                window.append(length)
            values = module.graph.call_function(aten.avg_pool2d.default, (values, window, window))
        node.replace_all_uses_with(values)
        module.graph.erase_node(node)
    module.recompile()


def selected(given: int, wanted: int) -> tuple[list[int], int]:
    """The rows (wanted * length) whose averages, length by length, are PyTorch's windows of `given` rows; and that length.

    Source: at::native adaptive pooling, a window from floor(i * given / wanted) up to ceil((i + 1) * given / wanted).
    """
    windows = [range(i * given // wanted, -(-(i + 1) * given // wanted)) for i in range(wanted)]
    length = math.lcm(*(len(window) for window in windows))
    return [row for window in windows for row in window for _ in range(length // len(window))], length
