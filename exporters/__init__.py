"""One module per format, each making one artifact from one source model; the table EXPORTERS names them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from squeeze_export.contracts.artifact import Artifact, ExportSettings, Precision, Target
from squeeze_export.contracts.source import SourceModel
from squeeze_export.exporters.coreml import exporter as coreml_exporter
from squeeze_export.exporters.onnx import exporter as onnx_exporter
from squeeze_export.exporters.tflite import exporter as tflite_exporter
from squeeze_export.exporters.torchscript import exporter as torchscript_exporter

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import PixelArray


class Exporter(Protocol):
    """What a module of this package provides. Importing it loads no SDK."""

    @property
    def SUFFIX(self) -> str:
        """The file name's ending, such as ".tflite"."""
        ...

    @property
    def PRECISIONS(self) -> tuple[Precision, ...]:
        """The precisions this format can be written in here."""
        ...

    @property
    def CAPTURED(self) -> tuple[Precision, ...]:
        """Those of PRECISIONS that networks other than SqueezeNet can be written in."""
        ...

    @property
    def PACKAGES(self) -> tuple[str, ...]:
        """The distributions whose versions decide the artifact's bytes."""
        ...

    def unavailable(self) -> str | None:
        """Why nothing can be exported here (naming the pip command), or None. Loads no SDK."""
        ...

    @property
    def CALIBRATED(self) -> tuple[Precision, ...]:
        """Those of PRECISIONS that need calibration images."""
        ...

    def export(
        self,
        source: SourceModel,
        settings: ExportSettings,
        destination: Path,
        calibration: PixelArray | None = None,
        told: Callable[[str], None] | None = None,
    ) -> Artifact:
        """Write the artifact at `destination`, which does not exist yet, and describe it.

        `calibration`: (N, H, W, 3) uint8 RGB crops. `told` hears what is done, in words, where it takes long. Raises
        ConversionError from the SDK's exception. The bytes depend on nothing but source, settings and calibration.
        """
        ...


EXPORTERS: Final[Mapping[Target, Exporter]] = {
    "coreml": coreml_exporter,
    "tflite": tflite_exporter,
    "torchscript": torchscript_exporter,
    "onnx": onnx_exporter,
}
