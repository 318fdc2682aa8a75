"""`verify`: a finished bundle is read from disk, held against its own digests, and every artifact is judged again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from squeeze_export.contracts import Progress
from squeeze_export.errors import ArtifactError, ParityError, TargetUnavailableError, UsageError
from squeeze_export.jobs import JudgeJob, Result
from squeeze_export.manifest import MANIFEST, ArtifactRecord, Manifest, digest, read_manifest
from squeeze_export.workers import workers


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found. `damage`: files that are not what the manifest says; `results`: one per artifact that was executed."""

    manifest: Manifest
    damage: tuple[str, ...]
    results: tuple[Result, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the bundle is not proven, a line each; empty where every artifact was executed and passed in every executor."""
        told = [f"damaged: {damage}" for damage in self.damage]
        for result in self.results:
            if result.failure is not None:
                told.append(f"{result.target}: {result.failure.revive()}")
            told += [
                f"{result.target}: {report.verdict} in the {report.executor}: {report.reason}"
                for report in result.reports
                if report.verdict != "PASSED"
            ]
        executed = {result.target for result in self.results}
        told += [f"{entry.target}: not executed" for entry in self.manifest.artifacts if entry.target not in executed]
        return tuple(told)

    @property
    def exit_code(self) -> int:
        """0 proven; 6 where all that is missing is an executor (NOT_RUN); 5 otherwise."""
        if not self.reasons:
            return 0
        failures = [result.failure for result in self.results if result.failure is not None]
        verdicts = {report.verdict for result in self.results for report in result.reports}
        bad = self.damage or "FAILED" in verdicts or any(failure.error != "TargetUnavailableError" for failure in failures)
        return ParityError.exit_code if bad else TargetUnavailableError.exit_code


def verify(folder: Path, progress: Progress) -> Verification:
    """Prove a bundle again. Raises UsageError for a folder that is none, ArtifactError for a manifest that cannot be read.

    Artifacts whose bytes differ from the manifest are reported as damage and not executed.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Name the bundle's folder, such as dist/squeezenet1_1-demo.")
    if not (folder / MANIFEST).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
        hint = (
            f" It holds bundles: {', '.join(inside)}."
            if inside
            else " manifest.json is written last: the export may not have ended."
        )
        raise UsageError(f"{folder} is not a complete bundle: it has no {MANIFEST}.{hint}")
    record = read_manifest(folder)
    if not record.artifacts:
        raise ArtifactError(f"{folder / MANIFEST} lists no artifact, so there is nothing to prove. Export the bundle again.")
    targets = [artifact.target for artifact in record.artifacts]
    if len(set(targets)) != len(targets):
        raise ArtifactError(f"{folder / MANIFEST} lists a target twice. Export the bundle again.")
    files = [(artifact.path, artifact.sha256) for artifact in record.artifacts]
    files += [(file.path, file.sha256) for file in (record.golden, record.labels) if file is not None]
    damage = {path: told for path, sha256 in files if (told := _damage(folder, path, sha256)) is not None}
    whole = [] if record.golden.path in damage else [entry for entry in record.artifacts if entry.path not in damage]
    results: tuple[Result, ...] = ()
    if whole:
        with (
            tempfile.TemporaryDirectory(prefix="squeeze-export-") as scratch,
            workers(Path(scratch), "judge", [entry.target for entry in whole], progress) as crew,
        ):
            results = tuple(crew.run({entry.target: _job(folder, record, entry) for entry in whole}).values())
    return Verification(manifest=record, damage=tuple(damage.values()), results=results)


def _damage(folder: Path, relative: str, sha256: str) -> str | None:
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()):
        return f"{relative}: leads out of the bundle"
    if not path.exists():
        return f"{relative}: missing"
    try:
        found, _ = digest(path)
    except ArtifactError as error:
        return f"{relative}: {error}"
    return (
        None
        if found == sha256
        else f"{relative}: its bytes are not those that were proven (sha256 {found[:12]}…, manifest {sha256[:12]}…)"
    )


def _job(folder: Path, record: Manifest, entry: ArtifactRecord) -> JudgeJob:
    return JudgeJob(
        target=entry.target,
        precision=entry.precision,
        path=(folder / entry.path).resolve(),
        golden=(folder / record.golden.path).resolve(),
        signature=entry.signature,
        folded_weights=entry.folded_weights,
    )
