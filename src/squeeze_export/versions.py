"""Installed versions of the distributions that decide an artifact's bytes or execute it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata


def version_of(distribution: str) -> str | None:
    """The installed version without its local part ("2.13.0", not "2.13.0+cpu"), or None."""
    try:
        return metadata.version(distribution).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def versions_of(distributions: Iterable[str]) -> dict[str, str]:
    """Versions by name, sorted; distributions that are not installed are left out."""
    found = {name: version_of(name) for name in sorted(set(distributions))}
    return {name: version for name, version in found.items() if version is not None}
