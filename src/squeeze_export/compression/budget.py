"""Which coding for which layer: the smallest sum of losses under a byte budget, exactly (a multiple-choice knapsack)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import numpy as np

from squeeze_export.errors import UsageError

Choice = TypeVar("Choice")

_SIZE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(B|KB|KiB|MB|MiB|GB|GiB)?", re.ASCII | re.IGNORECASE)
_FACTORS: Final = {"b": 1, "kb": 1000, "kib": 1024, "mb": 1_000_000, "mib": 1 << 20, "gb": 1_000_000_000, "gib": 1 << 30}
_UNIT: Final = 16  # bytes; costs are rounded up to it, so the budget is never exceeded


def parse_size(text: str) -> int:
    """Read a number of bytes such as 490KB (thousands), 480KiB (of 1024), 0.5MB or 490000; UsageError where it is none."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _FACTORS[(match[2] or "B").lower()]) if match is not None else 0
    if size < 1:
        raise UsageError(f"{text!r} is no size: write 490KB, 480KiB, 0.5MB or a number of bytes.")
    return size


def choose(options: Mapping[str, Mapping[Choice, tuple[float, int]]], budget: int) -> dict[str, Choice]:
    """Pick one option per layer, given as (loss, bytes), so that the bytes fit `budget` and the losses sum up to the least.

    The same for the same arguments, whatever the order of equals. UsageError names the smallest reachable number of bytes.
    """
    smallest = smallest_bytes(options)
    if smallest > budget:
        raise UsageError(f"{budget:,} bytes cannot be reached: the smallest coding of all weights takes {smallest:,} bytes")
    # More than the largest options together take helps nothing, and would cost memory.
    states = min(budget // _UNIT, sum(max(_units(cost) for _, cost in table.values()) for table in options.values())) + 1
    loss = np.zeros(states)  # the least loss of the layers so far within so many units
    taken: list[tuple[str, list[Choice], np.ndarray[tuple[int], np.dtype[np.int64]]]] = []
    for layer, table in options.items():
        names = sorted(table, key=lambda name: (table[name][1], table[name][0], str(name)))
        best, which = np.full(states, np.inf), np.zeros(states, np.int64)
        for index, name in enumerate(names):
            extra, cost = table[name][0], _units(table[name][1])
            if cost >= states:
                continue
            reached = np.full(states, np.inf)
            reached[cost:] = loss[: states - cost] + extra
            better = reached < best
            best[better], which[better] = reached[better], index
        loss = best
        taken.append((layer, names, which))
    if not np.isfinite(loss[-1]):  # only by rounding up to units
        raise UsageError(f"{budget:,} bytes are too close to the smallest reachable: allow {smallest + _UNIT * len(taken):,}")
    left, chosen = states - 1, dict[str, Choice]()
    for layer, names, which in reversed(taken):
        chosen[layer] = names[int(which[left])]
        left -= _units(options[layer][chosen[layer]][1])
    return {layer: chosen[layer] for layer in options}


def smallest_bytes(options: Mapping[str, Mapping[Choice, tuple[float, int]]]) -> int:
    """The bytes of the smallest option of every layer."""
    return sum(min(cost for _, cost in table.values()) for table in options.values())


def reachable(costs: Iterable[int]) -> int:
    """The smallest budget in which options of these bytes, one per layer, can be chosen."""
    return sum(_units(cost) * _UNIT for cost in costs)


def _units(cost: int) -> int:
    return -(-cost // _UNIT)
