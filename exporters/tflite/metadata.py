"""TFLite Metadata: what MediaPipe Tasks and Android Studio read out of a file about its image, its scores and their labels.

Encoded by hand from the published format (metadata_schema.fbs, file identifier M001): the slot numbers below are the order of the
fields there. Files that belong to it are a zip archive behind the flatbuffer.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from squeeze_export.contracts.heads import Activation
from squeeze_export.contracts.signature import ColorOrder, InputSpec, OutputSpec
from squeeze_export.contracts.source import SourceModel
from squeeze_export.exporters import deployed

BUFFER_NAME: Final = "TFLITE_METADATA"
LABELS_FILE: Final = "labels.txt"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the oldest date zip knows: today's would change the bytes

# Members of the format's enums and unions that are used here.
_TENSOR_AXIS_LABELS: Final = 2
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_NORMALIZATION_OPTIONS: Final = 1
_COLOR_SPACES: Final[Mapping[ColorOrder, int]] = {"RGB": 1, "GRAY": 2}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Who made the model and what it is, as an IDE shows it. `author` and `license` are left out where unknown.

    `embedding`: what features are.
    """

    name: str
    description: str
    version: str
    embedding: str
    author: str | None = None
    license: str | None = None


@dataclass(frozen=True)
class _Byte:
    """An enum or a union's type: one byte, where a bare int is a uint32."""

    value: int


_Table = Mapping[int, Any]  # slot number -> str, int, _Byte, _Table, or a sequence of floats, strings or tables; None: left out


def encode(
    card: ModelCard,
    input: InputSpec,
    output: OutputSpec,
    labels: Sequence[str] | None,
    activation: Activation = "softmax",
) -> bytes:
    """Encode the metadata of a file with one input and one output.

    An image input is declared in RGB or grey with mean and std from 0..255 pixels. A tensor input that is normalised per channel
    is declared as plain features: the format does not know BGR, and MediaPipe refuses a normalisation per channel.
    """
    import flatbuffers

    label_files = [{0: LABELS_FILE, 1: "One label per class, in index order.", 2: _Byte(_TENSOR_AXIS_LABELS)}] if labels else None
    subgraph: _Table = {2: [_input(input)], 3: [_output(output, label_files, activation, card.embedding)]}
    root: _Table = {
        0: card.name,
        1: card.description,
        2: card.version,
        3: [subgraph],
        4: card.author,
        5: card.license,
        7: "1.0.0",  # min_parser_version: the format's first version has everything used here
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, root), file_identifier=b"M001")
    return bytes(builder.Output())


def append_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """Put files behind the flatbuffer, as an uncompressed zip archive with fixed dates: readers map them in place."""
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same bytes on Windows as on Unix
            archive.writestr(entry, content)
    return stream.getvalue()


def model_card(source: SourceModel, input: InputSpec) -> ModelCard:
    """Describe a source model by what is known of it."""
    height, width = input.shape[1], input.shape[2]
    return ModelCard(
        name=source.name,
        embedding=deployed.embedding_of(source),
        description=(
            f"{deployed.said_of(source)}, {width}x{height} pixels. "
            f"Weights: {source.weights.kind}, sha256 {source.weights.sha256}."
        ),
        version=f"weights-{source.weights.sha256[:12]}",
    )


def _input(spec: InputSpec) -> _Table:
    height, width = spec.shape[1], spec.shape[2]
    common: dict[int, Any] = {0: spec.name, 2: ["batch", "height", "width", "channel"]}
    if len(set(spec.scale)) > 1 or len(set(spec.bias)) > 1 or spec.color_order not in _COLOR_SPACES:
        formula = ", ".join(f"{s!r} * pixel + {b!r}" for s, b in zip(spec.scale, spec.bias, strict=True))
        text = f"{width}x{height} {spec.color_order} image, normalised per channel from pixels in 0..255: {formula}."
        return {**common, 1: text, 3: {0: _Byte(_FEATURE_PROPERTIES), 1: {}}}
    scale, bias = spec.scale[0], spec.bias[0]
    mean, std = (0 - bias) / scale, 1 / scale
    taken = "pixels in 0..255 as they are" if spec.dtype == "uint8" else f"(pixel - {mean:g}) / {std:g} for pixels in 0..255"
    return {
        **common,
        1: f"{width}x{height} {'RGB' if spec.color_order == 'RGB' else 'grey'} image, {taken}.",
        3: {0: _Byte(_IMAGE_PROPERTIES), 1: {0: _Byte(_COLOR_SPACES[spec.color_order]), 1: {0: width, 1: height}}},
        4: [{0: _Byte(_NORMALIZATION_OPTIONS), 1: {0: [mean], 1: [std]}}],
        5: {0: [255 * scale + bias], 1: [bias]},
    }


def _output(spec: OutputSpec, label_files: Sequence[_Table] | None, activation: Activation, embedding: str) -> _Table:
    return {
        0: spec.name,
        1: embedding if spec.kind == "features" else deployed.meaning_of(spec.kind, activation),
        2: ["batch", "channel" if spec.kind == "features" else "class"],
        3: {0: _Byte(_FEATURE_PROPERTIES), 1: {}},
        5: {0: [1.0], 1: [0.0]} if spec.kind == "probabilities" else None,
        6: label_files,
    }


def _write(builder: Any, value: Any) -> int:
    """Write a string, vector or table, the innermost first as the format demands, and return its offset."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, Mapping):
        inner = {
            slot: field if isinstance(field, _Byte | int) else _write(builder, field)
            for slot, field in value.items()
            if field is not None
        }
        builder.StartObject(max(value, default=-1) + 1)
        for slot, field in inner.items():
            if isinstance(field, _Byte):
                builder.PrependUint8Slot(slot, field.value, 0)
            elif isinstance(value[slot], int):
                builder.PrependUint32Slot(slot, field, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(slot, field, 0)
        return int(builder.EndObject())
    floats = all(isinstance(item, float) for item in value)
    items = value if floats else [_write(builder, item) for item in value]
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        if floats:
            builder.PrependFloat32(item)
        else:
            builder.PrependUOffsetTRelative(item)
    return int(builder.EndVector())
