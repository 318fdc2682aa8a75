"""The tolerance that follows from a noise floor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from squeeze_export.contracts.artifact import Precision
from squeeze_export.contracts.parity import Floored, NoiseFloor, Tolerance


@dataclass(frozen=True, kw_only=True)
class _Room:
    """How far below its floor an artifact may be, in dB, and how many times as large its largest error, which swings by more.

    `best_db`, and `least_error` of the peak: how good a floor may count as. No kernel can be asked for more, whatever luck the
    eager one had, or however shallow the network is.
    """

    below_db: float
    times: float
    best_db: float
    least_error: float
    why: str


# Measured by benchmarks/noise. The worst sound files: 4.9 dB and 1.7 times the error (fp32; LiteRT once 6.4 dB), 4.4 dB and
# 2.1 times (fp16), 1.5 dB and 1.4 times (stored). benchmarks/zoo: in fp32 10.7 dB, EfficientNet-B0 in ONNX. At 13 dB in place of
# 10 not one planted fault less is caught.
_ROOMS: Final[Mapping[Floored, _Room]] = {
    "fp32": _Room(
        below_db=13.0,
        times=4.0,
        best_db=125.0,
        least_error=1e-6,
        why="kernels differ from eager PyTorch in the order of summation",
    ),
    "fp16": _Room(
        below_db=8.0, times=4.0, best_db=66.0, least_error=5e-4, why="a runtime joins operations and rounds at other places"
    ),
    "fp16-stored": _Room(
        below_db=6.0, times=3.0, best_db=72.0, least_error=3e-4, why="a converter folds weights before it rounds them"
    ),
}
_MEASURED: Final[Mapping[Floored, str]] = {
    "fp32": "eager fp32 against fp64",
    "fp16": "eager, weights and every result rounded to fp16",
    "fp16-stored": "eager, weights rounded to fp16",
}
_FULL_DIGITS: Final = 2.0**-120  # XNNPACK's softmax is off by 2 % and more below 2**-121, by 3e-6 from there on
_SIGMAS: Final = 4.0


def tolerance(floor: NoiseFloor, precision: Precision, *, stored: bool = False) -> Tolerance:
    """The bar for an fp32 or fp16 artifact of the network that the floor was measured on, with the same images.

    `stored`: of a file whose weights are fp16 and which computes in fp32. Raises ValueError where the floor has no such level,
    with the reason, and for every other precision, which no rounding floor describes.
    """
    if precision not in ("fp32", "fp16"):
        raise ValueError(f"a noise floor gives tolerances for fp32 and fp16, not for {precision}")
    name: Floored = "fp32" if precision == "fp32" else "fp16-stored" if stored else "fp16"
    level, room = floor.level(name), _ROOMS[name]
    chance = _few_db(floor.images * max(1, floor.classes - 1))
    below, times = room.below_db + chance, room.times * 10 ** (chance / 20)
    centred = level.snr_db if math.isnan(level.centred_snr_db) else level.centred_snr_db
    lowest = floor.constant_db + 3  # an answer that is the same for every image must not pass
    error = max(level.max_error_of_peak, room.least_error) * times
    return Tolerance(
        precision=precision,
        max_error_of_peak=float(f"{error:.2g}"),
        min_snr_db=round(min(level.snr_db, room.best_db) - below, 1),
        min_centred_snr_db=round(max(min(centred, room.best_db) - below, lowest), 1),
        probability_floor=2.0**-14 if name == "fp16" else _FULL_DIGITS,
        reason=(
            f"What rounding alone costs this network ({_MEASURED[name]}, {floor.images} images): {_db(level.snr_db)}, "
            f"{_db(centred)} centred and {level.max_error_of_peak:.1g} of the peak. A file may be {below:.0f} dB below that, "
            f"with {times:.1f} times the error, for {room.why}."
        ),
    )


def excused_db(floor: NoiseFloor) -> float:
    """The SNR in dB, centred or not, that rounding in fp32 alone may leave of this network; infinite where none is known.

    Two ways of computing the same network in fp32, such as with and without its batch norms folded, may differ by that.
    """
    if floor.fp32 is None:
        return math.inf
    found = tolerance(floor, "fp32")
    return min(found.min_snr_db, found.min_centred_snr_db)


def _few_db(numbers: int) -> float:
    """Room for chance in two noise powers that rest on so few numbers each: `_SIGMAS` times the logarithm's spread, in dB."""
    return _SIGMAS * 10 / math.log(10) * math.sqrt(4 / numbers)


def _db(value: float) -> str:
    return f"{value:.0f} dB" if math.isfinite(value) else "no error at all"
