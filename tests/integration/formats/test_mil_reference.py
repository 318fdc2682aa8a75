"""The four networks as coremltools converts them, re-opened from disk and compared with eager torch; real weights if present."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from squeeze_export.contracts.signature import LOGITS_TAP, InputSpec, OutputSpec, Signature
from squeeze_export.sdks import load_coremltools
from squeeze_export.sources.squeezenet import SqueezeNet, initialise
from squeeze_export.validation.runners import mil_reference

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


class Deployed(torch.nn.Module):
    """The network behind a colour swap, its normalisation and in front of a softmax, as an exporter wraps it."""

    def __init__(self, network: torch.nn.Module, flip: bool) -> None:
        super().__init__()
        self.network, self.flip = network, flip
        self.register_buffer("mean", MEAN)
        self.register_buffer("std", STD)

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        image = image.flip(1) if self.flip else image
        result: torch.Tensor = self.network((image / 255 - self.mean) / self.std)
        return result

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.logits(image), 1)


def _convert(module: Deployed, path: Path, side: tuple[int, int], target: str, precision: str, order: str) -> Path:
    ct = load_coremltools()
    classes = int(module.network.classifier[1].out_channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch.jit and coremltools
        ct.convert(
            torch.jit.trace(module.eval(), torch.rand(1, 3, *side)),
            inputs=[ct.ImageType(name="image", shape=(1, 3, *side), color_layout=getattr(ct.colorlayout, order))],
            classifier_config=ct.ClassifierConfig([f"class {index}" for index in range(classes)]),
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=getattr(ct.precision, "FLOAT" + precision[2:]),
            skip_model_load=True,
        ).save(str(path))
    return path


def _signature(side: tuple[int, int], classes: int, order: Any) -> Signature:
    return Signature(
        input=InputSpec(
            name="image",
            shape=(1, 3, *side),
            dtype="float32",
            layout="NCHW",
            color_order=order,
            scale=(1.0,) * 3,
            bias=(0.0,) * 3,
        ),
        outputs=(
            OutputSpec(
                name="classLabel_probs",
                shape=(1, classes),
                dtype="float32",
                kind="probabilities",
                container="dictionary",
            ),
        ),
        class_label="classLabel",
    )


def _snr(reference: np.ndarray, result: np.ndarray) -> float:
    noise = float(np.square(result.astype(np.float64) - reference).sum())
    return 10 * float(np.log10(np.square(reference.astype(np.float64)).sum() / max(noise, 1e-30)))


@pytest.mark.parametrize(
    ("model", "side", "target", "precision", "order", "flip"),
    [
        ("squeezenet1_1", (97, 96), "iOS15", "fp16", "RGB", True),
        ("squeezenet1_0", (96, 97), "iOS16", "fp32", "BGR", False),
        ("squeezenet1_0_bypass", (97, 97), "iOS17", "fp16", "RGB", False),
        ("squeezenet1_0_complex_bypass", (96, 96), "iOS18", "fp32", "RGB", True),
    ],
)
def test_every_network_agrees_with_eager_torch(tmp_path, model, side, target, precision, order, flip):
    network = SqueezeNet(model, 21).eval()
    initialise(network, torch.Generator().manual_seed(1))
    deployed = Deployed(network, flip)
    path = _convert(deployed, tmp_path / "net.mlpackage", side, target, precision, order)
    runner = mil_reference.open(path, _signature(side, 21, order), precision)
    rows, columns = np.mgrid[0 : side[0], 0 : side[1]]
    image = np.stack([rows * 2, columns * 2, (rows // 8 + columns // 8) % 2 * 200]).astype(np.float32)[None]
    with torch.inference_mode():
        logits = deployed.logits(torch.from_numpy(image)).numpy()
    results = runner.run({"image": image})
    assert _snr(logits, results[LOGITS_TAP]) > (110 if precision == "fp32" else 45)
    np.testing.assert_allclose(
        results["classLabel_probs"],
        torch.from_numpy(logits).softmax(1).numpy(),
        atol=1e-6 if precision == "fp32" else 0.02,
    )
    stored = runner.stored_weights()
    assert stored is not None
    parameters = [value.detach().numpy() for value in network.parameters()]
    half = np.float16 if precision == "fp16" else np.float32
    assert sorted(weight.tobytes() for weight in stored) == sorted(value.astype(half).tobytes() for value in parameters)


def _real_data() -> Path:
    folder = Path(os.environ.get("SQUEEZE_EXPORT_DATA") or Path(__file__).parents[4] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no real weights and photographs: set SQUEEZE_EXPORT_DATA or put them into ../shared/data")
    return folder


def _photographs(folder: Path, count: int) -> np.ndarray:
    from PIL import Image

    pictures = []
    for file in sorted((folder / "images" / "evaluation").glob("*.jp*g"))[:count]:
        with Image.open(file) as picture:
            small = picture.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
        pictures.append(np.asarray(small).transpose(2, 0, 1))
    assert len(pictures) == count
    return np.stack(pictures).astype(np.float32)


@pytest.mark.realdata
def test_real_weights_and_photographs(tmp_path):
    """fp32: a few units in the last place of probabilities up to 1. fp16: what rounding after each operation costs."""
    from safetensors.torch import load_file

    data = _real_data()
    network = SqueezeNet("squeezenet1_1", 1000).eval()
    network.load_state_dict(load_file(data / "weights" / "squeezenet1_1_torchvision.safetensors"))
    deployed = Deployed(network, flip=False)
    images = _photographs(data, 8)
    with torch.inference_mode():
        # One at a time, as the runner does it: in a batch torch adds up in another order.
        logits = torch.cat([deployed.logits(torch.from_numpy(image[None])) for image in images])
    probabilities = logits.softmax(1).numpy()
    for precision, most, least_snr in (("fp32", 1e-6, 115), ("fp16", 1e-2, 50)):
        path = _convert(deployed, tmp_path / f"{precision}.mlpackage", (224, 224), "iOS16", precision, "RGB")
        runner = mil_reference.open(path, _signature((224, 224), 1000, "RGB"), precision)
        results = [runner.run({"image": image[None]}) for image in images]
        tapped = np.concatenate([result[LOGITS_TAP] for result in results])
        scores = np.concatenate([result["classLabel_probs"] for result in results])
        error, snr = float(np.abs(scores - probabilities).max()), _snr(logits.numpy(), tapped)
        print(f"{precision}: probabilities within {error:.2g}, logits {snr:.1f} dB")
        assert error < most
        assert snr > least_snr
        assert (tapped.argmax(1) == logits.numpy().argmax(1)).all()
