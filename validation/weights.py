"""Stored weights against the source's, bit for bit: what no tolerance on outputs can show."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.contracts.parity import WeightsParity

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array
    from squeeze_export.contracts.artifact import Precision
    from squeeze_export.contracts.source import WeightDigest

_NAMED_AT_MOST: Final = 5


def compare_weights(
    stored: tuple[Array, ...], expected: tuple[WeightDigest, ...], precision: Precision, *, exempt: tuple[str, ...] = ()
) -> WeightsParity:
    """Look for every expected weight among the stored ones by shape and digest, each stored one serving once.

    Stored float32 is compared as it is and stored float16 with the source rounded to it; an fp32 artifact may hold float32 only,
    an fp16 artifact must hold its kernels (O, I, H, W) as float16 and may keep biases wider. `exempt` names source weights
    that the exporter declares to have changed (by folding): in place of each, one stored array of its shape is let pass.
    """
    problems: list[str] = []
    available: Counter[tuple[tuple[int, ...], str]] = Counter()
    for array in stored:
        kind = array.dtype.name
        if kind not in ("float32", "float16") or (precision == "fp32" and kind != "float32"):
            problems.append(f"a weight {array.shape} is stored as {kind} in an {precision} artifact")
        elif precision == "fp16" and array.ndim > 1 and kind != "float16":
            problems.append(f"a kernel {array.shape} is stored as {kind} in an fp16 artifact")
        else:
            available[array.shape, f"{kind} {digest(array)}"] += 1

    known = {weight.name for weight in expected}
    problems += [f"{name} is declared exempt and is no weight of the source" for name in exempt if name not in known]
    compared, missing = 0, []
    for weight in expected:
        if weight.name in exempt:
            continue
        found = next((key for key in _keys(weight) if available[key] > 0), None)
        if found is None:
            missing.append(weight.name)
        else:
            available[found] -= 1
            compared += 1
    for weight in expected:
        if weight.name not in exempt:
            continue
        stand_in = next((key for key, count in available.items() if count > 0 and key[0] == weight.shape), None)
        if stand_in is None:
            problems.append(f"{weight.name} is declared exempt, and nothing of its shape {weight.shape} is left in its place")
        else:
            available[stand_in] -= 1
    extra = [shape for (shape, _), count in available.items() for _ in range(count)]
    if missing:
        problems.append(f"{len(missing)} of the source's weights are not in the file: {_some(missing)}")
    if extra:
        problems.append(f"{len(extra)} stored weights are not the source's: {_some([str(shape) for shape in extra])}")
    if not expected:
        problems.append("the golden pack names no weights to compare with")
    return WeightsParity(expected=len(expected), compared=compared, problems=tuple(problems), exempt=exempt)


def compare_kernels(
    stored: tuple[Array, ...], expected: tuple[WeightDigest, ...], precision: Precision, kernels: tuple[str, ...]
) -> WeightsParity:
    """As compare_weights, for a captured network: each of its `kernels` must be there bit for bit, and no other kernel may be.

    The weights that are no kernel of a convolution or a linear layer (biases, norms, tables) are not compared: converters fold
    them into their neighbours, and what that does to the outputs is judged by the outputs.
    """
    found = [array for array in stored if array.ndim > 1]
    wanted = [weight for weight in expected if weight.name in kernels]
    wide = sorted({array.dtype.name for array in found if array.dtype.name != ("float16" if precision == "fp16" else "float32")})
    problems = [f"kernels are stored as {', '.join(wide)} in an {precision} artifact"] if wide else []
    there = Counter((array.shape, f"{array.dtype.name} {digest(array)}") for array in found)
    keys = {weight.name: _keys(weight) for weight in wanted}
    missing = [name for name, either in keys.items() if not any(there[key] for key in either)]
    # A layer that is used twice may be stored once or twice.
    own = {key for either in keys.values() for key in either}
    extra = [str(shape) for (shape, key), count in there.items() for _ in range(count) if (shape, key) not in own]
    if missing:
        problems.append(f"{len(missing)} of the source's kernels are not in the file: {_some(missing)}")
    if extra:
        problems.append(f"{len(extra)} stored kernels are not the source's: {_some(extra)}")
    if not wanted:
        problems.append("the golden pack names no kernels to compare with")
    return WeightsParity(expected=len(wanted), compared=len(wanted) - len(missing), problems=tuple(problems))


def _keys(weight: WeightDigest) -> tuple[tuple[tuple[int, ...], str], ...]:
    """How a source weight may be stored: its shape, and its type with its digest."""
    return (weight.shape, f"float32 {weight.fp32}"), (weight.shape, f"float16 {weight.fp16}")


def different_weights(chosen: tuple[WeightDigest, ...], source: tuple[WeightDigest, ...]) -> list[str]:
    """How a compressor's weights are others than the source's, by name and shape; their values are meant to differ."""
    mine, theirs = ({(weight.name, weight.shape) for weight in weights} for weights in (chosen, source))
    if mine == theirs:
        return []
    return [f"the compressed weights are not those of the source: {_some(sorted(name for name, _ in mine ^ theirs))} differ"]


def digest(weight: Array) -> str:
    """sha256 of an array's little-endian C-order bytes in its own dtype."""
    return hashlib.sha256(np.ascontiguousarray(weight, dtype=weight.dtype.newbyteorder("<")).tobytes()).hexdigest()


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
