"""Comparisons, which give booleans, logic on these, and the choice between two values by them; all broadcast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.validation.mil.arguments import Arguments

if TYPE_CHECKING:
    import torch


def equal(a: Arguments) -> torch.Tensor:
    """Whether x = y."""
    return a.tensor("x") == a.tensor("y")


def not_equal(a: Arguments) -> torch.Tensor:
    """Whether x and y differ."""
    return a.tensor("x") != a.tensor("y")


def greater(a: Arguments) -> torch.Tensor:
    """Whether x > y."""
    return a.tensor("x") > a.tensor("y")


def greater_equal(a: Arguments) -> torch.Tensor:
    """Whether x >= y."""
    return a.tensor("x") >= a.tensor("y")


def less(a: Arguments) -> torch.Tensor:
    """Whether x < y."""
    return a.tensor("x") < a.tensor("y")


def less_equal(a: Arguments) -> torch.Tensor:
    """Whether x <= y."""
    return a.tensor("x") <= a.tensor("y")


def logical_and(a: Arguments) -> torch.Tensor:
    """Whether both are true."""
    return a.tensor("x").logical_and(a.tensor("y"))


def logical_or(a: Arguments) -> torch.Tensor:
    """Whether one or both are true."""
    return a.tensor("x").logical_or(a.tensor("y"))


def logical_not(a: Arguments) -> torch.Tensor:
    """Whether x is false."""
    return a.tensor("x").logical_not()


def select(a: Arguments) -> torch.Tensor:
    """a where `cond` is true, b elsewhere."""
    return a.tensor("a").where(a.tensor("cond"), a.tensor("b"))
