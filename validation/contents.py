"""What an artifact's file says it holds, read from the file itself: what a manifest claims of it is compared with this."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.contents import Contents
from squeeze_export.errors import ArtifactError
from squeeze_export.sdks import load_coremltools

if TYPE_CHECKING:
    from squeeze_export.contracts.artifact import Target

# Apple's specification versions, which name the first system that can read a package.
_SPECIFICATIONS: Final = {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18"}


def contents_of(target: Target, path: Path) -> Contents:
    """Read them; ArtifactError where the file cannot be read."""
    try:
        match target:
            case "coreml":
                return _coreml(path)
            case "tflite":
                return _tflite(path)
            case "torchscript":
                return _torchscript(path)
            case "onnx":
                import onnx

                model = onnx.load(path, load_external_data=False)
                return Contents(operators=tuple(sorted({node.op_type for node in model.graph.node})))
    except ArtifactError:
        raise
    except Exception as error:  # each SDK has its own words for a damaged file
        raise ArtifactError(f"{path.name} cannot be read: {type(error).__name__}: {error}. Export it again.") from error


def _coreml(path: Path) -> Contents:
    from squeeze_export.validation.mil.package import read_specification

    load_coremltools()
    spec = read_specification(path)
    blocks = [block for function in spec.mlProgram.functions.values() for block in function.block_specializations.values()]
    return Contents(
        operators=tuple(sorted({operation.type for block in blocks for operation in block.operations} - {"const"})),
        deployment_target=_SPECIFICATIONS.get(spec.specificationVersion, f"specification {spec.specificationVersion}"),
    )


def _tflite(path: Path) -> Contents:
    from squeeze_export.validation.runners.litert import file as litert_file

    names = [operation.name for operation in litert_file.read(path.read_bytes()).operations]
    return Contents(operators=tuple(sorted(set(names))), transposes=names.count("TRANSPOSE"))


def _torchscript(path: Path) -> Contents:
    from torch.jit import mobile

    content = path.read_bytes()
    with _qnnpack():
        version = mobile._get_model_bytecode_version(io.BytesIO(content))
        module: Any = mobile._load_for_lite_interpreter(io.BytesIO(content))
    return Contents(operators=tuple(sorted(mobile._export_operator_list(module))), bytecode_version=version)


@contextmanager
def _qnnpack() -> Iterator[None]:
    """Int8 filters are unpacked for the engine that is set while they are loaded: the mobile runtime's."""
    import torch

    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "qnnpack"
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
