"""Int8 in a TFLite flatbuffer: which number stands for what is chosen here, and written exactly so.

Filters are symmetric per output channel. `int8-dynamic` leaves activations to the runtime, `int8-weights` widens the filters
when the file is loaded, `int8` quantises activations as well, by the smallest and largest value that calibration saw. (A moving
average instead, as ai-edge-quantizer has it, clips: 29 points of top-1 on torchvision's 1.1.) `int8-uint8` is the same inside and
takes and gives uint8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array


_LEVELS: Final = 127  # of a filter, to both sides of 0: -128 is left out, as every int8 kernel demands


@dataclass(frozen=True, kw_only=True)
class QuantisedFilter:
    """A filter (O, H, W, I) as int8 and one scale per output channel: what it decodes to is `values * scales`."""

    values: Array
    scales: Array

    @property
    def decoded(self) -> Array:
        """The weights that the runtime computes with, float32."""
        import numpy as np

        shaped: Array = self.values.astype(np.float32) * self.scales.reshape(-1, 1, 1, 1)
        return shaped


def quantise_filter(weights: Array) -> QuantisedFilter:
    """Round a filter (O, H, W, I) to the nearest of 255 levels between minus and plus the largest weight of each channel."""
    import numpy as np

    largest = np.abs(weights).max(axis=(1, 2, 3))
    scales = (np.where(largest > 0, largest, 1.0) / _LEVELS).astype(np.float32)
    values = np.clip(np.rint(weights / scales.reshape(-1, 1, 1, 1)), -_LEVELS, _LEVELS).astype(np.int8)
    return QuantisedFilter(values=values, scales=scales)
