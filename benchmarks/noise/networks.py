"""Networks for benchmarks/noise (random weights, calibrated batch norms, logits of a spread of 3), and photographs for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from PIL import Image

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)
STD: Final = np.array([0.229, 0.224, 0.225], np.float32)
SPREAD: Final = 3.0  # of the logits, about that of a trained classifier
SIDE: Final = 96
# Sides of networks that take no other, and what tells the others that they get less than they expect.
SIDES: Final = {
    **dict.fromkeys(("levit_128s", "tiny_vit_5m_224", "swin_tiny_patch4_window7_224", "efficientformerv2_s0"), 224),
    **dict.fromkeys(("mobilenetv4_hybrid_medium", "efficientvit_m0"), 128),
    **dict.fromkeys(("squeezenet1_0", "squeezenet1_1"), 98),  # where their first pool rounds up
    "inception_v3": 128,
    "ghostnetv2_100": 160,  # where its nearest-neighbour resizing has a remainder: 5 to 2 to 5
}
ASKED: Final = {
    "vit_tiny_patch16_224": {"img_size": SIDE},
    "deit_tiny_patch16_224": {"img_size": SIDE},
    "efficientvit_m0": {"img_size": 128},
}

# Names and signatures only: T a tensor, i a whole number, f a float, b a truth; then how many tensors come back.
_OPERATORS: Final = {
    "nms": ("TTf", 1),
    "qnms": ("TTf", 1),
    "roi_align": ("TTfiiib", 1),
    "_roi_align_backward": ("TTfiiiiiiib", 1),
    "roi_pool": ("TTfii", 2),
    "_roi_pool_backward": ("TTTfiiiiii", 1),
    "ps_roi_align": ("TTfiii", 2),
    "_ps_roi_align_backward": ("TTTfiiiiiii", 1),
    "ps_roi_pool": ("TTfii", 2),
    "_ps_roi_pool_backward": ("TTTfiiiiii", 1),
    "deform_conv2d": ("TTTTTiiiiiiiib", 1),
    "_deform_conv2d_backward": ("TTTTTTiiiiiiiib", 5),
}
_TYPES: Final = {"T": "Tensor", "i": "SymInt", "f": "float", "b": "bool"}
_DECLARED: Final[list[Any]] = []


def declare_operators() -> None:
    """Let torchvision be imported beside a torch that its compiled part was not made for; the networks need none of that part."""
    if not _DECLARED:
        _DECLARED.append(torch.library.Library("torchvision", "DEF"))
        for name, (kinds, count) in _OPERATORS.items():
            given = ", ".join(f"{_TYPES[kind]} a{place}" for place, kind in enumerate(kinds))
            _DECLARED[0].define(f"{name}({given}) -> ({', '.join(['Tensor'] * count)})")


def photographs(folder: Path, side: int, count: int, shift: int = 0) -> torch.Tensor:
    """`count` of the folder's photographs, evenly chosen from the one at `shift` on: NCHW, normalised as torchvision does.

    The middle square of each.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    rows: list[Array] = []
    for path in files[shift :: max(1, len(files) // count)][:count]:
        picture = Image.open(path).convert("RGB")
        least = min(picture.size)
        left, top = ((length - least) // 2 for length in picture.size)
        square = picture.crop((left, top, left + least, top + least)).resize((side, side), Image.Resampling.BILINEAR)
        rows.append((np.asarray(square, np.float32) / 255 - MEAN) / STD)
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous()


class Scaled(torch.nn.Module):
    """A network whose logits are multiplied by a number."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.factor = inner, 1.0

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.inner(values) * self.factor
        return found


def build(name: str, calibration: Path, seed: int = 0) -> tuple[torch.nn.Module, int]:
    """The network "timm:NAME" or "torchvision:NAME" in eval mode, and its side in pixels."""
    declare_operators()
    library, _, short = name.partition(":")
    torch.manual_seed(seed)
    network: torch.nn.Module
    if library == "timm":
        import timm

        network = timm.create_model(short, pretrained=False, **ASKED.get(short, {}))
    else:
        import torchvision

        more = {"aux_logits": False, "init_weights": True} if short == "googlenet" else {}
        network = torchvision.models.get_model(short, weights=None, **more)
    side = SIDES.get(short, SIDE)
    _liven(network)
    images = photographs(calibration, side, 16)
    network.train()
    for part in network.modules():
        if isinstance(part, torch.nn.modules.dropout._DropoutNd) or hasattr(part, "drop_prob"):
            part.eval()
    with torch.no_grad():
        for half in images.split(8):
            network(half)
        scaled = Scaled(network).eval()
        found = scaled(images)
        scaled.factor = SPREAD / float((found - found.mean(dim=1, keepdim=True)).std())
    return scaled, side


def _liven(network: torch.nn.Module) -> None:
    """What is zero or the same everywhere at the start is not so after training: biases, scales, and what hides whole blocks."""
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.reset_running_stats()
                part.momentum = None  # the plain mean over all batches
            if (
                isinstance(part, torch.nn.modules.batchnorm._BatchNorm | torch.nn.LayerNorm | torch.nn.GroupNorm)
                and part.weight is not None
            ):
                part.weight.uniform_(0.7, 1.3)
                part.bias.normal_(0, 0.1)
            elif getattr(part, "bias", None) is not None and isinstance(part, torch.nn.Linear | torch.nn.Conv2d):
                part.bias.add_(torch.randn_like(part.bias) * 0.02)
        for parameter in network.parameters():
            if parameter.numel() and 0 < float(parameter.abs().max()) <= 1e-4:
                parameter.fill_(0.3)  # a layer scale
