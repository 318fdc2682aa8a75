"""How an operation reads its inputs: tensors stay tensors, parameters become plain Python values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Arguments:
    """One operation's inputs by MIL's names; optional ones that are absent are None or missing.

    Numbers of every kind are tensors (scalars have no axes), text is `str`, a list of tensors is a tuple.
    """

    values: Mapping[str, Any]

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor `name`, which is required."""
        value: torch.Tensor = self.values[name]
        return value

    def optional(self, name: str) -> torch.Tensor | None:
        """The tensor `name`, or None."""
        return self.values.get(name)

    def tensors(self, name: str) -> tuple[torch.Tensor, ...]:
        """The list of tensors `name`."""
        value: tuple[torch.Tensor, ...] = self.values[name]
        return value

    def ints(self, name: str) -> list[int]:
        """The integers `name`; empty if absent."""
        value = self.values.get(name)
        return [] if value is None else [int(item) for item in value.reshape(-1).tolist()]

    def flags(self, name: str) -> list[bool]:
        """The booleans `name`; empty if absent."""
        value = self.values.get(name)
        return [] if value is None else [bool(item) for item in value.reshape(-1).tolist()]

    def integer(self, name: str, default: int) -> int:
        """The integer `name`, or `default`."""
        value = self.values.get(name)
        return default if value is None else int(value.item())

    def number(self, name: str, default: float) -> float:
        """The number `name`, or `default`."""
        value = self.values.get(name)
        return default if value is None else float(value.item())

    def flag(self, name: str) -> bool:
        """The boolean `name`; false if absent."""
        value = self.values.get(name)
        return False if value is None else bool(value.item())

    def text(self, name: str) -> str:
        """The text `name`."""
        return str(self.values[name])
