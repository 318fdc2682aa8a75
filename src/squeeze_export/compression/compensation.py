"""Coding one layer so that the layer's outputs change least: second-order error compensation, column by column.

Sources: Frantar et al., "GPTQ" (2022) and "SparseGPT" (Frantar, Alistarh, 2023) for the column order and the compensation;
van Baalen et al., "GPTVQ" (2024) for palettes of vectors; Li et al., "GPTAQ" (2025) for aiming at the unquantised network's
outputs from the inputs that the quantised one really gets; Behdin et al., "QuantEase" (2023) for the coordinate descent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.compression.codings import CodedWeight, Coding, UniformWeight
from squeeze_export.compression.palettes import nearest, weighted_kmeans

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array, FloatArray

DAMPING: Final = 0.01  # of the mean diagonal: GPTQ's
_BLOCK: Final = 64  # columns whose effect on the rest is applied at once
_LEAST_HALF: Final = np.float16(2.0**-24)
_PASSES: Final = 3  # of coordinate descent and of fitting the table anew


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What a layer's inputs are like, over sampled positions; a column is one input value of a patch (I * H * W of them).

    `covariance`: (C, C) of the inputs that the compressed network gives this layer; `cross`: (C, C), rows the original network's
    inputs against them; `mean` and `original_mean`: (C,). The bias makes up for means exactly, so both are centred.
    """

    covariance: FloatArray
    cross: FloatArray
    mean: FloatArray
    original_mean: FloatArray


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A layer ready to be coded, for any number of codings.

    `target`: (O, C), the weights that serve the inputs as they come best; `hessian`: (C, C), damped; `order`: the columns, the
    most active first; `factor`: upper Cholesky factor of the inverse Hessian in that order; `kept`: the weights that are not
    zero in the original, (O, C).
    """

    shape: tuple[int, ...]
    target: FloatArray
    hessian: FloatArray
    order: Array
    factor: FloatArray
    kept: Array

    def error(self, decoded: FloatArray) -> float:
        """The mean squared error of the layer's outputs, summed over channels, with these weights (O, I, H, W)."""
        rest = self.target - decoded.reshape(self.target.shape)
        return float(np.einsum("ij,ij->", rest @ self.hessian, rest, dtype=np.float64))


def pose(weight: FloatArray, moments: Moments, *, damping: float = DAMPING) -> Problem:
    """Prepare a layer's weights (O, I, H, W) for coding against its inputs' moments."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    covariance = moments.covariance.astype(np.float64)
    ridge = damping * max(float(np.diag(covariance).mean()), 1e-12)
    hessian = covariance + ridge * np.eye(len(covariance))
    # The least-squares weights for the inputs as they come, held to the original ones where the inputs do not tell.
    target = np.linalg.solve(hessian, (flat @ moments.cross.astype(np.float64) + ridge * flat).T).T
    order = np.argsort(-np.diag(hessian), kind="stable")
    inverse = np.linalg.inv(hessian[np.ix_(order, order)])
    factor = np.linalg.cholesky((inverse + inverse.T) / 2).T
    return Problem(
        shape=tuple(weight.shape),
        target=target.astype(np.float32),
        hessian=hessian.astype(np.float32),
        order=order,
        factor=np.ascontiguousarray(factor, np.float32),
        kept=flat != 0,
    )


def encode(problem: Problem, coding: Coding, *, seed: int = 0, passes: int = _PASSES) -> CodedWeight:
    """Code a layer's weights; the same for the same arguments."""
    mask = _mask(problem, coding)
    table = _first_table(problem, coding, mask, seed)
    quantise = _Palette(table, coding.vector)
    decoded = _compensated(problem, mask, quantise)
    for _ in range(passes):
        table = _fitted(problem, coding, quantise.indices(decoded), mask, table)
        quantise = _Palette(table, coding.vector)
        decoded = _descended(problem, mask, quantise, decoded)
    indices = quantise.indices(decoded)
    table = _fitted(problem, coding, indices, mask, table).astype(np.float16)
    if mask is not None:
        # A stored zero would be no zero of the mask: both decode alike, and then nothing is left to tell them apart.
        table = np.where(table == 0, np.float16(6e-8), table)
    packed = indices if mask is None else np.where(mask, indices, 0)
    return CodedWeight(
        coding=coding,
        indices=packed.astype(np.uint8).reshape(-1, *problem.shape[1:]),
        table=table,
        mask=None if mask is None else mask.reshape(problem.shape),
    )


def encode_uniform(problem: Problem, bits: int, *, passes: int = _PASSES, half: bool = False) -> UniformWeight:
    """Code a layer's weights as symmetric integers with the scale per output channel that leaves the smallest error.

    `half`: scales are fp16 numbers, and so is what the integers decode to.
    """
    top = 2 ** (bits - 1) - 1
    weights = np.sqrt(np.diag(problem.hessian))
    largest = np.maximum(np.abs(problem.target).max(axis=1), 1e-12)
    best, scales = np.full(len(largest), np.inf), largest / top
    for part in np.linspace(0.5, 1.0, 26):
        trial = largest * part / top
        rounded = np.clip(np.rint(problem.target / trial[:, None]), -top, top) * trial[:, None]
        error = (((problem.target - rounded) * weights) ** 2).sum(axis=1)
        scales, best = np.where(error < best, trial, scales), np.minimum(error, best)
    # A scale of zero (a channel without weights) would decode to zeros, and divide nothing.
    scales = np.maximum(scales.astype(np.float16), _LEAST_HALF).astype(np.float32) if half else scales.astype(np.float32)

    def quantise(column: FloatArray) -> FloatArray:
        return np.asarray(np.clip(np.rint(column / scales), -top, top) * scales, np.float32)

    decoded = _compensated(problem, None, quantise)
    for _ in range(passes):
        decoded = _descended(problem, None, quantise, decoded)
    values = np.rint(decoded / scales[:, None]).astype(np.int8)
    stored = scales.astype(np.float16) if half else scales
    return UniformWeight(bits=bits, values=values.reshape(problem.shape), scales=stored)


class _Palette:
    """Rounds a column (O,) to the nearest vectors of its row group's table."""

    def __init__(self, table: FloatArray, vector: int) -> None:
        self._table = table.astype(np.float16).astype(np.float32)
        self._vector = vector

    def __call__(self, column: FloatArray) -> FloatArray:
        groups = self._table.shape[0]
        parts = column.reshape(groups, -1, self._vector)
        rounded = [entries[nearest(part, entries)] for part, entries in zip(parts, self._table, strict=True)]
        return np.concatenate(rounded).reshape(-1)

    def indices(self, values: FloatArray) -> Array:
        """The entries nearest to `values` (O, C): (O / vector, C)."""
        groups, columns = self._table.shape[0], values.shape[1]
        cut = values.reshape(groups, -1, self._vector, columns).transpose(0, 1, 3, 2)
        found = [
            nearest(np.ascontiguousarray(part.reshape(-1, self._vector)), entries)
            for part, entries in zip(cut, self._table, strict=True)
        ]
        return np.concatenate(found).reshape(-1, columns)


def _mask(problem: Problem, coding: Coding) -> Array | None:
    if coding.zeros is None:
        return None
    if isinstance(coding.zeros, str):
        return problem.kept
    # SparseGPT's saliency: what removing a weight costs once the columns after it have made up for it.
    saliency = np.empty_like(problem.target)
    saliency[:, problem.order] = (problem.target[:, problem.order] / np.diag(problem.factor)) ** 2
    saliency[~problem.kept] = -1
    zeros = round(coding.zeros * saliency.size)
    mask = np.ones(saliency.size, bool)
    mask[np.argsort(saliency, axis=None, kind="stable")[:zeros]] = False
    return mask.reshape(saliency.shape) & problem.kept


def _first_table(problem: Problem, coding: Coding, mask: Array | None, seed: int) -> FloatArray:
    weights = np.broadcast_to(np.sqrt(np.diag(problem.hessian)), problem.target.shape)
    rows = len(problem.target) // coding.groups
    tables = []
    for group in range(coding.groups):
        part = slice(group * rows, (group + 1) * rows)
        values, heavy = problem.target[part], weights[part]
        if mask is not None:
            chosen = mask[part]
            vectors, counts = values[chosen][:, None], heavy[chosen]
        else:
            cut = values.reshape(-1, coding.vector, values.shape[1]).transpose(0, 2, 1)
            vectors, counts = np.ascontiguousarray(cut.reshape(-1, coding.vector)), heavy[:: coding.vector].reshape(-1)
        if len(vectors) == 0:  # nothing is kept: the table serves nobody
            vectors, counts = np.ones((1, coding.vector), np.float32), np.ones(1, np.float32)
        tables.append(weighted_kmeans(vectors, counts, 2**coding.bits, seed=seed))
    return np.stack(tables)


def _compensated(problem: Problem, mask: Array | None, quantise: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """GPTQ: round the columns one after the other, each error made up for by the columns that are still free."""
    work = problem.target[:, problem.order].copy()
    kept = None if mask is None else mask[:, problem.order]
    factor, columns = problem.factor, work.shape[1]
    rounded = np.empty_like(work)
    for begin in range(0, columns, _BLOCK):
        end = min(begin + _BLOCK, columns)
        block = np.ascontiguousarray(work[:, begin:end])
        errors = np.empty_like(block)
        for place in range(end - begin):
            column = begin + place
            values = quantise(np.ascontiguousarray(block[:, place]))
            if kept is not None:
                values = np.where(kept[:, column], values, np.float32(0))
            rounded[:, column] = values
            errors[:, place] = (block[:, place] - values) / factor[column, column]
            block[:, place:] -= np.outer(errors[:, place], factor[column, column:end])
        work[:, end:] -= errors @ factor[begin:end, end:]
    decoded = np.empty_like(rounded)
    decoded[:, problem.order] = rounded
    return decoded


def _descended(
    problem: Problem, mask: Array | None, quantise: Callable[[FloatArray], FloatArray], decoded: FloatArray
) -> FloatArray:
    """One pass of coordinate descent: each column anew, to the best value given all the others."""
    decoded = decoded.copy()
    for begin in range(0, len(problem.order), _BLOCK):
        block = problem.order[begin : begin + _BLOCK]
        inner = problem.hessian[np.ix_(block, block)]
        rest = np.ascontiguousarray((problem.target - decoded) @ problem.hessian[:, block])
        for place, column in enumerate(block):
            values = quantise(np.ascontiguousarray(decoded[:, column] + rest[:, place] / inner[place, place]))
            if mask is not None:
                values = np.where(mask[:, column], values, np.float32(0))
            change = values - decoded[:, column]
            decoded[:, column] = values
            rest -= np.outer(change, inner[place])
    return decoded


def _fitted(problem: Problem, coding: Coding, indices: Array, mask: Array | None, table: FloatArray) -> FloatArray:
    """The tables that serve these indices best: least squares in the layer's outputs; entries without weights stay."""
    entries, vector = 2**coding.bits, coding.vector
    rows = len(indices) // coding.groups
    fitted = []
    for group, old in enumerate(table):
        part = indices[group * rows : (group + 1) * rows]
        wanted = problem.target[group * rows * vector : (group + 1) * rows * vector]
        here = None if mask is None else mask[group * rows : (group + 1) * rows]
        used = np.where(here, part, -1) if here is not None else part
        moved = (wanted @ problem.hessian).reshape(rows, vector, -1)
        normal, right = np.zeros((entries, entries)), np.zeros((entries, vector))
        flat = used.reshape(-1)
        some = flat >= 0
        for entry in range(entries):
            selected = (used == entry).astype(np.float32)
            spread = (selected @ problem.hessian).reshape(-1)
            normal[entry] = np.bincount(flat[some], spread[some], entries)
            right[entry] = [float((selected * moved[:, axis]).sum(dtype=np.float64)) for axis in range(vector)]
        present = np.diag(normal) > 0
        solved = old.astype(np.float64)
        if present.any():
            inner = normal[np.ix_(present, present)]
            inner = (inner + inner.T) / 2
            inner += 1e-6 * np.diag(inner).mean() * np.eye(len(inner))
            held = right[present] + 1e-6 * np.diag(inner).mean() * old[present]
            solved[present] = np.linalg.solve(inner, held)
        fitted.append(solved.astype(np.float32))
    return np.stack(fitted)
