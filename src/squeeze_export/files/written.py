"""Which files of a folder a person has changed since it was written: a list of sha256 inside it, as sha256sum reads it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from squeeze_export.files.litter import is_litter

LIST: Final = ".squeeze-export.sha256"
# What Android Studio, Gradle, Xcode and Swift put into a project by themselves.
_MADE_BY_TOOLS: Final = frozenset(
    {".gradle", ".idea", ".kotlin", ".cxx", "build", "captures", "local.properties", "gradlew", "gradlew.bat"}
    | {"gradle-wrapper.jar", ".build", ".swiftpm", "DerivedData", "xcuserdata", "Package.resolved"}
)


def write_list(folder: Path) -> None:
    """Write the list of everything that stands in `folder`."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in _files(folder)]
    (folder / LIST).write_text("".join(lines), encoding="utf-8")


def changed(folder: Path) -> tuple[str, ...]:
    """The files that were changed, added or removed since write_list, sorted; none where the folder has no list.

    What development tools add by themselves is no change.
    """
    try:
        lines = (folder / LIST).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = _files(folder)
    added = [name for name in there if name not in listed and not _by_tools(name)]
    other = [name for name, digest in listed.items() if name not in there or _sha256(folder / name) != digest]
    return tuple(sorted((*added, *other)))


def _files(folder: Path) -> list[str]:
    found = []
    for place, _, names in os.walk(folder):
        relative = Path(place).relative_to(folder)
        found += [(relative / name).as_posix() for name in names]
    return sorted(name for name in found if name != LIST)


def _by_tools(name: str) -> bool:
    parts = Path(name).parts
    return is_litter(Path(name)) or name.endswith(".iml") or any(part in _MADE_BY_TOOLS for part in parts)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
