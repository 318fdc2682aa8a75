"""A project that a developer has worked in takes a newer bundle: what they changed stays theirs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from squeeze_export.contracts.request import Starter
from squeeze_export.errors import UsageError
from squeeze_export.files.written import LIST, made_with, read_list, sha256

_SHOWN: Final = 5
_KNOWN: Final = ("platform", "target", "precision", "app_id", "app_name")


def check_project(project: Path) -> None:
    """Raise UsageError where `project` is no folder that a starter was written into."""
    if not (project / LIST).is_file() or project.is_symlink():
        raise UsageError(
            f"{project} has no {LIST}: squeeze-export did not write this project, or its list was removed. "
            "Without --update the project is written into a new folder."
        )


def made_before(project: Path, platform: Starter) -> dict[str, str]:
    """What the project was made with: platform, target, precision (empty: the default), app_id, app_name.

    Raises UsageError where it is no project of ours, or one of another platform.
    """
    check_project(project)
    before = made_with(project)
    if not set(_KNOWN) <= before.keys():
        raise UsageError(f"{project / LIST} does not say how the project was made: it cannot be updated. Make a new one.")
    if before["platform"] != platform:
        raise UsageError(f"{project} is a project for {before['platform']}, not for {platform}.")
    return before


def apply_update(rendered: Path, project: Path) -> None:
    """Bring what is new in `rendered` into `project`, file by file.

    A file that only we changed is replaced or removed; one that only its developer changed stays. Where both did, UsageError
    names the files, before anything is touched. An update that was interrupted goes on when it is done again.
    """
    before, after = read_list(project), read_list(rendered)
    taken: list[str] = []
    both: list[str] = []
    for name in sorted({*before, *after}):
        base, theirs, mine = before.get(name, ""), after.get(name, ""), sha256(project / name)
        if theirs in (mine, base):
            continue
        (taken if mine == base else both).append(name)
    if both:
        shown = ", ".join(both[:_SHOWN]) + (f" and {len(both) - _SHOWN} more" if both[_SHOWN:] else "")
        raise UsageError(
            f"Nothing was updated: the new project has another {shown}, which you changed too. Make the new project in another "
            "folder, without --update, and merge the two; or undo your change and update again."
        )
    for name in taken:
        path = project / name
        if name not in after:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(rendered / name, path)
    _replace(rendered / LIST, project / LIST)


def _replace(new: Path, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        shutil.copy(new, part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
