"""Work in a process of its own, so that its memory is free again and its crash takes nothing with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def alone(name: str, work: Callable[[], object]) -> None:
    """Fork, do the work, and wait for its end; an exception is printed behind `name`."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    os.waitpid(child, 0)
