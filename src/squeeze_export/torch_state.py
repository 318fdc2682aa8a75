"""What a program around a call has switched in torch must not reach into the call: the same bytes come out in any case."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def usual() -> Iterator[None]:
    """Torch as it is when it has just been imported, for the time of the block: fp32 on the CPU, no autocast, no inference mode.

    Also a decorator. Where torch has not been imported, nothing has been switched and nothing is imported.
    """
    if "torch" not in sys.modules:
        yield
        return
    import torch

    dtype = torch.get_default_dtype()
    deterministic, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(torch.device("cpu"))  # above set_default_device and any `with torch.device(...)` of the caller
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.use_deterministic_algorithms(deterministic, warn_only=warns)
