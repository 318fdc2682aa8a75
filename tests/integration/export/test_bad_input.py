"""Every refusal through the command: a clear message, the right exit code, nothing left behind."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from squeeze_export import ExportRequest, export
from squeeze_export.errors import UsageError
from tests.integration.conftest import run_tool


def refused(tmp_path, code, told, *arguments, env=None, before=()):
    """Run, and hold the exit code, every phrase of the message, and that the folder is as it was."""
    left = sorted(path.name for path in tmp_path.iterdir())
    ended = run_tool(*arguments, cwd=tmp_path, env=env)
    assert ended.code == code, ended.err
    for phrase in [told] if isinstance(told, str) else told:
        assert phrase in ended.err.replace("\n", " ")
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    return ended


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target", "cormel"], "Did you mean coreml"),
        (["--target", "all", "--model", "resnet50"], "'resnet50' is unknown"),
        (["--target", "all", "--no-such-option"], "No such option"),
        (["--target", "all", "--weights", ""], "--weights is empty"),
        (["--model", "squeezenet1_1"], "No target was named"),
        (["--target", "all", "--precision", "int3"], "'int3' is unknown"),
        (["--target", "all", "--input-size", "8"], "needs sides from 17"),
        (["--target", "all", "--config", "missing.toml"], "does not exist"),
        (["--target", "all", "verify", "x"], "stand before the command verify"),
        (["verify", "nowhere"], "not a folder"),
        (["--target", "all", "--images", "nowhere"], "does not exist"),
    ],
)
def test_usage(tmp_path, arguments, told):
    refused(tmp_path, 2, told, *arguments)


def test_a_config_file_with_an_unknown_key(tmp_path):
    (tmp_path / "c.toml").write_text('target = "all"\nwieghts = "random"\n')
    refused(tmp_path, 2, "Did you mean weights", "--config", "c.toml")


class Malicious:
    """A pickle that would leave a file behind if it were ever executed."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def write_weights(folder, kind):
    """Write one kind of bad weights; the name of the file."""
    import torch
    from safetensors.torch import save_file

    from squeeze_export.sources.squeezenet import SqueezeNet

    state = SqueezeNet("squeezenet1_1", 7).state_dict()
    path = folder / f"{kind}.safetensors"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "wrong-architecture":
        save_file(SqueezeNet("squeezenet1_0", 7).state_dict(), path)
    elif kind == "nan":
        state["features.0.weight"][0, 0, 0, 0] = float("nan")
        save_file(state, path)
    elif kind == "missing-key":
        del state["features.0.bias"]
        save_file(state, path)
    elif kind == "malicious":
        path = path.with_suffix(".pth")
        path.write_bytes(pickle.dumps(Malicious()))
    elif kind == "malicious-zip":
        path = path.with_suffix(".pth")
        torch.save({"state_dict": Malicious()}, path)
    else:
        save_file(state, path)
        data = bytearray(path.read_bytes())
        if kind == "truncated":
            data = data[: len(data) // 2]
        elif kind == "corrupted":
            data[8:40] = bytes(32)
        path.write_bytes(data)
    return path.name


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("empty", "empty"),
        ("truncated", "truncated.safetensors"),
        ("corrupted", "corrupted.safetensors"),
        ("wrong-architecture", "squeezenet1_0"),
        ("nan", "features.0.weight"),
        ("missing-key", "features.0.bias"),
        ("malicious", "weights"),
        ("malicious-zip", "weights"),
    ],
)
def test_bad_weights(tmp_path, kind, told):
    name = write_weights(tmp_path, kind)
    refused(tmp_path, 3, told, "--target", "torchscript", "--weights", name)
    assert not (tmp_path / "executed").exists()


def test_missing_weights(tmp_path):
    refused(tmp_path, 3, "nothing.safetensors", "--target", "torchscript", "--weights", "nothing.safetensors")


def test_imagenet_weights_offline_name_the_file_to_put_where(tmp_path):
    # A proxy that refuses at once: no machine of ours or anybody's is asked.
    env = {"TORCH_HOME": str(tmp_path / ".." / "empty-hub"), "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    told = ["squeezenet1_1-b8a52dc0.pth", "hub"]
    refused(tmp_path, 3, told, "--target", "torchscript", "--weights", "imagenet", env=env)


@pytest.mark.parametrize(
    ("text", "told"),
    [("a\nb\n", "7"), ("a\nb\nc\nd\ne\nf\na\n", "a"), ("a\nb\n\nd\ne\nf\ng\n", "empty"), ("", "is empty")],
    ids=["count", "duplicate", "empty label", "empty file"],
)
def test_bad_labels(tmp_path, text, told):
    name = write_weights(tmp_path, "good")
    (tmp_path / "labels.txt").write_text(text)
    refused(tmp_path, 3, told, "--target", "torchscript", "--weights", name, "--labels", "labels.txt")


@pytest.mark.parametrize("kind", ["text", "truncated", "unreadable"])
def test_bad_images(tmp_path, kind):
    (tmp_path / "photos").mkdir()
    path = tmp_path / "photos" / "bad.png"
    if kind == "text":
        path.write_text("not a picture")
    elif kind == "truncated":
        Image.linear_gradient("L").save(path)
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.mkdir()
    refused(tmp_path, 2, "bad.png", "--target", "torchscript", "--images", "photos", "--weights", "random")


def test_a_folder_without_images(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.md").write_text("")
    refused(tmp_path, 2, "no images", "--target", "torchscript", "--images", "photos", "--weights", "random")


def test_odd_images_are_fine(tmp_path):
    """CMYK, greyscale, 1x1, rotated by EXIF, 16 bits, palette with transparency, and one that is large."""
    photos = tmp_path / "photos"
    photos.mkdir()
    gradient = Image.linear_gradient("L")
    Image.merge("CMYK", [gradient] * 4).save(photos / "cmyk.jpg")
    gradient.save(photos / "grey.png")
    Image.new("RGB", (1, 1), (200, 10, 30)).save(photos / "one.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.merge("RGB", [gradient.resize((300, 200))] * 3).save(photos / "rotated.jpg", exif=exif)
    Image.fromarray(__import__("numpy").arange(256 * 256, dtype="uint16").reshape(256, 256)).save(photos / "sixteen.png")
    Image.merge("RGBA", [gradient] * 4).save(photos / "alpha.png")
    Image.merge("RGB", [gradient.resize((6000, 4000))] * 3).save(photos / "huge.jpg")
    ended = run_tool("--target", "torchscript", "--weights", "random", "--images", "photos", "--input-size", "64", cwd=tmp_path)
    assert ended.code == 0, ended.err
    golden = json.loads((tmp_path / "dist" / "squeezenet1_1-random" / "golden" / "golden.json").read_text())
    assert len(golden["images"]) == 7


def test_an_output_that_exists_or_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    refused(tmp_path, 2, "is a file", "--target", "torchscript", "-o", "file")
    (tmp_path / "dist" / "net").mkdir(parents=True)
    (tmp_path / "dist" / "net" / "mine.txt").write_text("mine")
    refused(tmp_path, 2, "--force", "--target", "torchscript", "--name", "net")
    refused(tmp_path, 2, "not a bundle", "--target", "torchscript", "--name", "net", "--force")


def test_an_output_that_cannot_be_written(tmp_path):
    # A kernel file system that takes no new folder from anybody, root included.
    refused(tmp_path, 2, "/proc", "--target", "torchscript", "--weights", "random", "-o", "/proc/squeeze")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small file system needs root")
@pytest.mark.parametrize(
    ("target", "size"),
    [("torchscript", "256k"), ("torchscript", "3m"), ("coreml", "8m"), ("tflite", "8m"), ("torchscript", "8m")],
    ids=["parent", "weights", "coreml", "tflite", "torchscript"],
)
def test_no_space_left(tmp_path, target, size):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", small], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let root mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        ended = run_tool("--target", target, "-o", small / "dist", "--weights", "random", cwd=tmp_path)
        assert ended.code == 2, ended.err
        assert "No space is left" in ended.err
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


@pytest.mark.parametrize(
    ("target", "module"),
    [
        *[("coreml", "coremltools"), ("tflite", "litert_torch"), ("tflite", "ai_edge_litert"), ("torchscript", "torch")],
        *[("onnx", "onnx"), ("onnx", "onnxruntime")],
    ],
)
def test_an_sdk_that_is_not_installed(tmp_path, target, module):
    """The module is hidden from the import system, as if it had never been installed."""
    code = f"""
        import importlib.machinery, sys
        real = importlib.machinery.PathFinder.find_spec
        def find_spec(name, path=None, target=None):
            return None if name.split(".")[0] == {module!r} else real(name, path, target)
        importlib.machinery.PathFinder.find_spec = staticmethod(find_spec)
        from squeeze_export.commands.cli import run
        sys.exit(run(sys.argv[1:]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run([*command, "--target", target], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 6, done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    listed = subprocess.run(
        [*command, "targets", "--json", "--no-import"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    states = {state["target"]: state for state in json.loads(listed.stdout)["targets"]}
    reasons = [states[target]["unavailable"], *(executor["unavailable"] for executor in states[target]["executors"])]
    assert any(reason and "pip install" in reason for reason in reasons)


def test_a_worker_that_is_killed_is_told_of_in_words(tmp_path):
    code = """
        import sys
        from squeeze_export.processes import workers
        real = workers.Workers.run
        def run(self, jobs):
            for process in self._processes.values():
                process.kill()
            return real(self, jobs)
        workers.Workers.run = run
        from squeeze_export.commands.cli import run as main
        sys.exit(main(sys.argv[1:]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), "--target", "torchscript", "--weights", "random"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert "ended by signal 9" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--json", "--nonsense"], "No such option"),
        (["verify", "--json"], "Missing argument"),
        (["--json", "verify", "dist"], "stand before the command verify"),
        (["--json", "--target", "coreml", "--seed", "x"], "valid int"),
    ],
)
def test_usage_errors_are_json_too_where_json_was_asked_for(tmp_path, arguments, told):
    ended = run_tool(*arguments, cwd=tmp_path)
    error = json.loads(ended.out)["error"]
    assert (ended.code, error["class"], error["exit_code"]) == (2, "UsageError", 2)
    assert told in error["message"]
    assert ended.err == ""


def test_pictures_of_one_colour_prove_nothing(tmp_path):
    (tmp_path / "flat").mkdir()
    for place, colour in enumerate(("red", "#123456")):
        Image.new("RGB", (300, 300), colour).save(tmp_path / "flat" / f"{place}.png")
    ended = run_tool("--target", "torchscript", "--images", "flat", cwd=tmp_path)
    assert ended.code == 2
    assert "the images in flat show nothing" in ended.err
    assert not (tmp_path / "dist").exists()


def test_the_python_api_refuses_by_the_same_errors_and_takes_strings_for_paths():
    made = ExportRequest(targets=("tflite",), weights="w.safetensors", output="out")
    assert (made.weights, made.output) == (Path("w.safetensors"), Path("out"))
    with pytest.raises(UsageError, match=r'targets is .coreml., a str\. Write targets=\("coreml", "tflite"\)'):
        ExportRequest(targets="coreml")
    for targets in ((), ("keras",)):
        with pytest.raises(UsageError, match="one or more of coreml, tflite, torchscript"):
            export(ExportRequest(targets=targets))
    for name, value in (
        ("model", "alexnet"),
        ("head", "zz"),
        ("input_kind", "zz"),
        ("output_kind", "zz"),
        ("ios_target", "iOS3"),
    ):
        with pytest.raises(UsageError, match=rf"{name}[ =]'{value}' is unknown"):
            export(ExportRequest(targets=("tflite",), **{name: value}))
    with pytest.raises(UsageError, match="cannot be a file name"):
        export(ExportRequest(targets=("tflite",), name="../evil"))
