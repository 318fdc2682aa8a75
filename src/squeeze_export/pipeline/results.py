"""What an export ends with: a bundle, or a failure with all that is known of every artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from squeeze_export.bundle import manifest
from squeeze_export.errors import SqueezeExportError
from squeeze_export.processes.jobs import Result


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A finished bundle: its folder, what its manifest.json says, and what the user must know of how it was made.

    `failed`: all that is known of the artifacts that the manifest names as missing, where the export was told to keep going.
    """

    path: Path
    manifest: manifest.Manifest
    notes: tuple[str, ...] = ()
    failed: tuple[Result, ...] = ()


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
