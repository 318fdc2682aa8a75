"""How far apart the channels of a network are in scale: what one 8-bit range per tensor can, or cannot, hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from squeeze_export.contracts.source import SourceModel

# 8 bits have 255 levels: of channels a thousand times apart the small ones become 0. Trained weights stay far below.
FAR_APART: Final = 1000.0


def far_apart(source: SourceModel) -> str | None:
    """A sentence on the layer whose input channels are weighted furthest apart, where that is too far for 8 bits; else None.

    A weight that is a million times another's says that its channel is a million times smaller, since the products add up.
    """
    import torch

    widest, name = 0.0, ""
    for found, module in source.module.named_modules():
        if isinstance(module, torch.nn.Conv2d) and module.groups == 1 and module.in_channels > 3:
            largest = module.weight.detach().abs().amax(dim=(0, 2, 3))
            largest = largest[largest > 0]  # pruned channels say nothing
            ratio = float(largest.max() / largest.min()) if len(largest) > 1 else 1.0
            if ratio > widest:
                widest, name = ratio, found
    if widest < FAR_APART:
        return None
    return (
        f"The input channels of {name} are weighted up to {widest:.0e} times apart, and one range of 8 bits per tensor cannot "
        "hold channels that differ so much. fp16 and fp32 can: export with --precision fp16"
    )
