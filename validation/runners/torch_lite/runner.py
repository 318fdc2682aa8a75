"""Executes a .ptl file in torch's lite interpreter, the code that also runs on the phone, after reading the archive itself.

The archive is a zip of stored records. Checksums, bytecode and declared signature are checked here before torch's C++ sees a
byte of it, and the weights are taken from where the bytecode really uses them.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.errors import ArtifactError, UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from squeeze_export.contracts.arrays import Array
    from squeeze_export.contracts.artifact import Precision
    from squeeze_export.contracts.parity import Runner
    from squeeze_export.contracts.signature import Signature

NAME: Final = "lite interpreter"
PACKAGES: Final[tuple[str, ...]] = ("torch",)

# What exporters/torchscript/exporter.py writes; siblings do not import each other, a test holds the two together.
BYTECODE_VERSION: Final = 8
LABELS_FILE: Final = "labels.txt"
RECORD_FILE: Final = "squeeze_export.json"

# How a precision stores filters and biases.
_FORMS: Final = {"fp32": ("float32", "float32"), "fp16": ("float16", "float16"), "int8": ("int8", "float32")}
_FLOATS: Final = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8"}
_STORAGES: Final = {**_FLOATS, "QInt8Storage": "<i1", "ShortStorage": "<i2", "LongStorage": "<i8"}
_CONVOLUTION: Final = "aten::_convolution"
_INT8_CONVOLUTIONS: Final = ("quantized::conv2d", "quantized::conv2d_relu")
_ENGINE: Final = "qnnpack"  # the mobile runtime's: torch packs int8 filters for the engine that is set while it loads them


def unavailable() -> str | None:
    """Say why no .ptl can be executed here, or None; loads no SDK."""
    from importlib.util import find_spec

    return None if find_spec("torch") else "torch is not installed: pip install 'torch==2.13.*'"


def open(path: Path, signature: Signature, precision: Precision) -> Runner:
    """Open a .ptl file and hold it against what is declared.

    Raises ArtifactError where it is damaged or differs, UnsupportedOperationError where its bytecode goes beyond a straight line.
    """
    content, records = _read(path)
    labels = _check_record(path, records, signature, precision)
    stored = _weights(path, records)
    if precision not in _FORMS:
        raise ArtifactError(f"{path.name}: {precision} is no precision of TorchScript Lite. Export it again.")
    wrong = next((kind for at, (kind, _) in enumerate(stored) if kind != _FORMS[precision][at % 2]), None)
    if wrong is not None:
        raise ArtifactError(f"{path.name} stores a weight as {wrong}, and {precision} is declared: export it again.")
    weights = tuple(weight for _, weight in stored)
    with _engine(precision):
        module = _load(path, content)
    runner = _LiteRunner(path, module, signature, weights, labels, precision)
    runner.probe()
    return runner


class _LiteRunner:
    """See contracts.parity.Runner; the file's one input and output are positional and take the signature's names."""

    def __init__(
        self,
        path: Path,
        module: Any,
        signature: Signature,
        weights: tuple[Array, ...],
        labels: tuple[str, ...] | None,
        precision: Precision,
    ) -> None:
        import torch

        self.labels = labels
        self.executor = f"{NAME} (torch {torch.__version__.partition('+')[0]})"
        self._path, self._module, self._signature, self._weights = path, module, signature, weights
        self._precision = precision

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Execute once."""
        import numpy as np
        import torch

        spec, output = self._signature.input, self._signature.outputs[0]
        if set(inputs) != {spec.name}:
            raise ArtifactError(f"{self._path.name} has the input {spec.name!r}, and was given {sorted(inputs)}.")
        given = inputs[spec.name]
        if given.shape != spec.shape or given.dtype.name != spec.dtype:
            raise ArtifactError(
                f"{self._path.name} takes {spec.dtype} {spec.shape} as {spec.name!r}, and was given "
                f"{given.dtype.name} {given.shape}."
            )
        try:
            with _engine(self._precision), torch.no_grad():
                result = self._module(torch.from_numpy(np.array(given)))  # a copy: torch warns of arrays it may not write to
        except RuntimeError as error:
            raise ArtifactError(f"{self._path.name} cannot be executed: {_first_line(error)}. Export it again.") from error
        if not isinstance(result, torch.Tensor):
            raise ArtifactError(
                f"{self._path.name} gives a {type(result).__name__} where one tensor is declared: export it again."
            )
        return {output.name: result.numpy().copy()}

    def stored_weights(self) -> tuple[Array, ...] | None:
        """Weight and bias of every convolution, in the order of execution, int8 decoded; shared constants are repeated."""
        return self._weights

    def probe(self) -> None:
        """Run a grey image and compare shape and dtype of what comes out with the declaration."""
        import numpy as np

        spec, declared = self._signature.input, self._signature.outputs[0]
        found = self.run({spec.name: np.full(spec.shape, 0.5, np.dtype(spec.dtype))})[declared.name]
        if found.shape != declared.shape or found.dtype.name != declared.dtype:
            raise ArtifactError(
                f"{self._path.name} gives {found.dtype.name} {found.shape} where {declared.dtype} {declared.shape} is declared "
                f"for {declared.name!r}: it is not the artifact of this manifest; export it again."
            )


def _read(path: Path) -> tuple[bytes, dict[str, bytes]]:
    """Read the file once; gives its bytes and its records without the archive's root folder."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path.name} cannot be read: {error.strerror}. Export it again.") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            # Stored only: then no record is larger than the file, and nothing can be unpacked into all of the memory.
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
                raise ArtifactError(f"{path.name} holds compressed records, which this project does not write: export it again.")
            found = [(entry.filename, archive.read(entry)) for entry in entries]  # read() checks every CRC
    except ArtifactError:
        raise
    except Exception as error:  # zipfile answers damage with a dozen exceptions, from struct.error to NotImplementedError
        raise ArtifactError(f"{path.name} is damaged ({_first_line(error)}): export it again.") from error
    names = [name for name, _ in found]
    roots = {name.partition("/")[0] for name in names}
    if len(set(names)) != len(names) or len(roots) != 1:
        # zipfile takes the last of two equal names and torch the first: what is checked must be what is run.
        raise ArtifactError(f"{path.name} has no single set of records (roots {sorted(roots)}): export it again.")
    return content, {name.partition("/")[2]: data for name, data in found}


def _check_record(path: Path, records: Mapping[str, bytes], signature: Signature, precision: Precision) -> tuple[str, ...] | None:
    """Hold the extra files against the declaration: signature, precision, a label per class if there are any, which it gives."""
    if f"extra/{RECORD_FILE}" not in records:
        raise ArtifactError(f"{path.name} has no {RECORD_FILE} inside: it was not written by squeeze-export.")
    try:
        record = json.loads(records[f"extra/{RECORD_FILE}"])
        found = {"signature": record["signature"], "precision": record["precision"]}
        labels = records.get(f"extra/{LABELS_FILE}", b"").decode().splitlines()
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path.name} holds an unreadable {RECORD_FILE} or {LABELS_FILE}: export it again.") from error
    declared = json.loads(json.dumps({"signature": asdict(signature), "precision": precision}))
    if len(signature.outputs) != 1 or found != declared:
        different = "precision" if found["precision"] != precision else "signature"
        raise ArtifactError(
            f"{path.name} says of itself {json.dumps(found[different])}, and {json.dumps(declared[different])} is declared as "
            f"its {different}: it is not the artifact of this manifest; export it again."
        )
    classes = signature.outputs[0].shape[-1]
    if labels and len(labels) != classes:
        raise ArtifactError(f"{path.name} holds {len(labels)} labels for {classes} classes: export it again.")
    return tuple(labels) or None


def _load(path: Path, content: bytes) -> Any:
    from torch.jit import mobile

    try:
        with _quiet():
            return mobile._load_for_lite_interpreter(io.BytesIO(content))
    except RuntimeError as error:
        if "ops cannot be found" in str(error) or "Could not find" in str(error):
            raise UnsupportedOperationError(f"The lite interpreter does not know an operation of {path.name}: {error}") from error
        raise ArtifactError(f"The lite interpreter cannot load {path.name}: {_first_line(error)}. Export it again.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's advice to move to ExecuTorch, which every export already tells the user."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Lite Interpreter is deprecated", DeprecationWarning)
        yield


@contextmanager
def _engine(precision: Precision) -> Iterator[None]:
    """Set the mobile runtime's engine for int8 while a file is loaded or executed."""
    import torch

    if precision != "int8":
        yield
        return
    if _ENGINE not in torch.backends.quantized.supported_engines:
        raise UnsupportedOperationError(f"This torch has no {_ENGINE}, which int8 needs: verify on Linux or macOS.")
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        # Of the deprecation of quantised tensors: the file holds some, and the user has no choice of others.
        warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor, torch\.quantize_per_channel", UserWarning)
        torch.backends.quantized.engine = _ENGINE
        try:
            yield
        finally:
            torch.backends.quantized.engine = before


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0].rstrip('.')}"


# The archive's own bytecode


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
        if (module, name) == ("torch.jit._pickle", "build_intlist"):
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


def _weights(path: Path, records: Mapping[str, bytes]) -> tuple[tuple[str, Array], ...]:
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
        raise ArtifactError(f"{path.name} holds no readable bytecode ({_first_line(error)}): export it again.") from error


def _follow(table: Mapping[str, Any]) -> tuple[tuple[str, Array], ...]:
    """Run a straight line of bytecode on names instead of numbers: a constant stays itself, all else becomes None.

    `type_as` keeps its first argument, so that a half constant widened at run time is still that constant.
    """
    import numpy as np

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
            case "OP":
                operator, overload, count = operators[x]
                arguments = _pop(stack, count)
                if operator == _CONVOLUTION:
                    if not all(isinstance(argument, np.ndarray) for argument in arguments[1:3]):
                        raise UnsupportedOperationError("a convolution takes weights that are not stored in the file.")
                    weights += [(argument.dtype.name, argument) for argument in arguments[1:3]]
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


def _pop(stack: list[Any], count: int) -> list[Any]:
    if not 0 <= count <= len(stack):
        raise ValueError(f"an instruction takes {count} of {len(stack)} values")
    taken = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return taken
