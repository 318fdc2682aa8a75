"""Reads back the TFLite Metadata of a file, as MediaPipe Tasks and Android Studio do, and holds it against what is declared.

Decoded by hand from the published format (metadata_schema.fbs, file identifier M001): slot numbers are the order of the
fields there.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from squeeze_export.contracts.signature import Signature
from squeeze_export.errors import ArtifactError

BUFFER_NAME: Final = "TFLITE_METADATA"
_IMAGE_PROPERTIES: Final = 2
_NORMALIZATION_OPTIONS: Final = 1
_COLOR_SPACES: Final[Mapping[int, str]] = {1: "RGB", 2: "GRAY"}
_TENSOR_AXIS_LABELS: Final = 2
_NORMALISATION_ACCURACY: Final = 1e-5  # of a level: mean and std are stored as float32
_OF_DAMAGE: Final = (struct.error, UnicodeDecodeError, KeyError, ValueError)
# RuntimeError: what a flipped bit calls encrypted, or compressed in a way that nobody knows.
_OF_A_DAMAGED_ZIP: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What the metadata says: `mean`, `std` in 0..255 levels, empty where none is declared; `labels` by class index.

    `colors`: those of an image, RGB or GRAY; None where the metadata names none.
    """

    name: str
    input: str
    is_image: bool
    colors: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    output: str
    labels: tuple[str, ...] | None


def read(metadata: bytes, content: bytes) -> Metadata:
    """Decode the metadata flatbuffer and the label file it names inside `content`, the whole file; ArtifactError if damaged."""
    try:
        return _decode(metadata, content)
    except (*_OF_DAMAGE, *_OF_A_DAMAGED_ZIP) as error:
        raise ArtifactError(f"The TFLite Metadata is damaged: {type(error).__name__}: {error}. Export the file again.") from error


def check_declared(metadata: Metadata, signature: Signature) -> None:
    """Hold names, colours, normalisation and number of labels against the signature; ArtifactError names the difference."""
    if (metadata.input, metadata.output) != (signature.input.name, signature.outputs[0].name):
        raise ArtifactError(
            f"The TFLite Metadata describes {metadata.input} -> {metadata.output}, but the signature is "
            f"{signature.input.name} -> {signature.outputs[0].name}. Export the file again."
        )
    scale, bias = signature.input.scale, signature.input.bias
    if metadata.is_image and metadata.colors != signature.input.color_order:
        raise ArtifactError(
            f"The TFLite Metadata tells apps to give an image in {metadata.colors}, but the file takes "
            f"{signature.input.color_order}. Export the file again."
        )
    uniform = len(set(scale)) == 1 and len(set(bias)) == 1 and signature.input.color_order in _COLOR_SPACES.values()
    wanted = (-bias[0] / scale[0], 1 / scale[0]) if uniform else None
    found = (metadata.mean[0], metadata.std[0]) if len(metadata.mean) == len(metadata.std) == 1 and metadata.is_image else None
    agree = (
        wanted is not None
        and found is not None
        and all(abs(a - b) < _NORMALISATION_ACCURACY for a, b in zip(wanted, found, strict=True))
    )
    if not agree and (wanted, metadata.mean, metadata.std) != (None, (), ()):
        raise ArtifactError(
            f"The TFLite Metadata tells apps to normalise with mean {metadata.mean} and std {metadata.std}, but the file takes "
            f"{wanted or 'values normalised per channel'}. Export the file again."
        )
    classes = signature.outputs[0].shape[-1]
    if metadata.labels is not None and len(metadata.labels) != classes:
        raise ArtifactError(f"The file has {len(metadata.labels)} labels for {classes} classes. Export it again.")


def _decode(metadata: bytes, content: bytes) -> Metadata:
    if metadata[4:8] != b"M001":
        raise ValueError(f"identifier {metadata[4:8]!r} instead of b'M001'")
    root = _Table(metadata, _unsigned(metadata, 0))
    (graph,) = root.tables(3)
    (image,), (scores,) = graph.tables(2), graph.tables(3)
    units = [unit for unit in image.tables(4) if unit.byte(0) == _NORMALIZATION_OPTIONS]
    if len(units) > 1:
        raise ValueError(f"{len(units)} normalisations of one input")
    options = units[0].table(1) if units else None
    properties = image.table(3)
    is_image = properties is not None and properties.byte(0) == _IMAGE_PROPERTIES
    shown = properties.table(1) if properties is not None and is_image else None
    files = [file.text(0) for file in scores.tables(6) if file.byte(2) == _TENSOR_AXIS_LABELS]
    labels = None
    if files:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            labels = tuple(archive.read(files[0]).decode().removesuffix("\n").split("\n"))
    return Metadata(
        name=root.text(0),
        input=image.text(0),
        is_image=is_image,
        colors=None if shown is None else _COLOR_SPACES.get(shown.byte(0)),
        mean=options.floats(0) if options else (),
        std=options.floats(1) if options else (),
        output=scores.text(0),
        labels=labels,
    )


def _unsigned(data: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", data, at)[0])


@dataclass(frozen=True)
class _Table:
    """A flatbuffer table: fields by slot number, absent ones empty. Every offset is checked against the data."""

    data: bytes
    at: int

    def _field(self, slot: int) -> int | None:
        vtable = self.at - int(struct.unpack_from("<i", self.data, self.at)[0])
        if vtable < 0:
            raise ValueError(f"table at {self.at} has its fields at {vtable}")
        (size,) = struct.unpack_from("<H", self.data, vtable)
        if 4 + 2 * slot >= size:
            return None
        (offset,) = struct.unpack_from("<H", self.data, vtable + 4 + 2 * slot)
        return self.at + int(offset) if offset else None

    def byte(self, slot: int) -> int:
        field = self._field(slot)
        return 0 if field is None else int(struct.unpack_from("<B", self.data, field)[0])

    def table(self, slot: int) -> _Table | None:
        field = self._field(slot)
        return None if field is None else _Table(self.data, _unsigned(self.data, field))

    def text(self, slot: int) -> str:
        field = self._field(slot)
        if field is None:
            return ""
        start = _unsigned(self.data, field)
        (length,) = struct.unpack_from("<I", self.data, start)
        return str(struct.unpack_from(f"{length}s", self.data, start + 4)[0].decode())

    def tables(self, slot: int) -> tuple[_Table, ...]:
        return tuple(_Table(self.data, _unsigned(self.data, at)) for at in self._elements(slot))

    def floats(self, slot: int) -> tuple[float, ...]:
        return tuple(float(struct.unpack_from("<f", self.data, at)[0]) for at in self._elements(slot))

    def _elements(self, slot: int) -> range:
        field = self._field(slot)
        if field is None:
            return range(0)
        start = _unsigned(self.data, field)
        (length,) = struct.unpack_from("<I", self.data, start)
        if start + 4 + 4 * length > len(self.data):
            raise ValueError(f"a list of {length} items reaches past the end")
        return range(start + 4, start + 4 + 4 * length, 4)
