"""What manifest.json keeps of `--precision best`: which artifact was taken of which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from squeeze_export.contracts.artifact import ArtifactKey, Precision, Target


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One precision that could have been taken.

    `verdict`: TAKEN, LARGER than the one taken, DROPPED below a limit, or what kept it from being measured. `size_bytes` of the
    file or package and `drop` in points of top-1 below the reference on the same images, None where it was not measured.
    `reason`: of a verdict that is a fault.
    """

    precision: Precision
    size_budget: int | None
    verdict: Literal["TAKEN", "LARGER", "DROPPED", "ERROR", "FAILED", "NOT_RUN"]
    size_bytes: int | None
    drop: float | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class ChoiceRecord:
    """The smallest artifact of a target within the limits of accuracy, and all that it was chosen from, the smallest first."""

    target: Target
    precision: Precision
    size_budget: int | None
    candidates: tuple[Candidate, ...]

    @property
    def key(self) -> ArtifactKey:
        """The place of the one that was taken."""
        return ArtifactKey(target=self.target, precision=self.precision, size_budget=self.size_budget)
