"""Where an artifact leaves what fp16 can hold: the first operation whose result is not finite, or the weight that is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from squeeze_export.validation.mil.executor import prepare
from squeeze_export.validation.mil.runner import MilRunner
from squeeze_export.validation.weights import digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from squeeze_export.contracts.arrays import Array
    from squeeze_export.contracts.parity import Runner
    from squeeze_export.contracts.signature import Signature
    from squeeze_export.contracts.source import GoldenPack, WeightDigest
    from squeeze_export.validation.mil.program import Step

LARGEST: Final = 65504  # of fp16


@dataclass(frozen=True, kw_only=True)
class _Overflow:
    step: Step
    image: str
    reached: float
    given: float
    finite: bool


def explain(runner: Runner, signature: Signature, pack: GoldenPack) -> str | None:
    """Say in a sentence what is not finite first, and whether fp32 is; None where nothing can be told.

    Core ML programs are executed again operation by operation; of other files the stored weights are looked at.
    """
    named = _weight(runner.stored_weights() or (), pack.weights)
    if named is not None:
        return named
    if not isinstance(runner, MilRunner) or runner.engine.arithmetic != "emulate":
        return None
    found = _first(runner, signature, pack)
    if found is None:
        return None
    module = _module(found.step, pack.weights)
    where = f"{module} ({found.step})" if module is not None else str(found.step)
    last = (
        "With fp32 arithmetic the same program stays finite: export it with --precision coreml=fp32."
        if found.finite
        else "The same program is not finite with fp32 arithmetic either: the weights themselves are at fault."
    )
    return (
        f"The first result that fp16 cannot hold is that of {where}, on {found.image}: in fp32 it reaches {found.reached:.3g} "
        f"from inputs up to {found.given:.3g}, and fp16 ends at {LARGEST}. {last}"
    )


def _weight(stored: Sequence[Array], weights: Sequence[WeightDigest]) -> str | None:
    for array in stored:
        if array.dtype == np.float16 and not np.isfinite(array).all():
            alike = [weight for weight in weights if weight.shape == array.shape]
            names = [weight.name for weight in alike if weight.fp16 == digest(array)]
            names += [weight.name for weight in alike if len(alike) == 1]  # a folded one has the digest of none
            return (
                f"{names[0] if names else f'A weight {array.shape}'} has numbers beyond {LARGEST}, where fp16 ends: export fp32."
            )
    return None


def _first(runner: MilRunner, signature: Signature, pack: GoldenPack) -> _Overflow | None:
    program = runner.engine.program
    wanted = tuple(value.name for step in program.steps for value in step.outputs if step.operation != "classify")
    exact = prepare(program, "exact")
    for place, name in enumerate(pack.names):
        inputs = {signature.input.name: signature.input.encode(pack.pixels[place : place + 1])}
        rounded = runner.engine.run(inputs, wanted)
        step = next((step for step in program.steps if _broken(step, rounded)), None)
        if step is None:
            continue
        plain = exact.run(inputs, wanted)
        return _Overflow(
            step=step,
            image=name,
            reached=max(_largest(plain[value.name]) for value in step.outputs),
            given=max((_largest(plain[item.name]) for item in _references(step.inputs) if item.name in plain), default=0.0),
            finite=all(np.isfinite(value).all() for value in plain.values() if value.dtype.kind == "f"),
        )
    return None


def _broken(step: Step, computed: Mapping[str, Array]) -> bool:
    values = [computed[value.name] for value in step.outputs if value.name in computed]
    return any(value.dtype.kind == "f" and not np.isfinite(value).all() for value in values)


def _largest(values: Array) -> float:
    return float(np.abs(values.astype(np.float64)).max()) if values.size else 0.0


def _references(inputs: Mapping[str, Any]) -> list[Any]:
    from squeeze_export.validation.mil.program import Reference

    items = [item for value in inputs.values() for item in (value if isinstance(value, tuple) else (value,))]
    return [item for item in items if isinstance(item, Reference)]


def _module(step: Step, weights: Sequence[WeightDigest]) -> str | None:
    """The source's module whose weight a convolution holds."""
    weight = step.inputs.get("weight")
    if not isinstance(weight, np.ndarray):
        return None
    key = digest(weight)
    found = [known.name for known in weights if known.shape == weight.shape and key in (known.fp16, known.fp32)]
    return found[0].removesuffix(".weight") if found else None
