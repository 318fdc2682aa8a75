"""How many operations a file holds, constants not counted."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

from squeeze_export.contracts.artifact import Target


def count(target: Target, path: Path) -> int:
    """The operations that are executed for one image, as the file lists them."""
    match target:
        case "coreml":
            return _coreml(path)
        case "tflite":
            from squeeze_export.validation.runners.litert import file

            return len(file.read(path.read_bytes()).operations)
        case "torchscript":
            return _torchscript(path)
        case "onnx":
            import onnx

            return sum(node.op_type != "Constant" for node in onnx.load(path, load_external_data=False).graph.node)


def _coreml(path: Path) -> int:
    from squeeze_export.validation.mil.package import read_specification

    functions = read_specification(path).mlProgram.functions.values()
    blocks = [block for function in functions for block in function.block_specializations.values()]
    return sum(operation.type != "const" for block in blocks for operation in block.operations)


def _torchscript(path: Path) -> int:
    """Calls of operators in the bytecode of `forward`."""
    with zipfile.ZipFile(path) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith("/bytecode.pkl")]
        _, (_, table, *_) = _Plain(io.BytesIO(archive.read(name))).load()
    return sum(instruction[0] == "OP" for instruction in dict(table)["instructions"])


class _Plain(pickle.Unpickler):
    """Reads the tuples of a pickle; what it would call gives its first argument back, and tensors are nothing."""

    def find_class(self, module: str, name: str) -> Any:
        return lambda *given: given[0] if given else None

    def persistent_load(self, pid: Any) -> None:
        return None
