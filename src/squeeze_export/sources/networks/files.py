"""temp"""

from __future__ import annotations
from squeeze_export.sources.networks.capture import Captured


def save(captured, path):
    import torch

    torch.export.save(captured.program, path)


def load(path):
    import torch

    return Captured(program=torch.export.load(path), how="exported")
