"""A network in other arithmetic than its own: copies with other tensors, and what is done to every operation's results."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

LARGEST: Final = 65504  # of fp16


def converted(module: torch.nn.Module, convert: Callable[[torch.Tensor], torch.Tensor]) -> torch.nn.Module:
    """A copy of the module in which every fp32 tensor, wherever a module holds one, is what `convert` makes of it.

    Tensors that are shared stay shared. Lists, tuples and dicts are looked into, for networks keep tables there. Those of a
    ScriptModule stay fp32.
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
    with warnings.catch_warnings():
        # torch's own copy of an exported graph's description of its arguments
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        copied: torch.nn.Module = copy.deepcopy(module, memo)
    if isinstance(copied, torch.jit.ScriptModule):  # it copies its tensors itself, and their type stays
        for tensor in (*copied.parameters(), *copied.buffers()):
            if tensor.dtype == torch.float32:
                tensor.data.copy_(convert(tensor.data))
    return copied


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def double(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in fp64."""
    return tensor.double()


def half(tensor: torch.Tensor) -> torch.Tensor:
    """Round to fp16, held in fp32. What fp16 cannot hold stays: batch norms' variances are folded before they are stored."""
    import torch

    rounded = tensor.half().float()
    return torch.where(rounded.isfinite(), rounded, tensor)


@contextmanager
def plain_attention() -> Iterator[None]:
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
def promoting() -> Iterator[None]:
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
def rounding(place: Callable[[], str]) -> Iterator[list[str]]:
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
def locating(module: torch.nn.Module) -> Iterator[Callable[[], str]]:
    """Say, at any time, in which part of the module the run is: " in layer4.0.conv2"."""
    import torch

    entered: list[str] = []
    hooks = []

    def left(*_: Any) -> None:  # a hook that gave anything back would replace the result
        entered.pop()

    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):  # takes no hooks
            continue
        hooks.append(part.register_forward_pre_hook(lambda *_, name=name: entered.append(name)))
        hooks.append(part.register_forward_hook(left))
    try:
        yield lambda: f" in {entered[-1]}" if entered and entered[-1] else ""
    finally:
        for hook in hooks:
            hook.remove()
