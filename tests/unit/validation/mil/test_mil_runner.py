"""The runner: what it gives for a classifier, and how it holds a package against its declaration."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from squeeze_export.contracts.signature import LOGITS_TAP, InputSpec, OutputSpec, Signature
from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.sdks import load_coremltools
from squeeze_export.validation.mil import program
from squeeze_export.validation.runners import mil_reference

SHAPE = (1, 3, 22, 24)


def test_a_classifier_gives_its_probabilities_and_the_logits_behind_them(original, signature, seven_classes, pixels):
    assert mil_reference.unavailable() is None
    runner = mil_reference.open(original, signature, "fp16")
    assert runner.executor == "MIL reference executor (coremltools 9.0, fp16 emulated)"
    assert runner.labels == tuple(f"class {index}" for index in range(7))
    results = runner.run({"image": pixels})
    assert set(results) == {"classLabel_probs", LOGITS_TAP}
    assert all(result.shape == (1, 7) and result.dtype == np.float32 for result in results.values())
    with torch.inference_mode():
        logits = seven_classes.logits(torch.from_numpy(pixels))
    np.testing.assert_allclose(results[LOGITS_TAP], logits.numpy(), atol=5e-3)
    np.testing.assert_allclose(results["classLabel_probs"], logits.softmax(1).numpy(), atol=2e-3)
    assert np.abs(results[LOGITS_TAP] - logits.numpy()).max() > 0  # fp16 leaves a trace


def test_without_rounding_only_the_storage_is_fp16(original, signature, seven_classes, pixels):
    emulated = mil_reference.open(original, signature, "fp16").run({"image": pixels})[LOGITS_TAP]
    runner = mil_reference.open(original, signature, "fp16", arithmetic="exact")
    assert runner.executor.endswith("fp16 program without rounding)")
    exact = runner.run({"image": pixels})[LOGITS_TAP]
    stored = type(seven_classes)()
    with torch.no_grad():
        for parameter in stored.parameters():
            parameter.copy_(parameter.half().float())
        reference = stored.logits(torch.from_numpy(pixels)).numpy()
    assert np.abs(exact - reference).max() < np.abs(emulated - reference).max() / 3


def test_stored_weights_are_the_sources_rounded_to_fp16_in_program_order(original, signature, seven_classes):
    stored = mil_reference.open(original, signature, "fp16").stored_weights()
    assert stored is not None
    for ours, theirs in zip(stored, seven_classes.parameters(), strict=True):
        np.testing.assert_array_equal(ours, theirs.detach().numpy().astype(np.float16))


def test_weights_are_read_decoded_and_made_tensors_at_opening_only(original, signature, pixels, tmp_path, monkeypatch):
    """So a run costs about what eager torch costs; by how much is what benchmarks/mil_reference.py measures."""
    package = Path(shutil.copytree(original, tmp_path / "net.mlpackage"))
    runner = mil_reference.open(package, signature, "fp16")
    shutil.rmtree(package)
    made = []
    from_numpy = torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda array: made.append(array.shape) or from_numpy(array))
    monkeypatch.setattr(program, "_decode", None)
    monkeypatch.setattr(program, "_constant", None)
    first, second = (runner.run({"image": pixels})[LOGITS_TAP] for _ in range(2))
    assert made == [pixels.shape] * 2  # the image of either run, no weight
    np.testing.assert_array_equal(first, second)


def _input(signature: Signature, **changes: Any) -> Signature:
    return replace(signature, input=replace(signature.input, **changes))


def _output(signature: Signature, **changes: Any) -> Signature:
    return replace(signature, outputs=(replace(signature.outputs[0], **changes),))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: _input(s, name="picture"), r"inputs are \['image'\].*declared is \['picture'\]"),
        (lambda s: _input(s, shape=(1, 3, 24, 22)), r"shape \(1, 3, 22, 24\), declared is \(1, 3, 24, 22\)"),
        (lambda s: _input(s, layout="NHWC"), "layout is NCHW, declared is NHWC"),
        (lambda s: _input(s, color_order="BGR"), "image is RGB, declared is BGR"),
        (lambda s: _input(s, scale=(1 / 255,) * 3), "pixels of 0..255 as they are"),
        (lambda s: _input(s, bias=(0.0, 1.0, 0.0)), "pixels of 0..255 as they are"),
        (lambda s: _input(s, dtype="float16"), "enters the program as fp32, declared is float16"),
        (
            lambda s: _output(s, name="probabilities"),
            r"outputs are \['classLabel', 'classLabel_probs'\].*\['classLabel', 'probabilities'\]",
        ),
        (lambda s: _output(s, shape=(1, 8)), r"7 classes, declared is \(1, 8\)"),
        (lambda s: _output(s, dtype="float16"), "declared is float16"),
        (lambda s: replace(s, outputs=()), r"declared are \['classLabel'\]"),
        (lambda s: _output(s, container="array"), "of the kind dictionary, declared is array"),
        (
            lambda s: replace(s, class_label=None),
            r"outputs are \['classLabel', 'classLabel_probs'\].*declared are \['classLabel_probs'\]",
        ),
        (lambda s: replace(s, class_label="label"), r"declared are \['classLabel_probs', 'label'\]"),
        (
            lambda s: replace(_output(s, name="classLabel"), class_label="classLabel_probs"),
            "class label is 'classLabel', declared is 'classLabel_probs'",
        ),
        (lambda s: replace(s, outputs=s.outputs * 2), "declared are"),
    ],
)
def test_a_package_that_is_not_what_was_declared_is_refused(original, signature, change, reason):
    with pytest.raises(ArtifactError, match=reason):
        mil_reference.open(original, change(signature), "fp16")


def test_every_difference_is_named_at_once(original, signature):
    wrong = _output(_input(signature, color_order="BGR"), shape=(1, 8))
    with pytest.raises(ArtifactError, match=r"RGB.*7 classes.*float16, declared is fp32"):
        mil_reference.open(original, wrong, "fp32")


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({}, "given were"),
        ({"picture": np.zeros(SHAPE, np.float32)}, "given were"),
        ({"image": np.zeros(SHAPE, np.float32), "more": np.zeros(1, np.float32)}, "given were"),
        ({"image": np.zeros((1, 22, 24, 3), np.float32)}, r"shape \(1, 3, 22, 24\)"),
        ({"image": np.zeros(SHAPE, np.uint8)}, "uint8"),
        ({"image": np.full(SHAPE, 0.5, np.float32)}, "whole numbers"),
        ({"image": np.full(SHAPE, 256, np.float32)}, "whole numbers"),
        ({"image": np.full(SHAPE, np.nan, np.float32)}, "whole numbers"),
    ],
)
def test_an_input_that_the_package_does_not_take_is_refused(original, signature, inputs, reason):
    runner = mil_reference.open(original, signature, "fp16")
    with pytest.raises(ArtifactError, match=reason):
        runner.run(inputs)


@pytest.fixture(scope="module")
def tensor_signature() -> Signature:
    return Signature(
        input=InputSpec(
            name="image", shape=SHAPE, dtype="float32", layout="NCHW", color_order="RGB", scale=(0.1,) * 3, bias=(0.5,) * 3
        ),
        outputs=(OutputSpec(name="scores", shape=(1, 7), dtype="float32", kind="logits"),),
    )


class Logits(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.inner.logits(image)


def test_an_array_in_and_logits_out(workshop, seven_classes, tensor_signature):
    path = workshop.convert(Logits(seven_classes), *SHAPE, outputs=["scores"], target="iOS15")
    runner = mil_reference.open(path, tensor_signature, "fp32")
    assert runner.executor == "MIL reference executor (coremltools 9.0, fp32)"
    assert runner.labels is None
    x = torch.sin(torch.arange(3 * 22 * 24.0)).reshape(SHAPE) * 100
    results = runner.run({"image": x.numpy()})
    assert set(results) == {"scores"}  # nothing stands behind logits
    with torch.inference_mode():
        np.testing.assert_allclose(results["scores"], seven_classes.logits(x).numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ArtifactError, match="array of FLOAT32, declared is float16"):
        mil_reference.open(path, _input(tensor_signature, dtype="float16"), "fp32")
    with pytest.raises(ArtifactError, match=r"stored as float32, declared is fp16"):
        mil_reference.open(path, tensor_signature, "fp16")


def test_half_precision_arrays_in_and_out(workshop, seven_classes, tensor_signature):
    ct = load_coremltools()
    path = workshop.convert(
        Logits(seven_classes), *SHAPE, precision="fp16", image=ct.TensorType(name="image", shape=SHAPE, dtype=np.float16)
    )
    name = workshop.load(path).outputs[0].name
    half = _output(_input(tensor_signature, dtype="float16"), name=name, dtype="float16")
    x = (torch.sin(torch.arange(3 * 22 * 24.0)).reshape(SHAPE) * 100).half()
    result = mil_reference.open(path, half, "fp16").run({"image": x.numpy()})[name]
    assert result.dtype == np.float16
    with torch.inference_mode():
        np.testing.assert_allclose(result, seven_classes.logits(x.float()).numpy(), atol=5e-3)
    # coremltools gives a program that takes fp16 an fp16 output as well, unasked: a declaration of float32 must not pass.
    with pytest.raises(ArtifactError, match="array of FLOAT16, declared is float32"):
        mil_reference.open(path, _output(half, dtype="float32"), "fp16")


def test_swapped_colours_are_computed_in_the_declared_order(workshop, seven_classes, signature, pixels):
    """A BGR image input, and a flip in the graph: both give what torch gives for the swapped image."""
    ct = load_coremltools()

    class Flipped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = seven_classes

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.inner(image.flip(1))

    image = ct.ImageType(name="image", shape=SHAPE, color_layout=ct.colorlayout.BGR)
    path = workshop.convert(Flipped(), *SHAPE, classes=7, image=image, target="iOS17")
    with pytest.raises(ArtifactError, match="image is BGR, declared is RGB"):
        mil_reference.open(path, signature, "fp32")
    runner = mil_reference.open(path, _input(signature, color_order="BGR"), "fp32")
    with torch.inference_mode():
        expected = seven_classes(torch.from_numpy(pixels))
    swapped = np.ascontiguousarray(pixels[:, ::-1])
    np.testing.assert_allclose(runner.run({"image": swapped})["classLabel_probs"], expected.numpy(), atol=1e-6)
    assert np.abs(runner.run({"image": pixels})["classLabel_probs"] - expected.numpy()).max() > 1e-3


def test_a_variant_that_is_not_implemented_is_found_when_opening(original, signature, monkeypatch):
    def refuse(arguments: Any) -> Any:
        raise UnsupportedOperationError("max_pool of the fourth kind")

    from squeeze_export.validation.mil.ops import OPERATIONS

    monkeypatch.setitem(OPERATIONS, "max_pool", refuse)
    with pytest.raises(UnsupportedOperationError, match=r"the fourth kind, found in max_pool '\w+'"):
        mil_reference.open(original, signature, "fp16")


def test_a_program_without_convolutions_is_no_classifier(workshop, tensor_signature):
    class Nothing(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean((2, 3))

    path = workshop.convert(Nothing(), *SHAPE, outputs=["scores"])
    with pytest.raises(ArtifactError, match=r"no convolution weights"):
        mil_reference.open(path, _output(tensor_signature, shape=(1, 3)), "fp32")


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_the_runner_loads_no_sdk():
    loaded = _python(
        "import sys; from squeeze_export.validation.runners import mil_reference; mil_reference.unavailable();"
        "print(sorted({'torch', 'coremltools', 'sklearn'} & set(sys.modules)))"
    )
    assert loaded == "[]"


def test_the_sdk_comes_without_what_it_only_looks_for_and_that_comes_back():
    code = (
        "import sys; from squeeze_export.sdks import load_coremltools; load_coremltools();"
        "print(sorted(name for name in ('tensorflow', 'torchao', 'executorch', 'sklearn') if name in sys.modules));"
        "import sklearn.cluster; print(sklearn.cluster.KMeans.__name__)"
    )
    assert _python(code).splitlines() == ["[]", "KMeans"]


def test_a_missing_sdk_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert mil_reference.unavailable() == "coremltools is not installed; run: pip install coremltools"


def test_an_sdk_without_its_native_libraries_is_named(monkeypatch, tmp_path: Path):
    from importlib.machinery import ModuleSpec

    empty = ModuleSpec("coremltools", None, is_package=True)
    assert empty.submodule_search_locations is not None
    empty.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: empty)
    assert "native libraries" in (mil_reference.unavailable() or "")
