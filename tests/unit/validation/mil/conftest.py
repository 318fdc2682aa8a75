"""Packages made by coremltools itself, for tests of the executor that opens them again."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from squeeze_export.contracts.signature import InputSpec, OutputSpec, Signature
from squeeze_export.sdks import load_coremltools
from squeeze_export.validation.mil.executor import Arithmetic, prepare
from squeeze_export.validation.mil.ops import IMPLEMENTED
from squeeze_export.validation.mil.package import read_package
from squeeze_export.validation.mil.program import Program, load_program


@dataclass(frozen=True)
class Workshop:
    """Makes packages with coremltools and runs any of them without a signature."""

    folder: Callable[[str], Path]

    def convert(self, module: torch.nn.Module, *shape: int, name: str = "made", classes: int = 0, **options: Any) -> Path:
        """Convert a torch module of one input `image`; options: target, precision, image (an ImageType), outputs."""
        ct = load_coremltools()
        outputs = [ct.TensorType(name=output) for output in options.get("outputs", ())] or None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch.jit and coremltools
            traced = torch.jit.trace(module.eval(), torch.rand(shape))
            model = ct.convert(
                traced,
                inputs=[options.get("image") or ct.TensorType(name="image", shape=shape)],
                outputs=outputs,
                classifier_config=ct.ClassifierConfig([f"class {index}" for index in range(classes)]) if classes else None,
                minimum_deployment_target=getattr(ct.target, options.get("target", "iOS16")),
                compute_precision=getattr(ct.precision, "FLOAT" + options.get("precision", "fp32")[2:]),
                convert_to="mlprogram",
                skip_model_load=True,
            )
            return self.save(model, name)

    def build(self, program: Callable[[Any], Any], shape: tuple[int, ...], *, target: str, name: str = "built") -> Path:
        """Write a program made with coremltools' MIL builder exactly as it is, no pass over it; fp32, one input `x`."""
        ct = load_coremltools()
        from coremltools.converters.mil import Builder as mb

        built = mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=getattr(ct.target, target))(
            lambda x: program(x)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ct.convert(
                built,
                convert_to="mlprogram",
                compute_precision=ct.precision.FLOAT32,
                pass_pipeline=ct.PassPipeline.EMPTY,
                minimum_deployment_target=getattr(ct.target, target),
                skip_model_load=True,
            )
            return self.save(model, name)

    def save(self, model: Any, name: str) -> Path:
        """Save an MLModel in a folder of its own."""
        path = self.folder(name) / f"{name}.mlpackage"
        model.save(str(path))
        return path

    def load(self, path: Path) -> Program:
        """Open a package as a program."""
        return load_program(read_package(path, IMPLEMENTED))

    def run(self, path: Path, inputs: Mapping[str, np.ndarray], arithmetic: Arithmetic = "emulate") -> dict[str, np.ndarray]:
        """Open a package and give all its outputs."""
        program = self.load(path)
        return prepare(program, arithmetic).run(inputs, tuple(value.name for value in program.outputs))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(lambda name: tmp_path_factory.mktemp(name))


class SevenClasses(torch.nn.Module):
    """A SqueezeNet in miniature, softmax included; its ceil-mode pool meets an even and an odd side (10x11)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.left = torch.nn.Conv2d(8, 6, 1)
        self.right = torch.nn.Conv2d(8, 6, 3, padding=1)
        self.last = torch.nn.Conv2d(12, 7, 1)
        for layer in (self.first, self.left, self.right, self.last):
            torch.nn.init.kaiming_normal_(layer.weight)

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(image / 255 - 0.5))
        x = torch.nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
        x = torch.cat((torch.relu(self.left(x)), torch.relu(self.right(x))), 1)
        return self.last(x).mean((2, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.logits(image), 1)


SHAPE = (1, 3, 22, 24)


@pytest.fixture(scope="session")
def seven_classes() -> SevenClasses:
    return SevenClasses().eval()


@pytest.fixture(scope="session")
def original(workshop: Workshop, seven_classes: SevenClasses) -> Path:
    """The miniature as an fp16 classifier that takes an RGB image; not to be written to."""
    ct = load_coremltools()
    return workshop.convert(
        seven_classes, *SHAPE, name="original", classes=7, precision="fp16", image=ct.ImageType(name="image", shape=SHAPE)
    )


@pytest.fixture
def package(original: Path, tmp_path: Path) -> Path:
    """A copy of the original, to be damaged."""
    return Path(shutil.copytree(original, tmp_path / "classifier.mlpackage"))


@pytest.fixture(scope="session")
def signature() -> Signature:
    """What the original is."""
    return Signature(
        input=InputSpec(
            name="image", shape=SHAPE, dtype="float32", layout="NCHW", color_order="RGB", scale=(1.0,) * 3, bias=(0.0,) * 3
        ),
        outputs=(
            OutputSpec(name="classLabel_probs", shape=(1, 7), dtype="float32", kind="probabilities", container="dictionary"),
        ),
        class_label="classLabel",
    )


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """A structured image: a gradient with an edge, different in every channel."""
    rows, columns = np.mgrid[0:22, 0:24]
    image = np.stack([rows * 12, columns * 10, (rows + columns) * 5 + 30 * (columns > 11)])
    return image[None].astype(np.float32)
