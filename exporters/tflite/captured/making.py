"""Makes the model of a TFLite file from a captured network, with every kernel in it bit for bit as the source has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.artifact import ExportSettings, Precision
from squeeze_export.contracts.signature import InputSpec, OutputKind
from squeeze_export.contracts.source import SourceModel
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.deployed import check_fits_fp16
from squeeze_export.exporters.tflite import flatbuffer
from squeeze_export.exporters.tflite.captured import graph, naming, partition, trimming

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.arrays import Array

# The name under which a file says of what network it is, and which precision; files of SqueezeNet have none.
RECORD: Final = "squeeze_export"
_NAMED_AT_MOST: Final = 5


def make(
    source: SourceModel,
    settings: ExportSettings,
    spec: InputSpec,
    kind: OutputKind,
    convert: Callable[[torch.nn.Module, InputSpec], bytes],
) -> Any:
    """Convert a captured network; the schema's object form of the file, its tensors named, kernels as fp16 where asked for.

    ConversionError where the converter left an operation outside of TFLite's own, or changed a kernel whatever was done.
    """
    if settings.tflite_route != "litert-torch":
        raise ConversionError(f"The TFLite route {settings.tflite_route} takes SqueezeNet only. Leave --tflite-route out.")
    if settings.precision == "fp16":
        check_fits_fp16(source.module)
    expected = _kernels(source)
    model = flatbuffer.parse(convert(graph.as_signature(source, spec, kind), spec))
    _require_builtin(model)
    found = naming.kernels(model, expected)
    changed = naming.changed(expected, found)
    if changed:
        model = flatbuffer.parse(convert(graph.as_signature(source, spec, kind, kept=changed), spec))
        _require_builtin(model)
        trimming.keep_outputs(model, (kind,))
        found = naming.kernels(model, expected)
        changed = naming.changed(expected, found)
    if changed:
        rest = len(changed) - _NAMED_AT_MOST
        raise ConversionError(
            f"The converter changed {len(changed)} of {len(expected)} kernels: {', '.join(changed[:_NAMED_AT_MOST])}"
            f"{f' and {rest} more' if rest > 0 else ''}. Such a file cannot be compared with its source. Choose another target."
        )
    partition.into_one(model)
    trimming.drop_unused(model)
    found = naming.kernels(model, expected)
    naming.name_tensors(model, found)
    if settings.precision == "fp16":
        trimming.halve(model, found)
    return model


def record(source: SourceModel, precision: Precision) -> bytes:
    """What a file says of itself, for whoever must know of what network it is."""
    return json.dumps({"schema_version": 1, "model": source.model, "precision": precision}, sort_keys=True).encode()


def _kernels(source: SourceModel) -> Mapping[str, Array]:
    import numpy as np

    weights = source.module.state_dict()
    return {name: np.ascontiguousarray(weights[name].detach().numpy()) for name in source.kernels}


def _require_builtin(model: Any) -> None:
    """Only TFLite's own operations: no interpreter on a phone has others."""
    foreign = sorted({name for name in flatbuffer.operators(model) if name in ("CUSTOM", "DELEGATE") or "STABLEHLO" in name})
    if foreign:
        custom = sorted({code.customCode.decode() for code in model.operatorCodes if code.customCode})
        raise ConversionError(
            f"The converter found no TFLite operation for a part of the network and wrote {', '.join(custom or foreign)}. "
            "Replace that part, or export to another target."
        )
