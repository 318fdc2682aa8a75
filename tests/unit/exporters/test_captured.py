"""Files of tiny networks with what a converter gets wrong: each gives what PyTorch gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.exporters import EXPORTERS
from squeeze_export.sources.captured import kernels_of
from squeeze_export.sources.networks import capture
from squeeze_export.validation.runners import RUNNERS
from tests.captured_cases import flowers
from tests.tflite_cases import torchvision
from tests.unit.sources.networks.quirks import (
    SIDE,
    Attended,
    Encoded,
    Enlarged,
    Normed,
    Padded,
    Pooled,
    Resized,
    Scaled,
    Shifted,
    captured,
)


@pytest.mark.parametrize(
    ("network", "target"),
    [
        (Resized, "tflite"),
        (Resized, "coreml"),
        (Attended, "tflite"),
        (Attended, "torchscript"),  # a split is a list that is unpacked
        (Scaled, "coreml"),
        (Normed, "tflite"),
        (Padded, "onnx"),
        (Pooled, "onnx"),
        (Shifted, "onnx"),
        (Encoded, "tflite"),
        (Encoded, "torchscript"),
        (Enlarged, "torchscript"),
    ],
)
def test_the_file_gives_what_pytorch_gives(network, target, tmp_path):
    module = capture.settle(captured(network()))[0].module()
    source = replace(
        flowers(), module=module, kernels=kernels_of(module), preprocessing=torchvision(SIDE, SIDE), program=None, labels=None
    )
    settings = ExportSettings(precision="fp32", input_kind="tensor", output_kind="logits", ios_target="iOS16")
    artifact = EXPORTERS[target].export(source, settings, tmp_path / f"network{EXPORTERS[target].SUFFIX}")
    opened = RUNNERS[target][0].open(artifact.path, artifact.signature, "fp32")
    image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    given = image.permute(0, 2, 3, 1) if target == "tflite" else image
    (found,) = opened.run({"image": np.ascontiguousarray(given.numpy())}).values()
    expected = module(image).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    weights = [weight for weight in opened.stored_weights() if weight.ndim > 1]
    kernels = [module.state_dict()[name].numpy() for name in source.kernels]
    assert sorted(kernel.tobytes() for kernel in kernels) == sorted(weight.tobytes() for weight in weights)
