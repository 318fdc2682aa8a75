"""A second opinion on a `.tflite` file: TensorFlow's reference kernels, plain loops that share no code with XNNPACK."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.artifact import Precision
from squeeze_export.contracts.parity import Runner
from squeeze_export.contracts.signature import LOGITS_TAP, Signature
from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.sdks import missing, working
from squeeze_export.validation.runners.litert import file as litert_file
from squeeze_export.validation.runners.litert import model, tap
from squeeze_export.validation.runners.litert.weights import stored_weights

if TYPE_CHECKING:
    from pathlib import Path

    from squeeze_export.contracts.arrays import Array

NAME: Final = "TensorFlow reference kernels"
PACKAGES: Final = ("tensorflow-cpu", "tensorflow")


def unavailable() -> str | None:
    """Why nothing can be executed here (naming the remedy), or None. Loads no SDK."""
    return missing(("tensorflow",), extra="witness")


def open(path: Path, signature: Signature, precision: Precision) -> Runner:
    """Open the file at `path`, hold it against what is declared, and make ready to execute it without any delegate.

    Raises ArtifactError where the file is damaged or differs, UnsupportedOperationError where this TensorFlow has no interpreter,
    TargetUnavailableError where it cannot be imported.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path.name} cannot be read: {error.strerror}. Export it again.") from error
    file = litert_file.read(content)
    litert_file.check_declared(file, signature, precision)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with warnings.catch_warnings():
        # TensorFlow advises to move to LiteRT, which is the executor that this one is the witness for.
        warnings.simplefilter("ignore")
        with working("tensorflow"):
            import tensorflow as tf
        if not hasattr(getattr(tf, "lite", None), "Interpreter"):
            raise UnsupportedOperationError(
                f"TensorFlow {getattr(tf, '__version__', '(no version)')} has no tf.lite.Interpreter: "
                "pip install --force-reinstall 'squeeze-export[witness]'."
            )
        logits = tap.hidden_logits(file)
        try:
            interpreter = tf.lite.Interpreter(
                # Without a delegate a further output changes nothing of what is computed.
                model_content=content if logits is None else tap.tapped(content, file, logits),
                num_threads=1,
                experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
            )
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"TensorFlow refuses {path.name}: {error}. Export it again.") from error
    if any(node["op_name"] == "DELEGATE" for node in interpreter._get_ops_details()):
        raise UnsupportedOperationError("TensorFlow put a delegate in place of its reference kernels: it is no second opinion.")
    return _ReferenceRunner(
        executor=f"TensorFlow {tf.__version__} (reference kernels)",
        labels=None,
        interpreter=interpreter,
        file=file,
        shown=file.outputs if logits is None else {**file.outputs, LOGITS_TAP: logits},
    )


@dataclass(frozen=True, kw_only=True)
class _ReferenceRunner:
    executor: str
    labels: None  # LiteRT's runner reads them; kernels know none
    interpreter: Any
    file: model.TfliteFile
    shown: Mapping[str, int]

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Execute once, one image; ArtifactError where TensorFlow does not take what it is given."""
        try:
            for name, index in self.file.inputs.items():
                self.interpreter.set_tensor(index, inputs[name])
            self.interpreter.invoke()
        except (KeyError, RuntimeError, ValueError) as error:
            raise ArtifactError(f"TensorFlow could not execute the file: {error}. Export it again.") from error
        return {name: self.interpreter.get_tensor(index) for name, index in self.shown.items()}

    def stored_weights(self) -> tuple[Array, ...]:
        """Filter (O, I, H, W) and bias (O,) of every convolution in execution order, as stored."""
        return stored_weights(self.file)
