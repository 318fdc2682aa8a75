"""What file managers, editors and git leave in folders: no part of a bundle, no damage to it, no class and no picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Final

_NAMES: Final = frozenset(
    name.lower()
    for name in (
        ".DS_Store", ".localized", "Icon\r", "__MACOSX", ".Spotlight-V100", ".Trashes", ".fseventsd", ".AppleDouble",  # macOS
        "Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information",  # Windows
        ".directory", "@eaDir", ".thumbnails",  # KDE, Synology, GNOME
        ".ipynb_checkpoints",  # Jupyter
        ".git", ".gitattributes", ".gitignore", ".gitkeep", ".svn", ".hg",  # version control
    )
)  # fmt: skip

# How the file begins that Git LFS puts in the place of a large one.
LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"


def is_litter(path: PurePath | str) -> bool:
    """Whether a relative path is, or lies in, something that was left there; ._NAME is macOS's other half of NAME."""
    return any(part.lower() in _NAMES or part.startswith("._") for part in PurePath(path).parts)


def without(names: Iterable[str]) -> list[str]:
    """The names that are no litter, in their order."""
    return [name for name in names if not is_litter(name)]


def ignored() -> Callable[[str, list[str]], list[str]]:
    """What shutil.copytree is told to leave out."""
    return lambda _, names: [name for name in names if is_litter(name)]
