"""The Core ML runner as far as it runs off a Mac: what it refuses, how it maps inputs and outputs, over a FAKE coremltools."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from squeeze_export.contracts.signature import InputSpec, OutputSpec, Signature
from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.validation.runners import coreml_runtime

LABELS = ("cat", "dog", "bird")


def signature(color_order="RGB", container="dictionary", name="probabilities"):
    image = InputSpec(
        name="image",
        shape=(1, 3, 2, 4),
        dtype="float32",
        layout="NCHW",
        color_order=color_order,
        scale=(1.0,) * 3,
        bias=(0.0,) * 3,
    )
    output = OutputSpec(name=name, shape=(1, 3), dtype="float32", kind="probabilities", container=container)
    return Signature(input=image, outputs=(output,), class_label="classLabel" if container == "dictionary" else None)


def fake_specification(*, image=True, classifier=True):
    """A specification with what the runner reads, in the shape of coremltools' protobuf messages."""

    def feature(name, kind):
        return SimpleNamespace(name=name, type=SimpleNamespace(WhichOneof=lambda _field: kind))

    label = SimpleNamespace
    values = [label(immediateValue=label(tensor=label(strings=label(values=[name])))) for name in LABELS]
    classes = SimpleNamespace(arguments=[label(value=label(immediateValue=label(list=label(values=values))))])
    operations = [SimpleNamespace(type="softmax", inputs={})]
    outputs = [feature("probabilities", "multiArrayType")]
    if classifier:
        operations.append(SimpleNamespace(type="classify", inputs={"classes": classes}))
        outputs = [feature("classLabel", "stringType"), feature("probabilities", "dictionaryType")]
    return SimpleNamespace(
        specificationVersion=9,
        description=SimpleNamespace(
            input=[feature("image", "imageType" if image else "multiArrayType")],
            output=outputs,
            predictedFeatureName="classLabel" if classifier else "",
        ),
        mlProgram=SimpleNamespace(
            functions={"main": SimpleNamespace(block_specializations={"CoreML6": SimpleNamespace(operations=operations)})}
        ),
    )


class FakeModel:
    """Stands for coremltools.models.MLModel, with or without a working Core ML behind it."""

    def __init__(self, specification, result, refused=None, runtime=True):
        self.specification, self.result, self.given = specification, result, None
        self.__proxy__ = object() if runtime else None
        self._framework_error = refused

    def get_spec(self):
        return self.specification

    def predict(self, data):
        self.given = data
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def fake_coremltools(monkeypatch):
    """Put a fake coremltools in place of the real one; returns a function that sets the model it loads."""
    fake = ModuleType("coremltools")
    fake.ComputeUnit = SimpleNamespace(CPU_ONLY="cpu")
    loaded = []

    def load(path, compute_units):
        assert compute_units == "cpu"
        if isinstance(loaded[0], Exception):
            raise loaded[0]
        if loaded[0].__proxy__ is None and loaded[0]._framework_error is not None:
            warnings.warn(
                "You will not be able to run predict() on this Core ML model. Underlying ...", RuntimeWarning, stacklevel=1
            )
        return loaded[0]

    fake.models = SimpleNamespace(MLModel=load)
    real = importlib.import_module
    monkeypatch.setattr(coreml_runtime.importlib, "import_module", lambda name: fake if name == "coremltools" else real(name))
    return lambda model: loaded.append(model) or model


SCORES = {"classLabel": "dog", "probabilities": {"dog": 0.7, "bird": 0.1, "cat": 0.2}}


def pixels(color_order="RGB"):
    rgb = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3) * 10
    return rgb, signature(color_order).input.encode(rgb)


@pytest.mark.parametrize("color_order", ["RGB", "BGR"])
def test_core_ml_is_handed_the_picture_in_rgb_and_scores_come_back_in_index_order(tmp_path, fake_coremltools, color_order):
    model = fake_coremltools(FakeModel(fake_specification(), SCORES))
    runner = coreml_runtime.open(tmp_path / "net.mlpackage", signature(color_order), "fp16")
    rgb, tensor = pixels(color_order)
    outputs = runner.run({"image": tensor})
    assert list(outputs) == ["probabilities"]
    assert outputs["probabilities"].dtype == np.float32
    np.testing.assert_allclose(outputs["probabilities"], [[0.2, 0.7, 0.1]], rtol=1e-6)
    assert np.array_equal(np.asarray(model.given["image"]), rgb[0])
    assert model.given["image"].mode == "RGB"
    assert runner.stored_weights() is None
    assert runner.executor.startswith("Core ML runtime (macOS ")


def test_a_tensor_input_and_an_array_output_pass_as_they_are(tmp_path, fake_coremltools):
    scores = np.array([[1.5, -2.0, 3.0]], np.float32)
    model = fake_coremltools(FakeModel(fake_specification(image=False, classifier=False), {"probabilities": scores}))
    runner = coreml_runtime.open(tmp_path / "net.mlpackage", signature(container="array"), "fp32")
    tensor = np.linspace(-2, 2, 24, dtype=np.float32).reshape(1, 3, 2, 4)
    assert np.array_equal(runner.run({"image": tensor})["probabilities"], scores)
    assert model.given["image"] is tensor


def test_an_image_input_refuses_what_is_no_picture(tmp_path, fake_coremltools):
    fake_coremltools(FakeModel(fake_specification(), SCORES))
    runner = coreml_runtime.open(tmp_path / "net.mlpackage", signature(), "fp16")
    _, tensor = pixels()
    for wrong in (tensor + 0.5, tensor - 1, tensor + 30, tensor * np.nan):
        with pytest.raises(ArtifactError, match="whole numbers from 0 to 255"):
            runner.run({"image": wrong})
    with pytest.raises(ArtifactError, match=r"is \(1, 3, 2, 4\), but was given \(3, 2, 4\)"):
        runner.run({"image": tensor[0]})
    with pytest.raises(ArtifactError, match=r"takes 'image', but was given \['picture'\]"):
        runner.run({"picture": tensor})


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"classLabel": "dog"}, "not the declared output 'probabilities'"),
        ({"probabilities": {"dog": 0.7, "bird": 0.3}}, "one score for each of the labels"),
        ({"probabilities": np.zeros((1, 3))}, "one score for each of the labels"),
        (RuntimeError("E5RT"), "Core ML could not execute the package: E5RT"),
    ],
)
def test_outputs_that_are_not_as_declared_are_refused(tmp_path, fake_coremltools, result, message):
    fake_coremltools(FakeModel(fake_specification(), result))
    runner = coreml_runtime.open(tmp_path / "net.mlpackage", signature(), "fp16")
    with pytest.raises(ArtifactError, match=message):
        runner.run({"image": pixels()[1]})


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (OSError("no such file"), ArtifactError, "not a package that coremltools can read"),
        (
            FakeModel(fake_specification(), SCORES, RuntimeError("bad weights"), runtime=False),
            ArtifactError,
            "refuses to load.*bad weights",
        ),
        (
            FakeModel(fake_specification(), SCORES, runtime=False),
            UnsupportedOperationError,
            "does not know specification version 9",
        ),
        (
            FakeModel(fake_specification(classifier=False), SCORES),
            ArtifactError,
            r"outputs \['probabilities'\], but declared are",
        ),
    ],
)
def test_a_package_that_core_ml_does_not_take_is_refused(tmp_path, fake_coremltools, model, error, message):
    fake_coremltools(model)
    with pytest.raises(error, match=message):
        coreml_runtime.open(tmp_path / "net.mlpackage", signature(), "fp16")


def test_off_a_mac_it_says_so_and_on_a_mac_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(coreml_runtime.sys, "platform", "linux")
    assert "Core ML runs on macOS only" in coreml_runtime.unavailable()
    monkeypatch.setattr(coreml_runtime.sys, "platform", "darwin")
    found = [None]
    monkeypatch.setattr(coreml_runtime.importlib.util, "find_spec", lambda _name: found[0])
    assert "pip install 'coremltools==9.0'" in coreml_runtime.unavailable()
    found[0] = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    assert "libcoremlpython" in coreml_runtime.unavailable()
    (tmp_path / "libcoremlpython.so").touch()
    assert coreml_runtime.unavailable() is None
