"""The MIL reference executor as a runner: opens a saved .mlpackage on any machine and runs it over torch and numpy.

It is not Core ML, and is never called that: it says what the saved program computes, not what a device makes of it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Final

from squeeze_export.contracts.artifact import Precision
from squeeze_export.contracts.signature import Signature

if TYPE_CHECKING:
    from squeeze_export.validation.mil.executor import Arithmetic
    from squeeze_export.validation.mil.runner import MilRunner

NAME: Final = "MIL reference executor"
PACKAGES: Final = ("coremltools", "torch", "numpy")


def unavailable() -> str | None:
    """Why no package can be executed here, or None."""
    for name in ("coremltools", "torch"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed; run: pip install {name}"
    found = importlib.util.find_spec("coremltools")
    folders = [Path(folder) for folder in (found.submodule_search_locations or ())] if found else []
    if not any(library for folder in folders for library in folder.glob("libmilstoragepython*")):
        return (
            "this coremltools came without its native libraries; use Python 3.11 to 3.13 and run: "
            "pip install --force-reinstall coremltools"
        )
    return None


def open(path: Path, signature: Signature, precision: Precision, *, arithmetic: Arithmetic = "emulate") -> MilRunner:
    """Open the package at `path`, hold it against its declaration and try it once.

    `arithmetic` "exact" leaves out the rounding to fp16, to tell what it costs. Raises ArtifactError and
    UnsupportedOperationError as RunnerModule describes.
    """
    # Here, for numpy and the tables of operations take as long to import as the rest of the command line.
    from squeeze_export.validation.mil.runner import open_package

    return open_package(path, signature, precision, arithmetic, NAME)
