"""The digest of a state dict, by which the same weights are known again whatever file they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def canonical_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """The digest of a state dict, whatever container it came in (see contracts.source.WeightsOrigin and combined_sha256)."""
    rows = []
    for name, value in state.items():
        values = value.detach().cpu().contiguous().numpy().astype("<f4")
        rows.append((name, tuple(values.shape), hashlib.sha256(values.tobytes()).hexdigest()))
    return combined_sha256(rows)


def combined_sha256(rows: Iterable[tuple[str, tuple[int, ...], str]]) -> str:
    """The digest of a state dict from (name, shape, sha256 of the values as little-endian fp32 in C order) per tensor.

    sha256 over one line per tensor, names sorted, in UTF-8, each with a line feed: the name, the shape as decimal numbers
    joined by commas, the tensor's sha256 in lower-case hexadecimal, separated by a space. So the golden pack, which has these
    three, proves the manifest's `weights_sha256`.
    """
    lines = (f"{name} {','.join(map(str, shape))} {sha256}\n" for name, shape, sha256 in sorted(rows))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
