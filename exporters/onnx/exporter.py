"""Makes an `.onnx` file for ONNX Runtime: NCHW, float32 in and out, the network's own operations and nothing else.

Its metadata properties say what an app must know: labels, signature, preprocessing, licence.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.artifact import Artifact, ExportSettings, Precision
from squeeze_export.contracts.signature import Signature
from squeeze_export.contracts.source import SourceModel
from squeeze_export.errors import ConversionError
from squeeze_export.exporters import onnx_graph
from squeeze_export.exporters.deployed import deployed, embedding_of, input_spec, licence_of, meaning_of, output_spec, said_of
from squeeze_export.exporters.onnx import pooling
from squeeze_export.sdks import missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from squeeze_export.contracts.arrays import PixelArray

SUFFIX: Final = ".onnx"
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16")
CAPTURED: Final[tuple[Precision, ...]] = ("fp32", "fp16")  # of networks other than SqueezeNet
CALIBRATED: Final[tuple[Precision, ...]] = ()
PACKAGES: Final[tuple[str, ...]] = ("torch", "onnx")

LABELS: Final = "labels"
RECORD: Final = "squeeze_export"


def unavailable() -> str | None:
    """Why nothing can be exported here (naming the pip command), or None. Loads no SDK."""
    return missing(("torch", "onnx"), extra="onnx")


def export(
    source: SourceModel,
    settings: ExportSettings,
    destination: Path,
    calibration: PixelArray | None = None,
    told: Callable[[str], None] | None = None,
) -> Artifact:
    """Write the artifact at `destination`, which does not exist yet, and describe it.

    Input: (1, C, H, W) float32, an RGB or grey image in 0..1 or the normalised tensor. Output: (1, classes or channels) float32.
    Raises ConversionError; then nothing stands at `destination`.
    """
    spec = input_spec(source.preprocessing, settings.input_kind, name="image", layout="NCHW", image_scale=1 / 255, image_bias=0.0)
    output = output_spec(source, settings.output_kind)
    signature = Signature(input=spec, outputs=(output,))
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        module = deployed(source, spec, output.kind)
        pooling.spell_out(module)
        model = onnx_graph.traced(module, spec, output)
        if settings.precision == "fp16":
            onnx_graph.store_in_half(model.graph)
        _describe(model, source, settings.precision, signature)
        partial.write_bytes(onnx_graph.checked_bytes(model, spec, output))
        partial.replace(destination)
    except ConversionError:
        raise
    except Exception as error:  # whatever torch or onnx raise on a graph they cannot take is one thing to the user
        raise ConversionError(
            f"{source.name} ({settings.precision}) could not be converted to ONNX: {type(error).__name__}: {error}. "
            "Check that the installed torch is 2.13, onnx the version of the extra [onnx], and that there is room for the file."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return Artifact(
        target="onnx",
        precision=settings.precision,
        path=destination,
        signature=signature,
        operators=tuple(sorted(Counter(node.op_type for node in model.graph.node))),
    )


def _describe(model: Any, source: SourceModel, precision: Precision, signature: Signature) -> None:
    """Fill in the description, ONNX's own keys for author, licence and image format, and this project's for the rest."""
    how, spec, output = source.preprocessing, signature.input, signature.outputs[0]
    model.graph.name = source.name
    model.domain = ""
    model.model_version = 1
    model.doc_string = (
        f"{said_of(source)}, exported from PyTorch by squeeze-export, {precision}. Input {spec.name!r}: {spec.color_order} "
        f"pixels of a {how.width}x{how.height} crop, value = pixel * scale + bias per channel; "
        f"scale {spec.scale}, bias {spec.bias}."
    )
    record = {
        "schema_version": 1,
        "model": source.model,
        "head": source.head,
        "num_classes": source.num_classes,
        "weights_sha256": source.weights.sha256,
        "precision": precision,
        "signature": asdict(signature),
        "preprocessing": how.record(),
    }
    properties = {
        "model_author": "squeeze-export",
        "model_license": licence_of(source.weights),
        RECORD: json.dumps(record, sort_keys=True),
    }
    if source.labels is not None:
        broken = next((label for label in source.labels if len(label.splitlines()) != 1), None)
        if broken is not None:
            raise ConversionError(f"Label {broken!r} is not one line of text, and {LABELS} holds one per line: rename it.")
        properties[LABELS] = "\n".join(source.labels)
    if set(spec.scale) == {1 / 255} and not any(spec.bias):
        properties |= {
            "Image.BitmapPixelFormat": {"RGB": "Rgb8", "BGR": "Bgr8", "GRAY": "Gray8"}[spec.color_order],
            "Image.ColorSpaceGamma": "SRGB",
            "Image.NominalPixelRange": "Normalized_0_1",
        }
        model.graph.input[0].type.denotation = "IMAGE"
    for side, denotation in zip(
        model.graph.input[0].type.tensor_type.shape.dim,
        ("DATA_BATCH", "DATA_CHANNEL", "DATA_FEATURE", "DATA_FEATURE"),
        strict=True,
    ):
        side.denotation = denotation
    meaning = embedding_of(source) if output.kind == "features" else meaning_of(output.kind, source.activation)
    model.graph.output[0].doc_string = meaning
    del model.metadata_props[:]
    for key, value in sorted(properties.items()):
        model.metadata_props.add(key=key, value=value)
