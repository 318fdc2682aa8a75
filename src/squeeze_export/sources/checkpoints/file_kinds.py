"""What a file is that was given as weights and is no checkpoint: told by its content, with the line that helps."""

from __future__ import annotations

import itertools
import re
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from squeeze_export.files.litter import LFS_POINTER

ENDINGS: Final = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar", ".pkl")
GIVE: Final = "a state dict that torch.save or safetensors wrote"
HEAD_BYTES: Final = 512  # enough for the marks of every kind below

_NO_WEIGHTS: Final = "PyTorch weights cannot be taken from it. Give the .pth or .safetensors file that it was made from"
_UNPACK: Final = "Unpack it, and give the checkpoint inside"

# (how the file begins, what it is, what to do); of the longest first where one begins as another does.
_MARKS: Final[tuple[tuple[bytes, str, str], ...]] = (
    (LFS_POINTER, "a Git LFS pointer, not the weights themselves", "Run `git lfs pull`"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", _NO_WEIGHTS),
    (b"\x1f\x8b", "compressed by gzip", _UNPACK),
    (b"BZh", "compressed by bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "compressed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x93NUMPY", "one NumPy array", f"Give {GIVE}"),
    (b"GGUF", "a GGUF file, as language models have", f"Give {GIVE}"),
    (b"\x89PNG", "a PNG image", f"Give {GIVE}"),
    (b"\xff\xd8\xff", "a JPEG image", f"Give {GIVE}"),
    (b"%PDF", "a PDF document", f"Give {GIVE}"),
    (b"SQLite format 3", "an SQLite database", f"Give {GIVE}"),
    (b"7767517", "ncnn's description of a network", _NO_WEIGHTS),
    (b"ftrt", "a TensorRT engine", _NO_WEIGHTS),
)
# Formats whose files have no mark of their own, by their usual ending: for want of a better sign.
_BY_ENDING: Final = {
    ".onnx": "an ONNX model",
    ".mlmodel": "a Core ML model",
    ".pb": "a TensorFlow graph",
    ".index": "the index of a TensorFlow checkpoint",
    ".h5": "a Keras file",
    ".hdf5": "a Keras file",
    ".keras": "a Keras file",
    ".tflite": "a TFLite model",
    ".caffemodel": "a Caffe model",
    ".params": "an MXNet model",
    ".engine": "a TensorRT engine",
    ".npy": "a NumPy array",
}


def told_by_address(path: Path) -> str | None:
    """What is wrong with an address that was given for a path, after the address as it was written; None for a path."""
    found = re.search(r"(?:^|[/\\])((https?|ftp|s3|gs|hf|file):)[/\\]+(.*)", str(path), re.IGNORECASE)
    if found is None:
        return None
    scheme, rest = found[1].lower(), found[3]  # a path has no empty parts: one of the slashes is gone
    if scheme == "file:":
        return f"{scheme}///{rest} is no path: it is a file: address. Leave `file://` out"
    return f"{scheme}//{rest} is no path: it is an address, and nothing is downloaded. Download it, and pass the file's path"


def folder_as(path: Path) -> str:
    """What a folder is that was given for a file, and what to give instead."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError:
        names = []
    if path.suffix.lower() in (".mlpackage", ".mlmodelc"):
        return f"is a Core ML package, not a checkpoint. {_NO_WEIGHTS}"
    if "saved_model.pb" in names:
        return f"is a TensorFlow SavedModel, not a checkpoint. {_NO_WEIGHTS}"
    if "data.pkl" in names and "data" in names:
        return "is an unpacked checkpoint. Give the file that it was unpacked from, or pack the folder again with zip -0 -r"
    if ".metadata" in names and any(name.endswith(".distcp") for name in names):
        return (
            "is a distributed checkpoint. Make one file of it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch "
            f"{path} weights.pth"
        )
    if any(name.endswith(".index.json") for name in names):
        return f"is a folder whose weights are split over several files. Give {GIVE}, in one file"
    inside = [name for name in names if name.lower().endswith((*ENDINGS[:5], ".pkl"))]
    held = f"it holds {', '.join(inside[:4])}{' …' if inside[4:] else ''}" if inside else "it holds no checkpoint"
    given = path / (min(inside, key=lambda name: not name.endswith(".safetensors")) if inside else "weights.pth")
    return f"is a directory: {held}. Give a file, such as {given}"


def told_by_content(start: bytes, path: Path) -> str | None:
    """Say what a file is that begins with `start` and is neither a zip archive, a pickle nor safetensors; None if unknown."""
    for mark, kind, advice in _MARKS:
        if start.startswith(mark):
            return f"it is {kind}. {advice}"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if re.match(rb"<(!doctype html|html|head|body|!--)", text, re.IGNORECASE):
        return "it is an HTML page: the download went wrong. Open its address in a browser to see why"
    if text.startswith(b"<"):
        return f"it is an XML text ({_quoted(text)}): the download went wrong, or the file is not the weights"
    if b'"weight_map"' in text and _is_text(text):
        return f"it is the index of weights that are split over several files. Give {GIVE}, in one file"
    if text.startswith((b"{", b"[")) and _is_text(text):
        return f"it is a JSON text ({_quoted(text)}): an error message of the server, or a config. Give {GIVE}"
    if start[4:8] == b"TFL3":
        return f"it is a TFLite model. {_NO_WEIGHTS}"
    if start[4:6] == b"ET":
        return f"it is an ExecuTorch program. {_NO_WEIGHTS}"
    if start[257:262] == b"ustar":
        return _told_by_tar(path)
    if start[:1] == b"\x08" and start[2:3] in b"\x12\x1a\x22\x2a\x32\x3a\x42" and start[1:2] < b"\x20" and len(start) > 4:
        return f"it is {_protobuf(start, path)}. {_NO_WEIGHTS}"
    if path.suffix.lower() in _BY_ENDING:
        return f"its ending '{path.suffix}' is that of {_BY_ENDING[path.suffix.lower()]}. {_NO_WEIGHTS}"
    if re.search(r"\.data-\d+-of-\d+$", path.name):
        return f"its name is that of a TensorFlow checkpoint. {_NO_WEIGHTS}"
    if _is_text(text):
        return f"it is a text ({_quoted(text)}). Give {GIVE}"
    return None


def _told_by_tar(path: Path) -> str:
    try:
        with tarfile.open(path, "r:") as archive:
            names = [member.name for member in itertools.islice(archive, 100) if member.isfile()]
    except (tarfile.TarError, OSError, ValueError):
        names = []
    if {"sys_info", "pickle", "storages", "tensors"} & set(names):
        return "it is a checkpoint of PyTorch 0.1. Load it there, and save its state dict with a newer version"
    inside = [name for name in names if name.lower().endswith(ENDINGS)]
    around = f"around {inside[0]}" if inside else f"of other files ({', '.join(names[:4]) or 'none'})"
    return f"it is a tar archive {around}. {_UNPACK}"


def _protobuf(start: bytes, path: Path) -> str:
    """ONNX, Core ML and SavedModel all begin with a version number; the second field is the producer's name in ONNX only."""
    ending = path.suffix.lower()
    if ending in (".mlmodel", ".pb"):
        return _BY_ENDING[ending]
    if start[2:3] == b"\x12" and start[4:5] in b"\x0a\x1a":
        return "a TensorFlow SavedModel or a Core ML model"
    return "an ONNX model"


def told_by_members(names: Sequence[str], path: Path) -> str:
    """Say what a zip archive is that holds no checkpoint's data.pkl, by the names inside."""
    files = [name for name in names if not name.endswith("/") and "__MACOSX" not in name and "/._" not in f"/{name}"]
    tails = {PurePosixPath(name).name for name in files}
    if files and all(name.endswith(".npy") for name in files):
        return (
            "it is a NumPy archive (.npz). Save its arrays as tensors: "
            f'torch.save({{k: torch.from_numpy(v) for k, v in numpy.load("{path.name}").items()}}, "weights.pth")'
        )
    if "serialized_exported_program.json" in tails or {"archive_format", "archive_version"} & tails:
        load = f'torch.export.load("{path.name}").state_dict'
        return f'it is a torch.export program. Save its weights: torch.save({load}, "weights.pth")'
    if "extern_modules" in tails:
        return "it is a torch.package archive. Load the model where it was made, and save model.state_dict()"
    if "model.weights.h5" in tails:
        return f"it is a Keras file. {_NO_WEIGHTS}"
    if any(name.endswith((".mlmodel", "Manifest.json")) for name in files) and any("CoreML" in name for name in files):
        return f"it is a zipped Core ML package. {_NO_WEIGHTS}"
    inside = [name for name in files if name.lower().endswith((*ENDINGS, ".h5", ".onnx", ".tflite"))]
    if inside:
        shown = ", ".join(inside[:4]) + (" …" if inside[4:] else "")
        return f"it is a zip archive around {shown}. {_UNPACK}: unzip {path.name} '{inside[0]}'"
    shown = ", ".join(files[:4]) + (" …" if files[4:] else "")
    return f"it is a zip archive of other files ({shown or 'none'}). Give {GIVE}"


def torchscript(path: Path) -> str:
    """Of a TorchScript archive, full or Lite."""
    return f'it is a TorchScript archive. Save its weights: torch.save(torch.jit.load("{path.name}").state_dict(), "weights.pth")'


def root_of(names: Sequence[str]) -> str | None:
    """The folder, with its slash, in which a zip archive holds a checkpoint's data.pkl; None where there is none."""
    roots = sorted((name[: -len("data.pkl")] for name in names if re.fullmatch(r"(.*/)?data\.pkl", name)), key=len)
    return roots[0] if roots else None


def first_fault(archive: zipfile.ZipFile) -> str | None:
    """The member whose bytes are not those of its checksum, if any: torch.load does not look, and a flipped bit is a weight."""
    check: Callable[[], str | None] = archive.testzip
    return check()


def _is_text(data: bytes) -> bool:
    return bool(data) and all(byte >= 32 or byte in b"\t\r\n" for byte in data) and b"\x7f" not in data and _decodes(data)


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.end >= len(data) - 3 and error.start > 0  # a character cut where the start was cut
    return True


def _quoted(text: bytes) -> str:
    shown = " ".join(text.decode("utf-8", "replace").split())
    return f"it begins {shown[:60]!r}"
