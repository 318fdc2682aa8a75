"""A network with every kind of stage and a hundredth of SqueezeNet's weights, and pictures that move its answers."""

from __future__ import annotations

import torch

from squeeze_export.compression.network import convolutions
from squeeze_export.sources.squeezenet import Fire


class Tiny(torch.nn.Module):
    """A SqueezeNet of two fire modules: every kind of stage, a hundredth of the weights."""

    def __init__(self):
        super().__init__()
        pool = torch.nn.MaxPool2d(3, stride=2, ceil_mode=True)
        first = torch.nn.Conv2d(3, 12, 7, stride=2)
        self.features = torch.nn.Sequential(
            first, torch.nn.ReLU(), pool, Fire(12, 8, 12, "convolution"), pool, Fire(24, 8, 12, "identity")
        )
        self.classifier = torch.nn.Sequential(
            torch.nn.Dropout(), torch.nn.Conv2d(24, 5, 1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


def tiny_network():
    made = Tiny()
    generator = torch.Generator().manual_seed(1)
    for layer in convolutions(made).values():
        torch.nn.init.kaiming_uniform_(layer.weight, generator=generator)
        torch.nn.init.uniform_(layer.bias, -0.1, 0.3, generator=generator)
    return made.requires_grad_(False).eval()


def tiny_images():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(43.0), indexing="ij")
    waves = [torch.sin(x / (2 + k)) * torch.cos(y / (1 + k % 3)) + k / 10 for k in range(30)]
    return torch.stack(waves).reshape(10, 3, 40, 43)
