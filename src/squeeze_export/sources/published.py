"""torchvision's published ImageNet weights, through the folder that torch.hub keeps them in."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from squeeze_export.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from squeeze_export.contracts.source import ModelName

# torchvision writes the first digits of the file's sha256 into its name.
_FILES: Final[Mapping[ModelName, tuple[str, str]]] = {
    "squeezenet1_1": ("squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
    "squeezenet1_0": ("squeezenet1_0-b66bff10.pth", "b66bff10"),
}
_BASE_URL: Final = "https://download.pytorch.org/models/"
_SILENCE_SECONDS: Final = 10  # without a network the user learns so at once, not after torch.hub's unlimited wait
_DOWNLOAD_SECONDS: Final = 300  # 5 MB over a line slower than this is better copied by hand
_LARGEST: Final = 64 * 1024 * 1024
_CHUNK: Final = 1 << 16


def fetch(model: ModelName) -> Path:
    """Return the published file of `model` in torch.hub's cache, downloaded once; SourceError says where to put it by hand."""
    import torch

    if model not in _FILES:
        names = " and ".join(_FILES)
        raise SourceError(f"torchvision publishes no weights for {model}, only for {names}: use --weights PATH or random")
    file_name, prefix = _FILES[model]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    return cached(_BASE_URL + file_name, path, prefix, what="ImageNet weights", instead="--weights PATH, demo or random")


def cached(url: str, path: Path, prefix: str, *, what: str, instead: str, largest: int | None = None) -> Path:
    """The file at `path`, from `url` if it is not there; SourceError where neither is to be had or its sha256 begins otherwise.

    `prefix`: how the sha256 begins, empty where nobody says. `instead`: what else may be passed. `largest`: in bytes.
    """
    if not path.exists():
        _download(url, path, prefix, what, instead, largest or _LARGEST)
    elif not path.is_file():
        raise SourceError(f"{path} is not a file: remove it, or set TORCH_HOME to another folder")
    else:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(prefix):
            raise SourceError(
                f"{path} is damaged: its sha256 starts with {found[:8]}, torchvision's with {prefix}; delete it to download it "
                "again"
            )
    return path


def _download(url: str, path: Path, prefix: str, what: str, instead: str, largest: int) -> None:
    # Here, for only a download needs them, and they take as long to import as all of models/.
    import http.client
    import urllib.error
    import urllib.request

    by_hand = f"Download {url} elsewhere and put it at {path}, or use {instead}"
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            temporary = Path(file.name)
            digest = hashlib.sha256()
            deadline, size = time.monotonic() + _DOWNLOAD_SECONDS * max(1, largest // _LARGEST), 0
            with urllib.request.urlopen(url, timeout=_SILENCE_SECONDS) as answer:
                while chunk := answer.read(_CHUNK):
                    size += len(chunk)
                    if size > largest or time.monotonic() > deadline:
                        raise TimeoutError(f"gave up after {size:,} bytes")
                    file.write(chunk)
                    digest.update(chunk)
        if not digest.hexdigest().startswith(prefix):
            raise SourceError(
                f"{url} gave other bytes than torchvision published (sha256 starts with {digest.hexdigest()[:8]}). {by_hand}"
            )
        os.replace(temporary, path)  # noqa: PTH105 (one rename: two runs at once both end with the whole file)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise SourceError(f"the {what} are not at {path} and could not be downloaded ({reason}). {by_hand}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
