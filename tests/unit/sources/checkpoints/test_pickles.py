"""Pickles are read as data: nothing that a file names is called, and no size that it claims is believed."""

from __future__ import annotations

import argparse
import builtins
import io
import os
import pickle
import struct
import sys
import time
import types
import zipfile

import numpy as np
import pytest
import torch

from squeeze_export.errors import SourceError
from squeeze_export.sources.checkpoints import containers, state_dicts
from squeeze_export.sources.checkpoints.containers import read_content
from squeeze_export.sources.checkpoints.pickles import HostilePickle, InertUnpickler
from tests.unit.sources.checkpoints.checkpoints import holds, load, refused, saved, state_of


class Calls:
    """Pickles as a call of `function` with `arguments`, and then, if wanted, a state."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def named(module, name):
    """A function that pickles under a name of ours, made for the time of a test."""

    def witness(*arguments):
        raise AssertionError(f"{module}.{name} was called with {arguments}")

    witness.__module__, witness.__qualname__, witness.__name__ = module, name, name
    return witness


@pytest.fixture
def foreign(monkeypatch):
    """A module that exists, whose function and class tell when they are used."""
    module = types.ModuleType("somebodys_library")
    module.use = named("somebodys_library", "use")

    class Config(dict):
        def __setstate__(self, state):
            raise AssertionError("a state was set")

    Config.__module__, Config.__qualname__ = "somebodys_library", "Config"
    module.Config = Config
    monkeypatch.setitem(sys.modules, "somebodys_library", module)
    return module


@pytest.mark.parametrize("form", ["zip", "stream", "bare pickle"])
@pytest.mark.parametrize(
    "function",
    [os.system, eval, exec, builtins.__import__, open, os.remove],
    ids=["system", "eval", "exec", "import", "open", "rm"],
)
def test_what_only_an_attack_names_is_refused_and_never_called(tmp_path, form, function):
    victim = tmp_path / "executed"
    argument = {os.system: f"touch {victim}", os.remove: str(tmp_path / "kept")}.get(function, f"open({str(victim)!r}, 'w')")
    (tmp_path / "kept").touch()
    content, path = {"state_dict": state_of(), "hook": Calls(function, argument)}, tmp_path / "evil.pth"
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    refused(path, "nothing in it was executed", function.__name__, "torch.save(model.state_dict()")
    assert not victim.exists()
    assert (tmp_path / "kept").exists()


def test_unknown_names_become_data_beside_the_tensors_and_are_told(tmp_path, foreign):
    config = foreign.Config(classes=["cat", "dog", "eel"])
    content = {"state_dict": state_of(), "hook": Calls(foreign.use, "x", state={"a": 1}), "config": config}
    for form in (True, False):
        loaded = load(saved(tmp_path / "x.pth", content, _use_new_zipfile_serialization=form))
        assert holds(loaded, state_of())
        told = "The checkpoint also names somebodys_library.Config, somebodys_library.use: read as plain data"
        assert loaded.notes[0].startswith(told)
        assert loaded.label_claims == {"classes": ["cat", "dog", "eel"]}
    with pytest.raises(AssertionError, match="was called"):
        torch.load(tmp_path / "x.pth", weights_only=False)  # where someone lets it, it does run


def test_weights_that_an_unknown_class_would_have_to_make_are_no_tensors(tmp_path, foreign):
    state = {**state_of(), "features.0.weight": Calls(foreign.use, 1)}
    refused(saved(tmp_path / "x.pth", state), "features.0.weight is no tensor (somebodys_library.use)")


def test_state_dicts_of_a_class_of_their_own_are_read(tmp_path, foreign):
    assert holds(load(saved(tmp_path / "x.pth", {"model": foreign.Config(state_of())})), state_of())


@pytest.mark.parametrize("module", ["os", "posix", "nt", "subprocess", "sys", "os.path", "builtins", "__builtin__"])
def test_hostile_names_are_refused_by_every_way_of_naming(module):
    name = "eval" if "builtin" in module else "system"
    for stream in (
        f"c{module}\n{name}\n.".encode(),
        f"(i{module}\n{name}\n.".encode(),
        b"\x80\x04\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93.",
    ):
        with pytest.raises(HostilePickle, match=f"{module}.{name}"):
            InertUnpickler(io.BytesIO(stream), set()).load()


@pytest.mark.parametrize(
    "stream",
    [
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a memo place for which C's unpickler makes 32 GB of room
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x02X\xff\xff\xff\x7f.",
        b"\x80\x02K\x01)R.",  # calls the number one
        b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",  # sets an attribute of a class
        b"\x80\x02\x82\x01.",  # an extension of the copyreg module
        b"\x80\x02PX\n.",  # a reference to outside
        b"\x80\x02.",
        b"\x80\x09.",
        b"\x80\x02]" + b"]" * 100_000 + b"a" * 100_000 + b".",
    ],
)
def test_forged_streams_end_in_a_refusal_at_once(tmp_path, stream):
    path = tmp_path / "forged.pth"
    path.write_bytes(stream)
    began = time.monotonic()
    refused(path, str(path))
    assert time.monotonic() - began < 5


def test_endless_ways_to_the_same_dictionary_are_walked_once(tmp_path):
    level = {"t": 1}
    for _ in range(5):
        level = {f"k{place}": level for place in range(200)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(level))
    began = time.monotonic()
    refused(tmp_path / "x.pkl", "holds no state dict")
    assert time.monotonic() - began < 5


def forged_tensor(path, size, stride, *, numbers=1, offset=0):
    """A checkpoint of one tensor over four stored bytes, whatever it says of itself."""

    def long(value):
        return b"\x8a\x08" + struct.pack("<q", value)

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value

    reference = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"0") + text(b"cpu") + long(numbers) + b"tQ"
    shape, steps = (b"(" + b"".join(map(long, value)) + b"t" for value in (size, stride))
    head = b"\x80\x02}" + text(b"w") + b"ctorch._utils\n_rebuild_tensor_v2\n("
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", head + reference + long(offset) + shape + steps + b"\x89}tRs.")
        archive.writestr("a/data/0", struct.pack("<f", 1.5))
    return path


def test_a_tensor_never_reaches_beyond_its_storage(tmp_path):
    found = read_content(forged_tensor(tmp_path / "good.pth", (1, 1), (5, 5))).saved
    assert found["w"].tolist() == [[1.5]]
    for options in (
        {"size": (2,), "stride": (1,)},
        {"size": (1,), "stride": (1,), "offset": 1},
        {"size": (1 << 40,), "stride": (0,)},
        {"size": (-1,), "stride": (1,)},
        {"size": (2,), "stride": (-1,)},
        {"size": (2,), "stride": (1, 1)},
        {"size": (1,), "stride": (1,), "numbers": 1 << 60},
    ):
        told = refused(forged_tensor(tmp_path / "forged.pth", **options), "cut short, or damaged")
        assert "a tensor " in told or "storage 0 has 4 bytes" in told  # ours: not what torch makes of it later


def test_a_zip_that_unpacks_to_more_than_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_LARGEST_FILE", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        archive.writestr("a/data/0", bytes(2 << 20))
    assert (tmp_path / "bomb.pth").stat().st_size < 1 << 14
    refused(tmp_path / "bomb.pth", "unpacks to 2,097,", "more than 1,048,576 are not read")


def test_a_flipped_byte_of_a_stream_gives_another_content_or_a_refusal(tmp_path):
    content = {"state_dict": {"a.weight": torch.arange(6.0).reshape(2, 3)}, "args": argparse.Namespace(names=np.array(["a"]))}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "x.pth").read_bytes()
    outcomes = {"read": 0, "refused": 0}
    for place in range(0, len(whole), 2):
        for value in (0x2E, 0xFF):
            data = bytearray(whole)
            data[place] = value
            (tmp_path / "x.pth").write_bytes(data)
            try:
                found = read_content(tmp_path / "x.pth")
                state_dicts.state_dicts(found.saved)
                state_dicts.label_claims(found)
                outcomes["read"] += 1
            except SourceError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50


def test_text_of_impossible_characters_is_no_label(tmp_path):
    data = pickle.dumps({"state_dict": state_of(), "classes": np.array(["abc"])}, protocol=4)
    assert b"a\x00\x00\x00b" in data
    (tmp_path / "x.pkl").write_bytes(data.replace(b"a\x00\x00\x00b", b"\xff\xff\xff\x7fb"))
    loaded = load(tmp_path / "x.pkl")
    assert holds(loaded, state_of())
    assert loaded.label_claims == {}
