"""A Core ML package in canonical form: the same bytes on every day, in every process, under every hash seed and name."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any, Final

_AUTHOR: Final = "com.apple.CoreML"
_MODEL: Final = "com.apple.CoreML/model.mlmodel"
_WEIGHTS: Final = "com.apple.CoreML/weights"
_CONVERSION_DATE: Final = "com.github.apple.coremltools.conversion_date"
_SOURCE: Final = "com.github.apple.coremltools.source"


def operators(spec: Any) -> tuple[str, ...]:
    """Sorted names of the operations in a model specification; `const` is data, not an operation."""
    return tuple(sorted({operation.type for operation in _operations(spec)} - {"const"}))


def rename_output(spec: Any, old: str, new: str) -> None:
    """Give one output of a classifier another name, in the description and in the program.

    coremltools always calls the dictionary `classLabel_probs`, and its rename_feature() leaves a classifier's description behind.
    """
    renamed = 0
    for feature in spec.description.output:
        if feature.name == old:
            feature.name = new
            renamed += 1
    if spec.description.predictedProbabilitiesName == old:
        spec.description.predictedProbabilitiesName = new
    for block in blocks(spec):
        for index, name in enumerate(block.outputs):
            if name == old:
                block.outputs[index] = new
                renamed += 1
    for operation in _operations(spec):
        for output in operation.outputs:
            if output.name == new:
                raise ValueError(f"the program already has a value named {new!r}")
            if output.name == old:
                output.name = new
                renamed += 1
    # Once each: the description, the block's list of outputs, and the operation that computes it.
    if renamed != 3:
        raise ValueError(f"expected output {old!r} in 3 places of the program, found it in {renamed}")


def remove_circumstances(spec: Any) -> None:
    """Remove what tells of this run and not of the model: the date, and the build of torch (2.13.0+cpu becomes 2.13.0)."""
    metadata = spec.description.metadata.userDefined
    metadata.pop(_CONVERSION_DATE, None)
    if _SOURCE in metadata:
        metadata[_SOURCE] = _public_version(metadata[_SOURCE])
    for pair in spec.mlProgram.attributes["buildInfo"].immediateValue.dictionary.values:
        strings = pair.value.immediateValue.tensor.strings.values
        strings[:] = [_public_version(text) for text in strings]


def write(spec: Any, weights: Path | None, destination: Path) -> None:
    """Write specification and weight files as a package at `destination`, in one rename; raises OSError, leaving nothing."""
    parent = destination.parent
    parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=".mlpackage-", dir=parent))
    try:
        package = workplace / "package"
        model = package / "Data" / _MODEL
        model.parent.mkdir(parents=True)
        model.write_bytes(spec.SerializeToString(deterministic=True))
        items = [(_MODEL, "model.mlmodel", "CoreML Model Specification")]
        if weights is not None and weights.is_dir():
            folder = package / "Data" / _WEIGHTS
            folder.mkdir()
            for file in sorted(weights.iterdir()):
                shutil.copyfile(file, folder / file.name)
            items.append((_WEIGHTS, "weights", "CoreML Model Weights"))
        (package / "Manifest.json").write_bytes(_manifest(items))
        for path in (package, *package.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if destination.exists():
            raise FileExistsError(f"{destination} exists already")
        package.rename(destination)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _manifest(items: list[tuple[str, str, str]]) -> bytes:
    # Identifiers must differ within a package only, so the path inside it makes a good one; coremltools draws them at random.
    identifiers = {path: str(uuid.uuid5(uuid.NAMESPACE_URL, path)) for path, _, _ in items}
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {
            identifiers[path]: {"author": _AUTHOR, "description": description, "name": name, "path": path}
            for path, name, description in items
        },
        "rootModelIdentifier": identifiers[_MODEL],
    }
    return (json.dumps(manifest, indent=4, sort_keys=True) + "\n").encode()


def _public_version(text: str) -> str:
    return text.partition("+")[0]


def blocks(spec: Any) -> list[Any]:
    functions = spec.mlProgram.functions
    return [block for name in sorted(functions) for _, block in sorted(functions[name].block_specializations.items())]


def _operations(spec: Any) -> list[Any]:
    return [operation for block in blocks(spec) for operation in block.operations]
