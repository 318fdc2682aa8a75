"""What the parent and its worker processes say to each other: one job in, one result out, as files in a job folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from squeeze_export import errors
from squeeze_export.contracts.agreements import Witness
from squeeze_export.contracts.artifact import Artifact, ArtifactKey, ExportSettings
from squeeze_export.contracts.contents import Contents
from squeeze_export.contracts.parity import ParityReport
from squeeze_export.contracts.signature import Signature
from squeeze_export.contracts.source import WeightDigest

JobKind = Literal["export", "judge", "answer"]

SOURCE: Final = "source"
GOLDEN: Final = "golden"
CALIBRATION: Final = "calibration.npy"


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """Convert the source in the job folder to `destination`, then judge that file."""

    kind: Literal["export"] = "export"
    key: ArtifactKey
    settings: ExportSettings
    destination: Path


@dataclass(frozen=True, kw_only=True)
class JudgeJob:
    """Judge an artifact that exists, against the golden pack at `golden`; `witness`: by further executors as well.

    `labels`: those that it must hold, in index order.
    """

    kind: Literal["judge"] = "judge"
    key: ArtifactKey
    path: Path
    golden: Path
    signature: Signature
    labels: tuple[str, ...] | None
    folded_weights: tuple[str, ...]
    chosen_weights: tuple[WeightDigest, ...] = ()
    witness: bool = False


@dataclass(frozen=True, kw_only=True)
class AnswerJob:
    """Execute an artifact that exists on the golden pack at `golden`; its first output's rows become the array file `answers`."""

    kind: Literal["answer"] = "answer"
    key: ArtifactKey
    path: Path
    golden: Path
    signature: Signature
    answers: Path


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error as it crosses the process border; `error` is the name of a class in `errors`, or of a foreign one."""

    error: str
    message: str
    traceback: str

    def revive(self) -> errors.SqueezeExportError:
        """The error to raise in the parent: of the same class, or a ConversionError around a foreign one."""
        kind = getattr(errors, self.error, None)
        if isinstance(kind, type) and issubclass(kind, errors.SqueezeExportError):
            return kind(self.message)
        return errors.ConversionError(
            f"An unexpected {self.error}: {self.message or 'no message'}. Report what --verbose prints."
        )


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a job ended. `reports`: one per executor, the deciding one first; empty where `failure` is set, and for an AnswerJob.

    `executor`: who gave an AnswerJob's answers. `witnesses`: see JudgeJob. `contents`: what a JudgeJob's file says it holds; None
    where it cannot be read.
    """

    key: ArtifactKey
    artifact: Artifact | None
    reports: tuple[ParityReport, ...]
    failure: Failure | None
    seconds: float
    executor: str | None = None
    witnesses: tuple[Witness, ...] = ()
    contents: Contents | None = None


Job = ExportJob | JudgeJob | AnswerJob


def troubles(result: Result, *, allow_unproven: bool) -> list[tuple[str, int]]:
    """Why this artifact is not to be written, a line and an exit code each; nothing where it passed."""
    if result.failure is not None:
        error = result.failure.revive()
        return [(f"{result.key}: {error}", error.exit_code)]
    found = [
        (f"{result.key}: parity FAILED, executed by {report.executor}: {report.reason}", errors.ParityError.exit_code)
        for report in result.reports
        if report.verdict == "FAILED"
    ]
    if result.reports[0].verdict == "NOT_RUN" and not allow_unproven:
        found.append((f"{result.key}: NOT_RUN: {result.reports[0].reason}", errors.TargetUnavailableError.exit_code))
    return found


def worst(codes: Sequence[int]) -> int:
    """The exit code of a run in which artifacts ended with these: failed parity above all."""
    return errors.ParityError.exit_code if errors.ParityError.exit_code in codes else codes[0]
