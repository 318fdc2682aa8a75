"""A checkpoint file opened by what it holds, never by its ending: zip, the older stream, a bare pickle, safetensors.

Each gives the same: the object that was saved, as plain data and tensors. Nothing in the file is executed.
"""

from __future__ import annotations

import io
import pickle
import stat
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from squeeze_export.errors import SourceError
from squeeze_export.sources.checkpoints import arrays, file_kinds
from squeeze_export.sources.checkpoints.arrays import Storage, StorageType
from squeeze_export.sources.checkpoints.pickles import HostilePickle, InertUnpickler, is_pickle

# Training checkpoints with optimizer state reach a few times the weights; this bounds what a file may fill memory with.
_LARGEST_FILE: Final = 2 * 1024 * 1024 * 1024
_MAGIC: Final = 0x1950A86A20F9469CFC6C  # of torch's older stream of pickles
_STREAM_VERSION: Final = 1001


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a file held. `saved`: the object as plain data; `metadata`: safetensors' own; `unknown`: names that became inert."""

    saved: object
    metadata: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def read_content(path: Path) -> Content:
    """Read a checkpoint; SourceError that says what was given instead, or what is wrong with it."""
    start = _start(path)
    if start.startswith(b"PK"):
        return _guarded(path, _read_zip)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < _LARGEST_FILE:
        return _read_safetensors(path, int.from_bytes(start[:8], "little"))
    if is_pickle(start):
        return _guarded(path, _read_stream)
    told = file_kinds.told_by_content(start, path)
    if told is None:
        told = f"it is no zip archive, no pickle and no safetensors file. It is damaged or something else: give {file_kinds.GIVE}"
    raise SourceError(f"weights file {path} is no checkpoint: {told}")


def _start(path: Path) -> bytes:
    """The first bytes of a file that can be read at all."""
    try:
        there = path.stat()
    except FileNotFoundError as error:
        told = file_kinds.told_by_address(path)
        if told is not None:
            raise SourceError(f"weights {told}") from error
        raise SourceError(f"weights file {path} does not exist: check --weights (a path, imagenet, random or demo)") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"weights file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(there.st_mode):
        raise SourceError(f"weights {path} {file_kinds.folder_as(path)}")
    if not stat.S_ISREG(there.st_mode):
        raise SourceError(f"weights {path} is not a regular file: give {file_kinds.GIVE}")
    size = there.st_size
    if size == 0:
        raise SourceError(f"weights file {path} is empty (0 bytes): download or copy it again")
    if size > _LARGEST_FILE:
        raise SourceError(
            f"weights file {path} has {size:,} bytes; more than {_LARGEST_FILE:,} are not read, and no classifier for a phone "
            "has as many. Save the state dict alone"
        )
    try:
        with path.open("rb") as file:
            return file.read(file_kinds.HEAD_BYTES)
    except OSError as error:
        raise SourceError(f"weights file {path} cannot be read: {error.strerror}") from error


def _read_safetensors(path: Path, header: int) -> Content:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        size = path.stat().st_size
        short = f" (it ends after {size:,} bytes, within its header)" if size < 8 + header else ""
        raise SourceError(
            f"weights file {path} is not a readable safetensors file: it is cut short, or damaged{short}: {_line(error)}. "
            "Download or copy it again"
        ) from error
    return Content(saved=tensors, metadata=metadata)


def _guarded(path: Path, read: Callable[[Path, set[str]], object]) -> Content:
    """Read pickled data; every way in which it can be wrong becomes a SourceError."""
    unknown: set[str] = set()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of storages of old kinds: the outcome is what counts
            saved = read(path, unknown)
    except HostilePickle as error:
        raise SourceError(
            f"weights file {path} is refused and nothing in it was executed: its pickle asks for {error}, which no "
            "weights need. If you trust it, load it where it was made, and save its weights: "
            'torch.save(model.state_dict(), "weights.pth")'
        ) from error
    except SourceError:
        raise
    except (Exception, MemoryError, RecursionError) as error:
        # A damaged stream ends in almost any exception: all mean the same here.
        raise SourceError(
            f"weights file {path} cannot be read as a checkpoint: it is cut short, or damaged ({_line(error)}). "
            "Download or copy it again"
        ) from error
    return Content(saved=saved, unknown=tuple(sorted(unknown)))


def _read_zip(path: Path, unknown: set[str]) -> object:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = file_kinds.root_of(names)
        if root is None:
            raise SourceError(f"weights file {path} is no checkpoint: {file_kinds.told_by_members(names, path)}")
        if f"{root}constants.pkl" in names:
            raise SourceError(f"weights file {path} is no checkpoint: {file_kinds.torchscript(path)}")
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _LARGEST_FILE:
            raise SourceError(f"weights file {path} unpacks to {unpacked:,} bytes; more than {_LARGEST_FILE:,} are not read")
        damaged = file_kinds.first_fault(archive)
        if damaged is not None:
            raise SourceError(f"weights file {path} is damaged: {damaged} fails its checksum; download or copy it again")
        order = archive.read(f"{root}byteorder").strip() if f"{root}byteorder" in names else b"little"
        storages: dict[str, Storage] = {}

        def persistent_load(reference: tuple[Any, ...]) -> Storage:
            kind, key, numbers = _reference(reference)
            if key not in storages:
                data = archive.read(f"{root}data/{key}")
                if len(data) < numbers * kind.dtype.itemsize:
                    raise pickle.UnpicklingError(f"storage {key} has {len(data)} bytes for {numbers} numbers")
                storage = arrays.storage_from(data)
                if order.decode("ascii") != sys.byteorder:
                    storage.byteswap(kind.dtype)
                storages[key] = Storage(dtype=kind.dtype, data=storage)
            return storages[key]

        stream = io.BytesIO(archive.read(f"{root}data.pkl"))
        return InertUnpickler(stream, unknown, persistent_load=persistent_load).load()


def _read_stream(path: Path, unknown: set[str]) -> object:
    return _read_bytes(path.read_bytes(), unknown, nested=True)


def _read_bytes(data: bytes, unknown: set[str], *, nested: bool) -> object:
    """Read torch's older stream (three pickles in front, the object, its storages' keys, their bytes), or one bare pickle."""
    stream = io.BytesIO(data)

    def inside(inner: Any, *_: object) -> object:
        if not nested or not isinstance(inner, bytes):
            raise pickle.UnpicklingError("a checkpoint within a checkpoint's storage")
        return _read_bytes(inner, unknown, nested=False)

    first = InertUnpickler(stream, unknown, nested=inside).load()
    if first != _MAGIC:
        return first
    if InertUnpickler(stream, unknown).load() != _STREAM_VERSION:
        raise pickle.UnpicklingError("a version of the format that is not known")
    system = InertUnpickler(stream, unknown).load()
    begins = stream.tell()
    # The bytes stand behind the object that refers to them: it is read once to learn where, and once more with them.
    kinds: dict[str, StorageType] = {}
    InertUnpickler(stream, unknown, persistent_load=lambda reference: _announced(reference, kinds)).load()
    keys = InertUnpickler(stream, unknown).load()
    if not isinstance(keys, list):
        raise pickle.UnpicklingError("no list of storages")
    little = not isinstance(system, dict) or system.get("little_endian") is not False
    storages: dict[str, Storage] = {}
    for key in map(str, keys):
        kind = kinds[key]
        length = int.from_bytes(stream.read(8), "little" if little else "big", signed=True) * kind.dtype.itemsize
        values = stream.read(max(length, 0))
        if length < 0 or len(values) != length:
            raise EOFError(f"storage {key} ends after {len(values)} of {length} bytes")
        storage = arrays.storage_from(values)
        if little != (sys.byteorder == "little"):
            storage.byteswap(kind.dtype)
        storages[key] = Storage(dtype=kind.dtype, data=storage)
    stream.seek(begins)
    return InertUnpickler(stream, unknown, persistent_load=lambda reference: _stored(reference, storages)).load()


def _reference(reference: tuple[Any, ...]) -> tuple[StorageType, str, int]:
    if len(reference) < 5 or reference[0] not in ("storage", b"storage"):
        raise pickle.UnpicklingError("a reference to something that is no storage")
    kind, key, numbers = reference[1], str(reference[2]), reference[4]
    if not isinstance(kind, StorageType) or type(numbers) is not int or numbers < 0:
        raise pickle.UnpicklingError(f"storage {key} is of no known type")
    return kind, key, numbers


def _announced(reference: tuple[Any, ...], kinds: dict[str, StorageType]) -> object:
    if reference[0] in ("module", b"module"):
        return reference[1]  # a class with its source text
    kind, key, _ = _reference(reference)
    kinds[key] = kind
    return Storage(dtype=kind.dtype, data=None)


def _stored(reference: tuple[Any, ...], storages: Mapping[str, Storage]) -> object:
    if reference[0] in ("module", b"module"):
        return reference[1]
    kind, key, numbers = _reference(reference)
    whole = storages[key]
    if whole.data is None or numbers * kind.dtype.itemsize > whole.data.nbytes():
        raise pickle.UnpicklingError(f"storage {key} is shorter than it says")
    view = reference[5] if len(reference) > 5 else None
    if not isinstance(view, tuple) or len(view) != 3:
        return whole
    _, offset, size = (view[0], *arrays.shape_of(view[1:]))
    width = kind.dtype.itemsize
    if (offset + size) * width > whole.data.nbytes():
        raise pickle.UnpicklingError(f"a view beyond the end of storage {key}")
    return Storage(dtype=kind.dtype, data=whole.data[offset * width : (offset + size) * width])


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
