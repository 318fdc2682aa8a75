"""The weights of a checked TFLite file as the source has them: filters in their own layout, integers decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.validation.runners.litert import networks, patches

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array
    from squeeze_export.validation.runners.litert.model import TfliteFile


def stored_weights(file: TfliteFile) -> tuple[Array, ...]:
    """Filter (O, I, H, W) and bias (O,) of every convolution in execution order; integers decoded to float32.

    Of networks other than SqueezeNet linear weights (O, I) as well.
    """
    import numpy as np

    if file.network is not None:
        return networks.stored_weights(file)

    weights: list[Array] = []
    for data, weight, bias in file.convolutions():
        kernel = file.decoded(weight)
        if kernel.ndim == 2:
            side = patches.kernel(file, data)
            kernel = kernel.reshape(len(kernel), *side, -1)
        elif patches.pairs(file, data):
            kernel = patches.unpaired(kernel)
        weights.append(np.ascontiguousarray(kernel.transpose(0, 3, 1, 2)))
        weights.append(file.decoded(bias))
    return tuple(weights)
