"""The products of matrices. Sums of products are accumulated in fp32; an fp16 program's result is rounded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.errors import UnsupportedOperationError
from squeeze_export.validation.mil.arguments import Arguments

if TYPE_CHECKING:
    import torch


def linear(a: Arguments) -> torch.Tensor:
    """x @ weight.T + bias."""
    from torch.nn import functional

    result: torch.Tensor = functional.linear(a.tensor("x"), a.tensor("weight"), a.optional("bias"))
    return result


def matmul(a: Arguments) -> torch.Tensor:
    """x @ y, either transposed first in its last two axes."""
    x, y = a.tensor("x"), a.tensor("y")
    return (x.transpose(-1, -2) if a.flag("transpose_x") else x) @ (y.transpose(-1, -2) if a.flag("transpose_y") else y)


def einsum(a: Arguments) -> torch.Tensor:
    """Products of x (n, c, h, w) and y (n, w, h, u) summed over w: (n, c, h, u); or of both without n. n and h broadcast."""
    x, y = a.tensors("values")
    letters: dict[str, str] = {}
    canonical = "".join(
        letters.setdefault(letter, "abcdefgh"[len(letters)]) if letter.isalpha() and len(letters) < 8 else letter
        for letter in a.text("equation").replace(" ", "")
    )
    if canonical not in ("abcd,adce->abce", "abc,cbd->abd"):
        raise UnsupportedOperationError(f"einsum with the equation {a.text('equation')!r}")
    # The shared axis h leads: batched products of (c, w) with (w, u).
    left, right = x.transpose(-3, -2), y.transpose(-3, -2)
    return (left @ right).transpose(-3, -2)


def scaled_dot_product_attention(a: Arguments) -> torch.Tensor:
    """softmax(query @ key.T / sqrt(width) + mask) @ value; a mask of booleans keeps what is true."""
    query, mask = a.tensor("query"), a.optional("attn_mask")
    scores = query @ a.tensor("key").transpose(-1, -2) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + mask if mask.is_floating_point() else scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ a.tensor("value")
