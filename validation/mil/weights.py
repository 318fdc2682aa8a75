"""Decoding compressed weights: every `constexpr_*` operation of the iOS16 and iOS18 opsets, in numpy.

Written from the operations' published definitions, not on coremltools' own decoders, which the tests compare it with.
Arithmetic is in fp32, rounded once to the type of the scale or of the table. Integers and indices arrive unpacked, one
element per value, except for the iOS16 forms, whose bits are packed into bytes from the least significant bit on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from squeeze_export.errors import ArtifactError

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array

# An operation's constant inputs by name (absent optional ones are None) -> its outputs in order.
Decoder = Callable[[Mapping[str, Any]], "tuple[Array, ...]"]


def _spread(values: Array, shape: tuple[int, ...]) -> Array:
    """Repeat each element of a per-block parameter over its block: the size of a block is shape / values.shape, per axis."""
    for axis, (have, want) in enumerate(zip(values.shape, shape, strict=True)):
        if have == 0 or want % have:
            raise ArtifactError(f"{have} blocks do not divide {want} weights along axis {axis}")
        if have != want:
            values = np.repeat(values, want // have, axis)
    return values


def _unpack(packed: Array, bits: int, count: int) -> Array:
    """Read `count` unsigned integers of `bits` bits from bytes, least significant bit first."""
    flat = np.unpackbits(packed.astype(np.uint8), bitorder="little")[: count * bits]
    if flat.size < count * bits:
        raise ArtifactError(f"{count} indices of {bits} bits do not fit in {packed.size} bytes")
    weights = (1 << np.arange(bits)).astype(np.int64)
    return np.asarray(flat.reshape(count, bits).astype(np.int64) @ weights)


def _shape(values: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in np.asarray(values["shape"]).ravel())


def _shift_scale(data: Array, scale: Array, offset: Array | None) -> Array:
    """scale * (data - offset), the parameters already of data's shape; rounded to the scale's type."""
    shifted = data.astype(np.float32) - (np.float32(0) if offset is None else offset.astype(np.float32))
    with np.errstate(over="ignore"):  # beyond fp16 becomes infinity, and is then judged as such
        return np.asarray((shifted * scale.astype(np.float32)).astype(scale.dtype))


def _lut(indices: Array, lut: Array, vector_axis: int) -> Array:
    """Replace each index by its vector, laid along `vector_axis`; the leading axes of `lut` say which table serves a block."""
    groups, size = lut.shape[:-2], lut.shape[-1]
    if len(groups) != indices.ndim:
        raise ArtifactError(f"a table of shape {lut.shape} cannot serve indices of shape {indices.shape}")
    if indices.size and int(indices.max()) >= lut.shape[-2]:
        raise ArtifactError(f"index {int(indices.max())} is outside a table of {lut.shape[-2]} entries")
    which = _spread(np.arange(math.prod(groups)).reshape(groups), indices.shape)
    vectors = lut.reshape(-1, *lut.shape[-2:])[which, indices.astype(np.int64)]
    # (..., size) -> the vector's elements follow one another along the axis.
    axis = vector_axis % indices.ndim
    moved = np.moveaxis(vectors, -1, axis + 1)
    shape = list(indices.shape)
    shape[axis] *= size
    return moved.reshape(shape)


def _scatter(nonzero: Array, mask: Array) -> Array:
    """Put the values, in row-major order, where the mask is set; zero elsewhere."""
    where = mask.astype(bool)
    if int(where.sum()) != nonzero.size:
        raise ArtifactError(f"the mask has {int(where.sum())} bits set for {nonzero.size} values")
    dense = np.zeros(mask.shape, nonzero.dtype)
    dense[where] = nonzero.ravel()
    return dense


def _vector_axis(values: Mapping[str, Any]) -> int:
    axis = values.get("vector_axis")
    return 0 if axis is None else int(axis)  # optional for vectors of one element, which lie along any axis


def affine_dequantize(values: Mapping[str, Any]) -> tuple[Array, ...]:
    """iOS16: scale * (quantized_data - zero_point), each a scalar or a vector along `axis`."""
    data, axis = values["quantized_data"], int(values["axis"])

    def along(parameter: Any) -> Array:
        vector = np.asarray(parameter)
        shape = [1] * data.ndim
        if vector.ndim:
            shape[axis] = vector.size
        return _spread(vector.reshape(shape), data.shape)

    return (_shift_scale(data, along(values["scale"]), along(values["zero_point"])),)


def lut_to_dense(values: Mapping[str, Any]) -> tuple[Array, ...]:
    """A table of values and an index per weight; iOS16: one table and packed indices; iOS18: tables per block, of vectors."""
    lut = np.asarray(values["lut"])
    if values.get("shape") is None:
        return (_lut(np.asarray(values["indices"]), lut, _vector_axis(values)),)
    shape = _shape(values)
    bits = int(lut.size).bit_length() - 1
    return (lut[_unpack(values["indices"], bits, math.prod(shape))].reshape(shape),)


def sparse_to_dense(values: Mapping[str, Any]) -> tuple[Array, ...]:
    """The weights that are not zero and a bit per weight; iOS16: bits packed into bytes; iOS18: one element per bit."""
    mask = np.asarray(values["mask"])
    if values.get("shape") is not None:
        shape = _shape(values)
        mask = _unpack(mask, 1, math.prod(shape)).reshape(shape)
    return (_scatter(np.asarray(values["nonzero_data"]), mask),)


def cast(values: Mapping[str, Any]) -> tuple[Array, ...]:
    """fp16 weights computed with in fp32."""
    return (np.asarray(values["source_val"]).astype({"fp32": np.float32, "fp16": np.float16}[values["output_dtype"]]),)


def blockwise_shift_scale(values: Mapping[str, Any]) -> tuple[Array, ...]:
    """iOS18: scale * (data - offset), with one scale and offset per block."""
    data = np.asarray(values["data"])
    offset = values.get("offset")
    scale = _spread(np.asarray(values["scale"]), data.shape)
    return (_shift_scale(data, scale, None if offset is None else _spread(np.asarray(offset), data.shape)),)


def lut_to_sparse(values: Mapping[str, Any]) -> tuple[Array, ...]:
    """iOS18: as lut_to_dense, for the indices that the mask keeps; gives the mask of the result and its kept values."""
    mask, lut = np.asarray(values["indices_mask"]), np.asarray(values["lut"])
    dense = _lut(_scatter(np.asarray(values["indices_nonzero_data"]), mask), lut, _vector_axis(values))
    wide = np.repeat(mask, lut.shape[-1], _vector_axis(values))
    return wide, dense[wide.astype(bool)]


def sparse_blockwise_shift_scale(values: Mapping[str, Any]) -> tuple[Array, ...]:
    """iOS18: as blockwise_shift_scale, for the values that the mask keeps; gives the mask and the scaled values."""
    mask = np.asarray(values["data_mask"])
    dense = _scatter(np.asarray(values["nonzero_data"]), mask)
    (scaled,) = blockwise_shift_scale({**values, "data": dense})
    return mask, scaled[mask.astype(bool)]


DECODERS: Final[Mapping[str, Decoder]] = {
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_cast": cast,
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_lut_to_sparse": lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": sparse_to_dense,
}
