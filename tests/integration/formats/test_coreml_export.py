"""Core ML packages from their files: the numbers of PyTorch in the MIL reference executor."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from squeeze_export.contracts.signature import LOGITS_TAP
from squeeze_export.contracts.source import SourceModel, WeightsOrigin
from squeeze_export.exporters.coreml import exporter as coreml
from squeeze_export.sources.squeezenet import SqueezeNet
from squeeze_export.validation.runners import mil_reference
from tests.unit.exporters.coreml.test_coreml import CAFFE, TORCHVISION, settings, seven_classes

ROOT = Path(__file__).resolve().parents[3]


def pictures(spec, count=3):
    """Smooth structured pictures, (count, H, W, 3) uint8."""
    y, x = np.mgrid[0 : spec.height, 0 : spec.width]
    waves = [[127 + 120 * np.sin((k + 1) * x / 19 + c) * np.cos((c + 1) * y / 23 + k) for c in range(3)] for k in range(count)]
    return np.asarray(waves).transpose(0, 2, 3, 1).astype(np.uint8)


def reference(source, pixels):
    """Eager fp32 logits, normalised here independently of the exporter."""
    spec = source.preprocessing
    channels = pixels[..., ::-1] if spec.color_order == "BGR" else pixels
    values = (channels.astype(np.float64) * spec.scale - np.array(spec.mean)) / np.array(spec.std)
    with torch.no_grad():
        return source.module(torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))).numpy()


def executed(artifact, pixels):
    """What the file gives for each picture, under the names it has there."""
    runner = mil_reference.open(artifact.path, artifact.signature, artifact.precision)
    rows = [runner.run({"image": artifact.signature.input.encode(pixels[i : i + 1])}) for i in range(len(pixels))]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def snr(expected, found):
    expected = np.asarray(expected, np.float64)
    return 10 * np.log10((expected**2).sum() / ((found - expected) ** 2).sum())


@pytest.mark.parametrize(
    ("precision", "input_kind", "output_kind", "spec", "model"),
    [
        ("fp32", "image", "probabilities", TORCHVISION, "squeezenet1_1"),
        ("fp32", "image", "logits", replace(TORCHVISION, height=227, width=224), "squeezenet1_1"),
        ("fp32", "image", "logits", CAFFE, "squeezenet1_0_complex_bypass"),
        ("fp32", "tensor", "logits", CAFFE, "squeezenet1_0_bypass"),
        ("fp16", "image", "probabilities", CAFFE, "squeezenet1_0"),
        ("fp16", "tensor", "probabilities", TORCHVISION, "squeezenet1_1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_saved_file_gives_the_numbers_of_pytorch(tmp_path, precision, input_kind, output_kind, spec, model):
    source = seven_classes(model, spec)
    asked = settings(precision=precision, input_kind=input_kind, output_kind=output_kind)
    artifact = coreml.export(source, asked, tmp_path / "net.mlpackage")
    pixels = pictures(spec)
    logits = reference(source, pixels)
    found = executed(artifact, pixels)
    floor = 100 if precision == "fp32" else 50
    if output_kind == "logits":
        assert snr(logits, found["logits"]) >= floor
    else:
        probabilities = torch.softmax(torch.from_numpy(logits), 1).numpy()
        assert snr(probabilities, found["probabilities"]) >= floor
        assert snr(logits, found[LOGITS_TAP]) >= floor
    swapped = pixels[..., ::-1].copy()  # the comparison can fail: red and blue exchanged
    assert snr(logits, executed(artifact, swapped)["logits" if output_kind == "logits" else LOGITS_TAP]) < 40


def real_data():
    folder = Path(os.environ.get("SQUEEZE_EXPORT_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "weights").is_dir():
        pytest.skip(f"no real weights and photographs at {folder}; set SQUEEZE_EXPORT_DATA")
    return folder


@pytest.mark.realdata
@pytest.mark.parametrize(("precision", "floor"), [("fp32", 120.0), ("fp16", 65.0)])
def test_real_weights_on_real_photographs(tmp_path, precision, floor):
    from PIL import Image
    from safetensors.torch import load_file

    data = real_data()
    network = SqueezeNet("squeezenet1_1", 1000)
    network.load_state_dict(load_file(data / "weights" / "squeezenet1_1_torchvision.safetensors"))
    source = SourceModel(
        name="squeezenet1_1",
        model="squeezenet1_1",
        module=network.eval(),
        num_classes=1000,
        labels=tuple(f"class {index}" for index in range(1000)),
        preprocessing=replace(TORCHVISION, resize=256, height=224, width=224),
        weights=WeightsOrigin(kind="file", sha256="0" * 64, file_name="squeezenet1_1_torchvision.safetensors", seed=None),
    )
    artifact = coreml.export(source, settings(precision=precision), tmp_path / "net.mlpackage")
    files = (
        sorted((data / "images" / "evaluation").glob("*.jpg"))[:12]
        or sorted((data / "images" / "evaluation").glob("*.jpeg"))[:12]
    )
    assert len(files) == 12
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB").crop((37, 37, 261, 261))) for file in files])
    logits = reference(source, pixels)
    found = executed(artifact, pixels)
    assert snr(logits, found[LOGITS_TAP]) >= floor
    log_probabilities = torch.log_softmax(torch.from_numpy(logits), 1).numpy()
    assert snr(log_probabilities, np.log(found["probabilities"])) >= floor  # finite: no probability is 0
    size = sum(path.stat().st_size for path in artifact.path.rglob("*") if path.is_file())
    assert size < {"fp32": 5_050_000, "fp16": 2_580_000}[precision]
