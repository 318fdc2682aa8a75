"""The TFLite exporter on small random SqueezeNets: what it writes, and what it refuses to write."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from squeeze_export import sdks
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.exporters.tflite import flatbuffer
from tests import conversions
from tests.captured_cases import flowers
from tests.tflite_cases import LABELS, Transposing, converted, declared, settings, seven_classes


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    path = tmp_path_factory.mktemp("tflite") / "seven.tflite"
    return conversions.export(seven_classes(), settings(), path)


@pytest.fixture(scope="module")
def transposing():
    return converted(Transposing(), image=torch.zeros(1, 8, 8, 3))


def buffers(content):
    """Offset and size of every buffer's data in a TFLite file, found through the schema alone."""
    from ai_edge_litert.schema_py_generated import Model

    model = Model.GetRootAs(content, 0)
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        assert buffer.Offset() == 0  # nothing outside the flatbuffer
        field = buffer._tab.Offset(4)
        if field:
            yield buffer._tab.Vector(field), buffer.DataLength()


def test_the_artifact_describes_itself(artifact):
    assert artifact.target == "tflite" and artifact.precision == "fp32"
    assert artifact.signature == declared(seven_classes(), settings())
    assert artifact.operators == ("CONCATENATION", "CONV_2D", "MAX_POOL_2D", "MEAN", "SOFTMAX")
    assert artifact.folded_weights == ("features.0.weight", "features.0.bias")
    assert [path.name for path in artifact.path.parent.iterdir()] == ["seven.tflite"]


def test_the_file_holds_every_buffer_inside_and_aligned(artifact):
    content = artifact.path.read_bytes()
    found = [pair for pair in buffers(content) if pair[1]]
    assert len(found) >= 52
    assert all(offset % 16 == 0 and offset + size <= len(content) for offset, size in found)


def test_tensors_have_the_sources_names(artifact):
    model = flatbuffer.parse(artifact.path.read_bytes())
    names = [tensor.name.decode() for tensor in model.subgraphs[0].tensors]
    source = seven_classes()
    assert set(source.module.state_dict()) <= set(names) and {"image", "probabilities"} <= set(names)
    assert len(set(names)) == len(names)
    for index, name in enumerate(names):
        if name.endswith(".weight") and not name.startswith("features.0."):
            stored = flatbuffer.constant(model, index)
            assert np.array_equal(stored.transpose(0, 3, 1, 2), source.module.state_dict()[name].numpy())


def test_half_stores_filters_as_fp16_inside_the_flatbuffer(tmp_path, artifact):
    half = conversions.export(seven_classes(), settings("fp16", output_kind="logits"), tmp_path / "half.tflite")
    assert half.operators == ("CONCATENATION", "CONV_2D", "DEQUANTIZE", "MAX_POOL_2D", "MEAN")
    content = half.path.read_bytes()
    assert len(content) < 0.55 * artifact.path.stat().st_size
    assert sum(size for _, size in buffers(content)) > 0.9 * len(content)
    model = flatbuffer.parse(content)
    assert Counter(flatbuffer.operators(model))["DEQUANTIZE"] == 26
    with zipfile.ZipFile(half.path) as archive:  # logits have the same classes in the same order
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)


ALONE = """
import sys
from pathlib import Path
from squeeze_export.exporters.tflite import exporter as tflite
assert tflite.unavailable() is None
sdks = {"torch", "litert_torch", "ai_edge_litert", "ai_edge_quantizer", "jax", "flatbuffers", "numpy"}
loaded = sdks & set(sys.modules)
assert not loaded, loaded
from tests.tflite_cases import settings, seven_classes
tflite.export(seven_classes(), settings("fp16"), Path(sys.argv[1]))
print("after")
from tests.captured_cases import flowers
tflite.export(flowers(), settings(), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a new process said and wrote, with a hash seed of its own: seven classes in fp16, then a captured network."""
    folder = tmp_path_factory.mktemp("alone")
    half, other = folder / "one.tflite", folder / "other.tflite"
    command = [sys.executable, "-c", ALONE, half, other]
    environment = {**os.environ, "PYTHONHASHSEED": "4242"}
    root = Path(__file__).resolve().parents[4]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment), half, other


def test_nothing_is_said_and_no_sdk_loaded_early(alone):
    assert (alone[0].returncode, alone[0].stdout, alone[0].stderr) == (0, "after\n", "")


def test_bytes_depend_on_source_and_settings_only(alone, artifact, transposing, tmp_path):
    """The new process, and this one, after other networks. fp16 is made from fp32's bytes."""
    here = tmp_path / "Käfer folder" / "second file.tflite"
    here.parent.mkdir()
    tflite.export(seven_classes(), settings("fp16"), here)
    assert alone[1].read_bytes() == here.read_bytes()


def test_so_do_those_of_a_captured_network(alone, tmp_path):
    assert alone[2].read_bytes() == conversions.export(flowers(), settings(), tmp_path / "here.tflite").path.read_bytes()


def test_unavailable_names_what_to_install(monkeypatch):
    real = sdks.find_spec
    monkeypatch.setattr(sdks, "find_spec", lambda name: None if name == "litert_torch" else real(name))
    assert tflite.unavailable() == "litert-torch is not installed: pip install litert-torch"


def test_a_transpose_is_refused(transposing):
    model = flatbuffer.parse(transposing)
    with pytest.raises(ConversionError, match="too many 1 TRANSPOSE; missing 1 SOFTMAX"):
        flatbuffer.require_operators(model, Counter({"CONV_2D": 1, "MEAN": 1, "SOFTMAX": 1}))


def test_a_weight_that_the_converter_changed_is_refused(transposing):
    module = Transposing()
    with pytest.raises(ConversionError, match="changed a weight: none of conv"):
        other = module.conv.weight.detach().numpy().transpose(0, 2, 3, 1) + 1
        flatbuffer.name_tensors(flatbuffer.parse(transposing), {"conv": (other, module.conv.bias.detach().numpy())})


def test_the_converters_exception_becomes_ours_and_nothing_remains(tmp_path, monkeypatch):
    def fail(*_):
        print("native says something")
        raise RuntimeError("unsupported op\nsecond line")

    monkeypatch.setattr(tflite, "_convert", fail)
    with pytest.raises(ConversionError, match=r"squeezenet1_1 .* RuntimeError: unsupported op\. Run again") as caught:
        tflite.export(seven_classes(), settings(), tmp_path / "net.tflite")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch, artifact, failure):
    def half_written(path, content):
        with path.open("wb") as file:
            file.write(content[:100])
        raise failure

    monkeypatch.setattr(Path, "write_bytes", half_written)
    with pytest.raises(ConversionError if isinstance(failure, OSError) else KeyboardInterrupt) as caught:
        tflite._write(b"x" * 1000, tmp_path / "net.tflite")
    assert isinstance(failure, KeyboardInterrupt) or "No space left" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_labels_stand_in_the_file(artifact):
    with zipfile.ZipFile(artifact.path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)
