"""coremltools as the exporter wants it: imported in a quarter of the time, and silent unless there is something to say."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

# coremltools imports these if it finds them, for converters and compression that are not used here, and carries on without them
# (each import stands in a bare try/except). Measured on 2 cores with torch loaded: 8 to 10 s with them, 2 s without; same bytes.
_UNUSED_BY_THIS_ROUTE: Final = ("tensorflow", "sklearn", "torchao", "transformers", "executorch", "torchvision", "torchaudio")

# What coremltools logs as warnings on every import here, whatever is converted. Anything else it logs is shown.
_EXPECTED_LOGS: Final = (
    "Torch version",  # newer than its authors tested; what it makes of this version is proven by the parity check
    "scikit-learn version",  # disables a converter that is not used
    "Failed to load _ML",  # the Core ML runtime is missing: true on every machine but a Mac, and not needed to convert
)


def load() -> Any:
    """Import coremltools, if it is not imported yet, without the packages that it does not need here."""
    with _expected_logs_dropped(), _hidden(_UNUSED_BY_THIS_ROUTE):
        return importlib.import_module("coremltools")


@contextmanager
def quiet() -> Iterator[Any]:
    """Lend coremltools without its progress bars and without the logs and warnings named here; errors pass untouched."""
    ct = load()
    with _expected_logs_dropped(), _without_progress_bars(), warnings.catch_warnings():
        # The TorchScript route is the one that coremltools 9 completes and recommends; torch 2.13 deprecates it all the same.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        # coremltools leaves the folder it collects the weights in to the garbage collector, which removes it and complains.
        warnings.filterwarnings("ignore", message="Implicitly cleaning up", category=ResourceWarning)
        yield ct


@contextmanager
def _expected_logs_dropped() -> Iterator[None]:
    logger = logging.getLogger("coremltools")
    logger.addFilter(_unexpected)
    try:
        yield
    finally:
        logger.removeFilter(_unexpected)


def _unexpected(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_EXPECTED_LOGS)


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Make the import of packages that are not loaded yet fail for a while."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # the documented way to make an import raise
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Switch off coremltools' two tqdm bars; TQDM_DISABLE would come too late, because torch has imported tqdm before."""
    bars = (
        (importlib.import_module("coremltools.converters.mil.frontend.torch.ops"), "_tqdm"),
        (importlib.import_module("coremltools.converters.mil.mil.passes.pass_pipeline"), "tqdm"),
    )
    originals = [(module, name, getattr(module, name)) for module, name in bars]
    try:
        for module, name, original in originals:
            setattr(module, name, partial(original, disable=True))
        yield
    finally:
        for module, name, original in originals:
            setattr(module, name, original)
