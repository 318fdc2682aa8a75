"""Standard output and error that never end a command: what a stream cannot take is said plainly, what it loses is remembered.

A pipe that was closed, a full disk behind a redirection or a stream that was closed before the start change nothing of the work
and nothing of the exit code, which tells the work's outcome.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

# What stands for a sign in an encoding that does not have it.
PLAIN: Final[Mapping[str, str]] = {
    "✓": "yes",
    "✗": "no",
    "Δ": "diff.",
    "±": "+/-",
    "…": "...",
    "–": "-",
    "—": "-",
    "−": "-",
    "∞": "inf",
    "●": "*",
    "↳": ">",
    "↓": "v",
    "×": "x",
    "·": ".",
    "━": "#",
    "┄": ".",
    "─": "-",
    "“": '"',
    "”": '"',
    "„": '"',
    "’": "'",
    "‘": "'",
    "«": "<<",
    "»": ">>",
    "\N{NO-BREAK SPACE}": " ",
}
ERRORS: Final = "squeeze-export-plain"


def plain(text: str, encoding: str) -> str:
    """`text` in characters that `encoding` has: signs by a plain word, others by their escape such as \\u732b."""
    return text.encode(encoding, ERRORS).decode(encoding)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_stand_in(sign) for sign in lost), error.end


def _stand_in(sign: str) -> str:
    # Rich draws its progress with signs that have no name here: dots of Braille and lines of boxes.
    if sign in PLAIN:
        return PLAIN[sign]
    if "\u2500" <= sign <= "\u257f":
        return "-" if sign in "─━┄┅┈┉═" else "|" if sign in "│┃┆┇┊┋║" else "+"
    if "\u2800" <= sign <= "\u28ff":
        return "*"
    return sign.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(ERRORS, _replace)


class _Guard(io.RawIOBase):
    """A descriptor that takes everything; `lost` is the first error of what could not be written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.lost: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        if self.lost is None:
            try:
                return os.write(self._descriptor, data)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EINTR):
                    raise
                self.lost = error
        return len(data)


def shield() -> None:
    """Guard standard output and error of this process, and give it those that it was started without.

    To be called before anything opens a file: a closed descriptor's number would go to the next file, with all that is printed.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        encoding = getattr(before, "encoding", None) or "utf-8"
        guarded = io.TextIOWrapper(
            io.BufferedWriter(_Guard(descriptor)),
            encoding=encoding,
            errors=ERRORS,
            line_buffering=True,
            write_through=name == "stderr",
        )
        setattr(sys, name, guarded)


def lost(stream: Any) -> OSError | None:
    """The first error of what a guarded `stream` could not write, once it is flushed; None where nothing was lost."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if not isinstance(raw, _Guard):
        return None
    stream.flush()
    return raw.lost


def tell_what_was_lost() -> None:
    """Say on standard error that standard output could not be written; a reader that went away knows that itself."""
    error = lost(sys.stdout)
    if error is not None and error.errno not in (errno.EPIPE, errno.EBADF):
        sys.stderr.write(
            f"note: not everything could be printed: {error.strerror}. The exit code still tells the outcome of the work.\n"
        )
    lost(sys.stderr)


def print_json(document: bytes) -> None:
    """Print a JSON document (UTF-8); where standard output has another encoding, with \\u escapes: the same document."""
    text = document.decode("utf-8")
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    if encoding not in ("utf-8", "utf8"):
        # Outside strings JSON has no other characters than ASCII.
        units = text.encode("utf-16-be", "surrogatepass")
        pairs = (int.from_bytes(units[place : place + 2], "big") for place in range(0, len(units), 2))
        text = "".join(chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in pairs)
    sys.stdout.write(text)
    sys.stdout.flush()
