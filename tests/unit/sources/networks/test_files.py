from __future__ import annotations

import io
import json
import math
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from squeeze_export.errors import SourceError
from squeeze_export.sources.networks import files
from squeeze_export.sources.networks.capture import capture, compare, fold_batch_norms
from tests.unit.sources.networks import nets


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A program as a user's own torch.export.save writes it, as members by name."""
    path = tmp_path_factory.mktemp("theirs") / "model.pt2"
    module = nets.settled(nets.Plain())
    torch.export.save(torch.export.export(module, (torch.randn(1, 3, 20, 16),), strict=False), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def images(count=2):
    return torch.randn(count, 3, 20, 16, generator=torch.Generator().manual_seed(5))


def written(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def exported(path, module, **options):
    torch.export.save(torch.export.export(module, (torch.randn(1, 3, 20, 16),), strict=False, **options), path)
    return path


def refused(path, *words, **options):
    with pytest.raises(SourceError) as caught:
        files.load(path, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert str(path) in message and "\n" not in message
    return message


def changed(members, change):
    """The members with another program."""
    program = json.loads(members["model/models/model.json"])
    change(program)
    return {**members, "model/models/model.json": json.dumps(program)}


@pytest.mark.parametrize(
    ("kind", "options"), [(nets.Residual, {}), (nets.Attention, {}), (nets.Dictionary, {"output": "logits"}), (nets.Scaled, {})]
)
def test_a_program_comes_back_as_it_was(tmp_path, kind, options):
    module = nets.settled(kind())
    found = capture(module, 20, 16, **options)
    files.save(found, tmp_path / "a.pt2")
    back = files.load(tmp_path / "a.pt2")
    assert (back.how, back.output, back.notes, back.input_shape) == (found.how, found.output, found.notes, found.input_shape)
    assert compare(back, module, images()) == math.inf
    assert list(back.module().state_dict()) == list(found.module().state_dict())
    files.save(found, tmp_path / "b.pt2")
    assert (tmp_path / "a.pt2").read_bytes() == (tmp_path / "b.pt2").read_bytes()
    assert fold_batch_norms(back)[1] == fold_batch_norms(found)[1]


def test_the_same_bytes_in_another_process_and_no_paths_in_them(tmp_path):
    code = """
        import sys
        from pathlib import Path
        from squeeze_export.sources.networks import files
        from squeeze_export.sources.networks.capture import capture
        from tests.unit.sources.networks import nets
        files.save(capture(nets.settled(nets.Residual()), 20, 16), Path(sys.argv[1]))
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    made = []
    for seed in ("1", "2"):
        path = tmp_path / f"program-{seed}.pt2"
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", lines, str(path)], env=env, check=True, cwd=nets.ROOT)
        made.append(path.read_bytes())
    assert made[0] == made[1]
    assert not any(word in made[0] for word in (b"site-packages", b"nets.py", b"stack_trace"))


def test_a_users_own_program_is_taken(tmp_path, theirs):
    found = files.load(written(tmp_path / "model.pt2", theirs))
    assert (found.how, found.output, found.notes, found.input_shape) == ("exported", None, (), (1, 3, 20, 16))
    assert compare(found, nets.settled(nets.Plain()), images()) == math.inf


def test_open_sizes_are_settled(tmp_path):
    module = nets.settled(nets.Dictionary())
    auto = torch.export.Dim.AUTO
    program = torch.export.export(
        module, (torch.randn(2, 3, 32, 32),), strict=False, dynamic_shapes=({0: torch.export.Dim("batch"), 2: auto, 3: auto},)
    )
    path = tmp_path / "open.pt2"
    torch.export.save(program, path)
    with pytest.raises(SourceError, match="--model-output logits"):
        files.load(path)
    found = files.load(path, output="logits", size=(20, 16))
    assert (found.input_shape, found.output) == ((1, 3, 20, 16), "logits")
    assert compare(found, module, images()) == math.inf
    assert files.load(path, output="logits").input_shape == (1, 3, 32, 32)


def test_programs_that_are_no_classifier_of_one_image_are_refused(tmp_path):
    module = nets.settled(nets.Plain())
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(module, (torch.randn(4, 3, 20, 16),), strict=False), path)
    refused(path, "captured for 4 images at once")
    exported(path, nets.settled(nets.Plain()))
    refused(path, "takes images of 20 x 16", "--input-size is 32 x 32", size=(32, 32))
    exported(path, nets.Plain().train())
    refused(path, "captured in training mode")
    torch.export.save(torch.export.export(nets.settled(nets.Plain()).half(), (torch.randn(1, 3, 20, 16).half(),)), path)
    refused(path, "weights in float16")
    torch.export.save(torch.export.export(torch.nn.Linear(3, 4), (torch.randn(1, 3),)), path)
    with pytest.raises(SourceError, match=r"takes \(1, 3\): a classifier takes one batch of images"):
        files.load(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("empty (0 bytes)",)),
        (b"hello there", ("is no captured program",)),
        (b"<html>", ("HTML page",)),
        (b"PK\x03\x04 and no more", ("cut short, or damaged",)),
    ],
)
def test_files_that_are_no_archive(tmp_path, content, words):
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    refused(path, *words)


def test_missing_and_folders(tmp_path):
    refused(tmp_path / "none.pt2", "does not exist")
    (tmp_path / "folder.pt2").mkdir()
    refused(tmp_path / "folder.pt2", "is a directory")


def test_damaged_archives(tmp_path, theirs):
    whole = written(tmp_path / "model.pt2", theirs).read_bytes()
    path = tmp_path / "model.pt2"
    for share in (0.3, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        refused(path, "cut short, or damaged")
    place = whole.index(theirs["model/data/weights/weight_0"]) + 9
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    refused(path, "fails its checksum")
    written(path, {**theirs, "model/data/weights/weight_0": b"short"})
    refused(path, "cannot be opened by torch")
    written(path, {**theirs, "model/models/model.json": b"{"})
    refused(path, "is no JSON")


def test_other_archives_are_told(tmp_path):
    path = tmp_path / "model.pt2"
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.trace(nets.settled(nets.Plain()), torch.randn(1, 3, 20, 16)), str(path))
    refused(path, "it is a TorchScript archive")
    torch.save(nets.Plain().state_dict(), path)
    refused(path, "holds weights", "--weights")
    refused(written(path, {"serialized_exported_program.json": b"{}", "version": b"8.2"}), "torch before 2.8")
    refused(written(path, {"a.txt": b"x"}), "a zip archive of a.txt")


def test_programs_of_a_newer_torch_are_told(tmp_path, theirs):
    def newer(program):
        program["schema_version"]["major"] += 1
        program["torch_version"] = "3.1.0"

    refused(
        written(tmp_path / "a.pt2", changed(theirs, newer)), "saved by torch 3.1.0", "Export the module again with torch 2.13"
    )
    refused(written(tmp_path / "b.pt2", {**theirs, "model/archive_version": b"7"}), "version 7.")


class _Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


def test_a_pickle_that_wants_code_is_never_executed(tmp_path, theirs):
    marker = str(tmp_path / "executed")
    hostile = io.BytesIO()
    torch.save(_Hostile(marker), hostile)
    path = written(tmp_path / "a.pt2", {**theirs, "model/data/sample_inputs/model.pt": hostile.getvalue()})
    refused(path, "nothing in it was executed", "mkdir")
    path = written(tmp_path / "b.pt2", {**theirs, "model/data/sample_inputs/model.pt": pickle.dumps(_Hostile(marker))})
    refused(path, "nothing in it was executed")
    config = json.loads(theirs["model/data/weights/model_weights_config.json"])
    config["config"]["head.weight"]["use_pickle"] = True
    members = {**theirs, "model/data/weights/model_weights_config.json": json.dumps(config).encode()}
    refused(written(tmp_path / "c.pt2", members), "head.weight is a pickle")
    for name in ("model/data/constants/opaque_obj_0", "model/data/constants/custom_obj_0"):
        refused(written(tmp_path / "d.pt2", {**theirs, name: pickle.dumps(_Hostile(marker))}), "pickled object", "executed")
    refused(written(tmp_path / "e.pt2", {**theirs, "model/data/aotinductor/model/a.so": b"x"}), "compiled code")
    refused(written(tmp_path / "f.pt2", {**theirs, "model/other.py": b"x"}), "no program of torch.export has")
    assert not Path(marker).exists()


@pytest.mark.parametrize(
    "target", ["torch.os.mkdir", "torch._dynamo.config.patch", "torch.ops.aten.from_file.default", "math.__loader__.x", "#x:y"]
)
def test_functions_that_are_no_operations_are_refused(tmp_path, theirs, target):
    def call(program):
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    refused(written(tmp_path / "a.pt2", changed(theirs, call)), f"it calls {target}")


@pytest.mark.parametrize(
    "text",
    ["__import__('os').mkdir('x')", "s0.__class__", "(lambda: 1)()", "Symbol('s0; x')", "exec('1')", "s0 if 1 else 2", "[s0]"],
)
def test_sizes_that_are_no_arithmetic_are_refused(tmp_path, theirs, text):
    def size(program):
        program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = {"as_expr": {"expr_str": text, "hint": None}}

    refused(written(tmp_path / "a.pt2", changed(theirs, size)), "which is no arithmetic")
    refused(
        written(tmp_path / "b.pt2", changed(theirs, lambda program: program["range_constraints"].update({text: {}}))),
        "no arithmetic",
    )


def test_trees_that_import_modules_are_refused(tmp_path, theirs):
    spec = [1, {"type": "collections.defaultdict", "context": json.dumps({"default_factory_module": "os"}), "children_spec": []}]

    def tree(program):
        program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps(spec)

    refused(written(tmp_path / "a.pt2", changed(theirs, tree)), "takes or gives collections.defaultdict")


def test_guards_are_never_executed(tmp_path, theirs):
    marker = tmp_path / "executed"

    def guard(program):
        program["guards_code"] = [f"__import__('os').mkdir({str(marker)!r})"]

    found = files.load(written(tmp_path / "a.pt2", changed(theirs, guard)))
    found.answers(images())
    assert not marker.exists()


def test_two_members_of_one_name_are_refused(tmp_path, theirs):
    path = tmp_path / "a.pt2"
    written(path, theirs)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("model/models/model.json", b"{}")
    refused(path, "the same name")
