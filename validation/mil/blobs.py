"""The blob file of an ML Program (weights/weight.bin), read far enough to know that coremltools' native reader will be safe.

The format (version 2): a file header of 64 bytes (count, version, zeros), then per blob 64 bytes of metadata (sentinel,
data type, size in bytes, offset of the data, unused bits of the last byte, zeros) and its data, both on 64-byte
boundaries. All numbers are little-endian. The native reader believes them, so each is checked before it sees the file.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from squeeze_export.errors import ArtifactError

# MIL's name of a data type -> (its code in the blob file, bits per element). Types not named here cannot be stored in a blob that
# coremltools reads.
BLOB_TYPES: Final[Mapping[str, tuple[int, int]]] = {
    "FLOAT16": (1, 16),
    "FLOAT32": (2, 32),
    "UINT8": (3, 8),
    "INT8": (4, 8),
    "INT16": (6, 16),
    "UINT16": (7, 16),
    "INT4": (8, 4),
    "UINT1": (9, 1),
    "UINT2": (10, 2),
    "UINT4": (11, 4),
    "UINT3": (12, 3),
    "UINT6": (13, 6),
    "INT32": (14, 32),
    "UINT32": (15, 32),
}
_ALIGNMENT: Final = 64
_SENTINEL: Final = 0xDEADBEEF
_VERSION: Final = 2
_HEADER: Final = struct.Struct("<II56s")
_METADATA: Final = struct.Struct("<IIQQQ32s")


@dataclass(frozen=True, kw_only=True)
class Blob:
    """One entry: the code of its data type, its size in bytes and how many bits of the last byte are unused."""

    code: int
    size: int
    unused_bits: int

    def mismatch(self, dtype: str, elements: int) -> str | None:
        """Say how this blob differs from `elements` values of MIL type `dtype`, or None."""
        if dtype not in BLOB_TYPES:
            return f"the type {dtype} cannot be stored in a blob file"
        code, bits = BLOB_TYPES[dtype]
        if self.code != code:
            return f"the blob holds data type {self.code}, the program declares {dtype} ({code})"
        if self.size * 8 - self.unused_bits != elements * bits or self.size != -(-elements * bits // 8):
            return f"the blob holds {self.size * 8 - self.unused_bits} bits, the program declares {elements} x {bits} bits"
        return None


def read_blobs(path: Path) -> dict[int, Blob]:
    """Walk the blob file and return its entries by the offset of their metadata; ArtifactError where anything is amiss."""
    try:
        with path.open("rb") as file:
            return _walk(path.name, file, path.stat().st_size)
    except OSError as error:
        raise ArtifactError(f"{path.name} cannot be read: {error.strerror}. Export the package again.") from error


def _walk(name: str, file: BinaryIO, length: int) -> dict[int, Blob]:
    if length < _HEADER.size:
        raise ArtifactError(f"{name} has {length} bytes: too short for a blob file. Export the package again.")
    count, version, rest = _HEADER.unpack(file.read(_HEADER.size))
    if version != _VERSION or any(rest):
        raise ArtifactError(
            f"{name} is not a blob file of version {_VERSION} (found version {version}); it is damaged or newer. "
            "Export the package again."
        )
    blobs: dict[int, Blob] = {}
    position = end = _HEADER.size
    for index in range(count):
        where = f"{name}, blob {index + 1} of {count} at byte {position}"
        file.seek(position)
        metadata = file.read(_METADATA.size)
        if len(metadata) < _METADATA.size:
            raise ArtifactError(f"{where}: the file ends at byte {length}; it is truncated. Export the package again.")
        sentinel, code, size, offset, unused, rest = _METADATA.unpack(metadata)
        if sentinel != _SENTINEL or any(rest) or unused > 7 or offset != position + _METADATA.size:
            raise ArtifactError(f"{where}: its header is damaged. Export the package again.")
        end = offset + size
        if end > length:
            raise ArtifactError(
                f"{where}: needs {size} bytes from byte {offset}, but the file ends at byte {length}; it is truncated, or this "
                "header is damaged. Export the package again."
            )
        blobs[position] = Blob(code=code, size=size, unused_bits=unused)
        position = -(-end // _ALIGNMENT) * _ALIGNMENT
    if not end <= length <= position:
        raise ArtifactError(
            f"{name}: its {count} blobs end at byte {end}, the file at byte {length}; the count is damaged, or something was "
            "appended. Export the package again."
        )
    return blobs
