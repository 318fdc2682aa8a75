"""Opening a saved .mlpackage: manifest, specification and weights, each checked before an SDK reads it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.sdks import load_coremltools
from squeeze_export.validation.mil.blobs import Blob, read_blobs

# A value larger than this (0.5 G elements) is a damaged shape: SqueezeNet's largest has 3 million.
_LARGEST_VALUE: Final = 2**29


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package on disk whose structure holds together: its parsed specification and the folder of its weights."""

    path: Path
    spec: Any
    weights: Path


def read_package(path: Path, operations: Collection[str]) -> Package:
    """Open the package at `path` without changing it.

    Raises ArtifactError where it is not an intact ML Program package with one function, and UnsupportedOperationError naming each
    operation of the program that is not in `operations`.
    """
    specification = _root_model(path)
    spec = _parse(path, specification)
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise ArtifactError(f"{path.name} holds a model of type {kind}, not an ML Program. Export it as an ML Program.")
    known = load_coremltools()._OPSET
    if spec.specificationVersion not in known:
        raise ArtifactError(
            f"{path.name} has specification version {spec.specificationVersion}; versions up to {max(known)} are understood. "
            "The file is damaged, or needs a newer coremltools."
        )
    if spec.isUpdatable or spec.description.state or spec.description.functions:
        raise ArtifactError(
            f"{path.name} is updatable, stateful or has several functions; a classifier's package has one stateless function. "
            "Export it again."
        )
    package = Package(path=path, spec=spec, weights=specification.parent / "weights")
    _check_program(package, operations)
    return package


def read_specification(path: Path) -> Any:
    """The parsed specification of the package at `path`; ArtifactError where it is none."""
    return _parse(path, _root_model(path))


def _root_model(path: Path) -> Path:
    """Find the specification that the manifest names; coremltools' own lookup creates what it does not find."""
    manifest = path / "Manifest.json"
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise ArtifactError(f"{path.name} {found}; an .mlpackage is a folder. Export the package again.")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        relative = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
        paths = [entry["path"] for entry in content["itemInfoEntries"].values()]
    except OSError as error:
        raise ArtifactError(f"{path.name}: Manifest.json cannot be read: {error.strerror}. Export the package again.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path.name}: Manifest.json is damaged or names no root model ({type(error).__name__}: {error}). "
            "Export the package again."
        ) from error
    data = path / "Data"
    for entry in paths:
        if not isinstance(entry, str) or not (data / entry).resolve().is_relative_to(data.resolve()):
            raise ArtifactError(f"{path.name}: Manifest.json names {entry!r}, outside the package. Do not use this package.")
        if not (data / entry).exists():
            raise ArtifactError(
                f"{path.name}: Manifest.json names {entry}, which is not in the package. Export the package again."
            )
    return data / str(relative)


def _parse(path: Path, specification: Path) -> Any:
    load_coremltools()
    from coremltools import proto
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    spec = proto.Model_pb2.Model()
    try:
        spec.ParseFromString(specification.read_bytes())
    except (DecodeError, OSError) as error:
        raise ArtifactError(
            f"{path.name}: {specification.name} is not a Core ML specification ({error}). Export the package again."
        ) from error
    return spec


def _check_program(package: Package, operations: Collection[str]) -> None:
    program = package.spec.mlProgram
    if list(program.functions) != ["main"]:
        raise ArtifactError(
            f"{package.path.name} has the functions {sorted(program.functions)}; exactly one, main, is expected. Export it again."
        )
    function = program.functions["main"]
    if function.opset not in function.block_specializations:
        raise ArtifactError(f"{package.path.name} has no program for its opset {function.opset!r}. Export the package again.")
    block = function.block_specializations[function.opset]
    unknown = sorted({(op.type, _name(op)) for op in _operations(block) if op.type not in operations})
    if unknown:
        listed = ", ".join(f"{kind} (named {name!r})" for kind, name in unknown)
        raise UnsupportedOperationError(
            f"{package.path.name}: the MIL reference executor does not implement {listed}. Verify this package on macOS, or "
            "export the model without this operation."
        )
    files: dict[str, dict[int, Blob]] = {}
    for named in function.inputs:
        _elements(package, f"input {named.name!r}", named.type)
    for operation in _operations(block):
        where = f"{operation.type} {_name(operation)!r}"
        for output in operation.outputs:
            _elements(package, where, output.type)
        for value in _values(operation):
            elements = _elements(package, where, value.type)
            if value.WhichOneof("value") == "blobFileValue":
                _check_blob(package, where, value, elements, files)


def _operations(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def _name(operation: Any) -> str:
    attribute = operation.attributes.get("name")
    names = list(attribute.immediateValue.tensor.strings.values) if attribute is not None else []
    return names[0] if names else (operation.outputs[0].name if operation.outputs else "")


def _values(operation: Any) -> Iterator[Any]:
    yield from operation.attributes.values()
    for argument in operation.inputs.values():
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "value":
                yield binding.value


def _elements(package: Package, where: str, kind: Any) -> int:
    """Count the elements of a tensor type (0 for others); ArtifactError where a dimension is flexible or absurd."""
    if kind.WhichOneof("type") != "tensorType":
        return 0
    sizes = []
    for dimension in kind.tensorType.dimensions:
        if dimension.WhichOneof("dimension") != "constant":
            raise ArtifactError(
                f"{package.path.name}: {where} has a flexible shape; only fixed shapes are exported. Export it again."
            )
        sizes.append(dimension.constant.size)
    count: int = math.prod(sizes)
    if len(sizes) != kind.tensorType.rank or count > _LARGEST_VALUE:
        raise ArtifactError(
            f"{package.path.name}: {where} has the impossible shape {sizes}. The file is damaged: export it again."
        )
    return count


def _check_blob(package: Package, where: str, value: Any, elements: int, files: dict[str, dict[int, Blob]]) -> None:
    from coremltools.proto.MIL_pb2 import DataType

    name = value.blobFileValue.fileName
    if name.rpartition("/")[0] != "@model_path/weights":
        raise ArtifactError(
            f"{package.path.name}: {where} reads {name!r}, outside the package's weights. Do not use this package."
        )
    short = name.rpartition("/")[2]
    if short not in files:
        files[short] = read_blobs(package.weights / short)
    offset = value.blobFileValue.offset
    blob = files[short].get(offset)
    if blob is None:
        raise ArtifactError(
            f"{package.path.name}: {where} reads byte {offset} of {short}, where no blob begins. The file is damaged: "
            "export it again."
        )
    kind = value.type.tensorType.dataType
    difference = blob.mismatch(DataType.Name(kind) if kind in DataType.values() else str(kind), elements)
    if difference is not None:
        raise ArtifactError(f"{package.path.name}: {where}: {difference}. The file is damaged: export the package again.")
