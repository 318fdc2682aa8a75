"""What sound artifacts of one network answer: each function gives the logits, (images, classes)."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

Kind = Literal["fp32", "fp16", "fp16-stored"]


def each(run: Callable[[torch.Tensor], Any], images: torch.Tensor) -> Array:
    """The rows of all images, one run for each."""
    with torch.no_grad():
        return np.concatenate([np.asarray(run(images[place : place + 1]).float().numpy()) for place in range(len(images))])


def frozen(module: torch.nn.Module, images: torch.Tensor) -> Array:
    """TorchScript, traced and frozen: batch norms are folded."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.freeze(torch.jit.trace(module, images[:1], check_trace=False))
    return each(script, images)


def channels_last(module: torch.nn.Module, images: torch.Tensor) -> Array:
    """Eager, with the kernels for channels-last tensors."""
    other = copy.deepcopy(module).to(memory_format=torch.channels_last)
    return each(lambda image: other(image.contiguous(memory_format=torch.channels_last)), images)


def native(module: torch.nn.Module, images: torch.Tensor) -> Array:
    """Eager, with torch's own kernels in place of oneDNN's."""
    with warnings.catch_warnings(), torch.backends.mkldnn.flags(enabled=False):
        return each(module, images)


def half(module: torch.nn.Module, images: torch.Tensor) -> Array:
    """TorchScript in fp16, traced and frozen: folded in fp16, computed by torch's own fp16 kernels."""
    other = copy.deepcopy(module).half()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.freeze(torch.jit.trace(other, images[:1].half(), check_trace=False))
    return each(lambda image: script(image.half()), images)


def onnx(module: torch.nn.Module, images: torch.Tensor, *, rounded: bool = False) -> Array:
    """ONNX Runtime; `rounded`: its initializers, in which batch norms are folded, are rounded to fp16."""
    import onnx as format_
    import onnxruntime
    from onnx import numpy_helper

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (images[:1],), str(path), dynamo=False, input_names=["image"], opset_version=17)
        graph = format_.load(str(path))
    if rounded:
        for tensor in graph.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16).astype(np.float32), tensor.name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": images[place : place + 1].numpy()})[0] for place in range(len(images))])


def stored(module: torch.nn.Module, images: torch.Tensor) -> Array:
    """ONNX Runtime in fp32 with fp16 weights."""
    return onnx(module, images, rounded=True)


def coreml(module: torch.nn.Module, images: torch.Tensor, *, precision: str = "FLOAT16") -> Array:
    """A Core ML program of the trace road, executed by the MIL reference executor from its file."""
    from squeeze_export.sdks import load_coremltools

    load_coremltools()
    import coremltools

    from squeeze_export.validation.mil.executor import prepare
    from squeeze_export.validation.mil.ops import IMPLEMENTED
    from squeeze_export.validation.mil.package import read_package
    from squeeze_export.validation.mil.program import load_program

    with tempfile.TemporaryDirectory() as folder:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script = torch.jit.trace(module, images[:1], check_trace=False)
        made = coremltools.convert(
            script,
            inputs=[coremltools.TensorType(name="image", shape=tuple(images[:1].shape))],
            outputs=[coremltools.TensorType(name="scores")],
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=getattr(coremltools.precision, precision),
            convert_to="mlprogram",
            skip_model_load=True,
        )
        path = Path(folder) / "network.mlpackage"
        made.save(str(path))
        engine = prepare(load_program(read_package(path, IMPLEMENTED)), "emulate")
    rows = [engine.run({"image": images[place : place + 1].numpy()}, ("scores",))["scores"] for place in range(len(images))]
    return np.concatenate(rows).astype(np.float32)


ARTIFACTS: Final[dict[str, tuple[Kind, Callable[[torch.nn.Module, torch.Tensor], Array]]]] = {
    "TorchScript": ("fp32", frozen),
    "channels last": ("fp32", channels_last),
    "native": ("fp32", native),
    "ONNX Runtime": ("fp32", onnx),
    "TorchScript fp16": ("fp16", half),
    "ONNX Runtime, fp16 weights": ("fp16-stored", stored),
    "Core ML fp16": ("fp16", coreml),
}
