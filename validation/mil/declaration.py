"""Holding an opened package against the signature that its exporter declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from squeeze_export.contracts.artifact import Precision
from squeeze_export.contracts.signature import InputSpec, OutputSpec, Signature
from squeeze_export.errors import ArtifactError
from squeeze_export.validation.mil.package import Package
from squeeze_export.validation.mil.program import Labels, Program, Value, layer_weights

_MIL_TYPES: Final = {"float32": "fp32", "float16": "fp16", "int32": "int32"}
_COLORS: Final = {"GRAYSCALE": "GRAY"}  # the specification's word for ours
# Compressed weights decode to fp16: every precision but fp32 does.
_STORED: Final[Mapping[Precision, np.dtype[Any]]] = {"fp32": np.dtype(np.float32)}


def hold(package: Package, program: Program, signature: Signature, precision: Precision) -> None:
    """Compare inputs, outputs and the stored precision; ArtifactError listing every difference."""
    differences = [
        *_input_differences(package.spec.description, program, signature.input),
        *_output_differences(package.spec.description, program, signature),
        *_precision_differences(program, precision),
    ]
    if differences:
        raise ArtifactError(
            f"{package.path.name} is not what it was declared to be: {'; '.join(differences)}. Export the package again, or "
            "correct the declaration."
        )


def _input_differences(description: Any, program: Program, declared: InputSpec) -> list[str]:
    names = [feature.name for feature in description.input]
    if names != [declared.name] or [value.name for value in program.inputs] != names:
        inner = [value.name for value in program.inputs]
        return [f"its inputs are {names} (in the program: {inner}), declared is {[declared.name]}"]
    kind, value, found = description.input[0].type, program.inputs[0], []
    if kind.isOptional:
        found.append("its input is optional")
    if value.shape != declared.shape:
        found.append(f"its input has shape {value.shape}, declared is {declared.shape}")
    if len(declared.shape) == 4 and declared.layout != "NCHW":
        found.append(f"its input's layout is NCHW, declared is {declared.layout}")
    which = kind.WhichOneof("Type")
    if which == "imageType":
        found += _image_differences(kind.imageType, value, declared)
    elif which == "multiArrayType":
        found += _array_differences("input", kind.multiArrayType, value, declared.shape, declared.dtype)
    else:
        found.append(f"its input is a {which}, neither an image nor an array")
    return found


def _image_differences(image: Any, value: Value, declared: InputSpec) -> list[str]:
    found = []
    named = type(image).ColorSpace.Name(image.colorSpace)
    color = _COLORS.get(named, named)
    if color != declared.color_order:
        found.append(f"its image is {color}, declared is {declared.color_order}")
    if image.WhichOneof("SizeFlexibility") is not None:
        found.append("its image has a flexible size")
    if (1, 1 if color == "GRAY" else 3, image.height, image.width) != declared.shape:
        found.append(f"its image is {color} of {image.height} x {image.width} (height x width), declared is {declared.shape}")
    if set(declared.scale) != {1.0} or set(declared.bias) != {0.0}:
        found.append(
            f"its image holds pixels of 0..255 as they are, declared are scale {declared.scale} and bias {declared.bias}"
        )
    if declared.dtype != "float32" or value.dtype not in ("fp32", "fp16"):
        found.append(f"its image enters the program as {value.dtype}, declared is {declared.dtype}")
    return found


def _array_differences(what: str, array: Any, value: Value, shape: tuple[int, ...], dtype: str) -> list[str]:
    found = []
    stored = {"FLOAT32": "float32", "FLOAT16": "float16", "DOUBLE": "float64", "INT32": "int32"}
    name = type(array).ArrayDataType.Name(array.dataType)
    if stored.get(name) != dtype:
        found.append(f"its {what} {value.name!r} is an array of {name}, declared is {dtype}")
    if value.dtype != _MIL_TYPES.get(dtype):
        found.append(f"its {what} {value.name!r} is {value.dtype} in the program, declared is {dtype}")
    if tuple(array.shape) not in ((), shape):  # the specification may leave the shape of an output to the program
        found.append(f"its {what} {value.name!r} is an array of shape {tuple(array.shape)}, declared is {shape}")
    if array.WhichOneof("ShapeFlexibility") is not None:
        found.append(f"its {what} {value.name!r} has a flexible shape")
    if array.WhichOneof("defaultOptionalValue") is not None:
        found.append(f"its {what} {value.name!r} has a default value")
    return found


def _output_differences(description: Any, program: Program, declared: Signature) -> list[str]:
    features = {feature.name: feature.type for feature in description.output}
    values = {value.name: value for value in program.outputs}
    wanted = [output.name for output in declared.outputs] + ([declared.class_label] if declared.class_label is not None else [])
    if not declared.outputs or sorted(features) != sorted(wanted) or set(features) != set(values):
        return [f"its outputs are {sorted(features)} (in the program: {sorted(values)}), declared are {sorted(wanted)}"]
    found = []
    if (declared.class_label or "") != description.predictedFeatureName:
        found.append(f"its class label is {description.predictedFeatureName!r}, declared is {declared.class_label!r}")
    elif declared.class_label is not None and features[declared.class_label].WhichOneof("Type") != "stringType":
        found.append(f"its class label {declared.class_label!r} is no text")
    for output in declared.outputs:
        found += _score_differences(features[output.name], values[output.name], output, program.labels)
    return found


def _score_differences(kind: Any, value: Value, output: OutputSpec, labels: Labels | None) -> list[str]:
    which = {"multiArrayType": "array", "dictionaryType": "dictionary"}.get(kind.WhichOneof("Type"), kind.WhichOneof("Type"))
    if which != output.container:
        return [f"its output {output.name!r} is of the kind {which}, declared is {output.container}"]
    found = []
    if which == "dictionary":
        if labels is None or (1, len(labels)) != output.shape:
            found.append(f"its output {output.name!r} has {len(labels or ())} classes, declared is {output.shape}")
        if output.dtype != "float32":
            found.append(f"its output {output.name!r} is a dictionary of fp32 scores, declared is {output.dtype}")
        return found
    if value.shape != output.shape:
        found.append(f"its output {output.name!r} has shape {value.shape}, declared is {output.shape}")
    return found + _array_differences("output", kind.multiArrayType, value, output.shape, output.dtype)


def _precision_differences(program: Program, precision: Precision) -> list[str]:
    weights = layer_weights(program)
    other = sorted({str(weight.dtype) for weight in weights if weight.dtype != _STORED.get(precision, np.dtype(np.float16))})
    if not weights:
        return ["it holds no convolution weights"]
    return [f"its convolution weights are stored as {', '.join(other)}, declared is {precision}"] if other else []
