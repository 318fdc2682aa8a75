"""The operations on the kind of a value: conversion to another type, and a classifier's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.errors import UnsupportedOperationError
from squeeze_export.validation.mil.arguments import Arguments

if TYPE_CHECKING:
    import torch


def cast(a: Arguments) -> torch.Tensor:
    """To another type; towards zero from floating point to integer. fp16 is left to the executor's rounding."""
    import torch

    kinds = {
        "fp16": torch.float32,
        "fp32": torch.float32,
        "int32": torch.int32,
        "int16": torch.int16,
        "int8": torch.int8,
        "uint8": torch.uint8,
        "bool": torch.bool,
    }
    if a.text("dtype") not in kinds:
        raise UnsupportedOperationError(f"cast to {a.text('dtype')}")
    return a.tensor("x").to(kinds[a.text("dtype")])


def classify(a: Arguments) -> tuple[torch.Tensor, torch.Tensor]:
    """The index of the most probable class, and the probabilities as one row (1, classes) in label order."""
    row = a.tensor("probabilities").reshape(1, -1)
    return row.argmax(dim=1), row
