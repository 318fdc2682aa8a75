from __future__ import annotations

import hashlib
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from squeeze_export.contracts.source import MODELS
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.sources import weights
from squeeze_export.sources.weights import canonical_sha256, expected_shapes, load_weights, parse_weights


def state_of(model="squeezenet1_1", classes=3, seed=1):
    return load_weights(model, "random", seed=seed, random_classes=classes).state


def load(path, model="squeezenet1_1"):
    return load_weights(model, path, seed=0)


def refused(path, *words, model="squeezenet1_1"):
    with pytest.raises(SourceError) as caught:
        load(path, model)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message) < 2500
    return message


@pytest.mark.parametrize("text", ["imagenet", "random", "demo"])
def test_the_three_words_are_choices(text):
    assert parse_weights(text) == text


def test_anything_else_is_a_path_and_nothing_is_refused():
    assert parse_weights("./random") == Path("random")
    with pytest.raises(UsageError, match="empty"):
        parse_weights("")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".PT"])
def test_every_container_gives_the_same_weights_and_digest(tmp_path, suffix):
    state = state_of()
    path = tmp_path / f"mine{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = load(path)
    assert loaded.num_classes == 3
    assert list(loaded.state) == list(expected_shapes("squeezenet1_1", 3))
    assert all(torch.equal(loaded.state[name], value) for name, value in state.items())
    assert loaded.origin.kind == "file" and loaded.origin.seed is None
    assert loaded.origin.file_name == path.name
    assert loaded.origin.sha256 == canonical_sha256(state)


def test_the_canonical_digest_is_what_the_docstring_says():
    values = [1.5, -2.0, 0.25, 3.0, 1e-40, 65504.0]
    state = {"b": torch.tensor(values[:2]), "a.x": torch.tensor(values[2:]).reshape(2, 2).t().contiguous().t()}
    of_a, of_b = (hashlib.sha256(struct.pack(f"<{len(part)}f", *part)).hexdigest() for part in (values[2:], values[:2]))
    assert canonical_sha256(state) == hashlib.sha256(f"a.x 2,2 {of_a}\nb 2 {of_b}\n".encode()).hexdigest()


def test_the_legacy_container_is_read(tmp_path):
    torch.save(state_of(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert load(tmp_path / "old.pth").num_classes == 3


@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [
        ("state_dict", ""),
        ("model", ""),
        ("model_state_dict", ""),
        (None, "module."),
        (None, "model."),
        (None, "_orig_mod."),
        ("state_dict", "model.module._orig_mod."),
    ],
)
def test_wrapped_checkpoints_are_understood(tmp_path, wrapper, prefix):
    state = state_of()
    content = {prefix + name: value for name, value in state.items()}
    if wrapper is not None:
        content = {wrapper: content, "epoch": 7, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "wrapped.pth")
    assert load(tmp_path / "wrapped.pth").origin.sha256 == canonical_sha256(state)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "net": {}}, ["no state dict", "'epoch'", "'net'"]),
        ({}, ["no state dict"]),
        ([1, 2], ["but a list"]),
        (torch.zeros(3), ["but a Tensor"]),
        ({"model": {"x": 1}, "state_dict": {"y": 2}}, ["no state dict", "'model'", "'y' (int)"]),
        ({"state_dict": {}}, ["no state dict", "'state_dict' (dict, empty)"]),
        ({"state_dict": {"a": 5}}, ["'a' (int)"]),
        ({1: torch.zeros(1)}, ["tensors by name", "1 (Tensor)"]),
    ],
)
def test_containers_of_unknown_content_are_refused(tmp_path, content, words):
    torch.save(content, tmp_path / "odd.pth")
    refused(tmp_path / "odd.pth", *words)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_become_fp32(tmp_path, dtype):
    state = {name: value.to(dtype) for name, value in state_of().items()}
    save_file(state, tmp_path / "half.safetensors")
    loaded = load(tmp_path / "half.safetensors").state
    assert all(value.dtype == torch.float32 and torch.equal(value, state[name].float()) for name, value in loaded.items())


def test_the_weights_do_not_change_with_their_file(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file(state_of(), path)
    loaded = load(path)
    with path.open("r+b") as file:
        file.seek(8000)
        file.write(b"\xff" * (path.stat().st_size - 8000))
    assert canonical_sha256(loaded.state) == loaded.origin.sha256


class Malicious:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_a_pickle_with_code_is_refused_and_never_executed(tmp_path, form):
    path, victim = tmp_path / "evil.pth", tmp_path / "executed"
    content = {"state_dict": state_of(), "hook": Malicious(victim)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(Malicious(victim), protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    refused(path, "nothing in it was executed", "posix.mkdir" if os.name == "posix" else "mkdir", "state_dict()")
    assert not victim.exists()
    pickle.loads(pickle.dumps(Malicious(victim)))  # the payload does work where someone lets it
    assert victim.exists()


def test_a_whole_pickled_module_is_refused_with_the_remedy(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    refused(tmp_path / "module.pt", "torch.nn.modules.linear.Linear", "state_dict()")


@pytest.mark.filterwarnings("ignore:.torch.jit.\\w+. is deprecated:DeprecationWarning")  # such files are still about
def test_a_torchscript_archive_is_refused(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), tmp_path / "scripted.pt")
    refused(tmp_path / "scripted.pt", "TorchScript")


def test_a_missing_file_and_what_is_no_file(tmp_path):
    refused(tmp_path / "none.pth", "does not exist")
    refused(tmp_path, "is a directory")
    os.mkfifo(tmp_path / "pipe.pth")
    refused(tmp_path / "pipe.pth", "not a regular file")
    (tmp_path / "weights.onnx").write_bytes(b"x")
    refused(tmp_path / "weights.onnx", "'.onnx'", ".safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_empty_truncated_and_foreign_files(tmp_path, suffix):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"")
    refused(path, "empty")
    whole = tmp_path / f"whole{suffix}"
    save_file(state_of(), whole) if suffix == ".safetensors" else torch.save(state_of(), whole)
    data = whole.read_bytes()
    for length in (1, 7, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        refused(path, str(path))
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused(path, "git lfs pull")
    path.write_bytes(b"<!DOCTYPE html><title>403</title>")
    refused(path, "HTML page")
    path.write_bytes(os.urandom(5000))
    refused(path, str(path))


def test_a_file_of_absurd_size_is_refused_unread(tmp_path):
    with (tmp_path / "sparse.pth").open("wb") as file:
        file.truncate(3 * 1024**3)
    refused(tmp_path / "sparse.pth", "3,221,225,472 bytes")


def test_a_container_is_told_by_its_content_whatever_its_name(tmp_path):
    state = state_of()
    for name in ("a.pth", "a.bin", "a"):
        save_file(state, tmp_path / name)
        assert load(tmp_path / name).origin.sha256 == canonical_sha256(state)
    for name in ("b.safetensors", "b.ckpt", "b.pth.tar", "b.bin", "b"):
        torch.save(state, tmp_path / name)
        assert load(tmp_path / name).origin.sha256 == canonical_sha256(state)


def test_a_flipped_byte_in_a_checkpoint_is_noticed(tmp_path):
    # torch.load itself does not look at checksums: without ours this file would load.
    torch.save(state_of(), tmp_path / "good.pth")
    data = bytearray((tmp_path / "good.pth").read_bytes())
    with zipfile.ZipFile(tmp_path / "good.pth") as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    data[largest.header_offset + 5000] ^= 1
    (tmp_path / "flipped.pth").write_bytes(data)
    torch.load(tmp_path / "flipped.pth", weights_only=True)
    refused(tmp_path / "flipped.pth", "fails its checksum", largest.filename)


@pytest.mark.parametrize("held", MODELS)
@pytest.mark.parametrize("wanted", MODELS)
def test_weights_of_another_version_are_named(tmp_path, held, wanted):
    save_file(state_of(held), tmp_path / "x.safetensors")
    # Simple bypass has no weights of its own: it takes those of plain 1.0.
    if {held, wanted} <= {"squeezenet1_0", "squeezenet1_0_bypass"} or held == wanted:
        assert load(tmp_path / "x.safetensors", wanted).num_classes == 3
        return
    message = refused(
        tmp_path / "x.safetensors", f"does not hold {wanted} weights", held, "--model", "What differs", model=wanted
    )
    assert (" missing: " in message) or (" not the network's: " in message) or (" of another shape: " in message)


def test_a_file_that_names_its_model_is_believed(tmp_path):
    save_file(state_of("squeezenet1_0"), tmp_path / "x.safetensors", metadata={"model": "squeezenet1_0_bypass"})
    refused(tmp_path / "x.safetensors", "says that it holds squeezenet1_0_bypass", model="squeezenet1_0")
    assert load(tmp_path / "x.safetensors", "squeezenet1_0_bypass").num_classes == 3


def test_missing_unexpected_and_misshapen_entries_are_listed(tmp_path):
    state = state_of()
    del state["features.0.bias"]
    state["extra.weight"] = torch.zeros(2)
    state["features.3.squeeze.weight"] = torch.zeros(8, 64, 1, 1)
    save_file(state, tmp_path / "x.safetensors")
    refused(
        tmp_path / "x.safetensors",
        "1 missing: features.0.bias (64,)",
        "1 not the network's: extra.weight (2,)",
        "features.3.squeeze.weight has shape (8, 64, 1, 1), expected (16, 64, 1, 1)",
        "nor any of",
    )


def test_long_lists_are_cut_and_counted(tmp_path):
    save_file({f"layer{place}": torch.zeros(1) for place in range(100)}, tmp_path / "resnet.safetensors")
    refused(tmp_path / "resnet.safetensors", "52 missing: ", "and 47 more", "100 not the network's: ", "and 95 more")


@pytest.mark.parametrize("shape", [(3, 512), (3, 512, 3, 3), (0, 512, 1, 1), (1, 512, 1, 1), ()])
def test_odd_heads_are_refused(tmp_path, shape):
    state = state_of()
    state["classifier.1.weight"] = torch.zeros(shape)
    state["classifier.1.bias"] = torch.zeros(shape[0] if shape else 3)
    save_file(state, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "class" if shape[:1] in ((0,), (1,)) else "classifier.1.weight has shape")


def test_nan_and_infinity_are_named_by_tensor(tmp_path):
    state = state_of()
    state["features.0.weight"][0, 0, 0, :2] = float("nan")
    state["classifier.1.bias"][1] = float("-inf")
    save_file(state, tmp_path / "x.safetensors")
    refused(
        tmp_path / "x.safetensors", "features.0.weight (2 NaN, 0 infinite of 1728)", "classifier.1.bias (0 NaN, 1 infinite of 3)"
    )


def test_fp64_weights_beyond_fp32_are_refused(tmp_path):
    state = {name: value.double() for name, value in state_of().items()}
    state["features.0.bias"][0] = 1e300
    save_file(state, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "features.0.bias (0 NaN, 1 infinite")


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_tensors_that_are_not_floating_are_refused(tmp_path, dtype):
    state = state_of()
    state["features.0.weight"] = state["features.0.weight"].to(dtype)
    torch.save(state, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", f"features.0.weight ({str(dtype).removeprefix('torch.')})")


def test_sparse_tensors_are_refused(tmp_path):
    state = state_of()
    state["features.0.bias"] = state["features.0.bias"].to_sparse()
    torch.save(state, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "features.0.bias (float32, sparse)")


def test_random_weights_follow_the_seed_alone():
    torch.manual_seed(1)
    first = load_weights("squeezenet1_1", "random", seed=11)
    torch.manual_seed(2)
    again, other = (load_weights("squeezenet1_1", "random", seed=seed) for seed in (11, 12))
    assert first.num_classes == 1000
    assert (first.origin.kind, first.origin.seed, first.origin.file_name) == ("random", 11, None)
    assert first.origin.sha256 == again.origin.sha256 != other.origin.sha256


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(UsageError, match="--seed"):
        load_weights("squeezenet1_1", "random", seed=seed)


def test_the_demo_weights_are_of_one_version():
    with pytest.raises(SourceError, match="--model squeezenet1_1"):
        load_weights("squeezenet1_0", "demo", seed=0)


def test_demo_weights_missing_from_the_installation(tmp_path, monkeypatch):
    monkeypatch.setattr(weights.resources, "files", lambda package: tmp_path)
    with pytest.raises(SourceError, match="install it again"):
        load_weights("squeezenet1_1", "demo", seed=0)


def test_demo_weights_come_from_the_package(tmp_path, monkeypatch):
    state = {name: value.half() for name, value in state_of(classes=34).items()}
    (tmp_path / "data").mkdir(parents=True)
    save_file(state, tmp_path / "data" / "squeezenet1_1_demo.safetensors")
    monkeypatch.setattr(weights.resources, "files", lambda package: tmp_path)
    loaded = load_weights("squeezenet1_1", "demo", seed=0)
    assert (loaded.origin.kind, loaded.num_classes) == ("demo", 34)
    assert loaded.origin.file_name == "squeezenet1_1_demo.safetensors"


@pytest.mark.realdata
def test_real_weights_load_from_both_containers(real_data):
    files = [real_data / "weights" / f"squeezenet1_1_torchvision{suffix}" for suffix in (".pth", ".safetensors")]
    first, second = map(load, files)
    assert first.num_classes == 1000
    assert first.origin.sha256 == second.origin.sha256
    refused(
        real_data / "weights" / "squeezenet1_0_deep_compression.safetensors",
        "these are squeezenet1_0 or squeezenet1_0_bypass weights",
    )
