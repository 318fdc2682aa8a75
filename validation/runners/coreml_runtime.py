"""The Core ML runtime itself as a runner: macOS only, on the CPU, so that it tells what Apple's own code makes of the file."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.artifact import Precision
from squeeze_export.contracts.parity import Runner
from squeeze_export.contracts.signature import InputSpec, OutputSpec, Signature
from squeeze_export.errors import ArtifactError, UnsupportedOperationError

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

NAME: Final = "Core ML runtime"
PACKAGES: Final = ("coremltools",)


def unavailable() -> str | None:
    """Why nothing can be executed here (naming the remedy), or None. Loads no SDK."""
    if sys.platform != "darwin":
        return (
            f"Core ML runs on macOS only; this is {platform.system() or sys.platform}. Run `squeeze-export verify` on a Mac to "
            "have it executed there as well"
        )
    found = importlib.util.find_spec("coremltools")
    if found is None:
        return "coremltools is not installed: run `pip install 'coremltools==9.0'`"
    if not any(any(Path(folder).glob("libcoremlpython*")) for folder in found.submodule_search_locations or []):
        return (
            "coremltools is installed without its link to Core ML (libcoremlpython): use Python 3.11 to 3.13 and run "
            "`pip install --force-reinstall --only-binary=:all: 'coremltools==9.0'`"
        )
    return None


def open(path: Path, signature: Signature, precision: Precision) -> Runner:
    """Let Core ML compile and load the package at `path`, and hold its input and outputs against the signature.

    Raises ArtifactError where Core ML refuses the package or the names differ, UnsupportedOperationError where this
    macOS is older than the package's deployment target.
    """
    ct = importlib.import_module("coremltools")
    try:
        with warnings.catch_warnings():
            # Where Core ML refuses a package, coremltools only warns and returns a model without a runtime: looked at below.
            warnings.filterwarnings("ignore", message="You will not be able to run predict", category=RuntimeWarning)
            model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.CPU_ONLY)
    except Exception as error:
        raise ArtifactError(f"{path.name} is not a package that coremltools can read: {error}. Export it again.") from error
    if model.__proxy__ is None:
        refused = model._framework_error
        if refused is not None:
            raise ArtifactError(f"Core ML refuses to load {path.name}: {refused}. Export it again.") from refused
        raise UnsupportedOperationError(
            f"Core ML of macOS {platform.mac_ver()[0]} does not know specification version "
            f"{model.get_spec().specificationVersion} of {path.name}: use a newer macOS, or an older --ios-target."
        )
    spec = model.get_spec()
    names = ([feature.name for feature in spec.description.input], sorted(feature.name for feature in spec.description.output))
    label = spec.description.predictedFeatureName
    declared = ([signature.input.name], sorted([*(output.name for output in signature.outputs), *([label] if label else [])]))
    if names != declared or label != (signature.class_label or ""):
        raise ArtifactError(
            f"{path.name} has inputs {names[0]} and outputs {names[1]}, but declared are {declared[0]} and {declared[1]}. "
            "Export it again."
        )
    return _CoreMLRunner(
        executor=f"{NAME} (macOS {platform.mac_ver()[0]}, CPU only, coremltools {version('coremltools')})",
        model=model,
        signature=signature,
        takes_image=spec.description.input[0].type.WhichOneof("Type") == "imageType",
        labels=_labels(spec),
    )


@dataclass(frozen=True, kw_only=True)
class _CoreMLRunner:
    executor: str
    model: Any
    signature: Signature
    takes_image: bool
    labels: tuple[str, ...] | None

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Execute once, one image; scores of a classifier in the order of the labels in the file."""
        declared = self.signature.input
        if set(inputs) != {declared.name}:
            raise ArtifactError(f"The Core ML package takes {declared.name!r}, but was given {sorted(inputs)}.")
        value = inputs[declared.name]
        if tuple(value.shape) != declared.shape:
            raise ArtifactError(f"{declared.name!r} of the Core ML package is {declared.shape}, but was given {value.shape}.")
        given = _picture(value, declared) if self.takes_image else value
        try:
            result = self.model.predict({declared.name: given})
        except Exception as error:
            raise ArtifactError(f"Core ML could not execute the package: {error}. Export it again.") from error
        return {output.name: _row(result, output, self.labels) for output in self.signature.outputs}

    def stored_weights(self) -> None:
        """Core ML compiles the weights away; the MIL reference executor reads them from the file."""


def _picture(value: Array, declared: InputSpec) -> Any:
    """The PIL image of an NCHW tensor of 0..255 pixels: RGB (Core ML itself reorders for a BGR model), or grey of one channel."""
    import numpy as np
    from PIL import Image

    if not bool(((value == np.rint(value)) & (value >= 0) & (value <= 255)).all()):
        raise ArtifactError(f"{declared.name!r} of the Core ML package is an image: it takes whole numbers from 0 to 255 only.")
    if declared.color_order == "GRAY":
        return Image.fromarray(np.ascontiguousarray(value[0, 0].astype(np.uint8)))
    pixels = value[0].transpose(1, 2, 0).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1] if declared.color_order == "BGR" else pixels))


def _row(result: Mapping[str, Any], output: OutputSpec, labels: tuple[str, ...] | None) -> Array:
    import numpy as np

    if output.name not in result:
        raise ArtifactError(f"Core ML gave {sorted(result)}, but not the declared output {output.name!r}.")
    scores = result[output.name]
    if output.container == "dictionary":
        if labels is None or not isinstance(scores, Mapping) or set(scores) != set(labels):
            raise ArtifactError(f"Core ML's {output.name!r} does not hold one score for each of the labels in the file.")
        scores = [scores[label] for label in labels]
    return np.asarray(scores, dtype=np.dtype(output.dtype)).reshape(output.shape)


def _labels(spec: Any) -> tuple[str, ...] | None:
    """The labels of a classifier in index order, from the operation that applies them; None where there is none."""
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for operation in block.operations:
                if operation.type == "classify":
                    values = operation.inputs["classes"].arguments[0].value.immediateValue.list.values
                    return tuple(value.immediateValue.tensor.strings.values[0] for value in values)
    return None
