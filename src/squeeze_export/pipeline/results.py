"""What an export ends with: a bundle, or a failure with all that is known of every artifact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squeeze_export.bundle import manifest
from squeeze_export.errors import SqueezeExportError
from squeeze_export.processes.jobs import Result
from squeeze_export.tabular import Tabular


@dataclass(frozen=True, kw_only=True, repr=False)
class Bundle(Tabular):
    """A finished bundle: its folder, what its manifest.json says, and what the user must know of how it was made.

    `failed`: all that is known of the artifacts that the manifest names as missing, where the export was told to keep going.
    It stands for its folder wherever a path is taken: `squeeze_export.verify(bundle)`, `pathlib.Path(bundle)`.
    """

    path: Path
    manifest: manifest.Manifest
    notes: tuple[str, ...] = ()
    failed: tuple[Result, ...] = ()

    def __fspath__(self) -> str:
        """The bundle's folder."""
        return str(self.path)

    @property
    def headline(self) -> tuple[str, str]:
        """Name and place; how many artifacts passed, and what is missing."""
        verdicts = Counter[str](entry.parity.verdict for entry in self.manifest.artifacts)
        verdicts["missing"] = len(self.manifest.missing)
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items() if count)
        return f"Bundle {self.manifest.name} in {self.path}", f"artifacts: {told}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per artifact: bytes, verdict, and what was measured where it is judged: SNR in dB, largest absolute error.

        Those that the manifest names as missing follow, with the verdict ERROR, FAILED, DROPPED or NOT_RUN and the reason.
        """
        found = []
        for entry in self.manifest.artifacts:
            judged = entry.parity.outputs[-1] if entry.parity.outputs else None
            found.append(
                {
                    "target": entry.target,
                    "precision": entry.key.rung,
                    "path": entry.path,
                    "bytes": entry.size_bytes,
                    "verdict": entry.parity.verdict,
                    "observed": None if judged is None else judged.observed,
                    "snr_db": None if judged is None else judged.snr_db,
                    "max_abs_error": None if judged is None else judged.max_abs_error,
                    "top1_agreement": None if judged is None else judged.top1_agreement,
                    "reason": entry.parity.reason,
                }
            )
        for record in self.manifest.missing:
            known = {"target": record.target, "precision": record.key.rung, "verdict": record.verdict, "reason": record.reason}
            found.append(dict.fromkeys(found[0] if found else known) | known)
        return found


class ExportFailed(SqueezeExportError):
    """Not every artifact passed: nothing was written. `results` has what is known about each; the worst one is the exit code.

    `accuracy`: what --max-accuracy-drop found, where it came to that; `logs`: what was printed by what failed in it; `notes`:
    what is known of the golden and calibration images.
    """

    def __init__(
        self,
        message: str,
        exit_code: int,
        results: tuple[Result, ...],
        accuracy: manifest.AccuracyRecord | None = None,
        logs: Mapping[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.results = results
        self.accuracy = accuracy
        self.logs = logs or {}
        self.notes = notes
        self.sizes = {
            result.key: manifest.digest(result.artifact.path)[1]
            for result in results
            if result.artifact is not None and result.artifact.path.exists()
        }


class Silent:
    """Progress that nobody watches."""

    def stage(self, subject: str, stage: str) -> None:
        """Say nothing."""

    def count(self, subject: str, done: int, total: int) -> None:
        """Say nothing."""

    def done(self, subject: str, outcome: str, seconds: float) -> None:
        """Say nothing."""

    def published(self, path: Path) -> None:
        """Say nothing."""
