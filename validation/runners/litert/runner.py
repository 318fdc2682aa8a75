"""Executes a `.tflite` file with LiteRT's interpreter and its default XNNPACK delegate, as a phone's CPU does."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.artifact import Precision
from squeeze_export.contracts.parity import Runner
from squeeze_export.contracts.signature import LOGITS_TAP, Signature
from squeeze_export.errors import ArtifactError
from squeeze_export.validation.runners.litert import file as litert_file
from squeeze_export.validation.runners.litert import metadata as litert_metadata
from squeeze_export.validation.runners.litert import model, networks
from squeeze_export.validation.runners.litert import tap as litert_tap
from squeeze_export.validation.runners.litert.weights import stored_weights

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

NAME: Final = "LiteRT"
PACKAGES: Final = ("ai-edge-litert",)


def unavailable() -> str | None:
    """Why nothing can be executed here (naming the remedy), or None. Loads no SDK."""
    if find_spec("ai_edge_litert") is None:
        return "ai-edge-litert is not installed: pip install ai-edge-litert"
    return None


def open(path: Path, signature: Signature, precision: Precision) -> Runner:
    """Open the file at `path`, hold it against what is declared, and make ready to execute it in one XNNPACK partition.

    Of networks other than SqueezeNet XNNPACK need not take all: the executor's name says what it leaves to others.
    Raises ArtifactError where the file is damaged, differs from what is declared, or would not run in XNNPACK as a whole.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path.name} cannot be read: {error.strerror}. Export it again.") from error
    file = litert_file.read(content)
    litert_file.check_declared(file, signature, precision)
    metadata = _check_metadata(file, content, signature)
    logits = litert_tap.hidden_logits(file)
    tap: Any = None
    with _quiet() as said:
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
            if logits is not None:
                tap = Interpreter(model_content=litert_tap.tapped(content, file, logits), num_threads=1)
                tap.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            said.flush()
            said.seek(0)
            error.add_note("LiteRT's own output:\n" + said.read()[-4000:].decode(errors="replace"))
            words = str(error).replace("runtimeNode", "runtime. Node").rstrip(".\n ")  # it leaves the line end out
            raise ArtifactError(
                f"LiteRT refuses {path.name}: {words}. The file is damaged, or holds what this LiteRT cannot run."
            ) from error
    if file.network is None:
        _require_one_partition(interpreter, file)
        taken = "XNNPACK"
    else:
        taken = networks.taken(interpreter._get_ops_details(), file)
    return _LiteRtRunner(
        executor=f"LiteRT {version('ai-edge-litert')} ({taken})",
        labels=metadata.labels,
        interpreter=interpreter,
        file=file,
        logits=logits,
        tap=tap,
    )


@dataclass(frozen=True, kw_only=True)
class _LiteRtRunner:
    """`tap`: the same file with its tensor `logits` as one more output, where the file's own are too coarse to judge."""

    executor: str
    labels: tuple[str, ...] | None
    interpreter: Any
    file: model.TfliteFile
    logits: int | None
    tap: Any

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Execute once, one image; ArtifactError where names, shape or dtype are not the file's."""
        wanted = {name: (self.file.shapes[i], self.file.types[i].lower()) for name, i in self.file.inputs.items()}
        given = {name: (tuple(value.shape), str(value.dtype)) for name, value in inputs.items()}
        if given != wanted:
            raise ArtifactError(f"The TFLite file takes {wanted}, but was given {given}.")
        results = self._invoke(self.interpreter, inputs)
        if self.logits is None:
            return results
        beside = self._invoke(self.tap, inputs)
        if not all((beside[name] == value).all() for name, value in results.items()):
            raise ArtifactError("LiteRT gives other scores where it shows the logits as well: they cannot be judged.")
        return {**results, LOGITS_TAP: self.tap.get_tensor(self.logits)}

    def _invoke(self, interpreter: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
        for name, index in self.file.inputs.items():
            interpreter.set_tensor(index, inputs[name])
        try:
            interpreter.invoke()
        except RuntimeError as error:
            raise ArtifactError(f"LiteRT could not execute the file: {error}. Export it again.") from error
        return {name: interpreter.get_tensor(index) for name, index in self.file.outputs.items()}

    def stored_weights(self) -> tuple[Array, ...]:
        """Filter (O, I, H, W) and bias (O,) of every convolution in execution order, as stored."""
        return stored_weights(self.file)


def _check_metadata(file: model.TfliteFile, content: bytes, signature: Signature) -> litert_metadata.Metadata:
    metadata = file.metadata.get(litert_metadata.BUFFER_NAME)
    if metadata is None:
        raise ArtifactError(
            f"The file has no {litert_metadata.BUFFER_NAME}: MediaPipe Tasks refuses it, and apps must guess its normalisation. "
            "Export it again."
        )
    read = litert_metadata.read(metadata, content)
    litert_metadata.check_declared(read, signature)
    return read


def _require_one_partition(interpreter: Any, file: model.TfliteFile) -> None:
    """XNNPACK must have taken the whole graph: one delegate node from the model's input to its output.

    The interpreter keeps listing the operations that a delegate has replaced, so what is left outside shows in what
    the delegate node does not read or write.
    """
    details = interpreter._get_ops_details()
    partitions = [node for node in details if node["op_name"] == "DELEGATE"]
    if len(partitions) != 1:
        raise ArtifactError(
            f"XNNPACK takes the TFLite file in {len(partitions)} partitions instead of 1: parts of it run on slow "
            "reference code. Export it again."
        )
    (partition,) = partitions
    covers = set(file.inputs.values()) <= set(partition["inputs"]) and set(file.outputs.values()) == set(partition["outputs"])
    if not covers:
        raise ArtifactError(
            f"XNNPACK does not take the whole TFLite file: its partition reads tensors {list(partition['inputs'])} and writes "
            f"{list(partition['outputs'])}, the model reads {file.inputs} and writes {file.outputs}."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Send what LiteRT's native code writes to file descriptor 2 ("INFO: Created ... delegate") to a scratch file; yield it."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as scratch:
        os.dup2(scratch.fileno(), 2)
        try:
            yield scratch
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
