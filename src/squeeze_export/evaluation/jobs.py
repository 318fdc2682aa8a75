"""What an evaluation and its worker processes say to each other.

A job lies as JSON in the worker's folder. Then come frames on its standard input: the number of images (uint32,
little-endian) and their crops, (height, width, 3) uint8 each. On its standard output it answers in JSON lines: Ready once,
then an Answer per image, or a Lost, which is its last word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from squeeze_export import errors
from squeeze_export.contracts.artifact import Precision, Target
from squeeze_export.contracts.signature import PreprocessingSpec, Signature
from squeeze_export.contracts.source import ModelName

JOB: Final = "job.json"
LOG: Final = "log"


@dataclass(frozen=True, kw_only=True)
class ArtifactJob:
    """Open an artifact by the deciding runner of its target."""

    kind: Literal["artifact"] = "artifact"
    target: Target
    precision: Precision
    path: Path
    signature: Signature
    num_classes: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class ReferenceJob:
    """Load the source model eagerly; its weights must be those of the manifest (`sha256`, as in contracts.source.WeightsOrigin).

    `weights` as on the command line; random ones have `num_classes` classes.
    """

    kind: Literal["reference"] = "reference"
    model: ModelName
    weights: str
    sha256: str
    head_relu: bool
    seed: int
    preprocessing: PreprocessingSpec
    num_classes: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class CapturedJob:
    """Run a captured network from the folder that sources.source.save_source wrote, without the code that it was written in."""

    kind: Literal["captured"] = "captured"
    source: Path
    num_classes: int
    height: int
    width: int


Job = ArtifactJob | ReferenceJob | CapturedJob


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded; `executor` names what computes."""

    executor: str


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The best classes of the next image, best first."""

    top: tuple[int, ...]


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot go on. `error`: the name of a class in `errors`."""

    error: str
    message: str
    traceback: str

    def revive(self) -> errors.SqueezeExportError:
        """The error to raise in the parent, of the same class."""
        kind = getattr(errors, self.error, errors.ArtifactError)
        revived: errors.SqueezeExportError = kind(self.message)
        return revived


Reply = Ready | Answer | Lost
