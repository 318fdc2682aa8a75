"""The lite interpreter as a runner: what it opens, and above all what it refuses."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.contracts.signature import PreprocessingSpec
from squeeze_export.contracts.source import SourceModel, WeightsOrigin
from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.exporters.torchscript import exporter as torchscript
from squeeze_export.sources.squeezenet import SqueezeNet, initialise
from squeeze_export.validation.runners.torch_lite import bytecode
from squeeze_export.validation.runners.torch_lite import runner as torch_lite


def exported(folder, precision="fp32", classes=7):
    """A small random SqueezeNet whose biases are all zero, and its artifact."""
    network = SqueezeNet("squeezenet1_1", classes)
    initialise(network, torch.Generator().manual_seed(3))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    source = SourceModel(
        name="seven",
        model="squeezenet1_1",
        module=network.eval(),
        num_classes=classes,
        labels=tuple(f"class {index}" for index in range(classes)),
        preprocessing=PreprocessingSpec(resize=80, height=64, width=64, color_order="RGB", scale=1 / 255, mean=mean, std=std),
        weights=WeightsOrigin(kind="random", sha256="0" * 64, file_name=None, seed=3),
    )
    settings = ExportSettings(precision=precision, input_kind="image", output_kind="probabilities", ios_target="iOS16")
    return source, torchscript.export(source, settings, folder / f"{precision}.ptl")


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("fp32"))


@pytest.fixture(scope="module")
def fp16(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("fp16"), "fp16")


def picture():
    y, x = np.mgrid[0:64, 0:64]
    return np.stack([127 + 120 * np.sin(x / 9 + c) * np.cos(y / 7) for c in range(3)], axis=-1).astype(np.uint8)[None]


def edited(artifact, path, changes, compression=zipfile.ZIP_STORED):
    """A copy of the archive with some records changed (bytes, or a function of the old ones), checksums in order."""
    with zipfile.ZipFile(artifact.path) as old, zipfile.ZipFile(path, "w", compression) as new:
        names = [name.partition("/")[2] for name in old.namelist()]
        assert set(changes) <= set(names)
        for name in names:
            content = old.read(f"archive/{name}")
            change = changes.get(name)
            new.writestr(f"archive/{name}", change(content) if callable(change) else content if change is None else change)
    return path


def test_opens_what_the_exporter_writes(fp32, fp16):
    for source, artifact in (fp32, fp16):
        runner = torch_lite.open(artifact.path, artifact.signature, artifact.precision)
        assert runner.executor == f"lite interpreter (torch {torch.__version__.partition('+')[0]})"
        inputs = artifact.signature.input.encode(picture())
        result = runner.run({"image": inputs})
        assert list(result) == ["probabilities"]
        assert result["probabilities"].dtype == np.float32
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (source.preprocessing.mean, source.preprocessing.std))
        with torch.no_grad():
            expected = torch.softmax(source.module((torch.from_numpy(inputs) - mean) / std), 1).numpy()
        assert np.abs(result["probabilities"] - expected).max() < (1e-6 if artifact.precision == "fp32" else 5e-3)


def test_constants_agree_with_the_exporters(fp32):
    for name in ("BYTECODE_VERSION", "RECORD_FILE", "LABELS_FILE"):
        assert getattr(torch_lite, name) == getattr(torchscript, name)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_stored_weights_are_the_sources_bit_for_bit(precision, request):
    source, artifact = request.getfixturevalue(precision)
    dtype = {"fp32": np.float32, "fp16": np.float16}[precision]
    stored = torch_lite.open(artifact.path, artifact.signature, precision).stored_weights()
    expected = [value.numpy().astype(dtype) for value in source.module.state_dict().values()]
    # In the order of execution; zero biases of one size are one constant in the file and still come once per convolution.
    assert [weight.shape for weight in stored] == [value.shape for value in expected]
    assert all(weight.dtype == dtype for weight in stored)
    assert all(weight.tobytes() == value.tobytes() for weight, value in zip(stored, expected, strict=True))


def test_channels_last_weights_are_read_in_their_own_order(tmp_path):
    source, _ = exported(tmp_path)
    source.module.to(memory_format=torch.channels_last)
    settings = ExportSettings(precision="fp32", input_kind="image", output_kind="logits", ios_target="iOS16")
    artifact = torchscript.export(source, settings, tmp_path / "last.ptl")
    stored = torch_lite.open(artifact.path, artifact.signature, "fp32").stored_weights()
    expected = [value.numpy() for value in source.module.state_dict().values()]
    assert all(np.array_equal(weight, value) for weight, value in zip(stored, expected, strict=True))


def refused(path, artifact, match, error=ArtifactError, **changes):
    with pytest.raises(error, match=match) as caught:
        torch_lite.open(path, changes.get("signature", artifact.signature), changes.get("precision", artifact.precision))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit, which the exporter silences
@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_is_read_with_and_without_a_bias(bias):
    layer = torch.nn.Linear(3, 2, bias=bias).eval()
    archive = torch.jit.freeze(torch.jit.trace(layer, torch.zeros(1, 3)))._save_to_buffer_for_lite_interpreter()
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        records = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    found = [value for _, value in bytecode.stored_weights(Path("net.ptl"), records)]
    assert [value.tolist() for value in found] == [value.tolist() for value in layer.parameters()]


def test_missing_empty_garbage_and_folder(fp32, tmp_path):
    _, artifact = fp32
    refused(tmp_path / "missing.ptl", artifact, "cannot be read: No such file")
    refused(tmp_path, artifact, "cannot be read: Is a directory")
    for content in (b"", b"garbage" * 1000, b"PK\x05\x06" + bytes(18), np.random.default_rng(0).bytes(5000)):
        path = tmp_path / "a.ptl"
        path.write_bytes(content)
        refused(path, artifact, "damaged|no single set of records")


def test_truncated_at_any_length(fp32, tmp_path):
    _, artifact = fp32
    content = artifact.path.read_bytes()
    path = tmp_path / "a.ptl"
    for length in [1, 30, 1000, *np.linspace(2000, len(content) - 1, 20).astype(int)]:
        path.write_bytes(content[:length])
        refused(path, artifact, "damaged")


def test_a_flipped_byte_in_any_record(fp32, tmp_path):
    _, artifact = fp32
    content = artifact.path.read_bytes()
    path = tmp_path / "a.ptl"
    with zipfile.ZipFile(artifact.path) as archive:
        entries = [entry for entry in archive.infolist() if entry.file_size]
        places = [content.find(archive.read(entry), entry.header_offset) + entry.file_size // 2 for entry in entries]
    assert len(places) > 25
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        refused(path, artifact, "damaged")


def test_flipped_bytes_outside_the_records_never_crash(fp32, tmp_path):
    """Headers and padding: either refused, or of no consequence to what is executed."""
    _, artifact = fp32
    content = artifact.path.read_bytes()
    inputs = {"image": artifact.signature.input.encode(picture())}
    expected = torch_lite.open(artifact.path, artifact.signature, "fp32").run(inputs)["probabilities"]
    path = tmp_path / "a.ptl"
    outcomes = set()
    for place in [*range(0, 64, 3), *range(len(content) - 1500, len(content), 29)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x21]) + content[place + 1 :])
        try:
            found = torch_lite.open(path, artifact.signature, "fp32").run(inputs)["probabilities"]
        except ArtifactError:
            outcomes.add("refused")
        else:
            outcomes.add("same")
            np.testing.assert_array_equal(found, expected)
    assert "refused" in outcomes


def other(signature, **changes):
    """The signature with its input, its output, or both changed."""
    parts = {}
    for part, values in changes.items():
        if part == "input":
            parts["input"] = dataclasses.replace(signature.input, **values)
        else:
            parts["outputs"] = (dataclasses.replace(signature.outputs[0], **values),)
    return dataclasses.replace(signature, **parts)


@pytest.mark.parametrize(
    "change",
    [
        {"input": {"name": "picture"}},
        {"input": {"shape": (1, 3, 65, 64)}},
        {"input": {"color_order": "BGR"}},
        {"input": {"scale": (1.0, 1.0, 1.0)}},
        {"input": {"bias": (0.0, 0.0, 1e-9)}},
        {"input": {"layout": "NHWC"}},
        {"output": {"name": "logits"}},
        {"output": {"shape": (1, 8)}},
        {"output": {"kind": "logits"}},
    ],
)
def test_another_signature_is_refused(fp32, change):
    _, artifact = fp32
    message = refused(artifact.path, artifact, "says of itself", signature=other(artifact.signature, **change))
    assert "export it again" in message


def test_two_outputs_are_refused(fp32):
    _, artifact = fp32
    double = dataclasses.replace(artifact.signature, outputs=artifact.signature.outputs * 2)
    refused(artifact.path, artifact, "says of itself", signature=double)


def test_another_precision_is_refused(fp32, fp16, tmp_path):
    for _, artifact in (fp32, fp16):
        wrong = {"fp32": "fp16", "fp16": "fp32"}[artifact.precision]
        refused(artifact.path, artifact, "its precision", precision=wrong)
        old, new = (f'"precision": "{value}"'.encode() for value in (artifact.precision, wrong))
        lying = edited(
            artifact, tmp_path / "a.ptl", {"extra/squeeze_export.json": lambda record, o=old, n=new: record.replace(o, n)}
        )
        refused(lying, artifact, r"stores a weight as float(16|32)", precision=wrong)


def test_a_record_that_lies_about_the_classes_is_caught_by_the_probe(fp32, tmp_path):
    _, artifact = fp32
    eight = other(artifact.signature, output={"shape": (1, 8)})
    changes = {
        "extra/squeeze_export.json": lambda record: record.replace(b"1,\n     7\n", b"1,\n     8\n"),
        "extra/labels.txt": b"l\n" * 8,
    }
    refused(
        edited(artifact, tmp_path / "a.ptl", changes), artifact, r"gives float32 \(1, 7\) where float32 \(1, 8\)", signature=eight
    )


def test_an_input_size_too_small_is_caught_by_the_probe(fp32, tmp_path):
    _, artifact = fp32
    tiny = other(artifact.signature, input={"shape": (1, 3, 4, 4)})
    path = edited(artifact, tmp_path / "a.ptl", {"extra/squeeze_export.json": lambda record: record.replace(b"64", b"4")})
    refused(path, artifact, "cannot be executed", signature=tiny)


def test_extra_files_that_do_not_fit_are_refused(fp32, tmp_path):
    _, artifact = fp32
    path = tmp_path / "a.ptl"
    refused(edited(artifact, path, {"extra/labels.txt": b"one\ntwo\n"}), artifact, "2 labels for 7 classes")
    refused(edited(artifact, path, {"extra/labels.txt": b"\xff\xfe"}), artifact, "unreadable")
    for content in (b"", b"[]", b"{}", b"{"):
        refused(edited(artifact, path, {"extra/squeeze_export.json": content}), artifact, "unreadable")


def test_a_foreign_ptl_is_refused(fp32, tmp_path):
    source, artifact = fp32
    path = tmp_path / "a.ptl"
    with torchscript._quiet():
        content = torchscript._lite_archive(source.module, (1, 3, 64, 64), {})
    path.write_bytes(content)
    refused(path, artifact, "compressed")
    path.write_bytes(torchscript._canonical(content))
    refused(path, artifact, "not written by squeeze-export")


def test_repeated_and_rootless_records_are_refused(fp32, tmp_path):
    """Python's zipfile takes the last of two equal names and torch the first."""
    _, artifact = fp32
    path = tmp_path / "a.ptl"
    for name in ("archive/data.pkl", "elsewhere/data.pkl"):
        path.write_bytes(artifact.path.read_bytes())
        with pytest.MonkeyPatch.context() as patch, zipfile.ZipFile(path, "a") as archive:
            patch.setattr("warnings.warn", lambda *_, **__: None)  # zipfile's own warning of the repeated name
            archive.writestr(name, b"x")
        refused(path, artifact, "no single set of records")


def test_compressed_records_are_refused(fp32, tmp_path):
    _, artifact = fp32
    refused(edited(artifact, tmp_path / "a.ptl", {}, zipfile.ZIP_DEFLATED), artifact, "compressed")


def without(name):
    def change(artifact, path):
        with zipfile.ZipFile(artifact.path) as old, zipfile.ZipFile(path, "w") as new:
            for entry in old.namelist():
                if entry != f"archive/{name}":
                    new.writestr(entry, old.read(entry))
        return path

    return change


@pytest.mark.parametrize("name", ["bytecode.pkl", "constants/5.storage", "data.pkl", "version"])
def test_a_missing_record_is_refused(fp32, tmp_path, name):
    _, artifact = fp32
    refused(without(name)(artifact, tmp_path / "a.ptl"), artifact, "a.ptl")


def test_a_shortened_storage_is_refused(fp32, tmp_path):
    _, artifact = fp32
    path = edited(artifact, tmp_path / "a.ptl", {"constants/5.storage": lambda content: content[:-4]})
    refused(path, artifact, "no readable bytecode.*5.storage holds")


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (7,), (1,)),
        (1, (6,), (1,)),
        (0, (2, 3), (4, 1)),
        (-1, (2,), (1,)),
        (5, (2,), (-1,)),
        (0, (0,), (1,)),
        (0, (2, 2), (1,)),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(offset, size, stride):
    storage = bytecode._Storage(values=np.arange(6, dtype=np.float32))
    with pytest.raises(ValueError):
        bytecode._rebuild(storage, offset, size, stride)


def test_a_tensor_is_a_view_of_its_storage():
    storage = bytecode._Storage(values=np.arange(6, dtype=np.float32))
    assert bytecode._rebuild(storage, 1, (2, 2), (1, 2)).tolist() == [[1, 3], [2, 4]]


BYTECODE = [
    (b"\x80\x02K\x08", b"\x80\x02K\x09", ArtifactError, "bytecode version 9 where 8 is needed"),
    (b"Deployed.forward", b"Deployed.rewards", ArtifactError, r"the method .*rewards"),
    (b"aten::relu", b"aten::nope", UnsupportedOperationError, "does not know an operation of .*aten::nope"),
    (b"LIST_CONSTRUCT", b"DICT_CONSTRUCT", UnsupportedOperationError, "instruction DICT_CONSTRUCT"),
    (b"aten::_convolution", b"aten::convolutions", UnsupportedOperationError, "aten::convolutions"),
    (b"build_intlist", b"build_boollst", UnsupportedOperationError, r"torch.jit._pickle.build_boollst"),
    (b"FloatStorage", b"OtherStorage", UnsupportedOperationError, r"torch.OtherStorage"),
    (b"constants", b"constance", ArtifactError, "no readable bytecode"),
]


@pytest.mark.parametrize(("old", "new", "error", "match"), BYTECODE)
def test_altered_bytecode_is_refused(fp32, tmp_path, old, new, error, match):
    _, artifact = fp32
    path = edited(artifact, tmp_path / "a.ptl", {"bytecode.pkl": lambda content: content.replace(old, new, 1)})
    assert path.stat().st_size > 0
    refused(path, artifact, match, error)


def test_random_damage_to_the_bytecode_never_crashes(fp32, tmp_path):
    """With checksums in order, so that only the reading of the bytecode stands in front of torch's C++."""
    _, artifact = fp32
    random = np.random.default_rng(5)
    refusals = 0
    for _ in range(60):

        def damage(content):
            place = int(random.integers(len(content)))
            return content[:place] + random.bytes(1) + content[place + 1 :]

        path = edited(artifact, tmp_path / "a.ptl", {"bytecode.pkl": damage})
        try:
            torch_lite.open(path, artifact.signature, "fp32")
        except (ArtifactError, UnsupportedOperationError):
            refusals += 1
    assert refusals > 10


def test_a_pickle_with_code_is_refused_and_not_run(fp32, tmp_path):
    _, artifact = fp32
    trap = tmp_path / "trap"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    path = edited(artifact, tmp_path / "a.ptl", {"bytecode.pkl": pickle.dumps((8, Trap()), protocol=2)})
    refused(path, artifact, "posix.mkdir", UnsupportedOperationError)
    assert not trap.exists()


def test_a_model_with_attributes_cannot_be_checked(fp32, tmp_path):
    """An unfrozen model fetches its weights by name: beyond what is followed, and said so."""
    source, artifact = fp32
    with zipfile.ZipFile(artifact.path) as archive:
        extra = {name: archive.read(f"archive/extra/{name}") for name in ("labels.txt", "squeeze_export.json")}
    with torchscript._quiet(), torch.no_grad():
        traced = torch.jit.trace(source.module, torch.zeros(1, 3, 64, 64))
        content = traced._save_to_buffer_for_lite_interpreter(_extra_files=extra)
    path = tmp_path / "a.ptl"
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    refused(path, artifact, "cannot be checked", UnsupportedOperationError)


def test_inputs_other_than_declared_are_refused(fp32):
    _, artifact = fp32
    runner = torch_lite.open(artifact.path, artifact.signature, "fp32")
    good = artifact.signature.input.encode(picture())
    for inputs in ({}, {"x": good}, {"image": good, "x": good}):
        with pytest.raises(ArtifactError, match="has the input 'image'"):
            runner.run(inputs)
    for bad in (good[0], good[:, :, :-1], good.astype(np.float64), np.concatenate([good, good])):
        with pytest.raises(ArtifactError, match=r"takes float32 \(1, 3, 64, 64\)"):
            runner.run({"image": bad})


def test_inputs_are_not_changed_and_outputs_are_not_shared(fp32):
    _, artifact = fp32
    runner = torch_lite.open(artifact.path, artifact.signature, "fp32")
    inputs = artifact.signature.input.encode(picture())
    inputs.setflags(write=False)
    first = runner.run({"image": inputs})["probabilities"]
    kept = first.copy()
    runner.run({"image": np.zeros_like(inputs)})
    np.testing.assert_array_equal(first, kept)


def test_bytes_are_read_once(fp32, tmp_path):
    """What was checked is what runs: the file may change or vanish after it was opened."""
    _, artifact = fp32
    path = tmp_path / "a.ptl"
    path.write_bytes(artifact.path.read_bytes())
    runner = torch_lite.open(path, artifact.signature, "fp32")
    path.unlink()
    assert runner.run({"image": artifact.signature.input.encode(picture())})["probabilities"].shape == (1, 7)


def test_unavailable_names_the_remedy(monkeypatch):
    assert torch_lite.unavailable() is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install" in torch_lite.unavailable()


def test_importing_loads_no_sdk():
    program = (
        "import sys, squeeze_export.validation.runners.torch_lite.runner as t; t.unavailable(); sys.exit('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
