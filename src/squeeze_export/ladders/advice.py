"""Which rung should I take? For each platform the smallest and the fastest within a limit, and the smallest of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from squeeze_export.contracts.artifact import Precision, Target, rung_name
from squeeze_export.evaluation.limit import exceeds
from squeeze_export.ladders.rungs import PLATFORMS, Platform, Rung, of_platform
from squeeze_export.validation.accuracy import PairedDifference

POINTS: Final = 1.0  # that a rung may drop, where nobody said how many

Purpose = Literal["smallest within", "fastest within", "smallest of all"]


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One rung to take on a platform, and what for.

    `points`: how far below the reference its top-1 may be, of the first two purposes; None of the last, which is named whatever
    it costs. `top1_difference`: accuracy less the reference's on the same images, a fraction. `ms_1_thread`: median
    milliseconds of one image, None where nothing here says how long it takes on a phone.
    """

    platform: Platform
    purpose: Purpose
    points: float | None
    target: Target
    precision: Precision
    size_budget: int | None
    bytes: int
    top1_difference: float
    ms_1_thread: float | None

    @property
    def name(self) -> str:
        """The artifact as one asks for it, such as "coreml pal6"."""
        return f"{self.target} {rung_name(self.precision, self.size_budget)}"

    @property
    def figures(self) -> str:
        """Its megabytes, points and, of the fastest, milliseconds."""
        points = f"{100 * self.top1_difference:+.1f} points"
        told = [f"{self.bytes / 1e6:.2f} MB", points if self.top1_difference else "no points lost"]
        if self.purpose == "fastest within" and self.ms_1_thread is not None:
            told.append(f"{self.ms_1_thread:.1f} ms here")
        return ", ".join(told)


def advise(rungs: Sequence[Rung], images: int, max_drop: float | None = None) -> tuple[Advice, ...]:
    """What to take of these rungs, measured on so many images; nothing of a platform without a measured rung.

    Within means: not refused by any limit, and its top-1 lower than the reference's by at most `max_drop` points, or 1. Of equal
    ones the more accurate counts, then the first.
    """
    points = POINTS if max_drop is None else max_drop
    made: list[Advice] = []
    for platform in PLATFORMS:
        own = [rung for rung in of_platform(rungs, platform) if rung.comparison is not None]
        within = [rung for rung in own if not rung.refused and not exceeds(_drop(rung), images, points)]
        small = min(within, key=lambda rung: (rung.bytes, -_drop(rung).value), default=None)
        timed = [rung for rung in within if rung.ms_1_thread is not None]
        fast = min(timed, key=lambda rung: (rung.ms_1_thread, rung.bytes), default=None)
        least = min(own, key=lambda rung: (rung.bytes, -_drop(rung).value), default=None)
        if small is not None:
            made.append(_advice(platform, "smallest within", points, small))
        if fast is not None:
            made.append(_advice(platform, "fastest within", points, fast))
        if least is not None and least is not small:
            made.append(_advice(platform, "smallest of all", None, least))
    return tuple(made)


def sentences(advice: Sequence[Advice], max_drop: float | None = None) -> tuple[str, ...]:
    """A line per platform that has a measured rung: what to take, and what else there is."""
    told = []
    for platform in PLATFORMS:
        own = {one.purpose: one for one in advice if one.platform == platform}
        if not own:
            continue
        small, fast, least = (own.get(one) for one in ("smallest within", "fastest within", "smallest of all"))
        words = []
        if small is None:
            limit = f"{POINTS if max_drop is None else max_drop:g}"
            words.append(f"no file is within {limit} {'point' if limit == '1' else 'points'} of the reference")
        else:
            words.append(f"take {small.name}: {small.figures}")
        if fast is not None and (small is None or fast.name != small.name):
            words.append(f"fastest within as much: {fast.name}, {fast.figures}")
        if least is not None:
            words.append(f"smallest of all: {least.name}, {least.figures}")
        told.append(f"{platform}: {'; '.join(words)}.")
    return tuple(told)


def _drop(rung: Rung) -> PairedDifference:
    assert rung.comparison is not None
    return rung.comparison.top1_difference


def _advice(platform: Platform, purpose: Purpose, points: float | None, rung: Rung) -> Advice:
    return Advice(
        platform=platform,
        purpose=purpose,
        points=points,
        target=rung.target,
        precision=rung.precision,
        size_budget=rung.size_budget,
        bytes=rung.bytes,
        top1_difference=_drop(rung).value,
        ms_1_thread=rung.ms_1_thread,
    )
