"""Which files of a folder a person has changed since it was written: a list of sha256 inside it, as sha256sum reads it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from squeeze_export.files.litter import is_litter

LIST: Final = ".squeeze-export.sha256"
# What Android Studio, Gradle, Xcode and Swift put into a project by themselves.
_MADE_BY_TOOLS: Final = frozenset(
    {".gradle", ".idea", ".kotlin", ".cxx", "build", "captures", "local.properties", "gradlew", "gradlew.bat"}
    | {"gradle-wrapper.jar", ".build", ".swiftpm", "DerivedData", "xcuserdata", "Package.resolved"}
)


def write_list(folder: Path, made_with: Mapping[str, str] | None = None) -> None:
    """Write the list of everything that stands in `folder`; a comment in it, which sha256sum passes over, says `made_with`."""
    head = "" if made_with is None else f"# {json.dumps(dict(made_with), ensure_ascii=False)}\n"
    lines = [f"{sha256(folder / name)}  {name}\n" for name in _files(folder)]
    (folder / LIST).write_text(head + "".join(lines), encoding="utf-8")


def read_list(folder: Path) -> dict[str, str]:
    """The sha256 of each file as it was written, by its relative path; nothing where the folder has no list."""
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in _lines(folder)) if not digest.startswith("#")}
    return {
        name: digest for name, digest in listed.items() if name and not Path(name).is_absolute() and ".." not in Path(name).parts
    }


def made_with(folder: Path) -> dict[str, str]:
    """What write_list was told of how the folder was made; nothing where it has no such list."""
    for line in _lines(folder)[:1]:
        if line.startswith("# {"):
            try:
                found = json.loads(line.removeprefix("# "))
            except ValueError:
                return {}
            return {str(name): str(value) for name, value in found.items()}
    return {}


def changed(folder: Path) -> tuple[str, ...]:
    """The files that were changed, added or removed since write_list, sorted; none where the folder has no list.

    What development tools add by themselves is no change.
    """
    listed = read_list(folder)
    if not listed:
        return ()
    there = _files(folder)
    added = [name for name in there if name not in listed and not _by_tools(name)]
    other = [name for name, digest in listed.items() if name not in there or sha256(folder / name) != digest]
    return tuple(sorted((*added, *other)))


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _lines(folder: Path) -> list[str]:
    try:
        return (folder / LIST).read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError):
        return []


def _files(folder: Path) -> list[str]:
    found = []
    for place, _, names in os.walk(folder):
        relative = Path(place).relative_to(folder)
        found += [(relative / name).as_posix() for name in names]
    return sorted(name for name in found if name != LIST)


def _by_tools(name: str) -> bool:
    parts = Path(name).parts
    return is_litter(Path(name)) or name.endswith(".iml") or any(part in _MADE_BY_TOOLS for part in parts)
