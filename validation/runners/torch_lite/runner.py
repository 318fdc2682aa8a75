"""Executes a .ptl file in torch's lite interpreter, the code that also runs on the phone, after reading the archive itself.

The archive is a zip of stored records. Checksums, bytecode and declared signature are checked here before torch's C++ sees a
byte of it, and the weights are taken from where the bytecode really uses them.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.validation.runners.torch_lite import bytecode
from squeeze_export.validation.runners.torch_lite.bytecode import BYTECODE_VERSION as BYTECODE_VERSION
from squeeze_export.validation.runners.torch_lite.bytecode import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from squeeze_export.contracts.arrays import Array
    from squeeze_export.contracts.artifact import Precision
    from squeeze_export.contracts.parity import Runner
    from squeeze_export.contracts.signature import Signature

NAME: Final = "lite interpreter"
PACKAGES: Final[tuple[str, ...]] = ("torch",)

# As exporters/torchscript/exporter.py writes them; siblings do not import each other, a test holds the two together.
LABELS_FILE: Final = "labels.txt"
RECORD_FILE: Final = "squeeze_export.json"

# How a precision stores filters and biases.
_FORMS: Final = {"fp32": ("float32", "float32"), "fp16": ("float16", "float16"), "int8": ("int8", "float32")}
_ENGINE: Final = "qnnpack"  # the mobile runtime's: torch packs int8 filters for the engine that is set while it loads them


def unavailable() -> str | None:
    """Say why no .ptl can be executed here, or None; loads no SDK."""
    from importlib.util import find_spec

    return None if find_spec("torch") else "torch is not installed: pip install 'torch==2.13.*'"


def open(path: Path, signature: Signature, precision: Precision) -> Runner:
    """Open a .ptl file and hold it against what is declared.

    Raises ArtifactError where it is damaged or differs, UnsupportedOperationError where its bytecode goes beyond a straight line.
    """
    content, records = _read(path)
    labels = _check_record(path, records, signature, precision)
    stored = bytecode.stored_weights(path, records)
    if precision not in _FORMS:
        raise ArtifactError(f"{path.name}: {precision} is no precision of TorchScript Lite. Export it again.")
    wrong = next((kind for kind, weight in stored if kind != _FORMS[precision][weight.ndim == 1]), None)
    if wrong is not None:
        raise ArtifactError(f"{path.name} stores a weight as {wrong}, and {precision} is declared: export it again.")
    weights = tuple(weight for _, weight in stored)
    with _engine(precision):
        module = _load(path, content)
    runner = _LiteRunner(path, module, signature, weights, labels, precision)
    runner.probe()
    return runner


class _LiteRunner:
    """See contracts.parity.Runner; the file's one input and output are positional and take the signature's names."""

    def __init__(
        self,
        path: Path,
        module: Any,
        signature: Signature,
        weights: tuple[Array, ...],
        labels: tuple[str, ...] | None,
        precision: Precision,
    ) -> None:
        import torch

        self.labels = labels
        self.executor = f"{NAME} (torch {torch.__version__.partition('+')[0]})"
        self._path, self._module, self._signature, self._weights = path, module, signature, weights
        self._precision = precision

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Execute once."""
        import numpy as np
        import torch

        spec, output = self._signature.input, self._signature.outputs[0]
        if set(inputs) != {spec.name}:
            raise ArtifactError(f"{self._path.name} has the input {spec.name!r}, and was given {sorted(inputs)}.")
        given = inputs[spec.name]
        if given.shape != spec.shape or given.dtype.name != spec.dtype:
            raise ArtifactError(
                f"{self._path.name} takes {spec.dtype} {spec.shape} as {spec.name!r}, and was given "
                f"{given.dtype.name} {given.shape}."
            )
        try:
            with _engine(self._precision), torch.no_grad():
                result = self._module(torch.from_numpy(np.array(given)))  # a copy: torch warns of arrays it may not write to
        except RuntimeError as error:
            raise ArtifactError(f"{self._path.name} cannot be executed: {first_line(error)}. Export it again.") from error
        if not isinstance(result, torch.Tensor):
            raise ArtifactError(
                f"{self._path.name} gives a {type(result).__name__} where one tensor is declared: export it again."
            )
        return {output.name: result.numpy().copy()}

    def stored_weights(self) -> tuple[Array, ...] | None:
        """Weight and bias of every convolution, in the order of execution, int8 decoded; shared constants are repeated."""
        return self._weights

    def probe(self) -> None:
        """Run a grey image and compare shape and dtype of what comes out with the declaration."""
        import numpy as np

        spec, declared = self._signature.input, self._signature.outputs[0]
        found = self.run({spec.name: np.full(spec.shape, 0.5, np.dtype(spec.dtype))})[declared.name]
        if found.shape != declared.shape or found.dtype.name != declared.dtype:
            raise ArtifactError(
                f"{self._path.name} gives {found.dtype.name} {found.shape} where {declared.dtype} {declared.shape} is declared "
                f"for {declared.name!r}: it is not the artifact of this manifest; export it again."
            )


def _read(path: Path) -> tuple[bytes, dict[str, bytes]]:
    """Read the file once; gives its bytes and its records without the archive's root folder."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path.name} cannot be read: {error.strerror}. Export it again.") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            # Stored only: then no record is larger than the file, and nothing can be unpacked into all of the memory.
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
                raise ArtifactError(f"{path.name} holds compressed records, which this project does not write: export it again.")
            found = [(entry.filename, archive.read(entry)) for entry in entries]  # read() checks every CRC
    except ArtifactError:
        raise
    except Exception as error:  # zipfile answers damage with a dozen exceptions, from struct.error to NotImplementedError
        raise ArtifactError(f"{path.name} is damaged ({first_line(error)}): export it again.") from error
    names = [name for name, _ in found]
    roots = {name.partition("/")[0] for name in names}
    if len(set(names)) != len(names) or len(roots) != 1:
        # zipfile takes the last of two equal names and torch the first: what is checked must be what is run.
        raise ArtifactError(f"{path.name} has no single set of records (roots {sorted(roots)}): export it again.")
    return content, {name.partition("/")[2]: data for name, data in found}


def _check_record(path: Path, records: Mapping[str, bytes], signature: Signature, precision: Precision) -> tuple[str, ...] | None:
    """Hold the extra files against the declaration: signature, precision, a label per class if there are any, which it gives."""
    if f"extra/{RECORD_FILE}" not in records:
        raise ArtifactError(f"{path.name} has no {RECORD_FILE} inside: it was not written by squeeze-export.")
    try:
        record = json.loads(records[f"extra/{RECORD_FILE}"])
        found = {"signature": record["signature"], "precision": record["precision"]}
        labels = records.get(f"extra/{LABELS_FILE}", b"").decode().splitlines()
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path.name} holds an unreadable {RECORD_FILE} or {LABELS_FILE}: export it again.") from error
    declared = json.loads(json.dumps({"signature": asdict(signature), "precision": precision}))
    if len(signature.outputs) != 1 or found != declared:
        different = "precision" if found["precision"] != precision else "signature"
        raise ArtifactError(
            f"{path.name} says of itself {json.dumps(found[different])}, and {json.dumps(declared[different])} is declared as "
            f"its {different}: it is not the artifact of this manifest; export it again."
        )
    classes = signature.outputs[0].shape[-1]
    if labels and len(labels) != classes:
        raise ArtifactError(f"{path.name} holds {len(labels)} labels for {classes} classes: export it again.")
    return tuple(labels) or None


def _load(path: Path, content: bytes) -> Any:
    from torch.jit import mobile

    try:
        with _quiet():
            return mobile._load_for_lite_interpreter(io.BytesIO(content))
    except RuntimeError as error:
        if "ops cannot be found" in str(error) or "Could not find" in str(error):
            raise UnsupportedOperationError(f"The lite interpreter does not know an operation of {path.name}: {error}") from error
        raise ArtifactError(f"The lite interpreter cannot load {path.name}: {first_line(error)}. Export it again.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's advice to move to ExecuTorch, which every export already tells the user."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Lite Interpreter is deprecated", DeprecationWarning)
        yield


@contextmanager
def _engine(precision: Precision) -> Iterator[None]:
    """Set the mobile runtime's engine for int8 while a file is loaded or executed."""
    import torch

    if precision != "int8":
        yield
        return
    if _ENGINE not in torch.backends.quantized.supported_engines:
        raise UnsupportedOperationError(f"This torch has no {_ENGINE}, which int8 needs: verify on Linux or macOS.")
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        # Of the deprecation of quantised tensors: the file holds some, and the user has no choice of others.
        warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor, torch\.quantize_per_channel", UserWarning)
        torch.backends.quantized.engine = _ENGINE
        try:
            yield
        finally:
            torch.backends.quantized.engine = before
