"""The Core ML exporter, on small random SqueezeNets of seven classes: what stands in the file, and what is refused."""

from __future__ import annotations

import dataclasses
import datetime
import errno
import os
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch

from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.contracts.signature import PreprocessingSpec
from squeeze_export.contracts.source import MODELS, SourceModel, WeightsOrigin
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.coreml import exporter as coreml
from squeeze_export.exporters.coreml import package as coreml_package
from squeeze_export.exporters.coreml import writing
from squeeze_export.sdks import load_coremltools
from squeeze_export.sources.squeezenet import SqueezeNet, initialise

LABELS = ("cat", "dog", "crane, bird", "Käfer", "#5", "six", "seven")
TORCHVISION = PreprocessingSpec(
    resize=73, height=64, width=64, color_order="RGB", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
CAFFE = PreprocessingSpec(
    resize=73, height=65, width=64, color_order="BGR", scale=1.0, mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0)
)
BODY = ("concat", "conv", "max_pool", "reduce_mean", "relu", "reshape")


def seven_classes(model="squeezenet1_1", spec=TORCHVISION, labels=LABELS, **origin):
    network = SqueezeNet(model, 7)
    initialise(network, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for number, bias in enumerate(value for name, value in network.named_parameters() if name.endswith("bias")):
            bias.copy_(torch.linspace(-0.1, 0.1 + number / 100, len(bias)))
    return SourceModel(
        name=model,
        model=model,
        module=network.eval(),
        num_classes=7,
        labels=labels,
        preprocessing=spec,
        weights=WeightsOrigin(**({"kind": "random", "sha256": "0123456789ab" + "0" * 52, "file_name": None, "seed": 3} | origin)),
    )


def settings(**changes):
    asked = {"precision": "fp16", "input_kind": "image", "output_kind": "probabilities", "ios_target": "iOS16"} | changes
    return ExportSettings(**asked)


def specification(package):
    model = load_coremltools().proto.Model_pb2.Model()
    model.ParseFromString((package / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    return model


def program(package):
    """The operations of the saved file, read back by coremltools' own reader."""
    load_coremltools()
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = specification(package)
    weights = package / "Data/com.apple.CoreML/weights"
    return load(spec, spec.specificationVersion, str(weights)).functions["main"].operations


def bytes_of(package):
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in sorted(package.rglob("*")) if path.is_file()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The default export: image in, label and probabilities out. Never change it."""
    return coreml.export(seven_classes(), settings(), tmp_path_factory.mktemp("classifier") / "net.mlpackage")


def test_a_classifier_takes_a_picture_and_gives_label_and_probabilities(classifier):
    description = specification(classifier.path).description
    (image,) = description.input
    assert (image.name, image.type.imageType.height, image.type.imageType.width) == ("image", 64, 64)
    assert image.type.imageType.ColorSpace.Name(image.type.imageType.colorSpace) == "RGB"
    outputs = {feature.name: feature.type.WhichOneof("Type") for feature in description.output}
    assert outputs == {"classLabel": "stringType", "probabilities": "dictionaryType"}
    assert (description.predictedFeatureName, description.predictedProbabilitiesName) == ("classLabel", "probabilities")
    assert classifier.signature.class_label == "classLabel"
    (declared,) = classifier.signature.outputs
    assert (declared.name, declared.container, declared.kind) == ("probabilities", "dictionary", "probabilities")
    assert classifier.deployment_target == "iOS16"
    classify = program(classifier.path)[-1]
    assert classify.op_type == "classify"
    assert [str(label) for label in classify.classes.val] == list(LABELS)


def test_softmax_is_computed_in_fp32_and_its_result_is_not_rounded(classifier):
    kinds = [operation.op_type for operation in program(classifier.path) if operation.op_type != "const"]
    assert kinds[-3:] == ["cast", "softmax", "classify"]
    (softmax,) = (operation for operation in program(classifier.path) if operation.op_type == "softmax")
    assert softmax.outputs[0].dtype.__name__ == "fp32"


@pytest.mark.parametrize(
    ("labels", "output_kind"), [(LABELS, "logits"), (None, "logits"), (None, "probabilities")], ids=lambda value: str(value)[:9]
)
def test_without_labels_or_with_logits_it_is_no_classifier(tmp_path, labels, output_kind):
    artifact = coreml.export(seven_classes(labels=labels), settings(output_kind=output_kind), tmp_path / "net.mlpackage")
    description = specification(artifact.path).description
    (output,) = description.output
    assert (output.name, list(output.type.multiArrayType.shape)) == (output_kind, [1, 7])
    assert output.type.multiArrayType.ArrayDataType.Name(output.type.multiArrayType.dataType) == "FLOAT32"
    assert (description.predictedFeatureName, artifact.signature.class_label) == ("", None)
    assert artifact.signature.outputs[0].container == "array"
    assert ("softmax" in artifact.operators) == (output_kind == "probabilities")
    assert "classify" not in artifact.operators


def test_a_tensor_input_takes_what_the_source_takes(tmp_path):
    source = seven_classes(spec=CAFFE, labels=None)
    artifact = coreml.export(source, settings(input_kind="tensor", output_kind="logits"), tmp_path / "net.mlpackage")
    (feature,) = specification(artifact.path).description.input
    assert list(feature.type.multiArrayType.shape) == [1, 3, 65, 64]
    assert feature.type.multiArrayType.ArrayDataType.Name(feature.type.multiArrayType.dataType) == "FLOAT32"
    assert artifact.operators == ("cast", *BODY)
    assert artifact.signature.input.bias == (-104.0, -117.0, -123.0)


def test_a_bgr_model_takes_a_bgr_picture_so_that_its_channels_stay_where_they_are(tmp_path):
    artifact = coreml.export(seven_classes(spec=CAFFE), settings(precision="fp32"), tmp_path / "net.mlpackage")
    image = specification(artifact.path).description.input[0].type.imageType
    assert (image.ColorSpace.Name(image.colorSpace), image.height, image.width) == ("BGR", 65, 64)
    assert artifact.signature.input.color_order == "BGR"
    # Subtraction only: no reordering, and no multiplication by 1.
    assert set(artifact.operators) == {*BODY, "sub", "softmax", "classify"}


@pytest.mark.parametrize(
    ("model", "precision"), [*((model, "fp16") for model in MODELS), ("squeezenet1_0_complex_bypass", "fp32")]
)
def test_every_model_keeps_its_weights_bit_for_bit_and_its_operations(tmp_path, model, precision):
    source = seven_classes(model)
    artifact = coreml.export(source, settings(precision=precision, output_kind="logits"), tmp_path / "net.mlpackage")
    expected = {*BODY, "sub", "mul"} | ({"add"} if "bypass" in model else set()) | ({"cast"} if precision == "fp16" else set())
    assert artifact.operators == tuple(sorted(expected))
    convolutions = [operation for operation in program(artifact.path) if operation.op_type == "conv"]
    found = {(np.asarray(conv.weight.val).tobytes(), np.asarray(conv.bias.val).tobytes()) for conv in convolutions}
    dtype = np.float32 if precision == "fp32" else np.float16
    modules = [module for module in source.module.modules() if isinstance(module, torch.nn.Conv2d)]
    stored = {tuple(part.detach().numpy().astype(dtype).tobytes() for part in (m.weight, m.bias)) for m in modules}
    assert len(convolutions) == len(modules)
    assert found == stored


@pytest.mark.parametrize(
    ("target", "version", "opset"), [("iOS15", 6, "CoreML5"), ("iOS17", 8, "CoreML7"), ("iOS18", 9, "CoreML8")]
)
def test_the_deployment_target_decides_the_version_of_the_specification(tmp_path, classifier, target, version, opset):
    artifact = coreml.export(seven_classes(), settings(ios_target=target), tmp_path / "net.mlpackage")
    model = specification(artifact.path)
    assert (artifact.deployment_target, model.specificationVersion) == (target, version)
    assert list(model.mlProgram.functions["main"].block_specializations) == [opset]
    # iOS 15 has no fp16 input or output; the others are declared the same way, so that an app need not tell them apart.
    assert (artifact.signature, artifact.operators) == (classifier.signature, classifier.operators)


@pytest.mark.parametrize("size", [(224, 224), (227, 224), (160, 227)])
def test_ceil_mode_pools_have_the_shapes_of_torch(tmp_path, size):
    spec = dataclasses.replace(TORCHVISION, height=size[0], width=size[1], resize=256)
    source = seven_classes(spec=spec)
    artifact = coreml.export(source, settings(output_kind="logits", precision="fp32"), tmp_path / "net.mlpackage")
    shapes = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
        for module in source.module.modules()
        if isinstance(module, torch.nn.MaxPool2d)
    ]
    with torch.no_grad():
        source.module(torch.zeros(1, 3, *size))
    for hook in hooks:
        hook.remove()
    pools = [operation for operation in program(artifact.path) if operation.op_type == "max_pool"]
    assert [tuple(pool.outputs[0].shape) for pool in pools] == shapes
    for pool in pools:
        assert bool(pool.ceil_mode.val)
        assert pool.pad_type.val == "custom"
        assert (list(pool.pad.val), list(pool.kernel_sizes.val), list(pool.strides.val)) == ([0, 0, 0, 0], [3, 3], [2, 2])


def test_the_mean_is_subtracted_without_rounding_in_fp16(classifier):
    (subtraction,) = (operation for operation in program(classifier.path) if operation.op_type == "sub")
    mean = np.asarray(subtraction.y.val, np.float64).reshape(3, 1)
    assert np.abs(mean[:, 0] - 255 * np.array(TORCHVISION.mean)).max() <= 1 / 16
    differences = np.arange(256) - mean
    assert np.array_equal(differences.astype(np.float16).astype(np.float64), differences)


@pytest.mark.parametrize(
    ("origin", "licence"),
    [
        ({"kind": "random"}, "None: random, untrained weights"),
        ({"kind": "imagenet"}, "Weights: BSD-3-Clause (torchvision); trained on ImageNet-1k"),
        ({"kind": "demo"}, "Apache-2.0"),
        ({"kind": "file", "file_name": "my.safetensors"}, "That of the weights in my.safetensors; not known to squeeze-export"),
    ],
    ids=lambda value: value.get("kind") if isinstance(value, dict) else "",
)
def test_xcode_shows_where_the_weights_come_from(classifier, origin, licence):
    source = seven_classes(**origin)
    description = specification(classifier.path).description
    if origin["kind"] != "random":  # what the exported file says; the other origins are described without converting again
        spec = specification(classifier.path)
        writing._describe(spec, source, settings(), classifier.signature)
        description = spec.description
    assert description.metadata.license == licence
    assert description.metadata.author == "squeeze-export"
    assert description.metadata.versionString == "weights 0123456789ab"
    assert source.weights.sha256 in description.metadata.shortDescription
    assert "64 x 64 pixels: short side resized to 73" in description.input[0].shortDescription
    assert "Do not normalise" in description.input[0].shortDescription
    assert all(feature.shortDescription for feature in description.output)


def test_the_file_tells_nothing_of_the_day_the_machine_or_the_folder(classifier):
    content = b"".join(bytes_of(classifier.path).values())
    today = datetime.datetime.now(tz=datetime.UTC).date()
    for circumstance in (
        b"conversion_date",
        str(today).encode(),
        str(today - datetime.timedelta(days=1)).encode(),
        b"+cpu",
        str(classifier.path.parent).encode(),
    ):
        assert circumstance not in content
    assert b"torch==2." in content  # what must stay, as proof that the search can find


def test_bytes_depend_on_neither_destination_nor_umask_nor_earlier_exports(tmp_path, classifier):
    before = os.umask(0o077)
    try:
        again = coreml.export(seven_classes(), settings(), tmp_path / "deep" / "another name.mlpackage")
    finally:
        os.umask(before)
    assert bytes_of(again.path) == bytes_of(classifier.path)
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in (again.path, *again.path.rglob("*"))}
    assert modes == {(True, 0o755), (False, 0o644)}
    assert names(again.path.parent) == ["another name.mlpackage"]
    other = seven_classes()
    with torch.no_grad():
        other.module.features[0].bias[0] += 1
    assert bytes_of(coreml.export(other, settings(), tmp_path / "x.mlpackage").path) != bytes_of(again.path)


def test_coremltools_opens_the_package_again(classifier):
    ct = load_coremltools()
    model = ct.models.MLModel(str(classifier.path), skip_model_load=True)
    assert model.input_description["image"].startswith("Photograph")


def test_a_module_that_cannot_be_converted_is_refused_and_leaves_nothing(tmp_path):
    class Unsupported(torch.nn.Module):
        def forward(self, image):
            return torch.special.i1e(image).mean((2, 3)) @ torch.ones(3, 7)

    source = dataclasses.replace(seven_classes(), module=Unsupported().eval())
    with pytest.raises(ConversionError, match=r"coremltools could not convert squeezenet1_1 .*special_i1e") as caught:
        coreml.export(source, settings(), tmp_path / "net.mlpackage")
    assert caught.value.__cause__ is not None
    assert names(tmp_path) == []


def test_weights_beyond_fp16_are_refused_in_fp16_and_kept_in_fp32(tmp_path):
    source = seven_classes()
    with torch.no_grad():
        source.module.features[3].squeeze.bias[0] = 70000
    with pytest.raises(ConversionError, match=r"features\.3\.squeeze\.bias reaches 70000, and fp16 ends.*precision fp32"):
        coreml.export(source, settings(), tmp_path / "net.mlpackage")
    assert names(tmp_path) == []
    assert coreml.export(source, settings(precision="fp32"), tmp_path / "net.mlpackage").path.is_dir()


def test_weights_that_vanish_in_fp16_are_stored_as_zero(tmp_path):
    source = seven_classes()
    with torch.no_grad():
        source.module.features[0].bias[:4] = torch.tensor([1e-9, -1e-9, 6e-8, 2e-8])
    artifact = coreml.export(source, settings(), tmp_path / "net.mlpackage")
    first = next(operation for operation in program(artifact.path) if operation.op_type == "conv")
    assert np.asarray(first.bias.val)[:4].astype(np.float64).tolist() == [0.0, 0.0, 2.0**-24, 0.0]


def test_a_full_disk_is_a_conversion_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(source, destination):
        Path(destination).write_bytes(b"half of")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ConversionError, match=r"No space left on device.*Free some disk space"):
        coreml.export(seven_classes(), settings(), tmp_path / "net.mlpackage")
    assert names(tmp_path) == []


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch, classifier):
    def interrupted(source, destination):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    weights = classifier.path / "Data/com.apple.CoreML/weights"
    with pytest.raises(KeyboardInterrupt):
        coreml_package.write(specification(classifier.path), weights, tmp_path / "net.mlpackage")
    assert names(tmp_path) == []


def test_what_stands_at_the_destination_is_not_overwritten(tmp_path, classifier):
    destination = tmp_path / "net.mlpackage"
    destination.mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        coreml_package.write(specification(classifier.path), None, destination)
    assert names(tmp_path) == ["net.mlpackage"]
    assert names(destination) == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("a", "b", "c", "d", "e", "b", "g"), "classes 1 and 5 are both 'b'"),
        (("a", "b"), "7 classes and 2 labels"),
    ],
)
def test_labels_that_a_classifier_cannot_hold_are_refused(tmp_path, labels, message):
    source = seven_classes(labels=labels)
    with pytest.raises(ConversionError, match=message):
        coreml.export(source, settings(), tmp_path / "net.mlpackage")
    assert names(tmp_path) == []


def test_renaming_an_output_that_is_not_there_is_refused(classifier):
    spec = specification(classifier.path)
    with pytest.raises(ValueError, match="found it in 0"):
        coreml_package.rename_output(spec, "classLabel_probs", "scores")
    with pytest.raises(ValueError, match="already has a value named 'image_to_fp16'"):
        coreml_package.rename_output(spec, "probabilities", "image_to_fp16")


def test_a_missing_sdk_is_told_with_its_pip_command(monkeypatch, tmp_path):
    real = coreml.importlib.util.find_spec
    assert coreml.unavailable() is None
    monkeypatch.setattr(coreml.importlib.util, "find_spec", lambda name: None if name == "coremltools" else real(name))
    assert "pip install 'coremltools==9.0'" in coreml.unavailable()
    without_binaries = ModuleSpec("coremltools", None, is_package=True)
    without_binaries.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(
        coreml.importlib.util, "find_spec", lambda name: without_binaries if name == "coremltools" else real(name)
    )
    assert "without its native library" in coreml.unavailable()


ALONE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from squeeze_export.exporters.coreml import exporter as coreml
assert coreml.unavailable() is None
loaded = {"torch", "coremltools", "numpy"} & set(sys.modules)
assert not loaded, loaded
from tests.unit.exporters.coreml.test_coreml import seven_classes, settings
coreml.export(seven_classes(), settings(), Path(sys.argv[1]))
assert "tensorflow" not in sys.modules
import tensorflow  # hidden during the export only
"""


def test_it_loads_no_sdk_until_asked_says_nothing_leaves_tensorflow_alone_and_writes_the_same_bytes(tmp_path, classifier):
    """In a process and with a hash seed of its own."""
    fake = tmp_path / "fake" / "tensorflow"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("__version__ = '2.0.0'\n")
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, tmp_path / "net.mlpackage", fake.parent],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(root / "src"), str(root))), "PYTHONHASHSEED": "4242"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert names(tmp_path) == ["fake", "net.mlpackage"]
    written = bytes_of(tmp_path / "net.mlpackage")
    assert len(written) == 3 and written == bytes_of(classifier.path)
