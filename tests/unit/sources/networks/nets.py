"""Tiny real networks, named for their quirk."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[4]


def settled(module, seed=0):
    """The module in eval mode, with weights and batch norms' statistics as after a training."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.3, generator=generator)
        if name.endswith("running_var"):
            buffer.uniform_(0.3, 3, generator=generator)
    return module.eval().requires_grad_(False)


class Plain(nn.Module):
    """Convolution, batch norm, ReLU, dropout, linear."""

    def __init__(self, num_classes=5, width=8):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width, eps=1e-3), nn.ReLU(inplace=True), nn.Dropout(0.2)
        )
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Residual(nn.Module):
    """A residual depthwise block, a norm without a layer of its own in front of it, a 1x1 convolution as the head."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.joined = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8, 6)
        self.flat = nn.BatchNorm1d(6)
        self.classifier = nn.Conv2d(6, num_classes, 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = self.joined(x + self.norm(self.depthwise(x)))
        x = self.flat(self.hidden(x.mean((2, 3))))
        return self.classifier(x[:, :, None, None]).flatten(1)


class Attention(nn.Module):
    """Patches, one block of attention with a shape made a Python number, layer norm."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, stride=4)
        self.qkv = nn.Linear(16, 48)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, num_classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(x).reshape(int(x.shape[0]), -1, 3, 2, 8).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head(self.norm(x + y.transpose(1, 2).reshape(x.shape)).mean(1))


class Branching(nn.Module):
    """Computes other things for bright images."""

    def forward(self, x):
        if x.mean() > 0:
            return x.mean((2, 3))
        return x.amax((2, 3))


class Counting(nn.Module):
    """Goes through NumPy, which torch.export does not follow and torch.jit.trace takes for a constant."""

    def forward(self, x):
        return x.mean((2, 3)) + float(x.detach().numpy().max())


class Dictionary(Plain):
    """Scores among others, by name."""

    def forward(self, x):
        features = self.features(x)
        return {"logits": self.head(features.mean((2, 3))), "embedding": features.mean((2, 3))}


class Pair(Plain):
    """Scores and an auxiliary map in a tuple."""

    def forward(self, x):
        features = self.features(x)
        return features, self.head(features.mean((2, 3)))


class TwoHeads(Plain):
    """Scores and an embedding from a layer of its own, which the scores do not need; a mask is written slice by slice."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(8, 6)

    def forward(self, x):
        pooled = self.features(x).mean((2, 3))
        mask = pooled.new_zeros(1, 8)
        mask[:, 2:] = 1.0
        return {"tags": self.head(pooled * mask), "embedding": self.other(pooled)}


class Measured(Plain):
    """Reads a shape by way of NumPy, which only torch.jit.trace follows, and ends in numbers."""

    def forward(self, x):
        return super().forward(x) * float(x.detach().numpy().shape[1] * 4) + 1


class Scaled(nn.Module):
    """Reads a constant of its own by way of NumPy, which torch.export does not follow and torch.jit.trace does, rightly."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        return self.head(x.mean((2, 3))) * float(self.head.bias.detach().numpy()[0])
