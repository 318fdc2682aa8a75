"""What `--json` prints where a command fails: one object of a published schema, with all that is known of every artifact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from squeeze_export.bundle.manifest import AccuracyRecord, schema_of
from squeeze_export.contracts.artifact import ArtifactKey, Precision, Target
from squeeze_export.contracts.parity import ParityReport
from squeeze_export.processes.jobs import Result, troubles


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True, rename={"kind": "class"}):
    """Why the command failed: the error's class, its words, and the exit code of the command."""

    kind: str
    message: str
    exit_code: int


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact that was tried. ERROR: it could not be made or opened. `reports`: all figures, the deciding executor's first.

    `reasons` is empty where it passed; `size_bytes` is None where nothing was made.
    """

    target: Target
    precision: Precision
    size_budget: int | None
    verdict: Literal["PASSED", "FAILED", "NOT_RUN", "ERROR"]
    reasons: tuple[str, ...]
    exit_code: int
    size_bytes: int | None
    reports: tuple[ParityReport, ...]


class FailureRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document. `artifacts` is empty where the command failed before the first; `accuracy`: what a limit found."""

    schema_version: Literal[1] = 1
    error: ErrorRecord
    artifacts: tuple[AttemptRecord, ...] = ()
    accuracy: AccuracyRecord | None = None
    notes: tuple[str, ...] = ()


def attempts(
    results: Iterable[Result], sizes: Mapping[ArtifactKey, int], *, allow_unproven: bool = False
) -> tuple[AttemptRecord, ...]:
    """The results of an export as they are told."""
    made = []
    for result in results:
        found = troubles(result, allow_unproven=allow_unproven)
        made.append(
            AttemptRecord(
                target=result.key.target,
                precision=result.key.precision,
                size_budget=result.key.size_budget,
                verdict="ERROR" if result.failure is not None else result.reports[0].verdict,
                reasons=tuple(line for line, _ in found),
                exit_code=max((code for _, code in found), default=0),
                size_bytes=sizes.get(result.key),
                reports=result.reports,
            )
        )
    return tuple(made)


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of what a failed command prints; the committed copy is failure.schema.json beside this file."""
    return schema_of(FailureRecord, "failure")
