"""timm and torchvision for tests, also beside a CPU build of torch, which torchvision's compiled part does not fit."""

from __future__ import annotations

import functools
import importlib
import warnings
from importlib.util import find_spec

import pytest

# Operators of torchvision's compiled part, which its import asks for. Users have matching builds and need none of this.
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    *(f"{name}(Tensor input) -> Tensor" for name in ("roi_align", "_roi_align_backward", "qroi_align")),
    *(
        f"{name}(Tensor input) -> Tensor"
        for name in ("roi_pool", "_roi_pool_backward", "deform_conv2d", "_deform_conv2d_backward")
    ),
    *(f"{name}(Tensor input) -> Tensor" for name in ("ps_roi_align", "_ps_roi_align_backward")),
    *(f"{name}(Tensor input) -> Tensor" for name in ("ps_roi_pool", "_ps_roi_pool_backward", "box_iou_rotated")),
)


@functools.cache
def _declared():
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
        library.define(operator)
    return library  # they are gone with it


@functools.cache
def _reason(name, *things):
    if find_spec(name) is None:
        return f"{name} is not installed: pip install 'squeeze-export[{name}]'"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module("torchvision")
        except ImportError:  # transformers does without
            pass
        except RuntimeError:
            _declared()
        try:
            module = importlib.import_module(name)
            for thing in things:
                getattr(module, thing)
        except (ImportError, RuntimeError) as error:
            return f"{name} does not load beside this torch: {error}"
    return None


def needed(name, *things):
    """Skip the test, saying why, where the library, or these things in it, cannot be imported."""
    if told := _reason(name, *things):
        pytest.skip(told)
