"""Importing coremltools for what the executor needs, without the packages that it looks for only to convert from them."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from typing import Any, Final

# coremltools imports each of these, where installed, to learn whether it can convert from it; opening a package needs none.
# Hidden during the import only: what coremltools imports later on its own account (scikit-learn's k-means) is found again.
_HIDDEN: Final = ("tensorflow", "torchao", "executorch", "sklearn", "xgboost", "libsvm", "transformers", "torchaudio")


def load_coremltools() -> Any:
    """Import coremltools, in about half of its usual time and without its notices, and return it."""
    if "coremltools" in sys.modules:
        return sys.modules["coremltools"]
    hidden = [name for name in _HIDDEN if name not in sys.modules]
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it announces, as warnings, that this is Linux and that torch is newer than it knows
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is Python's own mark for "not importable"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside third-party packages, at their import
            coremltools = importlib.import_module("coremltools")
            # Imported here as well, so that all of the SDK is in before the hidden packages come back.
            importlib.import_module("coremltools.converters.mil.frontend.milproto.load")
    finally:
        for name in hidden:
            if sys.modules.get(name, ...) is None:
                del sys.modules[name]
        logger.setLevel(level)
    return coremltools
