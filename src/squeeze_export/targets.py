"""`targets`: what can be exported and executed on this machine, and why not."""

from __future__ import annotations

from dataclasses import dataclass

from squeeze_export.contracts import DEFAULT_PRECISION, TARGETS, Precision, Target
from squeeze_export.exporters import EXPORTERS
from squeeze_export.validation.runners import RUNNERS
from squeeze_export.versions import versions_of


@dataclass(frozen=True, kw_only=True)
class ExecutorState:
    """One executor of a target; `decides`: its verdict is the artifact's. `unavailable`: why not, or None."""

    name: str
    decides: bool
    versions: dict[str, str]
    unavailable: str | None


@dataclass(frozen=True, kw_only=True)
class TargetState:
    """One target on this machine; `unavailable`: why it cannot be exported, or None."""

    target: Target
    precisions: tuple[Precision, ...]
    default_precision: Precision
    suffix: str
    versions: dict[str, str]
    unavailable: str | None
    executors: tuple[ExecutorState, ...]


def target_states() -> tuple[TargetState, ...]:
    """Look at every target without loading an SDK."""
    return tuple(
        TargetState(
            target=target,
            precisions=EXPORTERS[target].PRECISIONS,
            default_precision=DEFAULT_PRECISION[target],
            suffix=EXPORTERS[target].SUFFIX,
            versions=versions_of(EXPORTERS[target].PACKAGES),
            unavailable=EXPORTERS[target].unavailable(),
            executors=tuple(
                ExecutorState(
                    name=runner.NAME,
                    decides=position == 0,
                    versions=versions_of(runner.PACKAGES),
                    unavailable=runner.unavailable(),
                )
                for position, runner in enumerate(RUNNERS[target])
            ),
        )
        for target in TARGETS
    )
