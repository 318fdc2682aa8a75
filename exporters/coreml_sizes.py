"""What a coding costs in a Core ML package, to the byte of its blobs: no SDK, so that a budget can be planned with it."""

from __future__ import annotations

from typing import Final

from squeeze_export.compression.codings import Coding

# The operations' text in model.mlmodel once names are short, rounded up; the program's other parts do not change with the coding.
_PALETTE_TEXT: Final = 330
_JOINT_TEXT: Final = 550
_INLINE_VALUES: Final = 10  # shorter tables stand in the program


def blob(size: int) -> int:
    """The bytes of a blob of `size` bytes with its metadata, up to the boundary where the next begins."""
    return 64 + -(-size // 64) * 64


def stored(coding: Coding, shape: tuple[int, ...], alive: int) -> int:
    """The bytes of one kernel (O, I, H, W) with `alive` weights that are not zero, in the iOS18 form."""
    count = shape[0] * shape[1] * shape[2] * shape[3]
    entries = coding.groups * 2**coding.bits * coding.vector
    table = blob(2 * entries) if entries >= _INLINE_VALUES else 2 * entries
    if coding.zeros is None:
        return blob(-(-count // coding.vector * coding.bits // 8)) + table + _PALETTE_TEXT
    kept = alive if isinstance(coding.zeros, str) else min(alive, count - round(coding.zeros * count))
    return blob(-(-count // 8)) + blob(-(-kept * coding.bits // 8)) + table + _JOINT_TEXT
