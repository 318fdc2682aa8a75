"""Executing a program: one step after the other, with the program's precision emulated or left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.validation.mil.arguments import Arguments
from squeeze_export.validation.mil.ops import OPERATIONS
from squeeze_export.validation.mil.program import Program, Reference, Step, Value

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.arrays import Array

Arithmetic = Literal["emulate", "exact"]

# These give back values that they were given: there is nothing to round.
_SELECTING: Final = frozenset(
    (
        *("concat", "expand_dims", "gather", "gather_along_axis", "identity", "max_pool", "pixel_shuffle", "pixel_unshuffle"),
        *("relu", "reshape", "reverse", "select", "slice_by_index", "slice_by_size", "split", "squeeze", "stack"),
        *("thresholded_relu", "tile", "transpose", "upsample_nearest_neighbor"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Executor:
    """A program ready to run, its constants held as tensors.

    `arithmetic`: "emulate" rounds every result to the type that the program declares (fp16: computed in fp32, rounded once per
    operation); "exact" keeps fp32 throughout, so that the difference between the two is what rounding costs.
    """

    program: Program
    arithmetic: Arithmetic
    steps: tuple[tuple[Step, Mapping[str, Any], tuple[str, ...]], ...]  # with its arguments and the values it is the last to read

    def run(self, inputs: Mapping[str, Array], wanted: tuple[str, ...]) -> dict[str, Array]:
        """Execute once and return the values named in `wanted` (inner ones too), fp32 or integer.

        `inputs` holds exactly the program's inputs. Raises ArtifactError where an operation cannot be carried out or gives
        another shape than the program declares, UnsupportedOperationError where its variant is not implemented.
        """
        import torch

        computed: dict[str, torch.Tensor] = {}
        kept = frozenset(wanted)
        for value in self.program.inputs:
            computed[value.name] = self._rounded(torch.from_numpy(np.array(inputs[value.name], np.float32)), value)
        with torch.inference_mode():
            for step, arguments, spent in self.steps:
                results = _call(step, Arguments({key: _resolve(item, computed) for key, item in arguments.items()}))
                for value, result in zip(step.outputs, results, strict=True):
                    if step.operation != "classify" and tuple(result.shape) != value.shape:
                        raise ArtifactError(
                            f"{step} gives shape {tuple(result.shape)}, the program declares {value.shape}. "
                            "Export the package again."
                        )
                    computed[value.name] = result if step.operation in _SELECTING else self._rounded(result, value)
                for name in spent:  # memory that is still warm is used again: large images run faster, not only smaller
                    if name not in kept:
                        del computed[name]
        return {name: computed[name].numpy() for name in wanted}

    def _rounded(self, tensor: torch.Tensor, value: Value) -> torch.Tensor:
        return tensor.half().float() if value.dtype == "fp16" and self.arithmetic == "emulate" else tensor


def prepare(program: Program, arithmetic: Arithmetic) -> Executor:
    """Turn the constants of a program into tensors, once."""
    last: dict[str, int] = {}  # of each value, the step after which it is not read again
    for index, step in enumerate(program.steps):
        last |= {value.name: index for value in step.outputs}
        last |= dict.fromkeys(_names(tuple(step.inputs.values())), index)
    spent: dict[int, tuple[str, ...]] = {}
    for name, index in last.items():
        spent[index] = (*spent.get(index, ()), name)
    steps = tuple(
        (step, {key: _tensor(value) for key, value in step.inputs.items()}, spent.get(index, ()))
        for index, step in enumerate(program.steps)
    )
    return Executor(program=program, arithmetic=arithmetic, steps=steps)


def _names(item: Any) -> list[str]:
    """The computed values that an argument, or a tuple of them, refers to."""
    if isinstance(item, Reference):
        return [item.name]
    return [name for part in item for name in _names(part)] if isinstance(item, tuple) else []


def _tensor(value: Any) -> Any:
    import torch

    if isinstance(value, tuple):
        return tuple(_tensor(item) for item in value)
    if not isinstance(value, np.ndarray):
        return value
    if np.issubdtype(value.dtype, np.floating):
        return torch.from_numpy(np.array(value, np.float32))
    if value.dtype == np.bool_:
        return torch.from_numpy(np.array(value))
    return torch.from_numpy(np.array(value, np.int32))


def _resolve(item: Any, computed: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(item, Reference):
        return computed[item.name]
    return tuple(_resolve(part, computed) for part in item) if isinstance(item, tuple) else item


def _call(step: Step, arguments: Arguments) -> tuple[torch.Tensor, ...]:
    try:
        results = OPERATIONS[step.operation](arguments)
    except UnsupportedOperationError as error:
        raise UnsupportedOperationError(f"the MIL reference executor does not implement {error}, found in {step}") from error
    except Exception as error:
        raise ArtifactError(
            f"{step} cannot be carried out ({type(error).__name__}: {error}). Export the package again."
        ) from error
    return results if isinstance(results, tuple) else (results,)
