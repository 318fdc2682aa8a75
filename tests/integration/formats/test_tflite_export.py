"""TFLite from the source model to the numbers that come out of the saved file."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from squeeze_export.contracts.source import SourceModel, WeightsOrigin
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.sources.source import load_source
from squeeze_export.sources.squeezenet import SqueezeNet
from squeeze_export.validation.runners.litert import runner as litert
from tests import conversions
from tests.tflite_cases import caffe, declared, eager, inception, pictures, settings, seven_classes, softmax, torchvision

ROOT = Path(__file__).resolve().parents[3]


def run(path, source, wanted, pixels):
    signature = declared(source, wanted)
    runner = litert.open(path, signature, wanted.precision)
    name = signature.outputs[0].name
    return runner, np.concatenate([runner.run({"image": row[None]})[name] for row in signature.input.encode(pixels)])


def operations(runner):
    return Counter(operation.name for operation in runner.file.operations)


@pytest.mark.parametrize(
    ("model", "preset", "height", "width", "pools"),
    [
        ("squeezenet1_1", caffe, 227, 227, 3),
        ("squeezenet1_1", torchvision, 55, 51, 4),  # the first pool sees 27x25, the second 13x12, the third 6x6
        ("squeezenet1_0", caffe, 227, 224, 4),
        ("squeezenet1_0_bypass", inception, 160, 160, 3),
        ("squeezenet1_0_complex_bypass", torchvision, 227, 224, 4),  # negative values at the pools
    ],
)
def test_every_model_and_size_agrees_with_eager(tmp_path, model, preset, height, width, pools):
    source = seven_classes(model, preset(height, width))
    wanted = settings(output_kind="logits")
    artifact = tflite.export(source, wanted, tmp_path / "net.tflite")
    pixels = pictures(source.preprocessing, 3)
    runner, found = run(artifact.path, source, wanted, pixels)
    reference = eager(source, pixels)
    assert np.abs(found - reference).max() < 3e-6 * np.abs(reference).max()
    assert operations(runner)["MAX_POOL_2D"] == pools
    if (model, pools) == ("squeezenet1_1", 3):
        assert sum(operations(runner).values()) == 38


@pytest.mark.parametrize("preset", [torchvision, caffe])
def test_a_tensor_input_takes_what_the_source_takes(tmp_path, preset):
    source = seven_classes(preprocessing=preset())
    wanted = settings(input_kind="tensor")
    artifact = conversions.export(source, wanted, tmp_path / "net.tflite")
    assert artifact.folded_weights == ()
    pixels = pictures(source.preprocessing)
    runner, found = run(artifact.path, source, wanted, pixels)
    assert np.abs(found - softmax(eager(source, pixels))).max() < 1e-6
    state = source.module.state_dict().values()
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(runner.stored_weights(), state, strict=True))


def real_data():
    folder = Path(os.environ.get("SQUEEZE_EXPORT_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "weights").is_dir():
        pytest.skip(f"no real weights: neither SQUEEZE_EXPORT_DATA nor {folder.name} beside the repository")
    return folder


def real_source():
    from safetensors.torch import load_file

    folder = real_data()
    weights = folder / "weights" / "squeezenet1_1_torchvision.safetensors"
    network = SqueezeNet("squeezenet1_1", 1000)
    network.load_state_dict(load_file(weights))
    rows = (folder / "labels" / "imagenet_1k_labels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return SourceModel(
        name="squeezenet1_1",
        model="squeezenet1_1",
        module=network.eval(),
        num_classes=1000,
        labels=tuple(f"{synset} {name}" for _, synset, _, name in (row.split("\t") for row in rows)),
        preprocessing=torchvision(224, 224),
        weights=WeightsOrigin(kind="file", sha256=hashlib.sha256(weights.read_bytes()).hexdigest(), file_name=None, seed=None),
    )


def photographs(count):
    from PIL import Image

    rows = []
    for path in sorted((real_data() / "images" / "evaluation").glob("*.jpg"))[:count]:
        with Image.open(path) as picture:
            resized = picture.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
        rows.append(np.asarray(resized.crop((16, 16, 240, 240))))
    return np.stack(rows)


def snr(reference, found):
    reference, found = reference.astype(np.float64), found.astype(np.float64)
    return 10 * np.log10(np.square(reference).sum() / np.square(found - reference).sum())


@pytest.mark.realdata
@pytest.mark.parametrize(("precision", "least", "bytes_at_most"), [("fp32", 120.0, 4_985_000), ("fp16", 70.0, 2_525_000)])
def test_real_weights_on_photographs(tmp_path, precision, least, bytes_at_most):
    source, pixels = real_source(), photographs(16)
    wanted = settings(precision, output_kind="logits")
    artifact = conversions.export(source, wanted, tmp_path / "net.tflite")
    reference = eager(source, pixels)
    runner, found = run(artifact.path, source, wanted, pixels)
    assert snr(reference, found) > least
    assert np.array_equal(found.argmax(axis=1), reference.argmax(axis=1))
    assert artifact.path.stat().st_size < bytes_at_most  # the labels take some 21 KB of it
    assert sum(operations(runner).values()) == 38 + (26 if precision == "fp16" else 0)


_MEDIAPIPE = """
import json, sys
sys.modules["tensorflow"] = None  # MediaPipe imports it where it is installed: 5 s, and not needed
import mediapipe, numpy
from mediapipe.tasks.python import BaseOptions, vision
path, pixels = sys.argv[1], numpy.load(sys.argv[2])
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=path), max_results=5)
answers = []
with vision.ImageClassifier.create_from_options(options) as classifier:
    for row in pixels:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=row)
        (head,) = classifier.classify(image).classifications
        answers.append([head.head_name, [[c.index, c.category_name, c.score] for c in head.categories]])
print(json.dumps(answers))
"""


@functools.cache
def mediapipe_python():
    """An interpreter that has MediaPipe: the one named, or this one. It is always run as another process."""
    candidate = os.environ.get("SQUEEZE_EXPORT_MEDIAPIPE_PYTHON") or sys.executable
    probe = "import sys; sys.modules['tensorflow'] = None; from mediapipe.tasks.python import vision"
    ended = subprocess.run([candidate, "-c", probe], capture_output=True, text=True, check=False, timeout=120)
    if ended.returncode:
        why = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"MediaPipe does not import ({why}): pip install mediapipe, or set SQUEEZE_EXPORT_MEDIAPIPE_PYTHON")
    return candidate


def classified(python, path, pixels, folder, script=_MEDIAPIPE):
    np.save(folder / "pixels.npy", pixels)
    ended = subprocess.run(
        [python, "-c", script, str(path), str(folder / "pixels.npy")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(ended.stdout)


@pytest.mark.parametrize("preset", [torchvision, caffe])
def test_mediapipe_reads_normalisation_and_labels_from_the_file(tmp_path, preset):
    python = mediapipe_python()
    source = seven_classes(preprocessing=preset())
    if preset is caffe:  # its values are 60 times larger, and random weights would saturate the softmax into ties
        with torch.no_grad():
            source.module.classifier[1].weight.div_(60)
    artifact = conversions.export(source, settings(), tmp_path / "net.tflite")
    pixels = pictures(source.preprocessing, 4)
    for row, (head, categories) in zip(
        softmax(eager(source, pixels)), classified(python, artifact.path, pixels, tmp_path), strict=True
    ):
        assert head == "probabilities"
        assert [index for index, _, _ in categories] == np.argsort(-row)[:5].tolist()
        assert all(name == source.labels[index] and abs(score - row[index]) < 1e-5 for index, name, score in categories)


def test_mediapipe_feeds_pixels_to_a_uint8_file_and_reads_its_levels(tmp_path):
    python = mediapipe_python()
    source = seven_classes()
    pixels = pictures(source.preprocessing, 8)
    artifact = conversions.export(source, settings("int8-uint8"), tmp_path / "net.tflite", pixels)
    runner, spec = litert.open(artifact.path, artifact.signature, "int8-uint8"), artifact.signature.outputs[0]
    for image, (head, categories) in zip(pixels, classified(python, artifact.path, pixels, tmp_path), strict=True):
        row = spec.decode(runner.run({"image": image[None]})["probabilities"])[0]
        assert (head, categories[0][0]) == ("probabilities", int(row.argmax()))
        assert all(name == source.labels[index] and abs(score - row[index]) < 1e-6 for index, name, score in categories)
        assert [score for _, _, score in categories] == pytest.approx(np.sort(row)[:-6:-1].tolist(), abs=1e-6)


@pytest.mark.realdata
def test_mediapipe_gives_pytorchs_top_5_on_photographs(tmp_path):
    python = mediapipe_python()
    source, pixels = real_source(), photographs(16)
    artifact = tflite.export(source, settings("fp16"), tmp_path / "net.tflite")  # fp16 has all that fp32 has, and DEQUANTIZE
    reference = softmax(torch.from_numpy(eager(source, pixels)).numpy())
    for row, (_, categories) in zip(reference, classified(python, artifact.path, pixels, tmp_path), strict=True):
        assert [index for index, _, _ in categories] == np.argsort(-row)[:5].tolist()
        assert [name for _, name, _ in categories] == [source.labels[index] for index, _, _ in categories]


_EMBEDDER = """
import json, sys
sys.modules["tensorflow"] = None  # MediaPipe imports it where it is installed: 5 s, and not needed
import mediapipe, numpy
from mediapipe.tasks.python import BaseOptions, vision
path, pixels = sys.argv[1], numpy.load(sys.argv[2])
options = vision.ImageEmbedderOptions(base_options=BaseOptions(model_asset_path=path))
answers = []
with vision.ImageEmbedder.create_from_options(options) as embedder:
    for row in pixels:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=row)
        (head,) = embedder.embed(image).embeddings
        answers.append([head.head_name, head.embedding.tolist()])
print(json.dumps(answers))
"""


def test_mediapipes_embedder_gives_pytorchs_features(tmp_path):
    """Its ImageEmbedder takes the file without labels, and reads the normalisation from the metadata."""
    python = mediapipe_python()
    spec = torchvision()
    source = load_source(  # as in tests/integration/export/test_features.py: one conversion serves both
        name="net", model="squeezenet1_1", weights="random", seed=5, labels=None, preprocessing=spec, head="features"
    )
    artifact = conversions.export(source, settings(output_kind="features"), tmp_path / "net.tflite")
    pixels = pictures(spec, 3)
    for row, (head, found) in zip(
        eager(source, pixels), classified(python, artifact.path, pixels, tmp_path, _EMBEDDER), strict=True
    ):
        assert (head, len(found)) == ("features", 512)
        assert np.abs(np.array(found) - row).max() < 1e-5 * np.abs(row).max()
