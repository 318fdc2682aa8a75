"""The output folder: prepared beside its place, locked against a second run, and put there by one rename."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from squeeze_export.bundle.manifest import MANIFEST, ArtifactRecord
from squeeze_export.contracts.artifact import ArtifactKey, Precision, Target
from squeeze_export.contracts.parity import ParityReport
from squeeze_export.errors import SqueezeExportError, UsageError
from squeeze_export.files.litter import without
from squeeze_export.files.written import LIST, changed

LABELS: Final = "labels.txt"
PARITY: Final = "parity.json"
GOLDEN: Final = "golden"

_LISTED: Final = 5


def artifact_path(name: str, key: ArtifactKey, keys: Collection[ArtifactKey], suffix: str) -> str:
    """Where an artifact stands in a bundle of `keys`, relative, with forward slashes.

    A target that stands there once has the plain name; of one that stands there several times each names its precision,
    "auto" with its size.
    """
    several = sum(other.target == key.target for other in keys) > 1
    return f"{key.target}/{name}{f'-{key.rung_in_names}' if several else ''}{suffix}"


@dataclass(frozen=True, kw_only=True)
class JudgedArtifact:
    """One artifact in parity.json: the report of the executor that decides, and those beside it."""

    target: Target
    precision: Precision
    size_budget: int | None
    parity: ParityReport
    witnesses: tuple[ParityReport, ...]


@dataclass(frozen=True, kw_only=True)
class ParityDocument:
    """What parity.json holds: every executor's report, for readers who want the judgement and nothing else."""

    schema_version: Literal[1] = 1
    name: str
    artifacts: tuple[JudgedArtifact, ...]


def parity_record(name: str, artifacts: Sequence[ArtifactRecord]) -> ParityDocument:
    """The judgement alone, from the manifest's records."""
    judged = tuple(
        JudgedArtifact(
            target=entry.target,
            precision=entry.precision,
            size_budget=entry.size_budget,
            parity=entry.parity,
            witnesses=entry.witnesses,
        )
        for entry in artifacts
    )
    return ParityDocument(name=name, artifacts=judged)


def check_destination(output: Path, name: str, *, force: bool) -> None:
    """Refuse, before any work, a place where the bundle could not be put. Raises UsageError; writes nothing."""
    final = output / name
    for folder in (output, *output.parents):
        if folder.exists():
            if not folder.is_dir():
                raise UsageError(f"The output folder {output} cannot be made: {folder} is a file. Choose another --output.")
            if not os.access(folder, os.W_OK | os.X_OK):
                raise UsageError(f"The output folder {output} cannot be written: no permission in {folder}.")
            break
    if not final.exists() and not final.is_symlink():
        return
    if final.is_symlink() or not final.is_dir():
        raise UsageError(f"{final} exists and is not a folder. Move it away, or choose another --output or --name.")
    if not force:
        raise UsageError(f"{final} exists. Pass --force to replace it, or choose another --output or --name.")
    if without(path.name for path in final.iterdir()) and not (final / MANIFEST).is_file():
        raise UsageError(
            f"{final} holds files but no {MANIFEST}: it is not a bundle, so --force does not replace it. Move it away first."
        )
    for project in sorted(path.parent for path in final.glob(f"*/{LIST}")):
        files = changed(project)
        if files:
            shown = ", ".join(files[:_LISTED]) + (f" and {len(files) - _LISTED} more" if files[_LISTED:] else "")
            raise UsageError(
                f"The app project {project} was changed since it was made ({shown}), and --force would delete that. Move the "
                "project away first, or choose another --output or --name."
            )


@contextlib.contextmanager
def staging(output: Path, name: str) -> Iterator[Path]:
    """Give an empty folder on the same file system as the bundle's place; it is gone afterwards, whatever happens.

    The folder itself carries the lock: a second run into the same place is refused (UsageError), while one left by a killed
    process holds no lock and is cleared away.
    """
    made = _missing_parents(output)
    stage = output / f".{name}.partial"
    try:
        output.mkdir(parents=True, exist_ok=True)
        handle = _lock(stage)
    except OSError as error:
        _remove_empty(made)
        raise storage_error(error, output) from error
    try:
        _restore(output / name, _retired(output, name))
        yield stage
    except OSError as error:
        raise storage_error(error, output) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(handle)
        _remove_empty(made)


def publish(prepared: Path, output: Path, name: str) -> Path:
    """Put the prepared folder in its place by one rename; a bundle that stood there is removed only after that succeeded."""
    final = output / name
    retired = _retired(output, name)
    for path in prepared.rglob("*"):
        # The SDKs and temporary folders leave owner-only modes behind; a published bundle is readable by the next program.
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
    prepared.chmod(0o755)
    if final.exists():
        shutil.rmtree(retired, ignore_errors=True)
        final.rename(retired)
    try:
        prepared.rename(final)
    except BaseException:
        _restore(final, retired)
        raise
    shutil.rmtree(retired, ignore_errors=True)
    return final


def storage_error(error: OSError, folder: Path) -> SqueezeExportError:
    """Say in words what the file system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UsageError(f"No space is left for {folder}. Free some (an export needs about 100 MB) or choose another --output.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UsageError(f"{error.filename or folder} cannot be written: {error.strerror}. Choose another --output.")
    if error.errno is None:  # numpy's own, of a write that was cut short
        return UsageError(f"{folder} could not be written to the end ({error}): is its disk full? Choose another --output.")
    return UsageError(f"{error.filename or folder}: {error.strerror or error}.")


def _retired(output: Path, name: str) -> Path:
    return output / f".{name}.replaced"


def _restore(final: Path, retired: Path) -> None:
    """Bring a bundle back that was moved aside by a run which did not live to put the new one in its place."""
    if not retired.exists():
        return
    if final.exists():
        shutil.rmtree(retired, ignore_errors=True)
    else:
        retired.rename(final)


def _lock(stage: Path) -> int:
    for _ in range(10):
        stage.mkdir(exist_ok=True)
        handle = os.open(stage, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise UsageError(
                f"Another squeeze-export is writing {stage.parent / stage.name[1:-8]} right now. "
                "Wait for it, or choose another --name."
            ) from error
        # The holder before may have removed the folder between mkdir and flock: the lock would be on nothing.
        if stage.exists() and stage.stat().st_ino == os.fstat(handle).st_ino:
            for leftover in stage.iterdir():
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            return handle
        os.close(handle)
    raise UsageError(f"{stage} could not be locked: other runs keep replacing it. Try again.")


def _missing_parents(output: Path) -> list[Path]:
    """The folders that do not exist yet, innermost first: a failed run takes them away again."""
    return [folder for folder in (output, *output.parents) if not folder.exists()]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
