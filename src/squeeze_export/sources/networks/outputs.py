"""What a network gives besides one tensor: dicts, tuples and dataclasses, by name, and the one output that is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from squeeze_export.errors import SourceError

if TYPE_CHECKING:
    import torch


def named(result: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Every tensor in a result by its name: a key, a field or a place, dotted where they are nested; a lone tensor has none."""
    import torch

    if isinstance(result, torch.Tensor):
        return {prefix: result}
    found: dict[str, torch.Tensor] = {}
    for name, value in _parts(result):
        found |= named(value, f"{prefix}.{name}" if prefix else name)
    return found


def _parts(result: Any) -> list[tuple[str, Any]]:
    if isinstance(result, Mapping):  # transformers' ImageClassifierOutput is one as well
        return [(str(name), value) for name, value in result.items()]
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return list(zip(result._fields, result, strict=True))
    if isinstance(result, tuple | list):
        return [(str(place), value) for place, value in enumerate(result)]
    if is_dataclass(result) and not isinstance(result, type):
        return [(field.name, getattr(result, field.name)) for field in fields(result)]
    return []


def choose(result: Any, wanted: str | None) -> str:
    """The name of the output that is meant, "" for a lone tensor; SourceError that lists them where that is not clear.

    `wanted`: its name, or its place among all, from 0.
    """
    found = named(result)
    if not found:
        raise SourceError(f"the network gives no tensor, but a {type(result).__name__}: return the scores, one row per image")
    if list(found) == [""]:
        if wanted is not None:
            raise SourceError(
                f"--model-output {wanted}: the network gives one tensor, which has no name. Leave --model-output out"
            )
        return ""
    shown = ", ".join(f"{name} {tuple(value.shape)}" for name, value in found.items())
    if wanted is None:
        if len(found) == 1:
            return next(iter(found))
        raise SourceError(f"the network gives {len(found)} outputs: {shown}. Name the scores: --model-output {_likely(found)}")
    if wanted in found:
        return wanted
    if wanted.isdecimal() and int(wanted) < len(found):
        return list(found)[int(wanted)]
    raise SourceError(f"--model-output {wanted}: the network gives no such output, but {shown}")


def _likely(found: Mapping[str, torch.Tensor]) -> str:
    """The first that can be scores, for the example in a message."""
    return next((name for name, value in found.items() if value.dim() == 2), next(iter(found)))


def only(module: torch.nn.Module, name: str) -> torch.nn.Module:
    """The same module with the same parameters by the same names, giving one of its outputs; the module itself is unchanged."""
    kind = type(module)

    def forward(self: Any, *inputs: Any) -> Any:
        return named(kind.forward(self, *inputs))[name]

    made: Any = object.__new__(type(kind.__name__, (kind,), {"forward": forward}))
    made.__dict__ = dict(module.__dict__)
    found: torch.nn.Module = made
    return found


def buffers(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of what a module keeps beside its parameters."""
    return {name: value.detach().clone() for name, value in module.named_buffers()}


def check_unchanged(module: torch.nn.Module, before: Mapping[str, torch.Tensor]) -> None:
    """SourceError where a module has changed its own buffers since: its scores then depend on what it saw before."""
    changed = [
        name
        for name, value in module.named_buffers()
        if name not in before or value.shape != before[name].shape or not bool((value == before[name]).all())
    ]
    if changed:
        raise SourceError(
            f"the network changes its own buffers while it computes ({', '.join(changed[:3])}): in eval mode it must not, for "
            "no phone "
            "format can"
        )


def check_scores(result: torch.Tensor, name: str = "") -> None:
    """SourceError unless a result is one row of finite numbers for one image, (1, n)."""
    what = f"the network's output {name}" if name else "the network's output"
    if result.dim() != 2 or result.shape[0] != 1 or result.shape[1] < 1:
        raise SourceError(
            f"{what} has shape {tuple(result.shape)} for one image: a classifier gives one row of scores, (1, classes)"
        )
    if not result.is_floating_point():
        raise SourceError(f"{what} is of {str(result.dtype).removeprefix('torch.')}: scores are floating-point numbers")
    bad = int((~result.isfinite()).sum())
    if bad:
        raise SourceError(
            f"{what} has {bad} of {result.numel()} values that are NaN or infinite, with an ordinary image: the weights are "
            "damaged, or "
            "the network divides by zero"
        )
