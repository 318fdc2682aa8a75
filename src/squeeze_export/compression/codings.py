"""How one layer's weights are coded, and the coded weights themselves: the nouns of this room (numpy only)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from squeeze_export.errors import UsageError

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array, FloatArray

PALETTE_BITS: Final = (1, 2, 3, 4, 6, 8)
_CODING: Final = re.compile(r"(?:(keep|zero(\d{1,2}))-)?pal([123468])(?:x([1248]))?(?:g(\d{1,4}))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Coding:
    """A palette of 2**bits entries, each a vector of `vector` neighbouring output channels, in `groups` equal row groups.

    `zeros`: None for a dense layer; otherwise the weights that are exactly zero cost one bit each and the palette serves the
    others: "keep" takes the zeros that the weights have, a fraction prunes to it (and keeps those zeros among them).
    Vectors and zeros exclude each other. Written "pal4", "pal6x2" (6 bits for 2 weights), "pal4g8", "keep-pal4", "zero50-pal4".
    """

    bits: int
    vector: int = 1
    groups: int = 1
    zeros: float | str | None = None

    def __post_init__(self) -> None:
        if self.bits not in PALETTE_BITS:
            raise UsageError(f"a palette of {self.bits} bits cannot be stored: choose one of {PALETTE_BITS}")
        if self.zeros is not None and self.vector != 1:
            raise UsageError("a palette of vectors cannot have zeros of its own: leave one of the two out")

    @classmethod
    def parse(cls, text: str) -> Coding:
        """Read what str() writes; UsageError where it is none."""
        match = _CODING.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} is no coding: write pal4, pal6x2, pal4g8, keep-pal4 or zero50-pal4")
        sparse, percent, bits, vector, groups = match.groups()
        zeros = None if sparse is None else "keep" if percent is None else int(percent) / 100
        return cls(bits=int(bits), vector=int(vector or 1), groups=int(groups or 1), zeros=zeros)

    def __str__(self) -> str:
        sparse = "" if self.zeros is None else "keep-" if isinstance(self.zeros, str) else f"zero{round(self.zeros * 100)}-"
        vector, groups = (f"x{self.vector}" if self.vector > 1 else ""), (f"g{self.groups}" if self.groups > 1 else "")
        return f"{sparse}pal{self.bits}{vector}{groups}"

    @property
    def needs_ios18(self) -> bool:
        """Whether no older opset can hold it: 3 bits, vectors, several tables, or zeros beside a palette."""
        return self.bits == 3 or self.vector > 1 or self.groups > 1 or self.zeros is not None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether weights of `shape` (O, I, H, W) can be cut into its vectors and groups."""
        return shape[0] % (self.vector * self.groups) == 0


@dataclass(frozen=True, kw_only=True)
class CodedWeight:
    """The weights of one layer as they are stored.

    `indices`: (O / vector, I, H, W) uint8; `table`: (groups, 2**bits, vector) float16; `mask`: (O, I, H, W) bool, where a weight
    is not zero, or None for a dense layer (indices outside the mask mean nothing and are 0).
    """

    coding: Coding
    indices: Array
    table: Array
    mask: Array | None

    def __post_init__(self) -> None:
        if self.table.dtype != np.float16 or self.table.shape[1:] != (2**self.coding.bits, self.coding.vector):
            raise ValueError(f"a table {self.table.shape} {self.table.dtype} does not serve {self.coding}")
        if self.indices.dtype != np.uint8 or int(self.indices.max(initial=0)) >= 2**self.coding.bits:
            raise ValueError(f"indices up to {int(self.indices.max(initial=0))} ({self.indices.dtype}) do not fit {self.coding}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(O, I, H, W) of the decoded weights."""
        return (self.indices.shape[0] * self.coding.vector, *self.indices.shape[1:])

    @property
    def stored_as(self) -> str:
        """The kind of storage in a word: its coding."""
        return str(self.coding)

    def decoded(self) -> FloatArray:
        """The weights (O, I, H, W) as every artifact must hold them: fp16 numbers, here in fp32."""
        groups, rows = self.table.shape[0], self.indices.shape[0]
        which = np.repeat(np.arange(groups), rows // groups).reshape(-1, *([1] * (self.indices.ndim - 1)))
        vectors = self.table.astype(np.float32)[which, self.indices]  # (O / vector, I, H, W, vector)
        dense = np.moveaxis(vectors, -1, 1).reshape(self.shape)
        return np.ascontiguousarray(dense if self.mask is None else np.where(self.mask, dense, np.float32(0)))


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Symmetric integers of `bits` bits with a scale per output channel; `half`: scales and decoded weights are fp16 numbers."""

    bits: int
    half: bool = False

    def __str__(self) -> str:
        return f"int{self.bits}{'' if self.half else ' in fp32'}"


@dataclass(frozen=True, kw_only=True)
class UniformWeight:
    """Symmetric integers with one scale per output channel: `values` (O, I, H, W) int8, `scales` (O,) float32 or float16."""

    bits: int
    values: Array
    scales: Array

    @property
    def stored_as(self) -> str:
        """The kind of storage in a word."""
        return f"int{self.bits}"

    def decoded(self) -> FloatArray:
        """The weights (O, I, H, W) in fp32; products of float16 scales are rounded to fp16 once, as who decodes them does."""
        products = self.values.astype(np.float32) * self.scales.astype(np.float32).reshape(-1, 1, 1, 1)
        with np.errstate(over="ignore"):  # beyond fp16 becomes infinity, and whoever writes it refuses it
            return np.asarray(products.astype(self.scales.dtype), np.float32)


@dataclass(frozen=True, kw_only=True)
class HalfWeight:
    """Weights as fp16 has them: `values` (O, I, H, W) float16. `sparse`: a bit per weight says which are not zero."""

    values: Array
    sparse: bool

    def __post_init__(self) -> None:
        if self.values.dtype != np.float16:
            raise ValueError(f"{self.values.dtype} is not fp16")

    @property
    def stored_as(self) -> str:
        """The kind of storage in a word."""
        return "sparse" if self.sparse else "fp16"

    def decoded(self) -> FloatArray:
        """The weights (O, I, H, W) in fp32."""
        return np.asarray(self.values, np.float32)


AnyWeight: TypeAlias = CodedWeight | UniformWeight | HalfWeight
