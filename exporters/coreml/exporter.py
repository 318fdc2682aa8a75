"""Core ML: one ML Program package (.mlpackage) with a named input and output, normalisation and softmax inside."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Final

from squeeze_export.contracts.artifact import Artifact, ExportSettings, Precision
from squeeze_export.contracts.source import SourceModel
from squeeze_export.exporters.coreml.writing import write

if TYPE_CHECKING:
    from collections.abc import Callable

    from squeeze_export.contracts.arrays import PixelArray


SUFFIX: Final = ".mlpackage"
CALIBRATED: Final[tuple[Precision, ...]] = ("int8", "pal8", "pal6", "pal4", "pal3", "pal2", "sparse-pal6", "sparse-pal4", "auto")
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16", "sparse", *CALIBRATED)
CAPTURED: Final[tuple[Precision, ...]] = ("fp32", "fp16")  # of networks other than SqueezeNet
PACKAGES: Final = ("coremltools", "torch")


def unavailable() -> str | None:
    """Why no package can be made here (naming the pip command), or None. Loads no SDK."""
    for name, pinned in (("torch", "torch==2.13.*"), ("coremltools", "coremltools==9.0")):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed: run `pip install '{pinned}'`"
    found = importlib.util.find_spec("coremltools")
    folders = (found.submodule_search_locations or []) if found is not None else []
    # Where there is no binary for a Python or a system, pip installs coremltools all the same; it fails when it writes weights.
    if not any(any(Path(folder).glob("libmilstoragepython*")) for folder in folders):
        return (
            "coremltools is installed without its native library (libmilstoragepython), so it cannot write weights: use Python "
            "3.11 to 3.13 on Linux or macOS and run `pip install --force-reinstall --only-binary=:all: 'coremltools==9.0'`"
        )
    return None


def export(
    source: SourceModel,
    settings: ExportSettings,
    destination: Path,
    calibration: PixelArray | None = None,
    told: Callable[[str], None] | None = None,
) -> Artifact:
    """Write the package at `destination`, which does not exist yet, and describe it, compressed on calibration images if asked.

    See `write` for what stands in it. Raises ConversionError, and UsageError for a rung that settings or images do not allow.
    """
    if settings.precision in ("fp32", "fp16"):
        return write(source, settings, destination)
    from squeeze_export.exporters.coreml import rungs

    return rungs.export(source, settings, destination, calibration, told)
