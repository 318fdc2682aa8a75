"""`--head features`: the saved files give PyTorch's averaged channels, hold no classifier, and cannot pass for others."""

from __future__ import annotations

import copy
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from squeeze_export.bundle.manifest import digest
from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.contracts.source import MODELS
from squeeze_export.errors import ConversionError
from squeeze_export.exporters import EXPORTERS
from squeeze_export.golden.images import read_folder
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source
from squeeze_export.validation.judgement import judge_file
from squeeze_export.validation.runners.litert import file as litert_file
from squeeze_export.validation.runners.litert import metadata as litert_metadata
from tests import conversions
from tests.integration.conftest import run_tool

TARGETS = tuple(target for target in EXPORTERS if EXPORTERS[target].unavailable() is None)  # ONNX is an extra
# Every model, precision, input kind and colour order, odd and even sides.
CASES = [
    ("squeezenet1_1", "fp32", "image", "torchvision", (64, 64)),
    ("squeezenet1_0", "fp16", "image", "caffe", (64, 67)),
    ("squeezenet1_0_bypass", "fp32", "tensor", "inception", (64, 64)),
    ("squeezenet1_0_complex_bypass", "fp16", "image", "torchvision", (64, 64)),
]


def source_of(model="squeezenet1_1", preset="torchvision", size=(64, 64), head="features", seed=5):
    spec = spec_for(preset, model=model, input_size=size)
    return load_source(name=model, model=model, weights="random", seed=seed, labels=None, preprocessing=spec, head=head)


def settings(precision="fp32", input_kind="image", output_kind="features"):
    return ExportSettings(precision=precision, input_kind=input_kind, output_kind=output_kind, ios_target="iOS16")


def exported(source, target, folder, asked):
    export = conversions.export if target == "tflite" else EXPORTERS[target].export
    return export(source, asked, folder / f"net{EXPORTERS[target].SUFFIX}")


def judged(artifact, pack):
    return judge_file(
        artifact.target, artifact.path, artifact.signature, artifact.precision, pack, labels=None, folded=artifact.folded_weights
    )[0]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("model", "precision", "input_kind", "preset", "size"), CASES)
def test_every_file_gives_the_features_of_pytorch(target, model, precision, input_kind, preset, size, image_folder, tmp_path):
    source = source_of(model, preset, size)
    artifact = exported(source, target, tmp_path, settings(precision, input_kind))
    (output,) = artifact.signature.outputs
    assert (output.name, output.kind, output.shape, output.container) == ("features", "features", (1, 512), "array")
    assert artifact.signature.class_label is None
    assert not [name for name in artifact.operators if "softmax" in name.lower()]
    report = judged(artifact, make_golden(source, read_folder(image_folder)[0][:3]))
    assert (report.verdict, report.reason) == ("PASSED", None)
    (found,) = report.outputs
    assert (found.observed, found.top1_agreement, found.top5_agreement) == ("features", None, None)
    assert found.cosine == pytest.approx(1.0, abs=1e-5)
    stored = len(source.module.state_dict())
    assert (report.weights.expected, report.weights.compared + len(report.weights.exempt)) == (stored, stored)


def test_every_model_has_a_case():
    assert {case[0] for case in CASES} == set(MODELS)


@pytest.mark.parametrize("target", TARGETS)
def test_swapped_weights_fail(target, image_folder, tmp_path):
    """Two kernels of one shape in each other's place: every stored weight is the source's, and only the numbers can tell."""
    source = source_of(model="squeezenet1_0")
    changed = replace(source, module=copy.deepcopy(source.module))
    first, second = (changed.module.features[place].expand1x1.weight for place in (3, 4))
    kept = first.clone()
    first.copy_(second)
    second.copy_(kept)
    artifact = exported(changed, target, tmp_path, settings())
    report = judged(artifact, make_golden(source, read_folder(image_folder)[0][:3]))
    assert report.verdict == "FAILED"
    assert report.weights.problems == ()
    assert "features: max abs error" in report.reason


@pytest.mark.parametrize("target", TARGETS)
def test_a_head_gives_what_it_has_and_nothing_else(target, tmp_path):
    for head, kind in (("classifier", "features"), ("features", "logits"), ("features", "probabilities")):
        with pytest.raises(ConversionError, match=f"has the head '{head}', which gives no {kind}"):
            exported(source_of(head=head), target, tmp_path, settings(output_kind=kind))
    assert list(tmp_path.iterdir()) == []


def test_what_stands_in_the_tflite_file(tmp_path):
    content = exported(source_of(), "tflite", tmp_path, settings()).path.read_bytes()
    file = litert_file.read(content)
    metadata = litert_metadata.read(file.metadata["TFLITE_METADATA"], content)
    assert (metadata.output, metadata.labels, metadata.is_image, metadata.mean) == ("features", None, True, (127.5,))
    assert b"squeezenet1_1 without its classifier, 512 features, 64x64 pixels" in content
    assert not zipfile.is_zipfile(tmp_path / "net.tflite") and b"labels.txt" not in content and b"classifier.1" not in content


def test_what_stands_in_the_core_ml_package(tmp_path):
    artifact = exported(source_of(), "coreml", tmp_path, settings("fp16"))
    import coremltools

    spec = coremltools.utils.load_spec(str(artifact.path))
    (output,) = spec.description.output
    assert (output.name, list(output.type.multiArrayType.shape)) == ("features", [1, 512])
    assert "512 channels" in output.shortDescription
    assert spec.description.predictedFeatureName == ""
    assert "without its classifier, 512 features" in spec.description.metadata.shortDescription
    assert spec.description.metadata.userDefined["squeeze_export.output_kind"] == "features"


def test_what_stands_in_the_ptl_file(tmp_path):
    artifact = exported(source_of(), "torchscript", tmp_path, settings())
    with zipfile.ZipFile(artifact.path) as archive:
        assert not [name for name in archive.namelist() if name.endswith("labels.txt")]
        record = json.loads(archive.read("archive/extra/squeeze_export.json"))
    assert (record["head"], record["signature"]["outputs"][0]["name"]) == ("features", "features")
    assert record["weights_sha256"] == source_of(head="classifier").weights.sha256


# --- through the command


@pytest.fixture(scope="module")
def features(tmp_path_factory, image_folder):
    """Every target as a user asks for them. Never change it: copy it."""
    folder = tmp_path_factory.mktemp("features")
    targets = [word for target in TARGETS for word in ("--target", target)]
    asked = (*targets, "--head", "features", "--input-size", "64", "--weights", "random", "--images", image_folder)
    ended = run_tool(*asked, cwd=folder)
    assert ended.code == 0, ended.err
    return folder / "dist" / "squeezenet1_1-random-features", ended


def manifest_of(bundle):
    return json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))


def test_the_bundle_tells_the_head_and_has_no_labels(features):
    bundle, ended = features
    manifest = manifest_of(bundle)
    assert [(entry["target"], entry["parity"]["verdict"]) for entry in manifest["artifacts"]] == [
        (target, "PASSED") for target in TARGETS
    ]
    source = manifest["source"]
    # 1,235,496 without the 513,000 of the classifier.
    assert (source["head"], source["parameters"], source["num_classes"]) == ("features", 722_496, 1000)
    assert (manifest["labels"], (bundle / "labels.txt").exists()) == (None, False)
    whole = load_source(
        name="net",
        model="squeezenet1_1",
        weights="random",
        seed=0,
        labels=None,
        preprocessing=spec_for("torchvision", model="squeezenet1_1", input_size=(64, 64)),
    )
    assert source["weights_sha256"] == whole.weights.sha256
    golden = json.loads((bundle / "golden" / "golden.json").read_text(encoding="utf-8"))
    assert list(golden["arrays"]) == ["pixels", "features"]
    assert len(golden["weights"]) == len(whole.module.state_dict()) - 2
    rows = [line for line in ended.out.splitlines() if "PASSED" in line]
    assert len(rows) == len(TARGETS) and all("–" in row and "%" not in row for row in rows)


def test_the_files_have_no_room_for_the_classifier(features):
    """Its 513,000 weights would be seven tenths more."""
    for entry in manifest_of(features[0])["artifacts"]:
        weights = 722_496 * (2 if entry["precision"] == "fp16" else 4)
        assert weights < entry["size_bytes"] < 1.1 * weights


def test_verify_passes_and_refuses_the_features_of_others(features, tmp_path):
    bundle = Path(shutil.copytree(features[0], tmp_path / "net"))
    ended = run_tool("verify", bundle, cwd=tmp_path)
    assert (ended.code, ended.out.count("PASSED")) == (0, len(TARGETS)), ended.err

    other = exported(source_of(seed=9), "torchscript", tmp_path, settings())
    manifest = manifest_of(bundle)
    for entry in manifest["artifacts"]:
        if entry["target"] == "torchscript":
            shutil.copy(other.path, bundle / entry["path"])
            entry["sha256"], entry["size_bytes"] = digest(bundle / entry["path"])
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    ended = run_tool("verify", bundle, cwd=tmp_path)
    assert ended.code == 5
    assert "torchscript fp32: FAILED" in ended.err and "the source's weights are not in the file" in ended.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--labels", "labels.txt"), "--head features cannot be combined with --labels labels.txt"),
        (("--output-kind", "logits"), "--head features cannot be combined with --output-kind logits"),
        (("--output-kind", "features"), "--output-kind 'features' is unknown"),
    ],
)
def test_what_cannot_be_combined_is_refused_in_words(options, told, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    (tmp_path / "config.toml").write_text('target = "torchscript"\nhead = "features"\n')
    ended = run_tool("--config", "config.toml", *options, cwd=tmp_path)
    assert ended.code == 2
    assert told in ended.err
    assert not (tmp_path / "dist").exists()


@pytest.mark.realdata
@pytest.mark.parametrize("target", TARGETS)
def test_real_weights_on_photographs(target, real_data, tmp_path):
    """At the default precisions; measured: Core ML fp16 62.8 dB, TFLite 125.5 dB, TorchScript 127.1 dB, ONNX above 120 dB."""
    source = load_source(
        name="net",
        model="squeezenet1_1",
        weights=real_data / "weights" / "squeezenet1_1_torchvision.safetensors",
        seed=0,
        labels=None,
        preprocessing=spec_for("torchvision", model="squeezenet1_1"),
        head="features",
    )
    pack = make_golden(source, read_folder(real_data / "images" / "evaluation")[0])
    report = judged(exported(source, target, tmp_path, settings("fp16" if target == "coreml" else "fp32")), pack)
    assert (report.verdict, report.reason) == ("PASSED", None)
    assert report.outputs[0].snr_db > (58 if target == "coreml" else 120)
    # Photographs of different things do not have one embedding: the agreement above means something.
    features = pack.reference.features / np.linalg.norm(pack.reference.features, axis=1, keepdims=True)
    assert (features @ features.T)[~np.eye(len(features), dtype=bool)].max() < 0.95
