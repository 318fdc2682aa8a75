"""coremltools as the exporter wants it: silent unless there is something to say."""

from __future__ import annotations

import importlib
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from squeeze_export.sdks import expected_logs_dropped, load_coremltools


@contextmanager
def quiet() -> Iterator[Any]:
    """Lend coremltools without its progress bars and without the logs and warnings named here; errors pass untouched."""
    ct = load_coremltools()
    with expected_logs_dropped(), _without_progress_bars(), warnings.catch_warnings():
        # The TorchScript route is the one that coremltools 9 completes and recommends; torch 2.13 deprecates it all the same.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        # coremltools leaves the folder it collects the weights in to the garbage collector, which removes it and complains.
        warnings.filterwarnings("ignore", message="Implicitly cleaning up", category=ResourceWarning)
        try:
            yield ct
        except Exception as error:
            # The frames of a failed conversion hold that folder, too: let go of it now, not when the report is thrown away.
            traceback.clear_frames(error.__traceback__)
            raise


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
