"""Blocks of classifiers as coremltools' torch front end writes them, saved, opened again and executed, in fp32 and fp16."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional


class Attention(torch.nn.Module):
    """A block of a transformer: layer norm, heads, softmax, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm2 = torch.nn.LayerNorm(16), torch.nn.LayerNorm(16, eps=1e-6)
        self.inner, self.outer = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16)
        self.up, self.down = torch.nn.Linear(16, 32), torch.nn.Linear(32, 16)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image.flatten(2).transpose(1, 2)
        query, key, value = self.inner(self.norm(x)).reshape(1, -1, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.outer(mixed.transpose(1, 2).reshape(1, -1, 16))
        return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Mobile(torch.nn.Module):
    """MobileNetV3's and GhostNetV2's: depthwise convolution, hard swish, hard sigmoid, nearest-neighbour upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = torch.nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.gate = torch.nn.Conv2d(16, 16, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = functional.hardswish(self.depthwise(image))
        small = functional.avg_pool2d(x, 2)
        gated = x * functional.hardsigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return gated + functional.interpolate(small, scale_factor=2.0, mode="nearest")


class Hierarchical(torch.nn.Module):
    """ConvNeXt's and EfficientFormer's: a layer norm over the channels of an image, exact GELU, bilinear upsampling, L2 norms."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(16, eps=1e-6)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.norm(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = functional.gelu(x) + functional.normalize(x, dim=-1)
        small = functional.silu(functional.max_pool2d(x, 2))
        return x + functional.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS17", "iOS18"])
@pytest.mark.parametrize("kind", [Attention, Mobile, Hierarchical])
def test_a_block_gives_what_torch_gives(workshop, kind, target):
    torch.manual_seed(3)
    module = kind().eval()
    image = torch.sin(torch.arange(16 * 6 * 8) * 0.37).reshape(1, 16, 6, 8)
    with torch.inference_mode():
        expected = module(image).numpy()
    largest = float(np.abs(expected).max())
    for precision, allowed in (("fp32", 2e-6), ("fp16", 4e-3)):
        name = f"{kind.__name__}_{target}_{precision}"
        path = workshop.convert(module, *image.shape, name=name, target=target, precision=precision, outputs=["out"])
        error = np.abs(workshop.run(path, {"image": image.numpy()})["out"] - expected).max() / largest
        assert error < allowed, precision
        if precision == "fp16":
            assert error > 1e-5  # rounding leaves a trace
