"""Ctrl-C and SIGTERM as one exception that nothing swallows, so that folders and processes are cleaned up on the way out."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)


class Signalled(BaseException):
    """The signal `number` arrived. `told`: what the command has to say of it, a sentence; its work may be done or not."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.told = ""

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as a shell has it."""
        return 128 + self.number


def _raise(number: int, frame: FrameType | None) -> None:
    # The cleaning up is short; a second Ctrl-C must not cut it in half.
    signal.signal(number, signal.SIG_IGN)
    raise Signalled(number)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raise Signalled for both signals within the block; afterwards they do what they did before."""
    previous = {number: signal.signal(number, _raise) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let both signals wait until the block has ended. A process started within it never sees them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """The work is done, only the interpreter's own end is left: nothing of it is worth a traceback."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
