"""`--precision best`: of all artifacts of a target the smallest that keeps to the limits of accuracy is left in the bundle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from squeeze_export.bundle.choices import Candidate, ChoiceRecord
from squeeze_export.contracts.artifact import ArtifactKey
from squeeze_export.errors import UsageError

if TYPE_CHECKING:
    from squeeze_export.bundle.manifest import Manifest, MissingRecord
    from squeeze_export.contracts.request import ExportRequest
    from squeeze_export.evaluation.report import ArtifactRow, Evaluation


def check(request: ExportRequest) -> None:
    """Raise UsageError where there is nothing to choose by."""
    if not request.best:
        return
    if request.max_accuracy_drop is None:
        raise UsageError(
            "--precision best takes the smallest artifact that keeps to a limit. Say how many points it may lose: "
            "--max-accuracy-drop 1.0, with --images DIR."
        )
    strangers = [target for target in request.best if target not in request.targets]
    if strangers:
        raise UsageError(f"best names {strangers[0]}, which is not among the targets {request.targets}. Add it there.")


def excused(request: ExportRequest, lost: Collection[ArtifactKey]) -> set[ArtifactKey]:
    """Those of the lost artifacts that are no loss, since another of their target is left to choose from."""
    left = {key.target for key in request.keys if key not in lost}
    return {key for key in lost if key.target in request.best and key.target in left}


def choose(
    request: ExportRequest, made: Manifest, found: Evaluation, lost: Sequence[MissingRecord]
) -> tuple[tuple[ChoiceRecord, ...], frozenset[ArtifactKey]]:
    """What is taken of each target that asks for the best, and the keys of all that is not.

    `found`: the measurement of `made`; `lost`: what could not be made. Of a target in which nothing keeps to the limits, nothing
    is chosen and nothing taken away: the limits then refuse it by themselves.
    """
    if found.unfit or found.reference.status != "MEASURED":
        return (), frozenset()
    sizes = {entry.key: entry.size_bytes for entry in made.artifacts}
    choices, unwanted = [], set()
    for target in request.best:
        rows = [row for row in found.artifacts if row.target == target]
        within = [row for row in rows if row.status == "MEASURED" and found.why_refused(row) is None]
        if not within:
            continue
        taken = min(within, key=lambda row: (sizes[row.key], _drop(row), row.key.rung))
        measured = [_candidate(row, taken, sizes[row.key], within=row in within) for row in rows]
        failed = [_failed(record) for record in lost if record.target == target]
        ordered = sorted(measured, key=lambda one: (one.size_bytes or 0, one.precision))
        choices.append(
            ChoiceRecord(
                target=target,
                precision=taken.key.precision,
                size_budget=taken.key.size_budget,
                candidates=(*ordered, *failed),
            )
        )
        unwanted |= {row.key for row in rows if row.key != taken.key}
    return tuple(choices), frozenset(unwanted)


def told(choice: ChoiceRecord, limit: float) -> str:
    """Why this one, in a sentence."""
    (taken,) = (one for one in choice.candidates if one.verdict == "TAKEN")
    assert taken.size_bytes is not None
    smaller = [one for one in choice.candidates if one.size_bytes is not None and one.size_bytes < taken.size_bytes]
    words = f"take {choice.key}: {taken.size_bytes:,} bytes, {_points(taken)}"
    if not smaller:
        return f"{words}; none of the {len(choice.candidates)} that were made is smaller"
    nearest = smaller[-1]
    name = ArtifactKey(target=choice.target, precision=nearest.precision, size_budget=nearest.size_budget)
    lost = f"{nearest.drop:.1f} points" if nearest.drop is not None else "nothing that could be measured"
    return f"{words}; the next smaller one, {name}, loses {lost}, and {limit:g} may be lost"


def _points(candidate: Candidate) -> str:
    drop = candidate.drop or 0.0
    return "no points lost" if drop == 0 else f"{-drop:+.1f} points"


def _candidate(row: ArtifactRow, taken: ArtifactRow, size: int, *, within: bool) -> Candidate:
    verdict: Literal["TAKEN", "LARGER", "DROPPED", "FAILED", "NOT_RUN"]
    if row.key == taken.key:
        verdict = "TAKEN"
    elif within:
        verdict = "LARGER"
    elif row.status == "MEASURED":
        verdict = "DROPPED"
    else:
        verdict = row.status
    return Candidate(
        precision=row.key.precision,
        size_budget=row.key.size_budget,
        verdict=verdict,
        size_bytes=size,
        drop=_drop(row) if row.comparison else None,
        reason=row.reason,
    )


def _failed(record: MissingRecord) -> Candidate:
    return Candidate(
        precision=record.precision,
        size_budget=record.size_budget,
        verdict=record.verdict,
        size_bytes=None,
        drop=None,
        reason=record.reason,
    )


def _drop(row: ArtifactRow) -> float:
    assert row.comparison is not None
    return 100 * -row.comparison.top1_difference.value + 0.0  # never -0.0
