"""Real artifacts before the judge: SqueezeNets exported to TorchScript, whole and damaged, with either head."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.exporters.torchscript import exporter as torchscript
from squeeze_export.golden.images import read_pictures
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source
from squeeze_export.validation.parity import judge
from squeeze_export.validation.runners.torch_lite import runner as torch_lite
from squeeze_export.validation.tolerances import tolerance_for

KINDS = {"classifier": "probabilities", "features": "features"}


def source_of(model, head, weights="random", side=96):
    spec = spec_for("torchvision", model=model, input_size=(side, side))
    return load_source(name=model, model=model, weights=weights, seed=1, labels=None, preprocessing=spec, head=head)


def exported(source, precision, folder):
    asked = ExportSettings(precision=precision, input_kind="image", output_kind=KINDS[source.head], ios_target="iOS16")
    return torchscript.export(source, asked, folder / f"{source.head}-{precision}.ptl")


def judged(source, artifact, pictures):
    runner = torch_lite.open(artifact.path, artifact.signature, artifact.precision)
    pack, tolerance = make_golden(source, pictures), tolerance_for("torchscript", artifact.precision)
    return judge(runner, artifact.signature, pack, tolerance, artifact.precision)


def prove(source, pictures, precision, folder, damage=None):
    """Export, let `damage(module)` change what is exported but not the reference, and judge the file."""
    changed = dataclasses.replace(source, module=copy.deepcopy(source.module))
    if damage is not None:
        damage(changed.module)
    return judged(source, exported(changed, precision, folder), pictures)


def waves(side=96, count=4):
    y, x = np.mgrid[0:side, 0:side]
    pictures = []
    for k in range(count):
        channels = [127 + 120 * np.sin((k + 1) * x / 9 + c) * np.cos((c + 1) * y / 11 + k) for c in range(3)]
        pictures.append((f"{k}.png", np.stack(channels, axis=-1).astype(np.uint8)))
    return pictures


def nudge(module):
    module.features[3].squeeze.weight[2, 0] += 1e-2


def swap(module):
    first, second = module.features[3].expand1x1.weight, module.features[4].expand1x1.weight
    kept = first.clone()
    first.copy_(second)
    second.copy_(kept)


@pytest.mark.parametrize("head", KINDS)
@pytest.mark.parametrize("model", ["squeezenet1_1", "squeezenet1_0_complex_bypass"])
def test_a_real_artifact_passes_and_a_damaged_one_fails(tmp_path, model, head):
    source = source_of(model, head)
    for precision in ("fp32", "fp16"):
        report = prove(source, waves(), precision, tmp_path)
        assert (report.verdict, report.reason) == ("PASSED", None)
        assert report.weights.compared == report.weights.expected == len(source.module.state_dict())

    report = prove(source, waves(), "fp32", tmp_path, nudge)
    assert report.verdict == "FAILED"
    assert report.weights.problems[0] == "1 of the source's weights are not in the file: features.3.squeeze.weight"
    assert any(output.problems for output in report.outputs)

    report = prove(source, waves(), "fp32", tmp_path, swap)
    assert report.verdict == "FAILED"
    assert report.weights.problems == ()  # all are there, in each other's place: only the outputs can tell
    assert any(output.problems for output in report.outputs)


def test_neither_head_passes_for_the_other(tmp_path):
    whole, headless = source_of("squeezenet1_1", "classifier"), source_of("squeezenet1_1", "features")
    artifacts = [exported(source, "fp32", tmp_path) for source in (whole, headless)]
    # What is left away: 513,000 numbers for 1000 classes, at 4 bytes.
    assert artifacts[0].path.stat().st_size - artifacts[1].path.stat().st_size > 2_052_000
    for source, artifact in zip((headless, whole), artifacts, strict=True):
        report = judged(source, artifact, waves())
        assert report.verdict == "FAILED"
        assert f"{artifact.signature.outputs[0].kind} are declared, and the golden pack holds a reference for" in report.reason


@pytest.mark.realdata
@pytest.mark.parametrize(("head", "least"), [("classifier", {"fp32": 120, "fp16": 80}), ("features", {"fp32": 120, "fp16": 75})])
def test_real_weights_on_real_photographs(tmp_path, real_data, head, least):
    pictures = read_pictures(sorted((real_data / "images" / "evaluation").glob("*.jpg"))[:8])
    weights = real_data / "weights" / "squeezenet1_1_torchvision.safetensors"
    source = source_of("squeezenet1_1", head, weights, side=224)
    for precision in ("fp32", "fp16"):
        report = prove(source, pictures, precision, tmp_path)
        assert (report.verdict, report.reason) == ("PASSED", None)
        assert report.outputs[-1].snr_db > least[precision]
        assert report.outputs[-1].top1_agreement == (1.0 if head == "classifier" else None)
