"""The weights of a .ptl file, taken from where its bytecode really uses them; nothing in the archive is executed."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.errors import ArtifactError, UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from squeeze_export.contracts.arrays import Array

# What exporters/torchscript/exporter.py writes; siblings do not import each other, a test holds the two together.
BYTECODE_VERSION: Final = 8

_FLOATS: Final = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8"}
_STORAGES: Final = {**_FLOATS, "QInt8Storage": "<i1", "ShortStorage": "<i2", "LongStorage": "<i8"}
_CONVOLUTION: Final = "aten::_convolution"
_LINEAR: Final = "aten::linear"
_INT8_CONVOLUTIONS: Final = ("quantized::conv2d", "quantized::conv2d_relu")


def first_line(error: Exception) -> str:
    """An exception of torch or pickle in one line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0].rstrip('.')}"


@dataclass(frozen=True, kw_only=True)
class _Storage:
    """A flat run of numbers in the archive."""

    values: Array


class _Unpickler(pickle.Unpickler):
    """Reads bytecode.pkl into plain tuples; nothing is imported or called but the names below."""

    def __init__(self, data: bytes, records: Mapping[str, bytes]) -> None:
        super().__init__(io.BytesIO(data))
        self._records = records

    def find_class(self, module: str, name: str) -> Any:
        """Give our own meaning to a name, or refuse it."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch.jit._pickle" and name in ("build_intlist", "build_doublelist"):
            return tuple
        if (module, name) == ("collections", "OrderedDict"):
            return dict  # of backward hooks, always empty
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_qtensor"):
            return _decode
        if (module, name) == ("torch", "per_channel_affine"):
            return name
        if (module, name) in (("torch.jit._pickle", "build_tensorlist"), ("torch.jit._pickle", "restore_type_tag")):
            return lambda values, *_: values
        if (module, name) == ("__torch__.torch.classes.quantized", "Conv2dPackedParamsBase"):
            return _Packed
        raise UnsupportedOperationError(f"Its bytecode holds a {module}.{name}, which this runner does not read.")

    def persistent_load(self, pid: Any) -> _Storage:
        """Find the record that a tensor lies in."""
        import numpy as np

        kind, dtype, key, _device, count = pid
        values = np.frombuffer(self._records[f"constants/{key}"], np.dtype(dtype))
        if kind != "storage" or len(values) != count:
            raise ValueError(f"{key} holds {len(values)} values where {count} are declared")
        return _Storage(values=values)


def _rebuild(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Array:
    """See torch._utils._rebuild_tensor_v2, with the bounds that as_strided does not check."""
    import numpy as np

    values = storage.values
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min((offset, *stride), default=0) < 0 or prod(size) == 0 or last >= len(values):
        raise ValueError(f"a tensor of {size} reaches beyond its {len(values)} values")
    bytes_per_step = tuple(step * values.itemsize for step in stride)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(values[offset:], size, bytes_per_step))


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """What an int8 filter (O, I, H, W) stands for, float32."""

    values: Array


def _decode(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], scheme: Any, *_: object) -> _Decoded:
    """See torch._utils._rebuild_qtensor; of its schemes the one that is written here: symmetric, a scale per output channel."""
    import numpy as np

    kind, scales, zeros, axis = scheme
    levels = _rebuild(storage, offset, size, stride)
    if levels.dtype != np.int8 or kind != "per_channel_affine" or axis != 0 or np.any(zeros):
        raise UnsupportedOperationError("a filter is quantised otherwise than symmetrically per output channel.")
    if scales.shape != size[:1] or not (np.isfinite(scales).all() and (scales > 0).all()):
        raise ValueError(f"a filter of {size} has scales {scales.shape} that are not all positive numbers")
    return _Decoded(values=levels.astype(np.float32) * scales.astype(np.float32).reshape(-1, 1, 1, 1))


class _Packed:
    """An int8 convolution's filter and bias, out of the state that torch pickles for Conv2dPackedParamsBase."""

    def __init__(self) -> None:
        self.stored: tuple[tuple[str, Array], ...] = ()

    def __setstate__(self, state: Any) -> None:
        import numpy as np

        version, (_geometry, kernel), (bias,) = state
        if version != "2" or not isinstance(kernel, _Decoded) or not isinstance(bias, np.ndarray):
            raise UnsupportedOperationError("an int8 convolution lacks its filter or its bias.")
        self.stored = (("int8", kernel.values), (bias.dtype.name, bias))


def stored_weights(path: Path, records: Mapping[str, bytes]) -> tuple[tuple[str, Array], ...]:
    """Follow the bytecode of `forward` and collect what each convolution takes as weight and bias, with how it is stored."""
    try:
        version, *methods = _Unpickler(records["bytecode.pkl"], records).load()
        if version != BYTECODE_VERSION:
            raise ArtifactError(
                f"{path.name} has bytecode version {version} where {BYTECODE_VERSION} is needed: export it again."
            )
        ((name, table, *_schema),) = methods
        if not name.endswith(".forward"):
            raise ArtifactError(f"{path.name} has the method {name} where `forward` is needed: export it again.")
        return _follow(dict(table))
    except UnsupportedOperationError as error:
        raise UnsupportedOperationError(f"{path.name} cannot be checked: {error}") from error
    except ArtifactError:
        raise
    except Exception as error:  # anything at all may come out of a pickle that is not what torch writes
        raise ArtifactError(f"{path.name} holds no readable bytecode ({first_line(error)}): export it again.") from error


def _follow(table: Mapping[str, Any]) -> tuple[tuple[str, Array], ...]:
    """Run a straight line of bytecode on names instead of numbers: a constant stays itself, all else becomes None.

    `type_as` keeps its first argument, so that a half constant widened at run time is still that constant.
    """

    operators, constants = table["operators"], table["constants"]
    stack: list[Any] = [None, None]  # self, image
    registers: dict[int, Any] = {}
    weights: list[tuple[str, Array]] = []
    *line, last = table["instructions"]
    for code, x, n in line:
        match code:
            case "STOREN":
                taken = _pop(stack, n)
                registers |= {x + index: value for index, value in enumerate(taken)}
            case "STORE":
                (registers[x],) = _pop(stack, 1)
            case "LOAD":
                stack.append(registers[x])
            case "MOVE":
                stack.append(registers.pop(x))
            case "DROPR":
                del registers[x]
            case "DROP":
                _pop(stack, 1)
            case "LOADC":
                stack.append(constants[x])
            case "LIST_CONSTRUCT":
                _pop(stack, n)
                stack.append(None)
            case "LIST_UNPACK":  # of a split: values that are computed
                _pop(stack, 1)
                stack += [None] * x
            case "OP":
                operator, overload, count = operators[x]
                arguments = _pop(stack, count)
                if operator == _CONVOLUTION:
                    weights += _layer("a convolution", arguments[1], arguments[2])
                elif operator == _LINEAR:
                    # torch leaves out what is the default: a bias that is none.
                    weights += _layer("a linear layer", arguments[1], arguments[2] if count > 2 else None)
                elif operator in _INT8_CONVOLUTIONS:
                    if not isinstance(arguments[1], _Packed) or not arguments[1].stored:
                        raise UnsupportedOperationError("a convolution takes weights that are not stored in the file.")
                    weights += arguments[1].stored
                stack.append(arguments[0] if (operator, overload) == ("aten::type_as", "") else None)
            case _:
                raise UnsupportedOperationError(f"its bytecode has the instruction {code}, which this runner does not follow.")
    if last[0] != "RET" or len(stack) != 1:
        raise ValueError(f"forward ends with {last[0]} and {len(stack)} values")
    return tuple(weights)


def _layer(what: str, weight: Any, bias: Any) -> list[tuple[str, Array]]:
    """Weight and bias of a layer, the bias only where it has one."""
    import numpy as np

    stored = [value for value in (weight, bias) if value is not None]
    if weight is None or not all(isinstance(value, np.ndarray) for value in stored):
        raise UnsupportedOperationError(f"{what} takes weights that are not stored in the file.")
    return [(value.dtype.name, value) for value in stored]


def _pop(stack: list[Any], count: int) -> list[Any]:
    if not 0 <= count <= len(stack):
        raise ValueError(f"an instruction takes {count} of {len(stack)} values")
    taken = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return taken
