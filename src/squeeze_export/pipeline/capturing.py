"""A captured network held to the eager module that it was made from, by what rounding alone costs the two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.errors import SourceError
from squeeze_export.sources.networks import capture
from squeeze_export.validation import noise

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.parity import NoiseFloor
    from squeeze_export.contracts.source import SourceModel


def noise_floor_of(source: SourceModel, images: torch.Tensor) -> NoiseFloor:
    """The noise floor of a captured network on images (N, C, H, W), normalised.

    Raises SourceError where its program is not the eager module: less than capture.FLOOR_DB apart from it, and less than
    rounding explains. A network that cancels large numbers, or whose attention is sharp, loses 40 dB and more by rounding; the
    program, whose batch norms are folded, rounds otherwise.
    """
    found = noise.measure(source.module, images)
    if source.eager is None:
        return found
    try:
        capture.compare(source.program, source.eager, images)
    except SourceError:
        excused = min(noise.excused_db(found), _excused_eagerly(source.eager, images))
        if excused >= capture.FLOOR_DB:
            raise
        capture.compare(source.program, source.eager, images, floor=excused)
    return found


def _excused_eagerly(module: torch.nn.Module, images: torch.Tensor) -> float:
    """The same of the user's own module; what cannot be computed in fp64 excuses nothing."""
    try:
        return noise.excused_db(noise.measure(module, images))
    except Exception:  # the user's code may do anything with numbers of another type
        return capture.FLOOR_DB
