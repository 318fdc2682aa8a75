"""Bundles without the artifacts that did not pass, where an export keeps going: what is left out, and what follows from it."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from squeeze_export.bundle import folder
from squeeze_export.bundle.manifest import Manifest, MissingRecord, encode, file_record
from squeeze_export.contracts.artifact import ArtifactKey
from squeeze_export.contracts.request import ExportRequest, Starter
from squeeze_export.evaluation.report import Evaluation
from squeeze_export.golden.files import keep_tolerances
from squeeze_export.processes.jobs import Result, troubles, worst
from squeeze_export.starters.template import fed_targets, starter_folders, targets_of

_VERDICTS: Final = {5: "FAILED", 6: "NOT_RUN"}


def missing_of(results: Sequence[Result], *, allow_unproven: bool) -> tuple[MissingRecord, ...]:
    """The results that may not be written, with all their reasons."""
    made = []
    for result in results:
        found = troubles(result, allow_unproven=allow_unproven)
        if found:
            code = worst([code for _, code in found])
            verdict = "ERROR" if result.failure is not None else _VERDICTS[code]
            made.append(_record(result.key, verdict, "\n".join(line for line, _ in found), code))
    return tuple(made)


def dropped_of(found: Evaluation) -> tuple[MissingRecord, ...]:
    """The artifacts that an evaluation refuses, each with its own line; none where its reference is no measure for any."""
    made = []
    if found.unfit:
        return ()
    for row in found.artifacts:
        told = found.why_refused(row)
        if told is not None:
            dropped = row.status == "MEASURED"
            made.append(_record(row.key, "DROPPED" if dropped else row.status, told, 5 if dropped else row.exit_code))
    return tuple(made)


def _record(key: ArtifactKey, verdict: str, reason: str, code: int) -> MissingRecord:
    return MissingRecord(
        target=key.target,
        precision=key.precision,
        size_budget=key.size_budget,
        verdict=verdict,  # type: ignore[arg-type]
        reason=reason,
        exit_code=code,
    )


def without(request: ExportRequest, lost: Collection[ArtifactKey]) -> ExportRequest | None:
    """The request without some of its artifacts; None where none would be left."""
    kept = [key for key in request.keys if key not in lost]
    if not kept:
        return None
    targets = tuple(target for target in request.targets if any(key.target == target for key in kept))
    precisions = {target: tuple(dict.fromkeys(key.precision for key in kept if key.target == target)) for target in targets}
    sizes = tuple(dict.fromkeys(key.size_budget for key in kept if key.size_budget is not None))
    return replace(request, targets=targets, precisions=precisions, size_budgets=sizes)


def starters_left(wanted: tuple[Starter, ...], keys: Collection[ArtifactKey]) -> tuple[Starter, ...]:
    """The app projects for which an artifact is left."""
    return tuple(starter for starter in wanted if set(targets_of(starter)) & fed_targets(keys))


def remove(prepared: Path, paths: Collection[Path]) -> None:
    """Take files and packages out of a bundle that is being made, and the folders that are empty then."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if path.parent != prepared and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()


def leave_out(prepared: Path, made: Manifest, lost: tuple[MissingRecord, ...], wanted: tuple[Starter, ...]) -> Manifest:
    """Take artifacts out of a bundle in `prepared` that is described already, and give its new description: they are missing."""
    kept = take_out(prepared, made, {record.key for record in lost}, wanted)
    return replace(kept, missing=(*made.missing, *lost))


def take_out(prepared: Path, made: Manifest, gone: Collection[ArtifactKey], wanted: tuple[Starter, ...]) -> Manifest:
    """The same of artifacts that nobody will miss."""
    remove(prepared, [prepared / entry.path for entry in made.artifacts if entry.key in gone])
    kept = tuple(entry for entry in made.artifacts if entry.key not in gone)
    keep_tolerances(prepared / folder.GOLDEN, {entry.key.name for entry in kept})
    (prepared / folder.PARITY).write_bytes(encode(folder.parity_record(made.name, kept)))
    accuracy = made.accuracy
    return replace(
        made,
        golden=file_record(prepared, prepared / folder.GOLDEN),
        parity=file_record(prepared, prepared / folder.PARITY),
        artifacts=kept,
        starters=starter_folders(
            fed_targets([entry.key for entry in kept]), starters_left(wanted, [entry.key for entry in kept])
        ),
        accuracy=None
        if accuracy is None
        else replace(accuracy, artifacts=tuple(figure for figure in accuracy.artifacts if figure.key not in gone)),
    )


def notes_of(made: Manifest, wanted: tuple[Starter, ...]) -> tuple[str, ...]:
    """What a user must know of a bundle that lacks something: the artifacts with their reasons, and the app projects."""
    notes = [f"{record.key} is missing: {record.reason}" for record in made.missing]
    lacking = [starter for starter in wanted if starter not in starters_left(wanted, [entry.key for entry in made.artifacts])]
    if made.missing and lacking:
        notes.append(f"no app project was made for {' and '.join(lacking)}: their artifacts are missing")
    return tuple(notes)
