"""A captured network's artifacts are held to its own noise floor and to its kernels: sound ones pass, planted faults do not."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.exporters import EXPORTERS
from squeeze_export.golden.files import read_golden, write_golden
from squeeze_export.golden.images import demo_images
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.pixels import normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.captured import load_captured
from squeeze_export.sources.networks.names import parse_model
from squeeze_export.sources.source import restore_source, save_source
from squeeze_export.validation import noise
from squeeze_export.validation.judgement import judge_file, tolerance_of
from tests import conversions

SPEC = spec_for("torchvision", model="", input_size=48)
WAYS = [("coreml", "fp32"), ("coreml", "fp16"), ("tflite", "fp32"), ("torchscript", "fp32"), ("torchscript", "fp16")]
WAYS += [("onnx", "fp32"), ("onnx", "fp16")]


def settings(precision):
    return ExportSettings(
        precision=precision,
        input_kind="image",
        output_kind="probabilities",
        ios_target="iOS16",
        tflite_route="litert-torch",
        size_budget=None,
    )


def load(model="tests.captured_nets:mixed", **changes):
    given = {"weights": "module", "arguments": {}, "labels": None, "preprocessing": lambda own: SPEC, "seed": 0}
    return load_captured(parse_model(model), name="net", **{**given, **changes})


@pytest.fixture(scope="module")
def source():
    return load()


@pytest.fixture(scope="module")
def pack(source):
    made = make_golden(source, demo_images())
    floor = noise.measure(source.module, normalise(made.pixels, made.preprocessing))
    return replace(made, noise_floor=floor, kernels=source.kernels)


def judged(source, pack, folder, target, precision):
    exporter = EXPORTERS[target]
    export = conversions.export if target == "tflite" else exporter.export
    artifact = export(source, settings(precision), folder / f"net{exporter.SUFFIX}")
    return judge_file(target, artifact.path, artifact.signature, precision, pack, labels=None, folded=artifact.folded_weights)[0]


def changed(source, change):
    """The source with its captured module changed, as an exporter that gets something wrong would have it."""
    module = copy.deepcopy(source.module)
    with torch.no_grad():
        change(dict(module.named_parameters()))
    return replace(source, module=module)


def skip_without(target):
    if target == "onnx":
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.mark.parametrize(("target", "precision"), WAYS)
def test_a_sound_artifact_passes_with_every_kernel_found(source, pack, tmp_path, target, precision):
    skip_without(target)
    report = judged(source, pack, tmp_path, target, precision)
    assert report.verdict == "PASSED", report.reason
    assert report.weights.expected == report.weights.compared == len(source.kernels) == 6
    assert report.tolerance == tolerance_of(pack, target, precision, "probabilities")
    assert "What rounding alone costs this network" in report.tolerance.reason


def rotate(weights):
    weights["pointwise.weight"].copy_(weights["pointwise.weight"].roll(1, 0))


def drop_bias(weights):
    weights["head.bias"].zero_()


def shift_bias(weights):
    weights["pointwise.bias"].add_(0.1)


def transpose(weights):
    weights["gate.3.weight"].copy_(weights["gate.3.weight"].flip(1))


def test_the_bars_of_fp32_are_stricter_than_those_of_fp16(pack):
    """So a fault that fails in fp16 fails in fp32 too: it is planted in the precision that is harder to judge."""
    for target in ("coreml", "torchscript", "onnx"):
        whole, half = (tolerance_of(pack, target, precision, "probabilities") for precision in ("fp32", "fp16"))
        assert whole.max_error_of_peak < half.max_error_of_peak
        assert whole.min_snr_db > half.min_snr_db and whole.min_centred_snr_db > half.min_centred_snr_db
        assert (whole.max_probability_error or 0) <= (half.max_probability_error or 0)


HARDEST = [("coreml", "fp16"), ("tflite", "fp32"), ("torchscript", "fp16"), ("onnx", "fp16")]
FAULTS = [(rotate, "kernels"), (drop_bias, None), (shift_bias, None), (transpose, "kernels")]


@pytest.mark.parametrize(("target", "precision"), HARDEST)
@pytest.mark.parametrize(("fault", "told"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_planted_faults_fail(source, pack, tmp_path, target, precision, fault, told):
    skip_without(target)
    report = judged(changed(source, fault), pack, tmp_path, target, precision)
    assert report.verdict == "FAILED"
    assert told is None or told in report.reason


@pytest.mark.parametrize(("target", "precision"), HARDEST)
@pytest.mark.parametrize(
    "spec", [{"color_order": "BGR"}, {"mean": (0.485, 0.456, -0.406)}, {"std": (0.229, 0.224, 0.23)}], ids=str
)
def test_a_wrong_normalisation_fails(source, pack, tmp_path, target, precision, spec):
    skip_without(target)
    wrong = replace(source, preprocessing=spec_for("torchvision", model="", input_size=48, **spec))
    assert judged(wrong, pack, tmp_path, target, precision).verdict == "FAILED"


def test_the_source_travels_and_gives_the_same_answers_and_digests(source, tmp_path):
    save_source(source, tmp_path)
    restored = restore_source(tmp_path)
    image = torch.rand(1, 3, 48, 48)
    assert torch.equal(source.module(image), restored.module(image))
    assert restored.kernels == source.kernels and restored.weights == source.weights and restored.model == source.model
    (tmp_path / "program.pt2").write_bytes((tmp_path / "program.pt2").read_bytes()[:2000])
    with pytest.raises(SourceError):
        restore_source(tmp_path)


def test_the_floor_and_the_kernels_are_read_again_from_the_golden_pack(source, pack, tmp_path):
    tolerances = {"coreml": tolerance_of(pack, "coreml", "fp16", "probabilities")}
    write_golden(pack, tmp_path / "golden", tolerances=tolerances)
    read = read_golden(tmp_path / "golden")
    assert read.noise_floor == pack.noise_floor and read.kernels == source.kernels
    infinite = replace(pack, noise_floor=replace(pack.noise_floor, fp32=replace(pack.noise_floor.fp32, snr_db=float("inf"))))
    write_golden(infinite, tmp_path / "again", tolerances=tolerances)
    assert read_golden(tmp_path / "again").noise_floor == infinite.noise_floor


def test_the_reference_is_the_network_as_it_was_given(source, pack):
    image = torch.from_numpy(normalise(pack.pixels[:1], pack.preprocessing))
    with torch.no_grad():
        assert torch.equal(torch.from_numpy(pack.reference.logits[:1]), source.eager(image))
    assert sorted(source.kernels) == sorted(
        ["stem.0.weight", "depthwise.0.weight", "pointwise.weight", "gate.1.weight", "gate.3.weight", "head.weight"]
    )


def test_weights_from_a_checkpoint_bring_the_number_of_classes_and_their_names(tmp_path):
    from tests.captured_nets import Mixed

    trained = Mixed(classes=3).eval()
    torch.save({"state_dict": trained.state_dict(), "classes": ["ant", "bee", "cat"]}, tmp_path / "best.pth")
    found = load(weights=tmp_path / "best.pth")
    assert found.num_classes == 3 and found.labels == ("ant", "bee", "cat") and found.weights.kind == "file"
    image = torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        assert torch.allclose(found.module(image), trained(image), atol=1e-5)


def test_a_program_is_taken_with_its_size_and_weights(source, tmp_path):
    program = torch.export.export(source.eager, (torch.zeros(1, 3, 48, 48),), strict=False)
    torch.export.save(program, tmp_path / "net.pt2")
    found = load(str(tmp_path / "net.pt2"), preprocessing=lambda own: spec_for("torchvision", model="", **own))
    assert (found.preprocessing.height, found.preprocessing.width) == (48, 48)
    assert found.weights.sha256 == source.weights.sha256 and found.weights.file_name == "net.pt2"
    with pytest.raises(UsageError, match="holds its weights"):
        load(str(tmp_path / "net.pt2"), weights=tmp_path / "x.pth")
    with pytest.raises(SourceError, match="takes 3 channels of 48x48"):
        load(str(tmp_path / "net.pt2"), preprocessing=lambda own: spec_for("torchvision", model="", input_size=64))


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"arguments": {"classes": 1}, "activation": "softmax"}, SourceError, "softmax of one number is always 1"),
        ({"arguments": {"wide": 3}}, SourceError, "wide"),
        ({"model": "tests.captured_nets:nothing"}, SourceError, "nothing"),
    ],
)
def test_what_cannot_be_a_source_is_refused(given, error, told):
    with pytest.raises(error, match=told):
        load(**given)


def test_a_librarys_network_needs_weights_once_its_name_is_right(monkeypatch):
    monkeypatch.setattr("squeeze_export.sources.captured.building.check_name", lambda wanted: None)
    with pytest.raises(UsageError, match="is built without weights"):
        load(model="timm:resnet18")
