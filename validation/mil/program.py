"""From a package to a program that can be executed: coremltools' loader infers every type, the constants are decoded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from squeeze_export.errors import ArtifactError, SqueezeExportError
from squeeze_export.validation.mil.ops import OPERATIONS
from squeeze_export.validation.mil.package import Package
from squeeze_export.validation.mil.weights import DECODERS

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

# The classes of a classifier in index order: names, or the numbers that stand for them.
Labels: TypeAlias = "tuple[str, ...] | tuple[int, ...]"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value of the program: its name, MIL's name of its element type ("fp16", "int32", "string", ...) and its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Reference:
    """An input of an operation that another operation computes."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation. Its inputs are references, tuples of them, or constants: numpy arrays and text; absent ones are left out."""

    operation: str
    name: str
    inputs: Mapping[str, Any]
    outputs: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{self.operation} {self.name!r}"


@dataclass(frozen=True, kw_only=True)
class Program:
    """The whole function: inputs, steps in an order that can be executed, and outputs.

    `labels`: the classes of a final classify operation, in index order; None without one.
    """

    inputs: tuple[Value, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Value, ...]
    labels: Labels | None

    def producer(self, name: str) -> Step | None:
        """The step that computes the value `name`, or None for an input of the program."""
        return next((step for step in self.steps if any(output.name == name for output in step.outputs)), None)


def load_program(package: Package) -> Program:
    """Load the program of an opened package and decode its constants.

    Raises ArtifactError where it is not well-formed: coremltools infers every value's type and holds it against the declared one.
    """
    from coremltools.converters.mil.frontend.milproto.load import load

    try:
        loaded = load(package.spec, package.spec.specificationVersion, str(package.weights))
        return _program(loaded.functions["main"])
    except SqueezeExportError as error:
        raise ArtifactError(f"{package.path.name}: {error}. The file is damaged: export the package again.") from error
    except Exception as error:
        raise ArtifactError(
            f"{package.path.name}: the ML Program is not well-formed ({type(error).__name__}: {error}). Export the package again."
        ) from error


def _program(function: Any) -> Program:
    constants: dict[int, Any] = {}
    steps: list[Step] = []
    labels: Labels | None = None
    names: set[str] = set(function.inputs)

    def resolve(variable: Any) -> Any:
        if isinstance(variable, list | tuple):
            return tuple(resolve(item) for item in variable)
        return constants[id(variable)] if id(variable) in constants else Reference(variable.name)

    for op in function.operations:
        if op.op_type == "const":
            constants[id(op.outputs[0])] = _constant(op.outputs[0].val)
            continue
        inputs = {key: resolve(variable) for key, variable in op.inputs.items() if variable is not None}
        if op.op_type in DECODERS:
            _decode(op, inputs, constants)
            continue
        if op.op_type == "classify":
            labels = _labels(op.classes.val)
            del inputs["classes"]
        step = Step(operation=op.op_type, name=op.name, inputs=inputs, outputs=tuple(_value(output) for output in op.outputs))
        if step.operation not in OPERATIONS:  # the loader adds nothing on its own; a silent skip must not be possible anyway
            raise ArtifactError(f"the loader made an unknown operation {step}")
        for output in step.outputs:
            if output.name in names:
                raise ArtifactError(f"two values are named {output.name!r}")
            names.add(output.name)
        steps.append(step)
    outputs = tuple(_value(output) for output in function.outputs)
    missing = [output.name for output in outputs if output.name not in names]
    if missing:
        raise ArtifactError(f"the outputs {missing} are constants: they do not depend on the image")
    return Program(
        inputs=tuple(_value(variable) for variable in function.inputs.values()),
        steps=tuple(steps),
        outputs=outputs,
        labels=labels,
    )


def _decode(op: Any, inputs: Mapping[str, Any], constants: dict[int, Any]) -> None:
    """Decode compressed weights, whose inputs may have been decoded just before, and hold them against their declared types."""
    dense = DECODERS[op.op_type](inputs)
    for variable, array in zip(op.outputs, dense, strict=True):
        declared = _value(variable)
        if tuple(array.shape) != declared.shape:
            raise ArtifactError(f"{op.op_type} {op.name!r} gives shape {array.shape}, declared is {declared.shape}")
        constants[id(variable)] = array


def _constant(value: Any) -> Any:
    if isinstance(value, str | np.ndarray) or value is None:
        return value
    if isinstance(value, list | tuple):  # the labels of a classify operation
        return value
    return np.asarray(value)


def _labels(classes: Any) -> Labels:
    found = [item.item() if isinstance(item, np.generic | np.ndarray) else item for item in getattr(classes, "ls", classes)]
    twice = sorted({str(label) for label in found if found.count(label) > 1})
    if twice:
        raise ArtifactError(
            f"the classes {twice[:5]} stand more than once in the labels: their probabilities cannot be told apart"
        )
    return tuple(found)


def _value(variable: Any) -> Value:
    from coremltools.converters.mil.mil import types

    if types.is_dict(variable.sym_type):
        return Value(name=variable.name, dtype="dictionary", shape=())
    return Value(
        name=variable.name,
        dtype=types.builtin_to_string(variable.dtype),
        shape=tuple(int(size) for size in variable.shape or ()),
    )


def layer_weights(program: Program) -> tuple[Array, ...]:
    """The weight and bias of every convolution, (out, in, *kernel) and (out,), and every linear layer, (out, in) and (out,).

    Decoded, in their own type, in the order of the program.
    """
    return tuple(
        np.asarray(step.inputs[name])
        for step in program.steps
        if step.operation in ("conv", "linear")
        for name in ("weight", "bias")
        if name in step.inputs and not isinstance(step.inputs[name], Reference)
    )
