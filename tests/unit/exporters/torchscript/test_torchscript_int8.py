"""Int8 in the lite interpreter: exactly the numbers that were chosen, the same bytes from any process, and no warning."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from squeeze_export.errors import ArtifactError, ConversionError
from squeeze_export.exporters.torchscript import exporter as torchscript
from squeeze_export.sources.source import weight_digests
from squeeze_export.validation.runners.torch_lite import runner as torch_lite
from squeeze_export.validation.weights import compare_weights, different_weights
from tests.tflite_cases import caffe, eager, pictures, settings, seven_classes, softmax

# Bypass convolutions without a ReLU behind them, additions, and another channel order.
SOURCE = seven_classes("squeezenet1_0_complex_bypass", caffe())
CALIBRATION = pictures(SOURCE.preprocessing, 8)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    before = torch.backends.quantized.engine, torch.get_num_threads()
    made = torchscript.export(SOURCE, settings("int8"), tmp_path_factory.mktemp("int8") / "a.ptl", CALIBRATION)
    assert (torch.backends.quantized.engine, torch.get_num_threads()) == before
    return made


def changed(artifact, path, record, change):
    with zipfile.ZipFile(artifact.path) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name == f"archive/{record}" else content)
    return path


def storage_of(artifact, dtype, nth):
    """The record of the nth tensor of a dtype, by the order in which bytecode.pkl names them."""
    import pickletools

    with zipfile.ZipFile(artifact.path) as archive:
        pickled = archive.read("archive/bytecode.pkl")
    found, memo, last = [], {}, None
    kind = None
    for opcode, argument, _ in pickletools.genops(io.BytesIO(pickled)):
        if opcode.name == "BINPUT":
            memo[argument] = last
            continue
        last = memo.get(argument) if opcode.name == "BINGET" else argument
        if isinstance(last, str) and last.endswith("Storage"):
            kind = last
        if isinstance(last, str) and last.endswith(".storage") and kind == f"torch {dtype}Storage":
            found.append(last)
    return f"constants/{found[nth]}"


def test_the_file_decodes_to_what_was_chosen_and_agrees_with_eager(artifact):
    runner = torch_lite.open(artifact.path, artifact.signature, "int8")
    stored = runner.stored_weights()
    assert compare_weights(stored, artifact.chosen_weights, "int8").problems == ()
    assert different_weights(artifact.chosen_weights, weight_digests(SOURCE)) == []
    pixels = pictures(SOURCE.preprocessing, 3)
    found = [runner.run({"image": artifact.signature.input.encode(image[None])})["probabilities"] for image in pixels]
    assert np.abs(np.concatenate(found) - softmax(eager(SOURCE, pixels))).max() < 0.03
    assert {"quantized::conv2d.new", "quantized::conv2d_relu.new", "quantized::add"} <= set(artifact.operators)
    assert "aten::_convolution" not in artifact.operators


def test_one_changed_integer_is_seen_and_a_broken_scale_refused(artifact, tmp_path):
    path = changed(artifact, tmp_path / "a.ptl", storage_of(artifact, "QInt8", 3), lambda c: c[:50] + bytes([c[50] ^ 1]) + c[51:])
    stored = torch_lite.open(path, artifact.signature, "int8").stored_weights()
    assert "1 of the source's weights are not in the file" in compare_weights(stored, artifact.chosen_weights, "int8").problems[0]
    scales = storage_of(artifact, "Double", 3)
    for value in (np.nan, -1.0, 0.0):
        path = changed(artifact, tmp_path / "b.ptl", scales, lambda c, value=value: np.float64(value).tobytes() + c[8:])
        with pytest.raises(ArtifactError, match="not all positive"):
            torch_lite.open(path, artifact.signature, "int8")


def test_another_precision_is_refused(artifact, tmp_path):
    for other in ("fp32", "fp16"):
        with pytest.raises(ArtifactError, match="precision"):
            torch_lite.open(artifact.path, artifact.signature, other)
        record = "extra/squeeze_export.json"
        path = changed(artifact, tmp_path / "c.ptl", record, lambda c, to=other: c.replace(b'"int8"', f'"{to}"'.encode()))
        with pytest.raises(ArtifactError, match="stores a weight as int8"):
            torch_lite.open(path, artifact.signature, other)


class Clipped(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network.classifier(torch.sigmoid(self.network.features(x))).flatten(1)


def test_what_int8_cannot_do_is_refused(tmp_path):
    path = tmp_path / "a.ptl"
    with pytest.raises(ConversionError, match="--calibration-data"):
        torchscript.export(SOURCE, settings("int8"), path)
    with pytest.raises(ConversionError, match="does not cover"):
        torchscript.export(replace(SOURCE, module=Clipped(SOURCE.module).eval()), settings("int8"), path, CALIBRATION)
    broken = seven_classes()
    broken.module.features[0].bias.data[0] = torch.inf
    with pytest.raises(ConversionError, match="NaN or infinity"):
        torchscript.export(broken, settings("int8"), path, CALIBRATION)
    assert list(tmp_path.iterdir()) == []


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_torchscript_int8 import *
for name in ("other", "b"):
    torchscript.export(SOURCE, settings("int8"), Path(sys.argv[2]) / f"{name}.ptl", CALIBRATION)
"""


def test_same_bytes_in_another_process_without_a_warning(artifact, tmp_path):
    subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path)],
        env=os.environ | {"PYTHONHASHSEED": "5", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
    )
    wanted = hashlib.sha256(artifact.path.read_bytes()).hexdigest()
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()} == {wanted}
