"""What has been computed already, so that a long compression can be stopped and taken up again."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from squeeze_export.compression.codings import AnyWeight, CodedWeight, Coding, HalfWeight, UniformWeight

if TYPE_CHECKING:
    import torch

    from squeeze_export.compression.network import CodedLayer

_NUMBERS: Final = "losses.json"
MOST_BYTES: Final = 64_000_000  # of all folders together: some sixty rungs of a SqueezeNet
_FOLDER: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


def digest(module: torch.nn.Module, images: torch.Tensor, *parts: object) -> str:
    """What the results depend on, as one digest: weights, images, further parts by their repr, and this room's code."""
    found = hashlib.sha256(_code().encode())
    for name, value in sorted(module.state_dict().items()):
        found.update(name.encode() + b"\0" + value.detach().contiguous().numpy().tobytes())
    found.update(images.contiguous().numpy().tobytes())
    found.update(repr(parts).encode())
    return found.hexdigest()


@cache
def _code() -> str:
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


class Checkpoint:
    """Results kept in a folder of their own inside `root`, named by the digest of what they depend on; None keeps nothing.

    Whatever cannot be read (an interrupted write leaves none such) counts as not computed. Of all such folders in `root` those
    used longest ago are removed beyond MOST_BYTES, when one is opened.
    """

    def __init__(self, root: Path | None, key: str) -> None:
        self._folder = None if root is None else root / key[:32]
        self._losses: dict[str, dict[str, float]] = {}
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            os.utime(self._folder)
            bound(self._folder.parent, self._folder)
            self._read(self._folder)

    def _read(self, folder: Path) -> None:
        try:
            read = json.loads((folder / _NUMBERS).read_text(encoding="utf-8"))
            self._losses = {str(layer): {str(k): float(v) for k, v in row.items()} for layer, row in read.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._losses = {}

    @contextlib.contextmanager
    def alone(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Let one run at a time do what stands in the block, with the losses that the one before has kept.

        `waiting` is called where another is at it. A run that is killed leaves nothing locked.
        """
        with contextlib.ExitStack() as held:
            if self._folder is not None:
                with contextlib.suppress(OSError):  # a file system without locks, or a removed folder: both do it
                    handle = os.open(self._folder, os.O_RDONLY)
                    held.callback(os.close, handle)
                    try:
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        waiting()
                        fcntl.flock(handle, fcntl.LOCK_EX)
                    self._read(self._folder)
            yield

    def losses(self, layer: str) -> dict[str, float] | None:
        """The losses of one layer by coding, if all were measured."""
        return self._losses.get(layer)

    def keep_losses(self, layer: str, losses: dict[str, float]) -> None:
        """Keep the losses of one layer."""
        self._losses[layer] = losses
        if self._folder is not None:
            _write(self._folder / _NUMBERS, json.dumps(self._losses, indent=1, sort_keys=True).encode())

    def layer(self, plan: str, name: str) -> CodedLayer | None:
        """One layer as it was coded under `plan`, a digest of all the codings."""
        from squeeze_export.compression.network import CodedLayer

        if self._folder is None:
            return None
        try:
            content = io.BytesIO((self._folder / f"{plan[:16]}-{name}.npz").read_bytes())  # np.load leaves damaged files open
            with np.load(content, allow_pickle=False) as stored:
                return CodedLayer(name=name, weight=_weight(stored), bias=stored["bias"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def keep_layer(self, plan: str, layer: CodedLayer) -> None:
        """Keep one coded layer."""
        if self._folder is None or isinstance(layer.weight, HalfWeight):  # which nothing had to be computed for
            return
        content = io.BytesIO()
        np.savez_compressed(content, bias=layer.bias, **_arrays(layer.weight))
        _write(self._folder / f"{plan[:16]}-{layer.name}.npz", content.getvalue())


def _arrays(weight: CodedWeight | UniformWeight) -> dict[str, Any]:
    if isinstance(weight, UniformWeight):
        return {"bits": np.array(weight.bits), "values": weight.values, "scales": weight.scales}
    mask = {} if weight.mask is None else {"mask": weight.mask}
    return {"coding": np.array(str(weight.coding)), "indices": weight.indices, "table": weight.table, **mask}


def _weight(stored: Any) -> AnyWeight:
    if "scales" in stored.files:
        return UniformWeight(bits=int(stored["bits"]), values=stored["values"], scales=stored["scales"])
    mask = stored["mask"] if "mask" in stored.files else None
    return CodedWeight(coding=Coding.parse(str(stored["coding"])), indices=stored["indices"], table=stored["table"], mask=mask)


def bound(root: Path, kept: Path, most: int | None = None) -> None:
    """Remove the checkpoint folders in `root` used longest ago until all together have at most `most` bytes; never `kept`.

    Where a run is still busy in one that is removed, it only has less to go on from. None: MOST_BYTES.
    """
    with contextlib.suppress(OSError):  # another run removes them too
        folders = [path for path in root.iterdir() if _FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in folders}
        for path in sorted(set(sizes) - {kept}, key=lambda path: (path.stat().st_mtime, path.name)):
            if sum(sizes.values()) <= (MOST_BYTES if most is None else most):
                break
            shutil.rmtree(path, ignore_errors=True)
            del sizes[path]


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with contextlib.suppress(OSError):  # a full disk or a removed folder: the result is in memory, and will be computed again
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
