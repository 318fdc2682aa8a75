"""One module per executor, each opening an artifact from its file; the table RUNNERS says which serve a target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from squeeze_export.contracts.artifact import Precision, Target
from squeeze_export.contracts.parity import Runner
from squeeze_export.contracts.signature import Signature
from squeeze_export.validation.runners import coreml_runtime, mil_reference, onnx_runtime, tensorflow_reference
from squeeze_export.validation.runners.litert import runner as litert_runner
from squeeze_export.validation.runners.torch_lite import runner as torch_lite_runner


class RunnerModule(Protocol):
    """What a module of this package provides. Importing it loads no SDK."""

    @property
    def NAME(self) -> str:
        """What the executor is called on the screen and in reports."""
        ...

    @property
    def PACKAGES(self) -> tuple[str, ...]:
        """The distributions that execute."""
        ...

    def unavailable(self) -> str | None:
        """Why nothing can be executed here (naming the remedy), or None. Loads no SDK."""
        ...

    def open(self, path: Path, signature: Signature, precision: Precision) -> Runner:
        """Open the artifact at `path` and hold it against the declared signature.

        Raises ArtifactError where the file is damaged or differs from what is declared (names, shapes, dtypes, operations
        that the format must not hold), UnsupportedOperationError where an operation is not implemented.
        """
        ...


# The first runner of a target gives the artifact's verdict; the others are reported beside it.
RUNNERS: Final[Mapping[Target, tuple[RunnerModule, ...]]] = {
    "coreml": (mil_reference, coreml_runtime),
    "tflite": (litert_runner,),
    "torchscript": (torch_lite_runner,),
    "onnx": (onnx_runtime,),
}

# Executed only where asked for (`verify --witness`): slow, or an SDK that nothing else needs.
WITNESSES: Final[Mapping[Target, tuple[RunnerModule, ...]]] = {
    "tflite": (tensorflow_reference,),
}
