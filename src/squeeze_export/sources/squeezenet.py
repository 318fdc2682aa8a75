"""SqueezeNet 1.0, 1.1 and the paper's bypass variants of 1.0, with torchvision's state_dict keys.

Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size" (2016), figure 2;
1.1 is the authors' later revision (2.4x less computation). The complex bypass puts a 1x1 convolution around every
fire module whose channel count changes and the identity around the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from squeeze_export.contracts.source import ModelName

Bypass = Literal["none", "identity", "convolution"]


class Fire(nn.Module):
    """Squeeze to few channels by 1x1, expand to many by 1x1 and 3x3 side by side; (N, C, H, W) -> (N, 2 * expand, H, W)."""

    def __init__(self, channels: int, squeeze: int, expand: int, bypass: Bypass = "none") -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, kernel_size=1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, kernel_size=1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, kernel_size=3, padding=1)
        self.activation = nn.ReLU()
        self.bypass: nn.Module | None = None
        if bypass == "identity":
            self.bypass = nn.Identity()
        elif bypass == "convolution":
            self.bypass = nn.Conv2d(channels, 2 * expand, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the bypass, where there is one, to the concatenated expansions."""
        squeezed = self.activation(self.squeeze(x))
        expanded = torch.cat((self.activation(self.expand1x1(squeezed)), self.activation(self.expand3x3(squeezed))), dim=1)
        return expanded if self.bypass is None else expanded + self.bypass(x)


# "pool", or (squeeze, expand) of a fire module; channels follow from what stands before.
_LAYERS_1_0: Final[tuple[tuple[int, int] | Literal["pool"], ...]] = (
    *("pool", (16, 64), (16, 64), (32, 128), "pool", (32, 128), (48, 192), (48, 192), (64, 256), "pool", (64, 256)),
)
_LAYERS_1_1: Final[tuple[tuple[int, int] | Literal["pool"], ...]] = (
    *("pool", (16, 64), (16, 64), "pool", (32, 128), (32, 128), "pool", (48, 192), (48, 192), (64, 256), (64, 256)),
)


class SqueezeNet(nn.Module):
    """The whole classifier: normalised image (N, 3, H, W) -> logits (N, num_classes). H, W at least 17 (1.1) or 21 (1.0)."""

    def __init__(self, model: ModelName, num_classes: int, *, head_relu: bool = True) -> None:
        super().__init__()
        first = nn.Conv2d(3, 64, kernel_size=3, stride=2) if model == "squeezenet1_1" else nn.Conv2d(3, 96, 7, stride=2)
        layers: list[nn.Module] = [first, nn.ReLU()]
        channels = first.out_channels
        for layer in _LAYERS_1_1 if model == "squeezenet1_1" else _LAYERS_1_0:
            if layer == "pool":
                layers.append(nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True))
                continue
            squeeze, expand = layer
            layers.append(Fire(channels, squeeze, expand, _bypass(model, channels, 2 * expand)))
            channels = 2 * expand
        self.features = nn.Sequential(*layers)
        # The indices of this Sequential are part of torchvision's keys: the weight is classifier.1.
        self.classifier = nn.Sequential(
            nn.Dropout(p=0.5), nn.Conv2d(channels, num_classes, kernel_size=1), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1))
        )
        set_head_relu(self, head_relu)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify a batch."""
        scores: torch.Tensor = self.classifier(self.features(x))
        return torch.flatten(scores, 1)


def set_head_relu(network: nn.Module, wanted: bool) -> None:
    """Put a ReLU behind the classifier's convolution, as torchvision has it, or none; in place, with the same keys."""
    network.classifier[2] = nn.ReLU() if wanted else nn.Identity()


class FeatureExtractor(nn.Module):
    """A SqueezeNet without its classifier: normalised image (N, 3, H, W) -> (N, 512), each channel averaged over all places."""

    def __init__(self, network: SqueezeNet) -> None:
        super().__init__()
        self.features = network.features
        self.pool = nn.AdaptiveAvgPool2d((1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Describe a batch."""
        averaged: torch.Tensor = self.pool(self.features(x))
        return torch.flatten(averaged, 1)


def _bypass(model: ModelName, channels: int, out: int) -> Bypass:
    if model in ("squeezenet1_0_bypass", "squeezenet1_0_complex_bypass") and channels == out:
        return "identity"
    return "convolution" if model == "squeezenet1_0_complex_bypass" else "none"


def initialise(network: SqueezeNet, generator: torch.Generator) -> None:
    """Fill the weights as the authors did: Kaiming uniform, the last convolution normal with std 0.01, biases zero."""
    for module in network.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if module is network.classifier[1]:
            nn.init.normal_(module.weight, mean=0.0, std=0.01, generator=generator)
        else:
            nn.init.kaiming_uniform_(module.weight, generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
