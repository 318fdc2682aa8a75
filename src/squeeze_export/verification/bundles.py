"""`verify`: a finished bundle is read from disk, held against its own digests, and every artifact is judged again."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from squeeze_export import torch_state
from squeeze_export.bundle.manifest import MANIFEST, ArtifactRecord, Manifest, MissingRecord, damage, open_bundle
from squeeze_export.contracts.agreements import Witness
from squeeze_export.contracts.artifact import Precision, Target
from squeeze_export.contracts.parity import ParityReport
from squeeze_export.contracts.request import Progress
from squeeze_export.errors import ArtifactError, ParityError, TargetUnavailableError, UsageError
from squeeze_export.golden.files import read_golden, read_tolerances
from squeeze_export.processes.jobs import JudgeJob, Result
from squeeze_export.processes.workers import workers
from squeeze_export.tabular import Tabular
from squeeze_export.validation.runners import WITNESSES
from squeeze_export.verification import claims


@dataclass(frozen=True, kw_only=True)
class VerifiedArtifact:
    """One artifact as `verify --json` tells it: every executor's report, and the witnesses' beside them."""

    target: Target
    precision: Precision
    size_budget: int | None
    reports: tuple[ParityReport, ...]
    witnesses: tuple[Witness, ...]


@dataclass(frozen=True, kw_only=True)
class VerificationDocument:
    """What `verify --json` prints. `passed`: whether there is no reason why the bundle is not proven."""

    schema_version: Literal[1] = 1
    name: str
    passed: bool
    reasons: tuple[str, ...]
    missing: tuple[MissingRecord, ...]
    artifacts: tuple[VerifiedArtifact, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Verification(Tabular):
    """What was found.

    `damage`: files that are not what the manifest says; `claims`: what the manifest says and the bundle does not show;
    `results`: one per artifact that was executed.
    """

    manifest: Manifest
    damage: tuple[str, ...]
    claims: tuple[str, ...]
    results: tuple[Result, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the bundle is not proven, a line each; empty where every artifact was executed and passed in every executor."""
        told = [f"damaged: {found}" for found in self.damage]
        told += [f"not as recorded: {claim}" for claim in self.claims]
        for result in self.results:
            if result.failure is not None:
                told.append(f"{result.key}: {result.failure.revive()}")
            told += [
                f"{result.key}: {report.verdict} in the {report.executor}: {report.reason}"
                for report in (*result.reports, *(witness.report for witness in result.witnesses))
                if report.verdict != "PASSED"
            ]
        executed = {result.key for result in self.results}
        told += [f"{entry.key}: not executed" for entry in self.manifest.artifacts if entry.key not in executed]
        return tuple(told)

    @property
    def headline(self) -> tuple[str, str]:
        """Which bundle; whether it is proven, or for how many reasons not."""
        told = f"{len(self.reasons)} reasons why it is not proven" if self.reasons else "proven again"
        return f"Verification of {self.manifest.name}: {len(self.results)} artifacts executed", told

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per artifact and executor, witnesses included; an artifact that none could judge has the verdict ERROR."""
        by_key = {result.key: result for result in self.results}
        found: list[dict[str, Any]] = []
        for entry in self.manifest.artifacts:
            names = {"target": entry.target, "precision": entry.key.rung}
            result = by_key.get(entry.key)
            if result is None or result.failure is not None:
                damaged = next((told for told in self.damage if told.startswith(f"{entry.path}: ")), "not executed")
                reason = damaged if result is None or result.failure is None else str(result.failure.revive())
                found.append({**names, "executor": None, "verdict": "ERROR", "reason": reason})
                continue
            reports = (*result.reports, *(witness.report for witness in result.witnesses))
            found += [
                {**names, "executor": report.executor, "verdict": report.verdict, "reason": report.reason} for report in reports
            ]
        return found

    def document(self) -> VerificationDocument:
        """What `--json` prints."""
        return VerificationDocument(
            name=self.manifest.name,
            passed=not self.reasons,
            reasons=self.reasons,
            missing=self.manifest.missing,
            artifacts=tuple(
                VerifiedArtifact(
                    target=result.key.target,
                    precision=result.key.precision,
                    size_budget=result.key.size_budget,
                    reports=result.reports,
                    witnesses=result.witnesses,
                )
                for result in self.results
            ),
        )

    @property
    def exit_code(self) -> int:
        """0 proven; 6 where all that is missing is an executor (NOT_RUN); 5 otherwise."""
        if not self.reasons:
            return 0
        failures = [result.failure for result in self.results if result.failure is not None]
        reports = [report for result in self.results for report in result.reports]
        reports += [witness.report for result in self.results for witness in result.witnesses]
        verdicts = {report.verdict for report in reports}
        unavailable = all(failure.error == "TargetUnavailableError" for failure in failures)
        bad = self.damage or self.claims or "FAILED" in verdicts or not unavailable
        return ParityError.exit_code if bad else TargetUnavailableError.exit_code


@torch_state.usual()
def verify(folder: Path, progress: Progress, *, witness: bool = False) -> Verification:
    """Prove a bundle again. Raises UsageError for a folder that is none, ArtifactError for a manifest that cannot be read.

    Artifacts whose bytes differ from the manifest are reported as damage and not executed. `witness`: hear further executors as
    well; TargetUnavailableError where one of them is not here, UsageError where there is none for these artifacts.
    """
    record = open_bundle(folder)
    if witness:
        _check_witnesses(record)
    if len({artifact.key for artifact in record.artifacts}) != len(record.artifacts):
        raise ArtifactError(f"{folder / MANIFEST} lists a target twice in one precision. Export the bundle again.")
    recorded = (*record.artifacts, record.golden, record.parity, *((record.labels,) if record.labels is not None else ()))
    checked = {file.path: damage(folder, file.path, file.sha256, file.size_bytes) for file in recorded}
    found = {path: told for path, told in checked.items() if told is not None}
    whole = [] if record.golden.path in found else [entry for entry in record.artifacts if entry.path not in found]
    results: tuple[Result, ...] = ()
    untrue: list[str] = []
    if whole:
        with (
            tempfile.TemporaryDirectory(prefix="squeeze-export-") as scratch,
            workers(Path(scratch), "judge", [entry.key for entry in whole], progress) as crew,
        ):
            # Before the jobs are handed out: the workers still load their SDKs.
            untrue += _claims(folder, record, found)
            labels = _labels(folder, record)
            results = crew.run([_job(folder, record, entry, labels, witness=witness) for entry in whole])
    for entry in whole:
        result = next(result for result in results if result.key == entry.key)
        told = claims.of_reports(record, entry, result.reports)
        told += [] if result.contents is None else claims.of_contents(entry, result.contents)
        untrue += [f"{entry.path}: {claim}" for claim in told]
    untrue += claims.of_folder(folder, record)
    return Verification(manifest=record, damage=tuple(found.values()), claims=tuple(untrue), results=results)


def _claims(folder: Path, record: Manifest, damaged: Mapping[str, str]) -> list[str]:
    told = claims.of_accuracy(record)
    told += [] if record.parity.path in damaged else claims.of_parity_file(folder, record)
    try:
        pack = read_golden(folder / record.golden.path)
        told += claims.of_tolerances(record, read_tolerances(folder / record.golden.path))
    except ArtifactError as error:
        return [*told, str(error)]
    for entry in record.artifacts:
        told += [f"{entry.path}: {claim}" for claim in claims.of_artifact(entry)]
    return told + claims.of_source(folder, record, pack, labelled=record.labels is not None and record.labels.path not in damaged)


def _check_witnesses(record: Manifest) -> None:
    modules = {module.NAME: module for entry in record.artifacts for module in WITNESSES.get(entry.target, ())}
    if not modules:
        there = ", ".join(dict.fromkeys(entry.target for entry in record.artifacts))
        raise UsageError(f"There are witnesses for {', '.join(WITNESSES)} only, and the bundle has {there}. Leave --witness out.")
    lacking = [f"{name}: {reason}" for name, module in modules.items() if (reason := module.unavailable()) is not None]
    if lacking:
        raise TargetUnavailableError("--witness needs what is not here.\n" + "\n".join(lacking))


def _labels(folder: Path, record: Manifest) -> tuple[str, ...] | None:
    """The labels beside the artifacts, which each must hold; where the file is damaged that is told already."""
    path = folder / record.labels.path if record.labels is not None else None
    return tuple(path.read_text(encoding="utf-8", errors="replace").splitlines()) if path is not None and path.is_file() else None


def _job(folder: Path, record: Manifest, entry: ArtifactRecord, labels: tuple[str, ...] | None, *, witness: bool) -> JudgeJob:
    return JudgeJob(
        key=entry.key,
        path=(folder / entry.path).resolve(),
        golden=(folder / record.golden.path).resolve(),
        signature=entry.signature,
        labels=labels,
        folded_weights=entry.folded_weights,
        witness=witness and entry.target in WITNESSES,
        chosen_weights=entry.chosen_weights,
    )
