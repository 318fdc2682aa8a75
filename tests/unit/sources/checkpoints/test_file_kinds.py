"""What was given instead of a checkpoint is named, with the line that helps."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from squeeze_export.sources.weights import parse_weights
from tests.unit.sources.checkpoints.checkpoints import holds, load, refused, saved, state_of


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["a Git LFS pointer", "git lfs pull"]),
        ("a.pth", b"\n<!DOCTYPE html><title>403</title>", ["an HTML page", "download went wrong"]),
        ("a.pth", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', ["an XML text", "AccessDenied"]),
        ("a.safetensors", b'{"error": "Repository not found"}', ["a JSON text", "Repository not found"]),
        ("a.index.json", b'{"metadata": {}, "weight_map": {"a": "b"}}', ["the index of weights that are split"]),
        ("a.ckpt.data-00000-of-00001", b"\x01\x02", ["a TensorFlow checkpoint"]),
        ("a.pth", b"404: Not Found\n", ["a text (it begins '404: Not Found')"]),
        ("a.bin", b"\x89HDF\r\n\x1a\n" + bytes(90), ["an HDF5 file, as Keras writes"]),
        ("a.bin", b"\x18\x00\x00\x00TFL3" + bytes(90), ["a TFLite model"]),
        ("a.bin", b"\x18\x00\x00\x00ET12" + bytes(90), ["an ExecuTorch program"]),
        ("a.bin", b"\x08\x08\x12\x07pytorch\x1a\x052.0.0" + bytes(90), ["an ONNX model"]),
        ("a.mlmodel", b"\x08\x06\x12\x86\x05\x0a" + bytes(90), ["a Core ML model"]),
        ("saved_model.pb", b"\x08\x01\x12\x90\x05\x0a" + bytes(90), ["a TensorFlow graph"]),
        ("a.pth", gzip.compress(bytes(200), mtime=0), ["compressed by gzip", "Unpack it"]),
        ("a.npy", b"\x93NUMPY\x01\x00" + bytes(90), ["one NumPy array"]),
        ("a.gguf", b"GGUF" + bytes(90), ["a GGUF file"]),
        ("a.onnx", b"x", ["'.onnx'", "an ONNX model", ".safetensors"]),
        ("a.h5", b"\x01\x02\x03", ["'.h5'", "a Keras file"]),
        ("a.pth", bytes(range(1, 250)), ["no zip archive, no pickle and no safetensors file"]),
    ],
)
def test_files_are_named_by_what_they_hold(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    told = refused(tmp_path / name, "is no checkpoint: it", *words)
    assert "damaged" not in told or "no zip archive" in told


@pytest.mark.filterwarnings("ignore:.torch.jit.\\w+. is deprecated:DeprecationWarning")  # such files are still about
@pytest.mark.filterwarnings("ignore:Lite Interpreter is deprecated:DeprecationWarning")
def test_torchscript_archives_give_the_line_that_saves_their_weights(tmp_path):
    class Holder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in state_of().items():
                self.register_buffer(name.replace(".", "_"), value)

        def forward(self, x):
            return x + self.features_0_bias.sum()

    module = torch.jit.trace(Holder(), torch.zeros(1))
    torch.jit.save(module, tmp_path / "scripted.pt")
    told = refused(tmp_path / "scripted.pt", "a TorchScript archive")
    line = told.partition("Save its weights: ")[2].replace("scripted.pt", str(tmp_path / "scripted.pt"))
    exec(line.replace("weights.pth", str(tmp_path / "weights.pth")), {"torch": torch})
    assert torch.equal(torch.load(tmp_path / "weights.pth")["features_0_bias"], state_of()["features.0.bias"])
    module._save_for_lite_interpreter(str(tmp_path / "lite.ptl"))
    refused(tmp_path / "lite.ptl", "a TorchScript archive")


def test_a_torch_export_program_gives_the_line_that_saves_its_weights(tmp_path):
    module = torch.nn.Conv2d(3, 4, 1)
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 4, 4),)), tmp_path / "a.pt2")
    told = refused(tmp_path / "a.pt2", "a torch.export program")
    line = told.partition("Save its weights: ")[2].replace("a.pt2", str(tmp_path / "a.pt2"))
    exec(line.replace("weights.pth", str(tmp_path / "weights.pth")), {"torch": torch})
    assert torch.equal(torch.load(tmp_path / "weights.pth")["weight"], module.weight)


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return path


def test_zip_archives_around_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("__MACOSX/best/._model.pth", b"x")
        archive.writestr("best/model.pth", b"x")
    refused(tmp_path / "a.zip", "a zip archive around best/model.pth", "unzip a.zip 'best/model.pth'")
    refused(zipped(tmp_path / "b.keras", config__json="{}", model__weights__h5="x"), "a Keras file")
    refused(zipped(tmp_path / "c.pth", readme__txt="hello"), "a zip archive of other files (readme.txt)")
    refused(zipped(tmp_path / "d.pth"), "other files (none)")
    with tarfile.open(tmp_path / "e.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("runs/model.ckpt"), io.BytesIO())
    refused(tmp_path / "e.tar", "a tar archive around runs/model.ckpt", "Unpack it")


def test_the_line_for_a_numpy_archive_works(tmp_path):
    np.savez(tmp_path / "a.npz", **{name: value.numpy() for name, value in state_of().items()})
    told = refused(tmp_path / "a.npz", "a NumPy archive (.npz)")
    line = told.partition("as tensors: ")[2].replace("a.npz", str(tmp_path / "a.npz"))
    exec(line.replace("weights.pth", str(tmp_path / "weights.pth")), {"torch": torch, "numpy": np})
    assert holds(load(tmp_path / "weights.pth"), state_of())


def test_an_unpacked_checkpoint_is_named_and_one_that_was_packed_again_is_read(tmp_path):
    saved(tmp_path / "whole.pth", {"state_dict": state_of()})
    with zipfile.ZipFile(tmp_path / "whole.pth") as archive:
        archive.extractall(tmp_path / "out")
    folder = tmp_path / "out" / "whole"
    refused(folder, "is an unpacked checkpoint")
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "again.zip", "w", method) as archive:
            for entry in sorted(folder.rglob("*")):
                if entry.is_file():
                    archive.write(entry, entry.relative_to(folder.parent))
        assert holds(load(tmp_path / "again.zip"), state_of())


def test_whole_pickled_modules_at_the_top_and_under_a_key(tmp_path):
    module = torch.nn.Conv2d(3, 4, 1)
    for name, content in (("a.pt", module), ("b.pt", {"epoch": 1, "model": module})):
        refused(saved(tmp_path / name, content), "a whole pickled module (torch.nn.modules.conv.Conv2d)", "model.state_dict()")
    # Beside a state dict that fits, it is data like any other.
    assert holds(load(saved(tmp_path / "c.pt", {"model": module, "state_dict": state_of()})), state_of())


def test_folders_are_named(tmp_path):
    def folder(name, *files):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
        return tmp_path / name

    path = folder("hf", "config.json", "model.safetensors", "pytorch_model.bin")
    refused(path, "is a directory", "it holds model.safetensors, pytorch_model.bin", str(path / "model.safetensors"))
    refused(folder("net.mlpackage", "Manifest.json"), "a Core ML package")
    refused(folder("tf", "saved_model.pb"), "a TensorFlow SavedModel")
    refused(folder("split", "model.safetensors.index.json", "model-00001-of-00002.safetensors"), "split over several files")
    refused(folder("dcp", ".metadata", "__0_0.distcp"), "a distributed checkpoint", "dcp_to_torch")
    refused(folder("none"), "it holds no checkpoint")


@pytest.mark.parametrize("address", ["https://example.org/a.pth", "s3://bucket/a.pth", "hf://timm/resnet18"])
def test_addresses_are_no_paths(address):
    refused(parse_weights(address), f"weights {address} is no path", "nothing is downloaded")


def test_a_file_address_is_told_to_lose_its_scheme(tmp_path):
    address = f"file://{tmp_path}/a.pth"
    refused(parse_weights(address), f"weights {address} is no path", "Leave `file://` out")


def test_names_that_no_file_can_have_are_refused():
    refused(parse_weights("x" * 300), "cannot be read: File name too long")
    refused(parse_weights("a\0b"), "cannot be read")
    refused(parse_weights(f"{__file__}/a.pth"), "cannot be read: Not a directory")


def test_a_safetensors_file_that_ends_in_its_header_says_so(tmp_path):
    (tmp_path / "a.safetensors").write_bytes((5000).to_bytes(8, "little") + b'{"a":')
    refused(tmp_path / "a.safetensors", "cut short, or damaged (it ends after 13 bytes, within its header)")


def test_a_pickle_of_something_else(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"accuracy": [0.5, 0.75]}))
    refused(tmp_path / "a.pkl", "holds no state dict", "'accuracy' (list)")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({}))
    refused(tmp_path / "b.pkl", "an empty mapping")
