"""Artifacts of networks with other heads: sigmoid, one score, and activations that are there already; each format once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from squeeze_export.contracts.source import Scores
from squeeze_export.exporters import EXPORTERS
from squeeze_export.golden.files import read_golden, write_golden
from squeeze_export.golden.images import demo_images
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.pixels import normalise
from squeeze_export.sources.source import restore_source, save_source
from squeeze_export.validation import noise
from squeeze_export.validation.judgement import judge_file
from tests.captured_nets import headed
from tests.unit.validation.test_captured import load, settings, skip_without

TARGETS = ("coreml", "tflite", "torchscript", "onnx")
HEADS = {
    "sigmoid": ("logits", 3, {"activation": "sigmoid"}),
    "one score": ("logits", 1, {}),
    "softmax there": ("softmax", 3, {}),
    "log_softmax there": ("log_softmax", 3, {}),
}


def made(name):
    ending, classes, more = HEADS[name]
    source = load("tests.captured_nets:headed", arguments={"ending": ending, "classes": classes}, **more)
    pack = make_golden(source, demo_images())
    floor = noise.measure(source.module, normalise(pack.pixels, pack.preprocessing))
    return source, replace(pack, noise_floor=floor, kernels=source.kernels)


@pytest.fixture(scope="module")
def sources():
    return {name: made(name) for name in HEADS}


def judged(source, pack, folder, target):
    exporter = EXPORTERS[target]
    artifact = exporter.export(source, settings("fp32"), folder / f"net{exporter.SUFFIX}")
    report = judge_file(
        target, artifact.path, artifact.signature, "fp32", pack, labels=source.labels, folded=artifact.folded_weights
    )[0]
    return artifact, report


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", HEADS)
def test_an_artifact_gives_what_the_network_means(sources, tmp_path, name, target):
    skip_without(target)
    source, pack = sources[name]
    artifact, report = judged(source, pack, tmp_path, target)
    assert report.verdict == "PASSED", report.reason
    ends = [one.rpartition("::")[2].partition(".")[0].lower() for one in artifact.operators]
    assert sum(end in ("softmax", "sigmoid", "logistic", "log_softmax") for end in set(ends)) == 1
    assert ("softmax" in ends) == (source.activation == "softmax")
    assert {output.observed for output in report.outputs} >= {"probabilities"}


def test_the_reference_answers_what_the_network_itself_does(sources):
    for name, function in (("softmax there", torch.exp), ("log_softmax there", torch.exp)):
        source, pack = sources[name]
        image = torch.from_numpy(normalise(pack.pixels, pack.preprocessing))
        own = torch.cat([headed(HEADS[name][0])(one[None]) for one in image])
        own = own if source.gives == "probabilities" else function(own)
        assert torch.allclose(torch.from_numpy(pack.reference.probabilities), own, atol=1e-6)


def test_the_wrong_activation_fails(sources, tmp_path):
    source, pack = sources["sigmoid"]
    _, report = judged(replace(source, activation="softmax"), pack, tmp_path, "torchscript")
    assert report.verdict == "FAILED"


def test_a_softmax_that_is_applied_twice_fails(sources, tmp_path):
    source, pack = sources["softmax there"]

    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = source.module

        def forward(self, image):
            return self.network(image).softmax(1)

    _, report = judged(replace(source, module=Twice().eval()), pack, tmp_path, "torchscript")
    assert report.verdict == "FAILED"


def test_one_score_that_says_no_for_yes_fails(sources, tmp_path):
    source, pack = sources["one score"]
    turned = replace(pack.reference, logits=-pack.reference.logits, probabilities=1 - pack.reference.probabilities)
    _, report = judged(source, replace(pack, reference=turned), tmp_path, "torchscript")
    assert report.verdict == "FAILED" and "another top-1" in report.reason


def test_head_and_activation_travel(sources, tmp_path):
    for name in ("sigmoid", "log_softmax there"):
        source, pack = sources[name]
        save_source(source, tmp_path / name)
        restored = restore_source(tmp_path / name)
        assert (restored.activation, restored.gives) == (source.activation, source.gives)
        write_golden(pack, tmp_path / f"golden {name}", tolerances={})
        read = read_golden(tmp_path / f"golden {name}").reference
        assert isinstance(read, Scores) and read.activation == source.activation


def test_labels_of_one_score(tmp_path):
    for names in (("hotdog",), ("no", "yes")):
        (tmp_path / "labels.txt").write_text("\n".join(names))
        given = {"arguments": {"ending": "sigmoid", "classes": 1}, "labels": tmp_path / "labels.txt"}
        source = load("tests.captured_nets:headed", **given)
        assert source.labels == names and source.num_classes == len(names)
        assert source.activation == ("sigmoid" if len(names) == 1 else "softmax")
