"""A saved .mlpackage opened for execution: read, held against what is declared, and tried once."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.contracts.artifact import Precision
from squeeze_export.contracts.signature import LOGITS_TAP, Signature
from squeeze_export.errors import ArtifactError
from squeeze_export.sdks import load_coremltools
from squeeze_export.validation.mil.declaration import hold
from squeeze_export.validation.mil.executor import Arithmetic, Executor, prepare
from squeeze_export.validation.mil.ops import IMPLEMENTED
from squeeze_export.validation.mil.package import read_package
from squeeze_export.validation.mil.program import Program, Reference, layer_weights, load_program

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

# Between the final softmax or sigmoid and the output nothing but these may stand, for its input to be the output's logits.
_ACTIVATIONS: Final = ("softmax", "sigmoid")
_TRANSPARENT: Final = frozenset(("cast", "classify", "identity", "reshape", "squeeze", "expand_dims"))


@dataclass(frozen=True, kw_only=True)
class MilRunner:
    """A package opened from disk. `labels`: the classes of a classifier in index order, or None."""

    executor: str
    labels: tuple[str, ...] | None
    signature: Signature
    is_image: bool
    tap: str | None
    engine: Executor

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Execute once; an input is what the signature declares, an output (1, classes) in its own declared dtype."""
        spec = self.signature.input
        if set(inputs) != {spec.name}:
            raise ArtifactError(f"the package's input is {spec.name!r}, given were {sorted(inputs)}; use the declared names.")
        given = inputs[spec.name]
        if given.shape != spec.shape or given.dtype != np.dtype(spec.dtype):
            raise ArtifactError(
                f"the package's input {spec.name!r} takes {spec.dtype} of shape {spec.shape}, given was {given.dtype} of shape "
                f"{given.shape}; encode the image with the signature's input."
            )
        if self.is_image and not bool(((given == np.rint(given)) & (given >= 0) & (given <= 255)).all()):
            raise ArtifactError(f"the package's input {spec.name!r} is an image: whole numbers of 0..255, given were others.")
        scores = [output.name for output in self.signature.outputs]
        wanted = (*scores, self.tap) if self.tap is not None else tuple(scores)
        computed = self.engine.run(inputs, wanted)
        results = {output.name: computed[output.name].astype(output.dtype) for output in self.signature.outputs}
        if self.tap is not None:
            results[LOGITS_TAP] = computed[self.tap].reshape(1, -1)
        return results

    def stored_weights(self) -> tuple[Array, ...] | None:
        """Weight and bias of every convolution and linear layer, decoded, in the order of the program."""
        return layer_weights(self.engine.program)


def open_package(path: Path, signature: Signature, precision: Precision, arithmetic: Arithmetic, name: str) -> MilRunner:
    """As runners.mil_reference.open, of an executor called `name`."""
    load_coremltools()
    package = read_package(path, IMPLEMENTED)
    program = load_program(package)
    hold(package, program, signature, precision)
    runner = MilRunner(
        executor=f"{name} (coremltools {importlib.metadata.version('coremltools')}, {_described(program, arithmetic)})",
        labels=None if program.labels is None else tuple(map(str, program.labels)),
        signature=signature,
        is_image=package.spec.description.input[0].type.WhichOneof("Type") == "imageType",
        tap=_logits(program, signature),
        engine=prepare(program, arithmetic),
    )
    # One run on zeros finds, now, every variant of an operation that is not implemented and every shape that does not fit.
    runner.run({signature.input.name: np.zeros(signature.input.shape, signature.input.dtype)})
    return runner


def _described(program: Program, arithmetic: Arithmetic) -> str:
    half = any(value.dtype == "fp16" for step in program.steps for value in step.outputs)
    if not half:
        return "fp32"
    return "fp16 emulated" if arithmetic == "emulate" else "fp16 program without rounding"


def _logits(program: Program, signature: Signature) -> str | None:
    """Name the value in front of the softmax or sigmoid that ends the program, if one makes its probabilities."""
    if len(signature.outputs) != 1 or signature.outputs[0].kind != "probabilities":
        return None
    name = signature.outputs[0].name
    while (step := program.producer(name)) is not None and step.operation in (*_TRANSPARENT, *_ACTIVATIONS):
        source = step.inputs["probabilities" if step.operation == "classify" else "x"]
        if not isinstance(source, Reference):
            return None
        if step.operation in _ACTIVATIONS:
            return source.name
        name = source.name
    return None
