"""The golden pack of a feature extractor: `features` instead of scores, and read as strictly."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from squeeze_export.contracts.parity import Tolerance
from squeeze_export.contracts.source import Features
from squeeze_export.errors import ArtifactError, SourceError
from squeeze_export.golden.files import read_golden, write_golden
from squeeze_export.golden.images import read_folder
from squeeze_export.golden.pack import make_golden
from squeeze_export.preprocessing.pixels import normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source, weight_digests

BAR = Tolerance(precision="fp32", max_error_of_peak=1e-4, min_snr_db=100.0, min_centred_snr_db=90.0, reason="measured 133 dB")


@pytest.fixture(scope="module")
def source():
    spec = spec_for("caffe", model="squeezenet1_1", input_size=(33, 35))
    return load_source(
        name="net", model="squeezenet1_1", weights="random", seed=1, labels=None, preprocessing=spec, head="features"
    )


@pytest.fixture(scope="module")
def pack(source, image_folder):
    return make_golden(source, read_folder(image_folder)[0][:3])


@pytest.fixture(scope="module")
def written(pack, tmp_path_factory):
    """A pack on disk. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("packs") / "golden"
    write_golden(pack, folder, tolerances={"tflite": BAR})
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "golden"))


def describe(folder, change):
    """Change golden.json as somebody would who knows of its checksum."""
    content = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    change(content)
    data = json.dumps(content).encode()
    (folder / "golden.json").write_bytes(data)
    (folder / "golden.json.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  golden.json\n")


def test_the_pack_holds_the_eager_references_features(pack, source):
    assert isinstance(pack.reference, Features)
    features = pack.reference.features
    assert features.shape == (3, 512) and features.dtype == np.float32
    with torch.inference_mode():
        expected = source.module(torch.from_numpy(normalise(pack.pixels, source.preprocessing)))
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-5, atol=1e-4)
    assert len(np.unique(features, axis=0)) == 3
    assert pack.weights == weight_digests(source)
    assert not any(digest.name.startswith("classifier") for digest in pack.weights)


def test_what_is_written_is_read(written, pack):
    assert sorted(path.name for path in written.iterdir()) == [
        *("features.bin", "golden.json", "golden.json.sha256", "images", "pixels.bin"),
    ]
    arrays = json.loads((written / "golden.json").read_text())["arrays"]
    assert {name: (array["dtype"], array["shape"]) for name, array in arrays.items()} == {
        "pixels": ("uint8", [3, 33, 35, 3]),
        "features": ("float32", [3, 512]),
    }
    back = read_golden(written)
    assert (back.names, back.preprocessing, back.weights) == (pack.names, pack.preprocessing, pack.weights)
    assert isinstance(back.reference, Features)
    assert back.reference.features.tobytes() == pack.reference.features.tobytes()
    assert np.array_equal(back.pixels, pack.pixels)


def test_features_that_are_not_finite_are_refused(source, folder, pack):
    import copy

    module = copy.deepcopy(source.module)
    module.features[0].weight.mul_(1e38)
    with pytest.raises(SourceError, match=r"NaN or infinite features for x\.png"):
        make_golden(replace(source, module=module), [("x.png", np.full((9, 9, 3), 200, np.uint8))])

    features = pack.reference.features.copy()
    features[1, 7] = np.nan
    (folder / "features.bin").write_bytes(features.tobytes())
    digest = hashlib.sha256(features.tobytes()).hexdigest()
    describe(folder, lambda content: content["arrays"]["features"].update(sha256=digest))
    with pytest.raises(ArtifactError, match="NaN or infinite features"):
        read_golden(folder)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda a: a.pop("features"), "lacks the keys.*logits.*probabilities.*top5"),
        (lambda a: a.pop("pixels"), "lacks the keys.*pixels"),
        (lambda a: a.update(logits=a["features"]), "unknown keys.*logits"),
        (lambda a: a.update(top5=a["features"]), "unknown keys.*top5"),
        (lambda a: a.update(logits=a.pop("features") | {"file": "logits.bin"}), "lacks the keys.*probabilities"),
        (lambda a: a["features"].update(dtype="float16"), "float16"),
        (lambda a: a["features"].update(file="pixels.bin"), "expected float32 in features.bin"),
        (lambda a: a["features"].update(shape=[512, 3]), "features has shape"),
        (lambda a: a["features"].update(shape=[3 * 512]), "features has shape"),
        (lambda a: a["features"].update(shape=[3, 513]), "has 1536 values"),
        (lambda a: a["features"].update(sha256="0" * 64), "does not have its sha256"),
    ],
)
def test_a_description_that_was_changed_with_its_checksum_is_refused(folder, change, word):
    describe(folder, lambda content: change(content["arrays"]))
    with pytest.raises(ArtifactError, match=word):
        read_golden(folder)


def test_a_missing_or_changed_file_is_refused(folder):
    (folder / "features.bin").write_bytes((folder / "features.bin").read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"features\.bin does not have its sha256"):
        read_golden(folder)
    (folder / "features.bin").unlink()
    with pytest.raises(ArtifactError, match=r"features\.bin cannot be read"):
        read_golden(folder)
