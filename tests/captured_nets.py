"""Networks of nobody, tiny and each with what classifiers are made of: for tests of captured sources."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class Mixed(nn.Module):
    """Convolution and norm, depthwise, squeeze and excite, layer norm, gelu, a linear head: 7 classes."""

    def __init__(self, width: int = 16, classes: int = 7) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False), nn.BatchNorm2d(width))
        self.pointwise = nn.Conv2d(width, 32, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(32, 8, 1), nn.ReLU(), nn.Conv2d(8, 32, 1), nn.Hardsigmoid())
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.pointwise(nn.functional.silu(self.depthwise(self.stem(image))))
        found = (found * self.gate(found)).mean((2, 3))
        return 4 * self.head(nn.functional.gelu(self.norm(found)))


def mixed(width: int = 16, classes: int = 7) -> nn.Module:
    """A factory, as `--model tests.captured_nets:mixed` calls it: the same weights on every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Mixed(width, classes).eval()


class Answer(NamedTuple):
    """What some networks give: scores by name, beside what led to them."""

    scores: torch.Tensor
    pooled: torch.Tensor


class Headed(nn.Module):
    """Convolution, pool, a linear head, and one of the endings that networks of users have."""

    def __init__(self, ending: str, classes: int) -> None:
        super().__init__()
        self.ending = ending
        self.stem = nn.Conv2d(3, 12, 3, 2, 1)
        self.head = nn.Linear(12, classes)

    def forward(self, image: torch.Tensor):
        pooled = torch.relu(self.stem(image)).mean((2, 3))
        scores = 6 * self.head(pooled)
        match self.ending:
            case "softmax" | "log_softmax":
                return getattr(scores, self.ending)(1)
            case "sigmoid":
                return scores.sigmoid()
            case "logsigmoid":
                return nn.functional.logsigmoid(scores)
            case "averaged":  # two softmaxes, as of an ensemble: the last operation is none
                return (scores.softmax(1) + (2 * scores).softmax(1)) / 2
            case "bounded":
                return scores.clamp(0, 1)
            case "dictionary":
                return {"logits": scores}
            case "tuple":
                return pooled, scores
            case "named":
                return Answer(scores, pooled)
        return scores


def headed(ending: str = "logits", classes: int = 3) -> nn.Module:
    """A factory: the same weights on every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Headed(ending, classes).eval()


def grey(classes: int = 4) -> nn.Module:
    """A factory: a network of one channel, the same weights on every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
        network = nn.Sequential(stem, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes))
        nn.init.normal_(network[4].weight, std=2.0)
        return network.eval()
