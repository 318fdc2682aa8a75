"""What went wrong in someone else's code, in one line, with the file and line that its author can open."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import squeeze_export

_LONGEST: Final = 300


def one_line(error: BaseException) -> str:
    """The class of an error and the first line of its text that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:_LONGEST]}" if lines else type(error).__name__


def place(error: BaseException) -> str | None:
    """The deepest place in the user's code that an error came through, "file.py, line 12"; None where it touched none.

    Libraries count where no code of the user's own was on the way; PyTorch, Python and this package never do.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return at(error.filename, error.lineno)
    ours = str(Path(squeeze_export.__file__).parent)
    never = (*_folders("torch"), ours, os.path.realpath(ours))
    python = sysconfig.get_paths()["stdlib"] + os.sep
    seen: BaseException | None = error
    while seen is not None:
        frames = [frame for frame in traceback.extract_tb(seen.__traceback__) if not frame.filename.startswith("<")]
        foreign = [
            frame
            for frame in frames
            if not frame.filename.startswith(never) and (_of_a_library(frame.filename) or not frame.filename.startswith(python))
        ]
        own = [frame for frame in foreign if not _of_a_library(frame.filename)]
        if foreign:
            frame = (own or foreign)[-1]
            return at(frame.filename, frame.lineno)
        seen = seen.__cause__ or seen.__context__
    return None


def at(filename: str, line: int | None) -> str:
    """A place in a file as messages name it."""
    return f"{_shown(filename)}, line {line}"


def told(error: BaseException) -> str:
    """An error in one line, and where in the user's code it came from."""
    where = place(error)
    return one_line(error) + (f" ({where})" if where else "")


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Keep what a library prints, logs and warns off the screen; what it printed is in the buffer."""
    said = io.StringIO()
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield said
        finally:
            logging.disable(disabled)


def _of_a_library(name: str) -> bool:
    return f"{os.sep}site-packages{os.sep}" in name or name.startswith(_folders("timm", "torchvision", "transformers"))


def _folders(*packages: str) -> tuple[str, ...]:
    specs = [find_spec(package) for package in packages]
    return tuple(f"{folder}{os.sep}" for spec in specs if spec is not None for folder in spec.submodule_search_locations or ())


def _shown(filename: str) -> str:
    """Without the machine's own folders: from the current folder, from where packages are installed, or the last two parts."""
    path = Path(filename)
    with contextlib.suppress(ValueError, OSError):
        return str(path.resolve().relative_to(Path.cwd()))
    parts = path.parts
    package = next((place for place, part in enumerate(parts) if part in ("site-packages", "timm", "torchvision")), None)
    if package is None:
        return str(Path(*parts[-2:]))
    return str(Path(*parts[package + (parts[package] == "site-packages") :]))
