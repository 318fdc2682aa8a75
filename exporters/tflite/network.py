"""The network that becomes a TFLite file: pools that TFLite can state exactly, the normalisation inside the first convolution."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from squeeze_export.contracts.signature import InputSpec, OutputKind
from squeeze_export.contracts.source import SourceModel
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.deployed import given, normalisation

if TYPE_CHECKING:
    import torch

Padding = Literal["VALID", "SAME"]


def prepare(source: SourceModel, spec: InputSpec) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """Copy the source's module so that it takes `spec`'s values (as NCHW) and every pool is exact in TFLite at `spec`'s size.

    The names are those of the source's weights that changed. Raises ConversionError where the module has no first
    convolution to fold into, or a pool that TFLite cannot express.
    """
    import copy

    network: torch.nn.Module = copy.deepcopy(source.module).eval()
    gains, offsets = normalisation(source.preprocessing, spec)
    folded = fold_normalisation(network, gains, offsets, reverse=spec.color_order != source.preprocessing.color_order)
    _, height, width, _ = spec.shape
    rewrite_pools(network, height, width)
    return network, folded


def fold_normalisation(
    network: torch.nn.Module, gains: Sequence[float], offsets: Sequence[float], *, reverse: bool
) -> tuple[str, ...]:
    """Make `network` take v where it took `gain * v + offset` per channel, with the channels of v reversed if `reverse`.

    In place, in float64, rounded once to fp32; returns the names of the weights that changed. Exact because the
    convolution has no padding: every tap sees real pixels.
    """
    import torch

    if not reverse and all(abs(gain - 1) < 1e-9 for gain in gains) and all(abs(offset) < 1e-9 for offset in offsets):
        return ()
    name, first = next(((name, m) for name, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)), ("", None))
    if first is None or first.in_channels != 3 or first.groups != 1 or first.bias is None or any(_pair(first.padding)):
        found = "none" if first is None else f"{name}: {first}"
        raise ConversionError(
            "The normalisation cannot be folded into the first convolution: it must take 3 channels and have a bias and no "
            f"padding. Found {found}. Export with --input-kind tensor, and let the app normalise."
        )
    weight = first.weight.detach().double()
    shift = (weight * torch.tensor(offsets, dtype=torch.float64).view(1, 3, 1, 1)).sum((1, 2, 3))
    scaled = weight * torch.tensor(gains, dtype=torch.float64).view(1, 3, 1, 1)
    with torch.no_grad():
        first.weight.copy_(scaled.flip(1) if reverse else scaled)
        first.bias.copy_(first.bias.double() + shift)
    return f"{name}.weight", f"{name}.bias"


def rewrite_pools(network: torch.nn.Module, height: int, width: int) -> None:
    """Replace every ceil-mode pool by one that the converter translates exactly at this input size; in place.

    TFLite states padding per operation, for both axes at once, and litert-torch picks the wrong one where the axes differ. A
    maximum over a square is the maximum over rows of the maximum over columns: there, one pool becomes two, each along
    one axis. (Padding by hand instead needs PADV2, which XNNPACK does not execute; PAD with 0 is wrong behind the
    complex bypass, whose sums can be negative.)
    """
    import torch

    sizes: dict[str, tuple[int, int]] = {}

    def remember(name: str) -> object:
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            sizes[name] = (inputs[0].shape[2], inputs[0].shape[3])

        return hook

    pools = {name: m for name, m in network.named_modules() if isinstance(m, torch.nn.MaxPool2d) and m.ceil_mode}
    hooks = [pool.register_forward_pre_hook(remember(name)) for name, pool in pools.items()]
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, height, width))
    except RuntimeError as error:
        raise ConversionError(
            f"The network does not run at {height}x{width} (height x width): {error}. Choose a larger --input-size."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    for name, pool in pools.items():
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, _exact_pool(name, pool, sizes[name]))


def _exact_pool(name: str, pool: torch.nn.MaxPool2d, size: tuple[int, int]) -> torch.nn.Module:
    from torch import nn

    kernel, stride = _pair(pool.kernel_size), _pair(pool.stride)
    if any(_pair(pool.padding)) or _pair(pool.dilation) != (1, 1):
        raise ConversionError(f"{name} is {pool}: TFLite has no dilated pool, and none with padding of its own.")
    rows, columns = (ceil_mode_padding(name, size[axis], kernel[axis], stride[axis]) for axis in (0, 1))
    if rows == columns:
        return nn.MaxPool2d(kernel, stride, ceil_mode=rows == "SAME")
    return nn.Sequential(
        nn.MaxPool2d((kernel[0], 1), (stride[0], 1), ceil_mode=rows == "SAME"),
        nn.MaxPool2d((1, kernel[1]), (1, stride[1]), ceil_mode=columns == "SAME"),
    )


def ceil_mode_padding(name: str, size: int, kernel: int, stride: int) -> Padding:
    """Say which of TFLite's paddings is PyTorch's ceil mode along an axis of `size`; ConversionError where neither is."""
    outputs = math.ceil((size - kernel) / stride) + 1
    if (outputs - 1) * stride >= size:  # PyTorch drops a last window that would begin outside
        outputs -= 1
    behind = (outputs - 1) * stride + kernel - size
    if behind <= 0:
        return "VALID"
    same = math.ceil(size / stride)
    padded = max((same - 1) * stride + kernel - size, 0)
    if same == outputs and padded == behind and padded // 2 == 0:  # TFLite puts the smaller half in front
        return "SAME"
    raise ConversionError(
        f"{name}: a ceil-mode pool of kernel {kernel} and stride {stride} over {size} values has no TFLite equivalent. "
        "Choose another --input-size."
    )


def as_signature(network: torch.nn.Module, kind: OutputKind) -> torch.nn.Module:
    """Wrap a prepared network for conversion: `image` NHWC -> {kind: (1, classes or channels)}."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {kind: given(self.network(image.permute(0, 3, 1, 2)), kind, "softmax")}

    return Network().eval()


def expected_operators(network: torch.nn.Module, kind: OutputKind, *, half: bool) -> Counter[str]:
    """Count the TFLite operations that a prepared network must become: these and no others."""
    import torch

    from squeeze_export.sources.squeezenet import Fire

    def count(module_type: type) -> int:
        return sum(isinstance(module, module_type) for module in network.modules())

    fires = [module for module in network.modules() if isinstance(module, Fire)]
    operators = Counter(
        {
            "CONV_2D": count(torch.nn.Conv2d),
            "MAX_POOL_2D": count(torch.nn.MaxPool2d),
            "CONCATENATION": len(fires),
            "ADD": sum(fire.bypass is not None for fire in fires),
            "MEAN": count(torch.nn.AdaptiveAvgPool2d),
            "SOFTMAX": int(kind == "probabilities"),
            "DEQUANTIZE": count(torch.nn.Conv2d) if half else 0,
        }
    )
    return +operators


def convolutions(network: torch.nn.Module) -> dict[str, torch.nn.Conv2d]:
    """List the convolutions by their names in the source's state dict."""
    import torch

    return {name: module for name, module in network.named_modules() if isinstance(module, torch.nn.Conv2d)}


def _pair(value: int | tuple[int, ...] | str) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if isinstance(value, str):  # Conv2d(padding="same")
        return (0, 0) if value == "valid" else (1, 1)
    return value[0], value[1]
