"""Names for arrays, for annotations only: importing this loads no numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

if TYPE_CHECKING:
    Array: TypeAlias = npt.NDArray[Any]
    FloatArray: TypeAlias = npt.NDArray[np.float32]
    PixelArray: TypeAlias = npt.NDArray[np.uint8]
