"""A network of the list as a factory: random weights, calibrated batch norms, logits of a trained network's size."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from benchmarks.noise.networks import Scaled, build, photographs

_LARGEST: float = 30.0  # of the logits, as of a trained classifier; beyond 84 a softmax in fp32 hides what is small
_OTHERS: int = 32
_SAME: float = 1e-4  # of the largest logit: a factor inside a layer rounds otherwise than behind it


@functools.cache
def made(name: str, calibration: str) -> tuple[torch.nn.Module, int]:
    """The network "timm:NAME" or "torchvision:NAME" in eval mode, and its side in pixels; the same one on every call.

    Its logits have a spread of 3 on the calibration photographs, and are scaled down where others drive one beyond 30.
    """
    scaled, side = build(name, Path(calibration))
    assert isinstance(scaled, Scaled)
    with torch.no_grad():
        others = photographs(Path(calibration).parent / "evaluation", side, _OTHERS)
        largest = max(float(scaled(image[None]).abs().max()) for image in others)
    scaled.factor *= min(1.0, _LARGEST / largest)
    return unscaled(scaled, torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))), side


def network(name: str, calibration: str) -> torch.nn.Module:
    """The same for `--model benchmarks.zoo.network:network`."""
    return made(name, calibration)[0]


def unscaled(scaled: Scaled, images: torch.Tensor) -> torch.nn.Module:
    """The network with the factor inside its last linear layer, as a trained one has it; `scaled` where that changes more."""
    ran: list[torch.nn.Linear] = []
    layers = [part for part in scaled.inner.modules() if isinstance(part, torch.nn.Linear)]
    hooks = [layer.register_forward_hook(lambda layer, *_: ran.append(layer)) for layer in layers]
    with torch.no_grad():
        before = scaled(images)
        for hook in hooks:
            hook.remove()
        if not ran:
            return scaled
        last = ran[-1]
        old = [(tensor, tensor.clone()) for tensor in (last.weight, last.bias) if tensor is not None]
        for tensor, values in old:
            tensor.copy_(values * scaled.factor)
        after = scaled.inner(images)
        if float((after - before).abs().max()) <= _SAME * float(before.abs().max()):
            return scaled.inner
        for tensor, values in old:
            tensor.copy_(values)
    return scaled
