"""Features of a captured network in every format: proven as its scores are, and a fault in them is seen."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.exporters import EXPORTERS
from squeeze_export.golden.images import demo_images
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.pixels import normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.features import load_features
from squeeze_export.sources.networks.names import parse_model
from squeeze_export.validation import noise
from squeeze_export.validation.judgement import judge_file

TARGETS = tuple(target for target in EXPORTERS if EXPORTERS[target].unavailable() is None)  # ONNX is an extra


@pytest.fixture(scope="module")
def source():
    return load_features(
        parse_model("tests.captured_nets:mixed"),
        name="net",
        weights="module",
        arguments={},
        preprocessing=lambda own: spec_for("torchvision", model="", input_size=48),
        seed=0,
    )


@pytest.fixture(scope="module")
def pack(source):
    made = make_golden(source, demo_images())
    return replace(
        made, noise_floor=noise.measure(source.module, normalise(made.pixels, made.preprocessing)), kernels=source.kernels
    )


@pytest.mark.parametrize("target", TARGETS)
def test_every_format_gives_them_and_a_fault_fails(source, pack, tmp_path, target):
    def judged(network, name):
        precision = "fp16" if target == "coreml" else "fp32"
        settings = ExportSettings(precision=precision, input_kind="image", output_kind="features", ios_target="iOS16")
        made = EXPORTERS[target].export(network, settings, tmp_path / f"{name}{EXPORTERS[target].SUFFIX}")
        return made, judge_file(target, made.path, made.signature, precision, pack, labels=None, folded=made.folded_weights)[0]

    artifact, report = judged(source, "sound")
    (output,) = artifact.signature.outputs
    assert (output.name, output.kind, output.shape) == ("features", "features", (1, 32))
    assert (report.verdict, report.reason) == ("PASSED", None)
    assert report.weights.compared == len(source.kernels) == 5 and report.outputs[0].top1_agreement is None
    changed = copy.deepcopy(source.module)
    with torch.no_grad():
        dict(changed.named_parameters())["pointwise.bias"].add_(0.1)
    assert judged(replace(source, module=changed), "broken")[1].verdict == "FAILED"
