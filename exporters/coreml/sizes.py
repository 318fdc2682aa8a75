"""What a coding costs in a Core ML package, to the byte of its blobs, so that a budget can be planned."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from squeeze_export.exporters.coreml import writing

if TYPE_CHECKING:
    from squeeze_export.compression.codings import Coding
    from squeeze_export.contracts.artifact import ExportSettings
    from squeeze_export.contracts.source import SourceModel

# The operations' text in model.mlmodel once names are short, rounded up; the program's other parts do not change with the coding.
_PALETTE_TEXT: Final = 330
_JOINT_TEXT: Final = 550
_SPARSE_TEXT: Final = 330
_CONSTANT_TEXT: Final = 220
_REFERENCE_TEXT: Final = 45  # a table in the blob file instead of in the program
_INLINE_VALUES: Final = 10  # shorter tables stand in the program


def blob(size: int) -> int:
    """The bytes of a blob of `size` bytes with its metadata, up to the boundary where the next begins."""
    return 64 + -(-size // 64) * 64


def stored(coding: Coding, shape: tuple[int, ...], alive: int) -> int:
    """The bytes of one kernel (O, I, H, W) with `alive` weights that are not zero, in the iOS18 form."""
    count = shape[0] * shape[1] * shape[2] * shape[3]
    entries = coding.groups * 2**coding.bits * coding.vector
    table = blob(2 * entries) + _REFERENCE_TEXT if entries >= _INLINE_VALUES else 2 * entries
    if coding.zeros is None:
        return blob(-(-count // coding.vector * coding.bits // 8)) + table + _PALETTE_TEXT
    kept = alive if isinstance(coding.zeros, str) else min(alive, count - round(coding.zeros * count))
    return blob(-(-count // 8)) + blob(-(-kept * coding.bits // 8)) + table + _JOINT_TEXT


def half(shape: tuple[int, ...], alive: int, *, sparse: bool) -> int:
    """The bytes of one kernel (O, I, H, W) in fp16, `sparse`: its `alive` weights that are not zero, and a mask."""
    count = shape[0] * shape[1] * shape[2] * shape[3]
    return blob(2 * alive) + blob(-(-count // 8)) + _SPARSE_TEXT if sparse else blob(2 * count) + _CONSTANT_TEXT


def fixed(source: SourceModel, settings: ExportSettings) -> int:
    """The bytes of a package of this source beside its kernels, measured on one whose kernels are coded away."""
    import copy

    import numpy as np

    from squeeze_export.compression.codings import CodedWeight, Coding
    from squeeze_export.compression.network import convolutions

    module = copy.deepcopy(source.module)
    coding = Coding(bits=1)
    coded: dict[str, CodedWeight] = {}
    for name, layer in convolutions(module).items():
        layer.weight.data = layer.weight.data * 0
        indices, table = np.zeros(tuple(layer.weight.shape), np.uint8), np.zeros((1, 2, 1), np.float16)
        coded[name] = CodedWeight(coding=coding, indices=indices, table=table, mask=None)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "fixed.mlpackage"
        writing.write(replace(source, module=module), settings, package, coded=coded)
        whole = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    return whole - sum(stored(coding, weight.shape, 0) for weight in coded.values())
