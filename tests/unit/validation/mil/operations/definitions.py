"""What the tests of the operations share: coremltools' own result for constants, and our function called by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from squeeze_export.sdks import load_coremltools
from squeeze_export.validation.mil.arguments import Arguments
from squeeze_export.validation.mil.ops import OPERATIONS

HALF_ULP = 2.0**-11  # of fp16: the largest relative error of one rounding
SUBNORMAL = 2.0**-25  # half of the smallest fp16 number: the largest absolute error of one


def called(operation: str, **values: Any) -> torch.Tensor:
    """Our function on numpy arrays, numbers and text, as the executor hands them over: floating point in fp32."""

    def tensor(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(tensor(item) for item in value)
        if isinstance(value, str) or value is None:
            return value
        array = np.asarray(value)
        return torch.from_numpy(array.astype(np.float32) if array.dtype.kind == "f" else array)

    result: torch.Tensor = OPERATIONS[operation](Arguments({name: tensor(value) for name, value in values.items()}))
    return result


def defined(operation: str, target: str = "iOS15", **values: Any) -> np.ndarray:
    """What coremltools computes for constants when it folds them: its executable definition, in the type of `x`."""
    ct = load_coremltools()
    from coremltools.converters.mil import Builder as mb

    found = []

    def program(dummy: Any) -> Any:
        found.append(getattr(mb, operation)(**values).val)
        return mb.identity(x=dummy)

    mb.program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=getattr(ct.target, target))(program)
    assert found[0] is not None
    return np.asarray(found[0])


def rounded(result: torch.Tensor) -> np.ndarray:
    """As the executor rounds a result of an fp16 program."""
    return result.half().float().numpy()


def assert_rounded_once(result: torch.Tensor, exact: np.ndarray, slack: float = 0.0) -> None:
    """The fp16 result is the exact one (fp64) within one rounding; a hundredth of it, and `slack`, are left to fp32's error."""
    bound = np.maximum(np.abs(exact) * HALF_ULP, SUBNORMAL) * 1.01 + slack
    error = np.abs(rounded(result).astype(np.float64) - exact)
    assert bool((error <= bound).all()), float((error - bound).max())
