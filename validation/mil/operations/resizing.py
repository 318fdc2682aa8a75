"""The operations that resize the last two axes by a factor.

The result's size is the floor of size * factor, in fp32 as coremltools computes it. Nearest values are those given, so there is
nothing to round; a bilinear value is a sum of four products in fp32, rounded once in an fp16 program.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.errors import UnsupportedOperationError
from squeeze_export.validation.mil.arguments import Arguments

if TYPE_CHECKING:
    import torch

# A factor is the quotient of two sizes up to fp32's rounding; beyond this the floor has cut something off.
_ROUNDING: Final = 1e-4


def _sizes(a: Arguments) -> tuple[list[int], list[int], bool]:
    """Given and resulting height and width, and whether the factors are exactly their quotients."""
    given = list(a.tensor("x").shape[-2:])
    factors = [a.number(f"scale_factor_{side}", 1.0) for side in ("height", "width")]
    products = [float(np.float32(factor) * np.float32(size)) for factor, size in zip(factors, given, strict=True)]
    wanted = [math.floor(product) for product in products]
    return given, wanted, all(product - size <= _ROUNDING for product, size in zip(products, wanted, strict=True))


def upsample_nearest_neighbor(a: Arguments) -> torch.Tensor:
    """Row i of the result is row floor(i * size / new) of x, columns likewise; the factors must give whole sizes."""
    import torch

    given, wanted, exact = _sizes(a)
    if not exact:  # size / new size and 1 / factor then choose other rows, and no definition says which
        raise UnsupportedOperationError(f"upsample_nearest_neighbor from {given} by factors that give no whole size")
    x = a.tensor("x")
    (height, width), (rows, columns) = given, wanted
    if rows % height == 0 and columns % width == 0:
        spread = x[..., :, None, :, None].expand(*x.shape[:-1], rows // height, width, columns // width)
        return spread.reshape(*x.shape[:-2], rows, columns)
    for axis, size, new in ((-2, height, rows), (-1, width, columns)):
        x = x.index_select(axis, torch.arange(new) * size // new)
    return x


def upsample_bilinear(a: Arguments) -> torch.Tensor:
    """Between the four nearest; place i is (i + 0.5) * size / new - 0.5, or with align_corners i * (size - 1) / (new - 1)."""
    from torch.nn import functional

    given, wanted, _ = _sizes(a)
    aligned, half = a.flag("align_corners"), a.optional("half_pixel_centers")
    if half is not None and bool(half.item()) == aligned:  # iOS16 has it, the opposite of align_corners unless it is given
        raise UnsupportedOperationError(f"upsample_bilinear with align_corners and half_pixel_centers both {aligned}")
    if aligned and any(new == 1 and size > 1 for size, new in zip(given, wanted, strict=True)):
        raise UnsupportedOperationError("upsample_bilinear with align_corners to a size of one")
    x = a.tensor("x")
    planes: torch.Tensor = functional.interpolate(
        x.reshape(1, -1, *given), size=tuple(wanted), mode="bilinear", align_corners=aligned
    )
    return planes.reshape(*x.shape[:-2], *wanted)
