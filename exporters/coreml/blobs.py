"""The blob file of an ML Program (weights/weight.bin), written and read where a package is made; the format is version 2.

A file header of 64 bytes, then per blob 64 bytes of metadata and the data, both on 64-byte boundaries, little-endian.
Values of less than a byte follow one another from the least significant bit on. coremltools' own writer wants its SDK's
types for them; its reader is what the proof reads this file with.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

# Bits per value -> the code of the unsigned type in the file.
_UNSIGNED: Final = {1: 9, 2: 10, 3: 12, 4: 11, 6: 13, 8: 3}
_FLOAT: Final = {"float16": 1, "float32": 2, "uint8": 3, "int8": 4}
_ALIGNMENT: Final = 64
_SENTINEL: Final = 0xDEADBEEF
_METADATA: Final = struct.Struct("<IIQQQ32s")
_HEADER: Final = struct.Struct("<II56s")


def pack(values: Array, bits: int) -> bytes:
    """Pack unsigned integers below 2**bits, in C order, from the least significant bit on."""
    import numpy as np

    flat = np.ascontiguousarray(values, np.uint8).reshape(-1)
    if flat.size and int(flat.max()) >= 2**bits:
        raise ValueError(f"{int(flat.max())} does not fit {bits} bits")
    return np.packbits((flat[:, None] >> np.arange(bits, dtype=np.uint8)) & 1, bitorder="little").tobytes()


class BlobFile:
    """A blob file in the making: each addition returns the offset that the program names it by."""

    def __init__(self) -> None:
        self._content = bytearray(_HEADER.size)
        self._count = 0

    def add(self, values: Array) -> int:
        """Store an array of float16, float32, uint8 or int8."""
        import numpy as np

        data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        return self._append(_FLOAT[values.dtype.name], data, 0)

    def add_packed(self, values: Array, bits: int) -> int:
        """Store unsigned integers of `bits` bits."""
        data = pack(values, bits)
        return self._append(_UNSIGNED[bits], data, len(data) * 8 - values.size * bits)

    def _append(self, code: int, data: bytes, unused_bits: int) -> int:
        self._content += bytes(-len(self._content) % _ALIGNMENT)
        at = len(self._content)
        self._content += _METADATA.pack(_SENTINEL, code, len(data), at + _METADATA.size, unused_bits, bytes(32)) + data
        self._count += 1
        return at

    def content(self) -> bytes:
        """The whole file."""
        return _HEADER.pack(self._count, 2, bytes(56)) + bytes(self._content[_HEADER.size :])


def read(content: bytes, offset: int, dtype: str, shape: tuple[int, ...]) -> Array:
    """The array of numpy type `dtype` whose metadata stands at `offset`; ValueError where it is another."""
    import numpy as np

    sentinel, code, size, at, _, _ = _METADATA.unpack_from(content, offset)
    kind = np.dtype(dtype)
    if sentinel != _SENTINEL or code != _FLOAT[dtype] or size != kind.itemsize * int(np.prod(shape)):
        raise ValueError(f"the blob at byte {offset} is no {dtype} array of shape {shape}")
    return np.frombuffer(content, kind.newbyteorder("<"), int(np.prod(shape)), at).reshape(shape)
