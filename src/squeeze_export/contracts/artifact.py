"""Targets, precisions, and one artifact: how it is asked for and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from squeeze_export.contracts.signature import InputKind, OutputKind, Signature
from squeeze_export.contracts.source import WeightDigest

if TYPE_CHECKING:
    pass


Target = Literal["coreml", "tflite", "torchscript", "onnx"]


Precision = Literal[
    "fp32",
    "fp16",
    "int8",
    "int8-uint8",
    "int8-dynamic",
    "int8-weights",
    "int4-mixed",
    "pal8",
    "pal6",
    "pal4",
    "pal3",
    "pal2",
    "sparse",
    "sparse-pal6",
    "sparse-pal4",
    "auto",
]


IosTarget = Literal["iOS15", "iOS16", "iOS17", "iOS18"]
TfliteRoute = Literal["litert-torch", "onnx-tf"]
TARGETS: Final[tuple[Target, ...]] = ("coreml", "tflite", "torchscript", "onnx")


# What `--target all` means: the formats that a phone's own runtime takes and that every installation can write. ONNX needs an
# extra, and what "all" does must not depend on what happens to be installed.
PHONE_TARGETS: Final[tuple[Target, ...]] = ("coreml", "tflite", "torchscript")


# Core ML is an fp16 runtime first (the Neural Engine computes nothing else); the others compute in fp32.
DEFAULT_PRECISION: Final[Mapping[Target, Precision]] = {"coreml": "fp16", "tflite": "fp32", "torchscript": "fp32", "onnx": "fp32"}


# int8 inside as well, but uint8 pixels go in and uint8 scores come out: neither a tensor input nor an app that feeds floats fits.
PIXELS_IN: Final[Precision] = "int8-uint8"


# The best within so many bytes: the one precision that may stand in a bundle several times, once per size.
AUTO: Final[Precision] = "auto"


def rung_name(precision: str, size_budget: int | None) -> str:
    """A precision as one asks for it: "fp16", "auto:490KB"."""
    if size_budget is None:
        return precision
    thousands, rest = divmod(size_budget, 1000)
    return f"{precision}:{size_budget if rest else f'{thousands}KB'}"


@dataclass(frozen=True, kw_only=True)
class ArtifactKey:
    """What tells the artifacts of one bundle apart: a target may stand there in several precisions, "auto" in several sizes."""

    target: Target
    precision: Precision
    size_budget: int | None = None

    @property
    def rung(self) -> str:
        """The precision as one asks for it."""
        return rung_name(self.precision, self.size_budget)

    @property
    def rung_in_names(self) -> str:
        """The rung where a colon cannot stand: "fp16", "auto-490KB"."""
        return self.rung.replace(":", "-")

    @property
    def name(self) -> str:
        """The key in files and file names: "coreml-fp16", "coreml-auto-490KB"."""
        return f"{self.target}-{self.rung_in_names}"

    def __str__(self) -> str:
        """The key on the screen: "coreml fp16", "coreml auto:490KB"."""
        return f"{self.target} {self.rung}"


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What one exporter is asked for. `ios_target` concerns Core ML only, `tflite_route` (the converter) TFLite only.

    `size_budget`: bytes, for the precision "auto".
    """

    precision: Precision
    input_kind: InputKind
    output_kind: OutputKind
    ios_target: IosTarget
    tflite_route: TfliteRoute = "litert-torch"
    size_budget: int | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file (or package directory) that an exporter wrote, and what is declared about it.

    `operators`: sorted names of the operations it holds. `notice`: a fact about the format the user must be told.
    `folded_weights`: source weights that were merged with the normalisation, so that they are not stored as they are.
    `chosen_weights`: where weights are compressed, the digests of what was chosen for each: it must decode to exactly that.
    `codings`: how each compressed weight is stored, such as "pal6" (see docs/explanation/compression.md).
    `uncompressed_weights`: where they are, the names of those that are stored in fp16 as before, each with the reason.
    `size_budget`: of the precision "auto", the bytes that were allowed.
    `route`: the converter, where a format has several. `transposes`: of a TFLite file, how many TRANSPOSE operations stand in it.
    """

    target: Target
    precision: Precision
    path: Path
    signature: Signature
    operators: tuple[str, ...]
    route: str | None = None
    deployment_target: str | None = None
    bytecode_version: int | None = None
    notice: str | None = None
    folded_weights: tuple[str, ...] = ()
    chosen_weights: tuple[WeightDigest, ...] = ()
    codings: Mapping[str, str] = field(default_factory=dict)
    uncompressed_weights: Mapping[str, str] = field(default_factory=dict)
    size_budget: int | None = None
    transposes: int | None = None

    @property
    def key(self) -> ArtifactKey:
        """Its place among the artifacts of a bundle."""
        return ArtifactKey(target=self.target, precision=self.precision, size_budget=self.size_budget)
