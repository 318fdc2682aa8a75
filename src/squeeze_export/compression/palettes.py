"""Palettes for weights: deterministic weighted k-means on vectors, and nearest entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array, FloatArray

_ROUNDS: Final = 30
_CHUNK: Final = 1 << 22  # distances held at once: 16 MB


def nearest(values: FloatArray, table: FloatArray) -> Array:
    """The index of the entry of `table` (K, d) nearest to each of `values` (N, d); one of them where two are equally near."""
    if table.shape[1] == 1:
        order = np.argsort(table[:, 0], kind="stable")
        entries = table[order, 0]
        return order[np.searchsorted((entries[1:] + entries[:-1]) / 2, values[:, 0])]
    found = np.empty(len(values), np.int64)
    half = (table**2).sum(axis=1) / 2
    step = max(1, _CHUNK // len(table))
    for begin in range(0, len(values), step):
        part = values[begin : begin + step]
        found[begin : begin + step] = np.argmin(half - part @ table.T, axis=1)
    return found


def weighted_kmeans(values: FloatArray, weights: FloatArray, entries: int, *, seed: int) -> FloatArray:
    """Entries (K, d) near which the `values` (N, d) lie, each counting `weights` (N,) times; sorted by their first element.

    Scalars start at the quantiles of the weighted distribution, raised to the third root of the density as Lloyd-Max quantisers
    spread; vectors at points drawn by k-means++. Deterministic for a seed.
    """
    dimension = values.shape[1]
    table = _quantiles(values[:, 0], weights, entries) if dimension == 1 else _plus_plus(values, weights, entries, seed)
    total = weights.astype(np.float64)
    for _ in range(_ROUNDS):
        indices = nearest(values, table)
        mass = np.bincount(indices, total, entries)
        moved = table.astype(np.float64)
        filled = mass > 0
        for axis in range(dimension):
            sums = np.bincount(indices, total * values[:, axis], entries)
            moved[filled, axis] = sums[filled] / mass[filled]
        if not filled.all():  # an entry that serves nobody takes the place of the value that is served worst
            worst = np.argsort(-total * ((values - table[indices]) ** 2).sum(axis=1), kind="stable")
            idle = np.flatnonzero(~filled)[: len(worst)]
            moved[idle] = values[worst[: len(idle)]]
        if np.allclose(moved, table, rtol=1e-5, atol=1e-9):
            break
        table = moved.astype(np.float32)
    return table[np.lexsort(table.T[::-1])]


def _quantiles(values: FloatArray, weights: FloatArray, entries: int) -> FloatArray:
    spread = np.histogram(values, bins=256, weights=weights)
    density = np.maximum(spread[0], 0) ** (1 / 3)
    heights = np.cumsum(density) / max(float(density.sum()), 1e-30)
    middles = (np.arange(entries) + 0.5) / entries
    centres = (spread[1][1:] + spread[1][:-1]) / 2
    table = np.interp(middles, heights, centres)
    return np.asarray(table[:, None], np.float32)


def _plus_plus(values: FloatArray, weights: FloatArray, entries: int, seed: int) -> FloatArray:
    generator = np.random.default_rng(seed)
    if len(values) > 20_000:
        kept = np.sort(generator.choice(len(values), 20_000, replace=False))
        values, weights = values[kept], weights[kept]
    heavy = weights.astype(np.float64)
    table = np.empty((entries, values.shape[1]), np.float32)
    distance = np.ones(len(values))
    for place in range(entries):
        chances = np.cumsum(heavy * distance)
        at = int(np.searchsorted(chances, generator.random() * chances[-1])) if chances[-1] > 0 else place % len(values)
        table[place] = values[min(at, len(values) - 1)]
        fresh = ((values - table[place]) ** 2).sum(axis=1)
        distance = fresh if place == 0 else np.minimum(distance, fresh)
    return table
