"""Ctrl-C and SIGTERM as one exception that nothing swallows, so that folders and processes are cleaned up on the way out."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

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
    waiting: list[int] = []
    # A mask is of one thread, and inherited by what that thread starts; the system hands a signal to any other thread, and Python
    # then handles it in the main one. So the handlers are put aside as well.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)
    aside: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        aside = {number: signal.signal(number, lambda number, _: waiting.append(number)) for number in _NUMBERS}
    try:
        yield
    finally:
        # Unmasked while they are still collected: what the mask kept pending comes now.
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in aside.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number in waiting[:1]:
            if callable(aside[number]):
                aside[number](number, None)
            elif aside[number] is not signal.SIG_IGN:
                os.kill(os.getpid(), number)


def ignore() -> None:
    """The work is done, only the interpreter's own end is left: nothing of it is worth a traceback."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
