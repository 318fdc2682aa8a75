"""What tensors in a checkpoint are made of: storages, views on them, NumPy's arrays and numbers. No size is trusted."""

from __future__ import annotations

import math
import pickle
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

# torch's names of storages that are not `torch.<dtype>` in words.
_STORAGES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "UntypedStorage": "uint8",
    "TypedStorage": "uint8",
}
_LARGEST_TENSOR: Final = 512 * 1024 * 1024
_NUMPY_CODE: Final = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,5}|O8?)")


@dataclass(frozen=True, kw_only=True, eq=False)
class StorageType:
    """A storage class that the pickle names."""

    dtype: torch.dtype


@dataclass(kw_only=True, eq=False)
class Storage:
    """The bytes that tensors are views on; `data` is None while the reader has not come to them."""

    dtype: torch.dtype
    data: torch.UntypedStorage | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Unusable:
    """A tensor that is no plain array of numbers, such as a quantised or a sparse one; `kind` says what it is."""

    kind: str
    shape: tuple[int, ...]


def tensor_type() -> type:
    """The class of tensors."""
    import torch

    found: type = torch.Tensor
    return found


def storage_or_type(name: str) -> object:
    """The storage class or the dtype of torch by that name; None where it is neither."""
    import torch

    if name in _STORAGES:
        return StorageType(dtype=getattr(torch, _STORAGES[name]))
    found = vars(torch).get(name)  # not getattr, by which torch imports modules of its own
    return found if isinstance(found, torch.dtype) else None


def shape_of(size: Any) -> tuple[int, ...]:
    """A shape as plain numbers; UnpicklingError where it is none."""
    if not isinstance(size, tuple | list) or not all(type(length) is int and length >= 0 for length in size):
        raise pickle.UnpicklingError("a tensor whose shape is not whole numbers")
    return tuple(size)


def storage_from(data: bytes) -> torch.UntypedStorage:
    """A storage of these bytes, of its own memory."""
    import torch

    return (
        torch.frombuffer(bytearray(data), dtype=torch.uint8).untyped_storage() if data else torch.UntypedStorage(0, device="cpu")
    )


def tensor_of(storage: Any, offset: Any, size: Any, stride: Any, dtype: Any = None) -> object:
    """A view on a storage, held against the storage's end: torch itself would make room for what a file claims."""
    import torch

    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError(f"a tensor without a storage, but a {type(storage).__name__}")
    shape, steps = shape_of(size), shape_of(stride)
    kind = dtype if isinstance(dtype, torch.dtype) else storage.dtype
    if len(shape) != len(steps) or type(offset) is not int or offset < 0:
        raise pickle.UnpicklingError("a tensor whose strides do not belong to its shape")
    if str(kind).startswith(("torch.q", "torch.uint1", "torch.bits")) and kind not in (torch.uint16,):
        return Unusable(kind=f"quantised, {str(kind).removeprefix('torch.')}", shape=shape)
    if storage.data is None:
        return Unusable(kind="not read", shape=shape)
    last = -1 if 0 in shape else offset + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))
    there = storage.data.nbytes() // kind.itemsize
    if last >= there or math.prod(shape) * kind.itemsize > _LARGEST_TENSOR:
        raise pickle.UnpicklingError(f"a tensor of shape {shape} over {there} stored numbers")
    return torch.empty(0, dtype=kind, device="cpu").set_(storage.data, offset if last >= 0 else 0, shape, steps)


@dataclass(kw_only=True, eq=False)
class NumpyType:
    """A NumPy dtype by its code, such as f4."""

    code: str
    order: str = "<"

    def set_state(self, state: Any) -> None:
        """Take the byte order out of what numpy.dtype.__setstate__ would get."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def real(self) -> Any:
        """The dtype itself; UnpicklingError where it is none of plain numbers, text or objects."""
        import numpy as np

        if _NUMPY_CODE.fullmatch(self.code) is None:
            raise pickle.UnpicklingError(f"a NumPy array of type {self.code[:20]!r}")
        kind = np.dtype(self.code)
        return kind.newbyteorder(">") if self.order == ">" else kind


@dataclass(kw_only=True, eq=False)
class NumpyArray:
    """A NumPy array as its pickle describes it: a tensor, or a list of what it holds."""

    shape: tuple[int, ...] = ()
    kind: NumpyType | None = None
    fortran: bool = False
    data: object = b""
    tensor: torch.Tensor | None = None

    def set_state(self, state: Any) -> None:
        """Take (version, shape, dtype, is_fortran, data), which numpy.ndarray.__setstate__ would get."""
        if not isinstance(state, tuple) or len(state) < 4:
            raise pickle.UnpicklingError("a NumPy array of unknown form")
        shape, kind, fortran, data = state[-4:]
        self.shape, self.fortran = shape_of(shape), bool(fortran)
        self.kind = kind if isinstance(kind, NumpyType) else None
        self.data = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote bytes as text

    def values(self) -> Any:
        """The array itself, of objects the list, or None where sizes and bytes do not belong together."""
        if isinstance(self.data, list):
            return self.data
        try:
            return self._array()
        except (pickle.UnpicklingError, ValueError, TypeError):
            return None

    def listed(self) -> object:
        """What the array holds as Python's own values, one list within another; None where that cannot be."""
        import numpy as np

        found = self.values()
        if found is None or isinstance(found, list):
            return found
        if found.dtype.kind == "U":  # NumPy would make text of numbers that are no characters, on which Python fails
            codes = np.frombuffer(found.tobytes(), np.dtype(np.uint32).newbyteorder(found.dtype.byteorder))
            if codes.size and codes.max() > sys.maxunicode:
                return None
        return found.tolist()

    def _array(self) -> Any:
        import numpy as np

        if self.kind is None or not isinstance(self.data, bytes | bytearray):
            raise pickle.UnpicklingError("a NumPy array without its numbers")
        kind = self.kind.real()
        if kind.hasobject or math.prod(self.shape) * kind.itemsize != len(self.data):
            raise pickle.UnpicklingError(f"a NumPy array of shape {self.shape} with {len(self.data)} bytes")
        return np.frombuffer(self.data, kind).reshape(self.shape, order="F" if self.fortran else "C")


def tensor_from_array(array: Any) -> object:
    """A tensor of a NumPy array of numbers; other things as they are."""
    import torch

    if not isinstance(array, NumpyArray):
        return array
    if array.tensor is None:  # made once, however often the array is named
        values = array.values()
        if values is None or isinstance(values, list) or values.dtype.kind not in "biufc":
            return array
        array.tensor = torch.from_numpy(values.astype(values.dtype.newbyteorder("="), order="C", copy=True))
    return array.tensor


def scalar(kind: Any, data: Any = b"", *_: object) -> object:
    """A NumPy number as a plain one."""
    if not isinstance(kind, NumpyType) or not isinstance(data, bytes | str):
        return None
    found = NumpyArray()
    found.set_state((1, (), kind, False, data))
    return found.listed()  # of an array without dimensions, the number itself


def from_buffer(data: Any, kind: Any, shape: Any, order: Any = "C", *_: object) -> NumpyArray:
    """NumPy's array of protocol 5."""
    found = NumpyArray()
    found.set_state((1, shape, kind, order == "F", bytes(data) if isinstance(data, bytes | bytearray) else data))
    return found
