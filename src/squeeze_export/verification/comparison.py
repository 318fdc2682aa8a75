"""`compare`: do the artifacts of one bundle say the same, each beside each other and beside the reference, on the golden pack?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export import torch_state
from squeeze_export.bundle.manifest import MANIFEST, ArtifactRecord, Manifest, damage, open_bundle
from squeeze_export.contracts.agreements import Agreement
from squeeze_export.contracts.request import Progress
from squeeze_export.contracts.signature import OutputKind
from squeeze_export.contracts.source import Features, GoldenPack
from squeeze_export.errors import ArtifactError, ParityError, TargetUnavailableError
from squeeze_export.golden.files import read_golden
from squeeze_export.processes.jobs import AnswerJob, Result
from squeeze_export.processes.workers import workers
from squeeze_export.tabular import Tabular
from squeeze_export.validation.agreement import agreement
from squeeze_export.validation.tolerances import tolerance_for

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

REFERENCE: Final = "reference"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One row and column: the reference, or an artifact by its key. `failed`: why it has no answers, or None."""

    name: str
    executor: str | None
    failed: str | None = None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two subjects by name; `first` is the one that the powers and margins of `agreement` come from."""

    first: str
    second: str
    agreement: Agreement


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Tabular):
    """Every pair of subjects that gave answers, in the order of `subjects`, the reference first."""

    schema_version: int
    name: str
    output: OutputKind
    images: tuple[str, ...]
    subjects: tuple[Subject, ...]
    pairs: tuple[Pair, ...]
    exit_code: int

    @property
    def headline(self) -> tuple[str, str]:
        """Which bundle on how many images; how many could be executed, and the exit code of the command."""
        failed = sum(subject.failed is not None for subject in self.subjects)
        told = f"{len(self.subjects) - failed} of {len(self.subjects)} answered, exit code {self.exit_code}"
        return f"Comparison of {self.name} on {len(self.images)} images: {self.output}", told

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per pair: largest absolute error, SNR in dB (None: identical, or not finite), agreement of the best class."""
        return [
            {
                "first": pair.first,
                "second": pair.second,
                "max_abs_error": pair.agreement.max_abs_error,
                "snr_db": pair.agreement.snr_db,
                "top1_agreement": pair.agreement.top1_agreement,
            }
            for pair in self.pairs
        ]

    def between(self, one: str, other: str) -> Agreement | None:
        """The agreement of two subjects, whichever stands first."""
        return next((pair.agreement for pair in self.pairs if {pair.first, pair.second} == {one, other}), None)


@torch_state.usual()
def compare(folder: Path, progress: Progress) -> Comparison:
    """Execute every artifact of a bundle and hold each against each other.

    Raises UsageError for a folder that is none, ArtifactError where a file is not what the manifest says: the agreement of other
    files would be said of these. An artifact that cannot be executed is a failed subject, and the exit code says so.
    """
    record = open_bundle(folder)
    files = [(entry.path, entry.sha256) for entry in record.artifacts] + [(record.golden.path, record.golden.sha256)]
    if found := [told for path, sha256 in files if (told := damage(folder, path, sha256)) is not None]:
        raise ArtifactError("The bundle is damaged, so nothing is compared. Export it again.\n" + "\n".join(found))
    if len({entry.key for entry in record.artifacts}) < len(record.artifacts):
        raise ArtifactError(f"{folder / MANIFEST} lists a target twice in one precision. Export the bundle again.")
    kinds = {entry.signature.outputs[0].kind for entry in record.artifacts}
    if len(kinds) != 1:
        raise ArtifactError(
            f"The artifacts give different things ({', '.join(sorted(kinds))}): export them with one --output-kind."
        )
    (kind,) = kinds
    pack = read_golden(folder / record.golden.path)
    with tempfile.TemporaryDirectory(prefix="squeeze-export-") as scratch:
        keys = [entry.key for entry in record.artifacts]
        with workers(Path(scratch), "answer", keys, progress) as crew:
            results = crew.run([_job(folder, Path(scratch), record, entry) for entry in record.artifacts])
        said = {str(result.key): _answers(Path(scratch), result) for result in results if result.failure is None}
    subjects = (Subject(name=REFERENCE, executor="eager PyTorch, as recorded in the golden pack"), *map(_subject, results))
    return Comparison(
        schema_version=1,
        name=record.name,
        output=kind,
        images=pack.names,
        subjects=subjects,
        pairs=_pairs(kind, {REFERENCE: _reference(pack, kind), **said}, _floors(record)),
        exit_code=_exit_code(results),
    )


def _job(folder: Path, scratch: Path, record: Manifest, entry: ArtifactRecord) -> AnswerJob:
    return AnswerJob(
        key=entry.key,
        path=(folder / entry.path).resolve(),
        golden=(folder / record.golden.path).resolve(),
        signature=entry.signature,
        answers=scratch / f"{entry.key.name}.npy",
    )


def _answers(scratch: Path, result: Result) -> Array:
    import numpy as np

    rows: Array = np.load(scratch / f"{result.key.name}.npy")
    return rows


def _subject(result: Result) -> Subject:
    failed = None if result.failure is None else str(result.failure.revive())
    return Subject(name=str(result.key), executor=result.executor, failed=failed)


def _reference(pack: GoldenPack, kind: OutputKind) -> Array:
    if isinstance(pack.reference, Features):
        return pack.reference.features
    return pack.reference.probabilities if kind == "probabilities" else pack.reference.logits


def _floors(record: Manifest) -> dict[str, float]:
    """Below which probability each subject's arithmetic has no digits."""
    floors = {str(entry.key): tolerance_for(entry.target, entry.precision).probability_floor for entry in record.artifacts}
    return {REFERENCE: min(floors.values()), **floors}


def _pairs(kind: OutputKind, said: Mapping[str, Array], floors: Mapping[str, float]) -> tuple[Pair, ...]:
    return tuple(
        Pair(
            first=first,
            second=second,
            agreement=agreement(kind, said[first], said[second], floor=max(floors[first], floors[second])),
        )
        for first, second in combinations(said, 2)
    )


def _exit_code(results: tuple[Result, ...]) -> int:
    """0 where every artifact answered; 6 where all that is missing is an executor; 5 otherwise."""
    failures = {result.failure.error for result in results if result.failure is not None}
    if not failures:
        return 0
    unavailable = failures <= {"TargetUnavailableError", "UnsupportedOperationError"}
    return TargetUnavailableError.exit_code if unavailable else ParityError.exit_code
