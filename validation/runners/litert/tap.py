"""Shows the logits in front of scores of 8 bits: 256 levels of 1/256 would hide nearly everything that parity judges."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from squeeze_export.errors import ArtifactError

if TYPE_CHECKING:
    from squeeze_export.validation.runners.litert.model import TfliteFile

_OUTPUTS: Final = 8  # the place of a subgraph's outputs in its vtable


def hidden_logits(file: TfliteFile) -> int | None:
    """The tensor that the softmax of a checked file reads, where the scores behind it are integers; else None."""
    if {file.types[index] for index in file.outputs.values()} != {"UINT8"}:
        return None
    return next((operation.inputs[0] for operation in file.operations if operation.name == "SOFTMAX"), None)


def tapped(content: bytes, file: TfliteFile, index: int) -> bytes:
    """The content of a checked file with one more tensor among its outputs.

    Not one byte of the network moves: a longer list is put behind the file, and the offset that led to the old one leads to it.
    """
    from ai_edge_litert import schema_py_generated as schema

    copy = bytearray(content)
    table = schema.Model.GetRootAs(copy, 0).Subgraphs(0)._tab
    field = table.Offset(_OUTPUTS)
    if not field:
        raise ArtifactError("The TFLite file's graph has no list of outputs. Export it again.")
    copy += bytes(-len(copy) % 4)
    struct.pack_into("<I", copy, table.Pos + field, len(copy) - (table.Pos + field))
    listed = (*file.outputs.values(), index)
    copy += struct.pack(f"<{1 + len(listed)}i", len(listed), *listed)
    return bytes(copy)
