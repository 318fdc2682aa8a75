"""The TorchScript Lite exporter, on small random SqueezeNets of seven classes."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from squeeze_export.contracts.source import MODELS
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.torchscript import exporter as torchscript
from tests.tflite_cases import LABELS, caffe, settings, seven_classes, torchvision


def pictures(spec, count=2):
    """Smooth structured pictures, (count, H, W, 3) uint8."""
    y, x = np.mgrid[0 : spec.height, 0 : spec.width]
    rows = []
    for k in range(count):
        channels = [127 + 120 * np.sin((k + 1) * x / 19 + c) * np.cos((c + 1) * y / 23 + k) for c in range(3)]
        rows.append(np.stack(channels, axis=-1))
    return np.stack(rows).astype(np.uint8)


def reference(source, pixels, kind):
    """Eager logits or probabilities, normalised here independently of the exporter."""
    spec = source.preprocessing
    channels = pixels[..., ::-1] if spec.color_order == "BGR" else pixels
    values = (channels.astype(np.float64) * spec.scale - np.array(spec.mean)) / np.array(spec.std)
    with torch.no_grad():
        logits = source.module(torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32)))
    return (torch.softmax(logits, 1) if kind == "probabilities" else logits).numpy()


def execute(artifact, pixels):
    from torch.jit import mobile

    with torchscript._quiet():
        module = mobile._load_for_lite_interpreter(str(artifact.path))
    inputs = artifact.signature.input.encode(pixels)
    with torch.no_grad():
        return np.concatenate([module(torch.from_numpy(one[None])).numpy() for one in inputs])


CASES = [
    ("squeezenet1_1", 224, 224, False, "image", "probabilities"),
    ("squeezenet1_0", 227, 227, True, "image", "logits"),
    ("squeezenet1_0_bypass", 227, 224, False, "image", "logits"),
    ("squeezenet1_0_complex_bypass", 160, 160, True, "tensor", "probabilities"),
    ("squeezenet1_1", 160, 160, True, "tensor", "logits"),
]


@pytest.mark.parametrize(("model", "height", "width", "in_bgr", "input_kind", "output_kind"), CASES)
def test_agrees_with_eager(tmp_path, model, height, width, in_bgr, input_kind, output_kind):
    source = seven_classes(model, (caffe if in_bgr else torchvision)(height, width))
    pixels = pictures(source.preprocessing)
    expected = reference(source, pixels, output_kind)
    peak = np.abs(expected).max()
    for precision, bar in (("fp32", 2e-6), ("fp16", 5e-3)):
        artifact = torchscript.export(source, settings(precision, input_kind, output_kind), tmp_path / f"{precision}.ptl")
        found = execute(artifact, pixels)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() < bar * peak
        (output,) = artifact.signature.outputs
        assert (output.name, output.kind, output.shape) == (output_kind, output_kind, found[:1].shape)
        assert artifact.signature.input.shape == (1, 3, height, width)
        assert artifact.bytecode_version == 8
        assert artifact.path == tmp_path / f"{precision}.ptl"


def test_every_model_has_a_case():
    assert {case[0] for case in CASES} == set(MODELS)


def test_an_image_is_rgb_from_zero_to_one(tmp_path):
    spec = torchscript.export(seven_classes(preprocessing=caffe()), settings(), tmp_path / "a.ptl").signature.input
    assert (spec.name, spec.color_order, spec.layout, spec.dtype) == ("image", "RGB", "NCHW", "float32")
    assert spec.scale == (1 / 255,) * 3
    assert spec.bias == (0.0,) * 3


def test_operators_and_notice(tmp_path):
    artifact = torchscript.export(seven_classes(), settings(), tmp_path / "a.ptl")
    assert artifact.operators == (
        "aten::_convolution",
        "aten::adaptive_avg_pool2d",
        "aten::add.Tensor",
        "aten::cat",
        "aten::flatten.using_ints",
        "aten::max_pool2d",
        "aten::mul.Tensor",
        "aten::relu",
        "aten::softmax.int",
    )
    bare = torchscript.export(seven_classes(), settings("fp16", "tensor", "logits"), tmp_path / "b.ptl")
    assert set(bare.operators) ^ set(artifact.operators) == {
        "aten::add.Tensor",
        "aten::mul.Tensor",
        "aten::softmax.int",
        "aten::type_as",
    }
    for fact in ("pytorch_android_lite 2.1.0", "16 KB", "2025-11-01", "ExecuTorch"):
        assert fact in artifact.notice


def test_extra_files_hold_labels_and_record(tmp_path):
    source = seven_classes(preprocessing=caffe())
    artifact = torchscript.export(source, settings("fp16"), tmp_path / "a.ptl")
    with zipfile.ZipFile(artifact.path) as archive:
        labels = archive.read("archive/extra/labels.txt").decode()
        record = json.loads(archive.read("archive/extra/squeeze_export.json"))
    assert labels == "".join(f"{label}\n" for label in LABELS)
    as_json = json.loads(json.dumps({"s": dataclasses.asdict(artifact.signature), "p": source.preprocessing.record()}))
    assert record["signature"] == as_json["s"]
    assert record["preprocessing"] == as_json["p"]
    assert record["preprocessing"].keys() == {"resize", "height", "width", "color_order", "scale", "mean", "std"}  # as ever
    assert (record["precision"], record["model"], record["num_classes"]) == ("fp16", "squeezenet1_1", 7)


def test_without_labels_there_is_no_labels_file(tmp_path):
    artifact = torchscript.export(seven_classes(labels=None), settings(), tmp_path / "a.ptl")
    with zipfile.ZipFile(artifact.path) as archive:
        assert "archive/extra/labels.txt" not in archive.namelist()


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")  # the test's own call
def test_the_desktop_reads_the_file_too(tmp_path):
    source = seven_classes()
    artifact = torchscript.export(source, settings("fp16"), tmp_path / "a.ptl")
    pixels = pictures(source.preprocessing, 1)
    extra = {"labels.txt": ""}
    module = torch.jit.load(str(artifact.path), _extra_files=extra)
    assert extra["labels.txt"].decode().splitlines() == list(LABELS)
    found = module(torch.from_numpy(artifact.signature.input.encode(pixels))).detach().numpy()
    np.testing.assert_array_equal(found, execute(artifact, pixels))


def test_fp16_halves_the_file(tmp_path):
    sizes = {}
    for precision in ("fp32", "fp16"):
        path = torchscript.export(seven_classes(), settings(precision), tmp_path / f"{precision}.ptl").path
        sizes[precision] = path.stat().st_size
    assert sizes["fp16"] < 0.52 * sizes["fp32"]


def written(folder, stem):
    """Digests of what is written in fp32 and fp16."""
    paths = [folder / f"{stem}-{precision}.ptl" for precision in ("fp32", "fp16")]
    for path, precision in zip(paths, ("fp32", "fp16"), strict=True):
        torchscript.export(seven_classes(), settings(precision), path)
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_torchscript import *
for earlier in range(2):
    torchscript.export(seven_classes("squeezenet1_0"), settings("fp16"), Path(sys.argv[2]) / f"earlier{earlier}.ptl")
print(*written(Path(sys.argv[2]), "another_name"))
"""


def test_same_bytes_in_any_process(tmp_path):
    """Other hash seed, other folder and file name, other exports before: nothing of it may show."""
    folder = tmp_path / "folder"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(Path(__file__).parent), str(folder)],
        env=os.environ | {"PYTHONHASHSEED": "2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    here = written(tmp_path, "a")
    assert done.stdout.split() == here
    assert len(set(here)) == 2


def test_global_flags_do_not_change_the_bytes(tmp_path):
    first = torchscript.export(seven_classes(), settings(), tmp_path / "a.ptl").path.read_bytes()
    with torch.backends.cudnn.flags(enabled=False, benchmark=True, deterministic=True, allow_tf32=False):
        assert torchscript.export(seven_classes(), settings(), tmp_path / "b.ptl").path.read_bytes() == first


def test_no_path_and_no_counter_is_left_in_the_file(tmp_path):
    def everything(archive):
        return b"".join(name.encode() + archive.read(name) for name in archive.namelist())

    source = seven_classes()
    site_packages = str(Path(torch.__file__).parent).encode()
    raw = torchscript._lite_archive(source.module, (1, 3, 64, 64), {})
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        written_by_torch = everything(archive)
    assert site_packages in written_by_torch, "torch no longer writes what _canonical takes out: drop it"
    assert b"___torch_mangle_" in written_by_torch
    with zipfile.ZipFile(torchscript.export(source, settings(), tmp_path / "a.ptl").path) as archive:
        written = everything(archive)
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 0, 0, 0, 0, 0)}
    assert site_packages not in written
    assert b"___torch_mangle_" not in written


class Broken(torch.nn.Module):
    def forward(self, x):
        raise RuntimeError("no such operation")


class DependsOnData(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) if bool(x.mean() > 100) else x.amax((2, 3))


def test_foreign_exceptions_become_conversion_errors(tmp_path):
    source = dataclasses.replace(seven_classes(), module=Broken().eval())
    with pytest.raises(ConversionError, match=r"squeezenet1_1 \(fp32\) failed with RuntimeError: no such operation") as caught:
        torchscript.export(source, settings(), tmp_path / "a.ptl")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert list(tmp_path.iterdir()) == []


def test_a_trace_that_depends_on_its_example_is_refused(tmp_path):
    source = dataclasses.replace(seven_classes(), module=DependsOnData().eval())
    with pytest.raises(ConversionError, match="depends on its example input"):
        torchscript.export(source, settings(), tmp_path / "a.ptl")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_a_conversion_error(tmp_path):
    with pytest.raises(ConversionError, match="FileNotFoundError"):
        torchscript.export(seven_classes(), settings(), tmp_path / "missing" / "a.ptl")


def test_weights_beyond_half_are_refused(tmp_path):
    source = seven_classes()
    source.module.features[3].squeeze.weight.data[0, 0, 0, 0] = 70000.0
    with pytest.raises(ConversionError, match=r"^features\.3\.squeeze\.weight reaches 70000.*fp32"):
        torchscript.export(source, settings("fp16"), tmp_path / "a.ptl")
    assert list(tmp_path.iterdir()) == []
    torchscript.export(source, settings("fp32"), tmp_path / "a.ptl")


def test_a_convolution_that_half_storage_does_not_cover_is_refused(tmp_path):
    source = seven_classes()
    source.module.features[0] = torch.nn.Conv2d(3, 64, 3, stride=2, dilation=2)
    with pytest.raises(ConversionError, match=r"model\.features\.0 is a convolution"):
        torchscript.export(source, settings("fp16"), tmp_path / "a.ptl")


def test_classes_that_would_share_a_name_are_refused():
    source = seven_classes()
    with torchscript._quiet(), torch.no_grad():
        unfrozen = torch.jit.trace(source.module, torch.zeros(1, 3, 64, 64))._save_to_buffer_for_lite_interpreter()
    with pytest.raises(ConversionError, match=r"share the name code/__torch__/.*\.py"):
        torchscript._canonical(unfrozen)


def test_labels_of_two_lines_are_refused(tmp_path):
    with pytest.raises(ConversionError, match="one line"):
        torchscript.export(seven_classes(labels=(*LABELS[:6], "se\nven")), settings(), tmp_path / "a.ptl")
    assert list(tmp_path.iterdir()) == []


def test_another_bytecode_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torchscript, "BYTECODE_VERSION", 7)
    with pytest.raises(ConversionError, match="bytecode version 8 where the mobile runtime needs 7"):
        torchscript.export(seven_classes(), settings(), tmp_path / "a.ptl")
    assert list(tmp_path.iterdir()) == []


def test_the_source_model_is_left_as_it_was(tmp_path):
    source = seven_classes()
    before = {name: value.clone() for name, value in source.module.state_dict().items()}
    torchscript.export(source, settings("fp16"), tmp_path / "a.ptl")
    after = source.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_unavailable_names_the_remedy(monkeypatch):
    assert torchscript.unavailable() is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'torch==2.13.*'" in torchscript.unavailable()


def test_importing_loads_no_sdk():
    program = "import sys, squeeze_export.exporters.torchscript.exporter as t; t.unavailable(); sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
