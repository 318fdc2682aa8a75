"""timm and torchvision for tests, also beside a CPU build of torch, which torchvision's compiled part does not fit."""

from __future__ import annotations

import functools
import importlib
import warnings
from importlib.util import find_spec

import pytest
from benchmarks.noise.networks import declare_operators


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
            declare_operators()
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
