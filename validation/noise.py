"""What rounding alone costs on one network with these images, and the bars for fp32 and fp16 artifacts that follow from it.

Networks amplify rounding by very different amounts: the same sound converter ends at 90 dB on one and at 130 dB on another. So a bar
that fits all of them is measured on the network itself, in eager PyTorch, without any converter:

    fp32            eager fp32 against the same network in fp64
    fp16            weights rounded to fp16, and every floating result after each operation, against eager fp32
    fp16 stored     weights rounded to fp16 and nothing else, against eager fp32: of files that compute in fp32

Errors and SNRs are those of metrics.py, on logits, over all images together, as parity.py judges an artifact.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from squeeze_export.contracts.parity import Floored, NoiseFloor, Tolerance
from squeeze_export.contracts.parity import NoiseLevel as Level
from squeeze_export.torch_state import usual
from squeeze_export.validation import metrics

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.arrays import Array

LARGEST: Final = 65504  # of fp16
_ALIKE: Final = 10  # logits differ between images where they do so by this many times the error of fp32


def measure(module: torch.nn.Module, inputs: Array | torch.Tensor) -> NoiseFloor:
    """Run every image by itself in fp32, fp64 and with both roundings, and compare.

    `module`: in eval mode, on the CPU, fp32, takes (1, C, H, W) and gives logits or features (1, classes) as one tensor. It may be a
    GraphModule of torch.export. It is copied, never changed; so is no global state of torch. `inputs`: (N, C, H, W) float32, structured
    images as the module takes them: noise would make the floor look 25 dB better than it is.
    Raises ValueError where inputs or outputs are of another form.
    """
    import torch

    images = torch.as_tensor(np.asarray(inputs) if not isinstance(inputs, torch.Tensor) else inputs)
    if images.dim() != 4 or not len(images) or images.dtype != torch.float32:
        raise ValueError(f"images (N, C, H, W) of float32 are needed, not {images.dtype} {tuple(images.shape)}")
    # A graph of torch.export says of itself that it is in training, whatever it was made from, and cannot be told otherwise.
    if module.training and not isinstance(module, torch.fx.GraphModule):
        raise ValueError("the module is in training mode; call .eval() first")
    images = images.detach().contiguous()
    with usual(), torch.no_grad(), _plain_attention():
        plain = _rows(_converted(module, lambda tensor: tensor), images)
        if not np.isfinite(plain).all():
            return _nothing(images, plain, "the network's fp32 outputs are not finite on these images")
        shown = plain if len(images) > 1 else np.concatenate([plain, _rows(_converted(module, lambda tensor: tensor), -images)])
        with _promoting():
            exact = _rows(_converted(module, _double), images)
        if not np.isfinite(exact).all():
            return _nothing(images, plain, "the network's fp64 outputs are not finite on these images")
        error = metrics.max_abs_error(exact, plain)
        if float(np.ptp(shown, axis=0).max()) <= _ALIKE * error:
            return _nothing(
                images, plain, "its outputs do not differ between these images: nothing that is wrong with an image would show"
            )
        halved = _converted(module, _half)
        stored = _rows(halved, images)
        with _locating(halved) as place, _rounding(place) as seen:
            rounded = _rows(halved, images)
    problems: list[tuple[Floored, str]] = []
    if not np.isfinite(stored).all():
        problems.append(("fp16-stored", "with weights rounded to fp16 the outputs are not finite"))
    if not np.isfinite(rounded).all():
        first = f"; the first such result is that of {seen[0]}" if seen else ""
        problems.append(("fp16", f"with results rounded to fp16, which ends at {LARGEST}, the outputs are not finite{first}"))
    told = dict(problems)
    return NoiseFloor(
        images=len(images),
        classes=plain.shape[1],
        fp32=_level(exact, plain),
        fp16=None if "fp16" in told else _level(plain, rounded),
        fp16_stored=None if "fp16-stored" in told else _level(plain, stored),
        problems=tuple(problems),
    )


def _nothing(images: torch.Tensor, outputs: Array, reason: str) -> NoiseFloor:
    return NoiseFloor(
        images=len(images),
        classes=outputs.shape[1],
        fp32=None,
        fp16=None,
        fp16_stored=None,
        problems=(("fp32", reason), ("fp16", reason), ("fp16-stored", reason)),
    )


def _level(reference: Array, target: Array) -> Level:
    peak = float(np.abs(reference).max())
    error = metrics.max_abs_error(reference, target)
    return Level(
        snr_db=metrics.snr_db(reference, target),
        centred_snr_db=metrics.centred_snr_db(reference, target),
        max_error_of_peak=error / peak if peak else (0.0 if error == 0 else math.inf),
    )


def _rows(module: torch.nn.Module, images: torch.Tensor) -> Array:
    """The outputs of all images, run one at a time, (N, classes)."""
    import torch

    rows = []
    for place in range(len(images)):
        found = module(images[place : place + 1].clone())  # a copy, for a module may change what it is given
        if not isinstance(found, torch.Tensor) or found.dim() != 2 or len(found) != 1:
            what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise ValueError(f"the module must give one tensor (1, classes), and gives {what}")
        rows.append(found.numpy())
    result: Array = np.concatenate(rows)
    return result


# Copies whose tensors are others


def _converted(module: torch.nn.Module, convert: Callable[[torch.Tensor], torch.Tensor]) -> torch.nn.Module:
    """A copy of the module in which every fp32 tensor, wherever a module holds one, is what `convert` makes of it.

    Tensors that are shared stay shared. Lists, tuples and dicts are looked into, for networks keep tables there.
    """
    import torch

    memo: dict[int, Any] = {}
    for part in module.modules():
        for tensor in _tensors(part.__dict__):
            if id(tensor) in memo:
                continue
            made = tensor.detach().clone() if tensor.dtype != torch.float32 else convert(tensor.detach().clone())
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            memo[id(tensor)] = torch.nn.Parameter(made, requires_grad=False) if is_parameter else made
    copied: torch.nn.Module = copy.deepcopy(module, memo)
    return copied


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double()


def _half(tensor: torch.Tensor) -> torch.Tensor:
    """Rounded to fp16 and held in fp32. What fp16 cannot hold stays: variances of batch norms are folded before they are stored."""
    import torch

    rounded = tensor.half().float()
    return torch.where(rounded.isfinite(), rounded, tensor)


# Other arithmetic


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as products and a softmax, as every format has it, in place of one fused operation that hides what is inside."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _promoting() -> Iterator[None]:
    """fp64 wherever an operation would take, make or ask for fp32: graphs name the type in their operations."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map

    def promoted(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
            return value.double()
        return torch.float64 if value is torch.float32 else value

    class Promote(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            written = _written(function)
            # What is written to must stay itself, or the change would be lost.
            given = [value if place in written else tree_map(promoted, value) for place, value in enumerate(args)]
            named = {key: value if key in written else tree_map(promoted, value) for key, value in (kwargs or {}).items()}
            found = function(*given, **named)
            return found if written else tree_map(promoted, found)

    with Promote():
        yield


@contextmanager
def _rounding(place: Callable[[], str]) -> Iterator[list[str]]:
    """Every floating result is rounded to fp16 and held in fp32. Gives the first operation whose result is not finite, if any.

    What only looks at a tensor in another way gives no new number and is left alone, so that writing through it still works.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map

    seen: list[str] = []

    class Round(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = function(*args, **(kwargs or {}))
            written = _written(function)
            if not written and any(item.alias_info is not None for item in function._schema.returns):
                return found

            def rounded(value: Any) -> Any:
                if not isinstance(value, torch.Tensor) or value.dtype not in (torch.float32, torch.float64):
                    return value
                result = value.half().to(value.dtype)
                if not seen and not bool(result.isfinite().all()):
                    seen.append(f"{function.overloadpacket.__name__}{place()}")
                return value.copy_(result) if written else result

            return tree_map(rounded, found)

    with Round():
        yield seen


def _written(function: Any) -> frozenset[int | str]:
    """The arguments that an operation writes to, by place and by name."""
    schema = function._schema
    if not schema.is_mutable:
        return frozenset()
    places = [
        (place, argument.name)
        for place, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return frozenset(item for pair in places for item in pair)


@contextmanager
def _locating(module: torch.nn.Module) -> Iterator[Callable[[], str]]:
    """Say, at any time, in which part of the module the run is: " in layer4.0.conv2"."""
    entered: list[str] = []
    hooks = []

    def left(*_: Any) -> None:  # a hook that gave anything back would replace the result
        entered.pop()

    for name, part in module.named_modules():
        hooks.append(part.register_forward_pre_hook(lambda *_, name=name: entered.append(name)))
        hooks.append(part.register_forward_hook(left))
    try:
        yield lambda: f" in {entered[-1]}" if entered and entered[-1] else ""
    finally:
        for hook in hooks:
            hook.remove()


def tolerance(floor: NoiseFloor, precision: str) -> Tolerance:
    level = floor.level("fp32" if precision == "fp32" else "fp16")
    return Tolerance(
        precision=precision,
        max_error_of_peak=4 * level.max_error_of_peak,
        min_snr_db=level.snr_db - 12,
        min_centred_snr_db=level.centred_snr_db - 12,
        reason="x",
    )
