"""The second road to TFLite: ONNX, then onnx-tf, then a SavedModel, then TensorFlow's own converter.

What comes out is held to the same list of operations as litert-torch's file. onnx-tf's way of keeping NCHW would put 42
transposes and 8 pads around them; the ONNX graph is therefore turned to NHWC first.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.exporters import onnx_graph
from squeeze_export.exporters.deployed import given
from squeeze_export.exporters.tflite import channels_last, onnx_tf_compat

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.signature import InputSpec, OutputKind, OutputSpec

PACKAGES: Final = (
    "torch",
    "onnx",
    "onnx-tf",
    "tensorflow-cpu",
    "tensorflow",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "flatbuffers",
)


def convert(network: torch.nn.Module, spec: InputSpec, output: OutputSpec, *, nhwc: bool = True) -> bytes:
    """Convert a prepared network (NCHW inside) to a .tflite file's content with the NHWC input `spec`; SDK exceptions pass.

    `nhwc` False leaves the ONNX graph as torch wrote it, and the file's input NCHW: what onnx-tf makes of it, for comparison.
    """
    batch, height, width, channels = spec.shape
    nchw = replace(spec, layout="NCHW", shape=(batch, channels, height, width))
    model = onnx_graph.traced(as_classifier(network, output.kind), nchw, output)
    if nhwc:
        channels_last.channels_last(model)
    onnx_tf_compat.refuse_stubbed(node.op_type for node in model.graph.node)
    return _through_tensorflow(onnx_graph.checked_bytes(model, spec if nhwc else nchw, output))


def _through_tensorflow(content: bytes) -> bytes:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import onnx

    backend = onnx_tf_compat.load_backend()
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="squeeze-export-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx-tf calls what TensorFlow has deprecated; nothing a user of ours could change
        folder = Path(scratch) / "saved_model"
        backend.prepare(onnx.load_model_from_string(content), logging_level="WARNING").export_graph(str(folder))
        converter: Any = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        return bytes(converter.convert())


def as_classifier(network: torch.nn.Module, kind: OutputKind) -> torch.nn.Module:
    """Put the softmax behind a prepared network, which takes and keeps NCHW."""
    import torch

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return given(self.model(image), kind, "softmax")

    return Classifier().eval()
