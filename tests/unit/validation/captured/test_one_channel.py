"""A network of one channel (GRAY): its files say so, sound ones pass, and what was made for other pixels is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.errors import ArtifactError, SourceError, UsageError
from squeeze_export.exporters import EXPORTERS
from squeeze_export.exporters.tflite import metadata as tflite_metadata
from squeeze_export.golden.images import demo_images
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.pixels import normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.captured import load_captured
from squeeze_export.sources.networks.names import parse_model
from squeeze_export.validation import noise
from squeeze_export.validation.judgement import judge_file
from squeeze_export.validation.mil.package import read_specification
from squeeze_export.validation.runners.litert import metadata as litert_metadata

GREY = {"color_order": "GRAY", "mean": (0.45,), "std": (0.23,)}
WAYS = [("coreml", "fp16"), ("tflite", "fp32"), ("torchscript", "fp32"), ("onnx", "fp32")]


def spec(**changes):
    return spec_for("torchvision", model="", input_size=32, **{**GREY, **changes})


def load(preprocessing, model="tests.captured_nets:grey"):
    return load_captured(
        parse_model(model),
        name="net",
        weights="module",
        arguments={},
        labels=None,
        preprocessing=lambda own: preprocessing,
        seed=0,
    )


@pytest.fixture(scope="module")
def source():
    return load(spec())


@pytest.fixture(scope="module")
def pack(source):
    made = make_golden(source, demo_images())
    return replace(made, noise_floor=noise.measure(source.module, normalise(made.pixels, spec())), kernels=source.kernels)


def exported(source, folder, target, precision, **changes):
    if target == "onnx":
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    settings = ExportSettings(
        **{
            "precision": precision,
            "input_kind": "image",
            "output_kind": "probabilities",
            "ios_target": "iOS16",
            "tflite_route": "litert-torch",
            "size_budget": None,
            **changes,
        }
    )
    return EXPORTERS[target].export(source, settings, folder / f"net{EXPORTERS[target].SUFFIX}")


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    """Of each format the artifact for images, made once; nothing may change its file."""
    known = {}

    def make(target):
        if target not in known:
            known[target] = exported(source, tmp_path_factory.mktemp(target), target, dict(WAYS)[target])
        return known[target]

    return make


def judged(artifact, pack):
    return judge_file(artifact.target, artifact.path, artifact.signature, artifact.precision, pack, labels=None, folded=())[0]


@pytest.mark.parametrize("kind", ["image", "tensor"])
@pytest.mark.parametrize(("target", "precision"), WAYS)
def test_a_sound_artifact_takes_one_channel_and_passes(source, pack, made, tmp_path, target, precision, kind):
    artifact = made(target) if kind == "image" else exported(source, tmp_path, target, precision, input_kind=kind)
    taken = artifact.signature.input
    assert taken.color_order == "GRAY" and len(taken.scale) == len(taken.bias) == 1
    assert taken.shape == ((1, 32, 32, 1) if target == "tflite" else (1, 1, 32, 32))
    report = judged(artifact, pack)
    assert report.verdict == "PASSED", report.reason
    assert report.weights.expected == report.weights.compared == len(source.kernels) == 3


@pytest.mark.parametrize(("target", "precision"), WAYS)
def test_a_wrong_normalisation_fails(source, pack, tmp_path, target, precision):
    wrong = replace(source, preprocessing=spec(std=(0.24,)))
    assert judged(exported(wrong, tmp_path, target, precision), pack).verdict == "FAILED"


def test_pixels_of_another_luma_fail(pack, made):
    """As an app with Rec. 709 in place of 601-2 would feed the file."""
    red, green, blue = np.moveaxis(make_golden(load_rgb(), demo_images()).pixels.astype(np.float64), -1, 0)
    other = np.rint(0.2126 * red + 0.7152 * green + 0.0722 * blue).astype(np.uint8)
    assert judged(made("torchscript"), replace(pack, pixels=np.repeat(other[..., None], 3, axis=-1))).verdict == "FAILED"


def load_rgb():
    return load(spec_for("torchvision", model="", input_size=32), model="tests.captured_nets:headed")


def test_core_ml_takes_a_grey_picture_and_refuses_another_description(pack, made, tmp_path):
    artifact = replace(made("coreml"), path=tmp_path / "net.mlpackage")
    shutil.copytree(made("coreml").path, artifact.path)
    path = artifact.path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    described = read_specification(artifact.path)
    image = described.description.input[0].type.imageType
    assert (image.ColorSpace.Name(image.colorSpace), image.width, image.height) == ("GRAYSCALE", 32, 32)
    image.colorSpace = image.ColorSpace.Value("RGB")
    path.write_bytes(described.SerializeToString())
    report = judged(artifact, pack)
    assert report.verdict == "FAILED" and "its image is RGB, declared is GRAY" in report.reason


def test_tflite_metadata_name_one_grey_channel(source, made):
    artifact = made("tflite")
    taken = artifact.signature.input
    card = tflite_metadata.model_card(source, taken)
    encoded = tflite_metadata.encode(card, taken, artifact.signature.outputs[0], None)
    assert encoded in artifact.path.read_bytes()
    found = litert_metadata.read(encoded, b"")
    assert (found.is_image, found.colors, found.mean, found.std) == (True, "GRAY", (127.5,), (127.5,))
    with pytest.raises(ArtifactError, match="an image in RGB, but the file takes GRAY"):
        litert_metadata.check_declared(replace(found, colors="RGB"), artifact.signature)


def test_onnx_metadata_name_grey_pixels(made):
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    model = onnx.load(made("onnx").path)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["Image.BitmapPixelFormat"] == "Gray8"
    assert json.loads(said["squeeze_export"])["signature"]["input"]["color_order"] == "GRAY"
    assert model.graph.input[0].type.denotation == "IMAGE"


def test_a_network_of_other_channels_is_told_with_the_option():
    with pytest.raises(SourceError, match="takes 1 channel: that is --color-order GRAY"):
        load(spec_for("torchvision", model="", input_size=32))
    with pytest.raises(SourceError, match="takes 3 channels: that is --color-order RGB"):
        load(spec(), model="tests.captured_nets:headed")
    with pytest.raises(UsageError, match="a mean and a std per colour"):
        spec_for("torchvision", model="", color_order="GRAY")
