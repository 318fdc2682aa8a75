"""One artifact before its judges: every executor of its target opens the file and is held against the golden pack."""

from __future__ import annotations

from pathlib import Path

from squeeze_export.contracts import GoldenPack, ParityReport, Precision, Signature, Target, WeightDigest
from squeeze_export.errors import ArtifactError, TargetUnavailableError, UnsupportedOperationError
from squeeze_export.validation.parity import judge
from squeeze_export.validation.runners import RUNNERS, RunnerModule
from squeeze_export.validation.tolerances import tolerance_for


def judge_file(
    target: Target,
    path: Path,
    signature: Signature,
    precision: Precision,
    pack: GoldenPack,
    *,
    folded: tuple[str, ...],
    chosen: tuple[WeightDigest, ...] = (),
) -> tuple[ParityReport, ...]:
    """Judge the file by the target's executors, the deciding one first; those that cannot run here are left out.

    Raises TargetUnavailableError where the deciding one cannot run.
    """
    deciding, *others = RUNNERS[target]
    reason = deciding.unavailable()
    if reason is not None:
        raise TargetUnavailableError(f"{target} cannot be executed here, so it cannot be proven: {reason}")
    witnesses = [runner for runner in others if runner.unavailable() is None]
    return tuple(_judge(module, target, path, signature, precision, pack, folded, chosen) for module in (deciding, *witnesses))


def _judge(
    module: RunnerModule,
    target: Target,
    path: Path,
    signature: Signature,
    precision: Precision,
    pack: GoldenPack,
    folded: tuple[str, ...],
    chosen: tuple[WeightDigest, ...],
) -> ParityReport:
    tolerance = tolerance_for(target, precision)
    try:
        runner = module.open(path, signature, precision)
    except ArtifactError as error:
        return ParityReport(
            verdict="FAILED", executor=module.NAME, reason=str(error), tolerance=tolerance, outputs=(), weights=None
        )
    except UnsupportedOperationError as error:
        return ParityReport(
            verdict="NOT_RUN", executor=module.NAME, reason=str(error), tolerance=tolerance, outputs=(), weights=None
        )
    return judge(runner, signature, pack, tolerance, precision, exempt_weights=folded, chosen_weights=chosen)
