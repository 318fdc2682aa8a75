"""Files that do not hold what they must, told by the place: fp16 that overflows, int8 on channels far apart, maps of 1 x 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.coreml import exporter as coreml
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.pixels import normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source
from squeeze_export.sources.spread import far_apart
from squeeze_export.validation.judgement import judge_file
from squeeze_export.validation.runners.litert import runner as litert
from tests import conversions

FP16 = ExportSettings(precision="fp16", input_kind="image", output_kind="logits", ios_target="iOS16")


def network(side=(33, 33), model="squeezenet1_1"):
    spec = spec_for("torchvision", model=model, input_size=side)
    return load_source(name="net", model=model, weights="random", seed=3, labels=None, preprocessing=spec)


def pictures(side, count=8):
    y, x = np.mgrid[0 : side[0], 0 : side[1]]
    waves = [[127 + 120 * np.sin(x / (2 + i) + c) * np.cos(y / (3 + c)) for c in range(3)] for i in range(count)]
    return np.stack([np.stack(wave, -1) for wave in waves]).astype(np.uint8)


def scaled(source, factors):
    """The same function in fp32: channels of a squeeze layer times factors, the weights behind it divided by them."""
    squeeze, one, three = (source.module.get_submodule(f"features.3.{part}") for part in ("squeeze", "expand1x1", "expand3x3"))
    with torch.no_grad():
        squeeze.weight.mul_(factors[:, None, None, None])
        squeeze.bias.mul_(factors)
        for layer in (one, three):
            layer.weight.div_(factors[None, :, None, None])
    return source


def judged(source, folder, target, exporter, settings):
    pack = make_golden(source, [(f"{place}.png", picture) for place, picture in enumerate(pictures((40, 44), 2))])
    export = conversions.export if exporter is tflite else exporter.export
    artifact = export(source, settings, folder / f"net{exporter.SUFFIX}")
    return judge_file(
        target, artifact.path, artifact.signature, artifact.precision, pack, labels=None, folded=artifact.folded_weights
    )[0]


def test_the_first_result_that_fp16_cannot_hold_is_named_with_its_module_and_that_fp32_stays_finite(tmp_path):
    report = judged(scaled(network(), torch.full((16,), 1.5e5)), tmp_path, "coreml", coreml, FP16)
    assert report.verdict == "FAILED" and "holds NaN or infinity" in report.reason
    assert "The first result that fp16 cannot hold is that of features.3.squeeze (conv" in report.reason
    assert "fp16 ends at 65504" in report.reason and "stays finite: export it with --precision coreml=fp32" in report.reason


@pytest.mark.parametrize("layer", ["features.3.squeeze", "features.0"])
def test_a_weight_that_fp16_cannot_hold_is_named(tmp_path, monkeypatch, layer):
    source = network()
    with torch.no_grad():
        source.module.get_submodule(layer).weight.mul_(3e6)
    with pytest.raises(
        ConversionError, match=rf"{layer}\.weight reaches .*, and fp16 ends at 65504\. Export it with precision fp32"
    ):
        judged(source, tmp_path, "tflite", tflite, FP16)
    monkeypatch.setattr(tflite, "check_fits_fp16", lambda module: None)  # a file that another exporter wrote
    report = judged(source, tmp_path, "tflite", tflite, FP16)
    assert report.verdict == "FAILED" and report.reason.startswith("logits: holds NaN or infinity")
    assert f"{layer}.weight has numbers beyond 65504" in report.reason


def test_int8_on_channels_far_apart_is_refused_by_layer_with_the_precision_that_can(tmp_path):
    source = scaled(network(), torch.logspace(-4, 4, 16))
    settings = replace(FP16, precision="int8")
    with pytest.raises(
        ConversionError, match=r"features\.3\.\w+\.weight cannot be int8 .* end at 256\..*--precision tflite=fp16"
    ):
        conversions.export(source, settings, tmp_path / "net.tflite", pictures((33, 33)))
    told = far_apart(source)
    assert "The input channels of features.3.expand" in told and "--precision fp16" in told
    assert far_apart(network()) is None
    assert judged(source, tmp_path, "tflite", tflite, replace(FP16, precision="fp32")).verdict == "PASSED"


# All sizes whose last map is 1 x 1 but for their pools: even and odd sides, and the first that are larger.
@pytest.mark.parametrize(
    ("model", "side"),
    [
        ("squeezenet1_1", (17, 17)), ("squeezenet1_1", (32, 18)), ("squeezenet1_1", (34, 34)), ("squeezenet1_0", (32, 27)),
    ],
)  # fmt: skip
def test_small_inputs_are_exact_in_tflite(tmp_path, model, side):
    source, images = network(side, model), pictures(side)
    with torch.inference_mode():
        wanted = source.module(torch.from_numpy(normalise(images, source.preprocessing))).numpy()
    for precision in ("fp32", "int8") if side == (17, 17) else ("fp32",):
        artifact = conversions.export(source, replace(FP16, precision=precision), tmp_path / f"{precision}.tflite", images)
        assert "MEAN" in artifact.operators and "SUM" not in artifact.operators
        runner = litert.open(artifact.path, artifact.signature, precision)
        name = artifact.signature.input.name
        given = np.concatenate(
            [
                runner.run({name: artifact.signature.input.encode(image[None])})[artifact.signature.outputs[0].name]
                for image in images
            ]
        )
        snr = 10 * np.log10((wanted**2).sum() / ((given - wanted) ** 2).sum())
        assert snr > (110 if precision == "fp32" else 25)
