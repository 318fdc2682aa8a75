"""What a long computation tells its user: words, not too many."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

_SECONDS: Final = 2.0


class Spoken:
    """Makes (what, part done, seconds left or NaN) into words for `told`, at most once every two seconds."""

    def __init__(self, told: Callable[[str], None] | None) -> None:
        self._told = told
        self._last = -math.inf

    def __call__(self, what: str, part: float, left: float) -> None:
        if self._told is None or time.monotonic() - self._last < _SECONDS:
            return
        self._last = time.monotonic()
        rest = "" if math.isnan(left) else f", {int(left // 60)}:{int(left % 60):02} left"
        self._told(f"{part:.0%}{rest}: {what}")  # the time first: a narrow terminal cuts the end
