"""Tiny real source models for the TFLite and TorchScript tests: SqueezeNets of seven classes with random weights."""

from __future__ import annotations

import numpy as np
import torch

from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.contracts.signature import PreprocessingSpec, Signature
from squeeze_export.contracts.source import SourceModel, WeightsOrigin
from squeeze_export.exporters.deployed import input_spec, output_spec
from squeeze_export.sources.squeezenet import SqueezeNet, initialise

LABELS = ("cat", "dog", "crane, bird", "Käfer", "#5", "six", "seven")
IMAGE_SCALE, IMAGE_BIAS = 1 / 127.5, -1.0


def torchvision(height=64, width=64):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return PreprocessingSpec(resize=256, height=height, width=width, color_order="RGB", scale=1 / 255, mean=mean, std=std)


def caffe(height=64, width=64):
    mean, std = (104.0, 117.0, 123.0), (1.0, 1.0, 1.0)
    return PreprocessingSpec(resize=256, height=height, width=width, color_order="BGR", scale=1.0, mean=mean, std=std)


def inception(height=64, width=64):
    half = (127.5, 127.5, 127.5)
    return PreprocessingSpec(resize=256, height=height, width=width, color_order="RGB", scale=1.0, mean=half, std=half)


def seven_classes(model="squeezenet1_1", preprocessing=None, labels=LABELS):
    network = SqueezeNet(model, 7)
    initialise(network, torch.Generator().manual_seed(3))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(4)
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):  # zero biases would hide a bias that got lost
                module.bias.normal_(0, 0.1, generator=generator)
    return SourceModel(
        name=model,
        model=model,
        module=network.eval(),
        num_classes=7,
        labels=labels,
        preprocessing=preprocessing or torchvision(),
        weights=WeightsOrigin(kind="random", sha256="0" * 64, file_name=None, seed=3),
    )


def settings(precision="fp32", input_kind="image", output_kind="probabilities"):
    return ExportSettings(precision=precision, input_kind=input_kind, output_kind=output_kind, ios_target="iOS16")


def declared(source, wanted):
    """The signature that an app is told, written down without the exporter."""
    spec = input_spec(
        source.preprocessing, wanted.input_kind, name="image", layout="NHWC", image_scale=IMAGE_SCALE, image_bias=IMAGE_BIAS
    )
    return Signature(input=spec, outputs=(output_spec(source, wanted.output_kind),))


def pictures(preprocessing, count=2):
    """Smooth structured pictures, (count, H, W, 3) uint8."""
    y, x = np.mgrid[0 : preprocessing.height, 0 : preprocessing.width]
    rows = []
    for k in range(count):
        channels = [127 + 120 * np.sin((k + 1) * x / 19 + c) * np.cos((c + 1) * y / 23 + k) for c in range(3)]
        rows.append(np.stack(channels, axis=-1))
    return np.stack(rows).astype(np.uint8)


def eager(source, pixels):
    """The reference's logits for RGB pixels, normalised here and not by any exporter."""
    spec = source.preprocessing
    channels = pixels[..., ::-1] if spec.color_order == "BGR" else pixels
    normalised = (channels.astype(np.float64) * spec.scale - np.array(spec.mean)) / np.array(spec.std)
    tensor = torch.from_numpy(np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), np.float32))
    with torch.no_grad():
        return torch.cat([source.module(row[None]) for row in tensor]).numpy()


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def converted(module, **inputs):
    """What litert-torch makes of any module: file content."""
    import warnings

    import litert_torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # litert-torch calls what torch has deprecated
        return bytes(litert_torch.convert(module.eval(), sample_kwargs=inputs).model_content())


class Transposing(torch.nn.Module):
    """Averages NCHW without keeping dimensions, which the converter answers with a TRANSPOSE."""

    def __init__(self, classes=7):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, classes, 1)

    def forward(self, image):
        return {"logits": torch.relu(self.conv(image.permute(0, 3, 1, 2))).mean((2, 3))}


class HandPadded(torch.nn.Module):
    """Pads with -3.4e38 before a pool: PADV2, which XNNPACK leaves to the reference kernels."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 7, 1)

    def forward(self, image):
        features = torch.nn.functional.pad(self.conv(image.permute(0, 3, 1, 2)), (0, 1, 0, 0), value=-3.4028234e38)
        return {"logits": torch.nn.functional.max_pool2d(features, 3, 2).mean((2, 3))}
