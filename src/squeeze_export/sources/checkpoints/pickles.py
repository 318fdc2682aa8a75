"""Pickles read as data: tensors and plain values become themselves, everything else an inert stub. Nothing in a file is called.

A pickle is a program that may call whatever it names. This reader knows the few names that tensors are written with and
answers them by functions of its own; each other name becomes an Inert, which swallows arguments, state and entries.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from squeeze_export.sources.checkpoints import arrays
from squeeze_export.sources.checkpoints.arrays import NumpyArray, NumpyType, Storage, Unusable, tensor_of

if TYPE_CHECKING:
    PersistentLoad: TypeAlias = Callable[[tuple[Any, ...]], object]

# No checkpoint needs what these hold: a file that names one was made to do harm, and is refused as a whole.
_HOSTILE_MODULES: Final = frozenset(
    {
        *("os", "posix", "nt", "sys", "subprocess", "_posixsubprocess", "shutil", "socket", "runpy", "pty"),
        *("importlib", "webbrowser", "ctypes", "pdb", "bdb"),
    }
)
_HOSTILE_BUILTINS: Final = frozenset({"eval", "exec", "execfile", "compile", "__import__", "open", "input", "breakpoint"})
_HOSTILE_NAMES: Final = frozenset({"io.open", "_io.open", "io.open_code", "_io.open_code", "io.FileIO", "_io.FileIO"})
_BUILTINS: Final = ("builtins", "__builtin__")


class HostilePickle(pickle.UnpicklingError):
    """The pickle names something that no checkpoint needs; nothing was called."""


@dataclass(eq=False)
class Inert:
    """An object of a class that is not known here, as data: how it was made, its state, its entries and its items."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: object = None
    entries: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)

    def mapping(self) -> dict[Any, Any]:
        """Attributes and entries by name: what a Namespace, a config object or an odd dict holds."""
        found = dict(self.state) if isinstance(self.state, Mapping) else {}
        return found | self.entries


@dataclass(frozen=True, eq=False)
class _Global:
    """A class or function that the pickle names; `build` is ours, None makes an Inert."""

    name: str
    build: Callable[..., object] | None = None

    def made(self, arguments: tuple[Any, ...], unknown: set[str]) -> object:
        if self.build is not None:
            return self.build(*arguments)
        unknown.add(self.name)
        return Inert(name=self.name, arguments=arguments)


def _dict(*arguments: Any) -> OrderedDict[Any, Any]:
    """OrderedDict, dict, Counter and defaultdict: their entries, from a mapping or from pairs (so Python 2 wrote them)."""
    given = arguments[-1] if arguments else ()
    return OrderedDict(given) if isinstance(given, list | dict) else OrderedDict()


def _list(given: Any = ()) -> list[Any]:
    return list(given) if isinstance(given, list | tuple | set | dict) else []


def _set(given: Any = ()) -> set[Any]:
    return set(_list(given))


def _bytearray(given: Any = b"", *_: object) -> bytes:
    return bytes(given) if isinstance(given, bytes | bytearray) else b""  # never by a length: it may be anything


def _bytes(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, by which old protocols write bytes; no other codec (some unpack)."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise pickle.UnpicklingError(f"bytes in an encoding {encoding!r}")
    return text.encode(encoding)


def _reconstructor(kind: Any, *_: object) -> object:
    """`copyreg._reconstructor`, by which protocols 0 and 1 make any object."""
    return Inert(name=kind.name if isinstance(kind, _Global) else "object")


def _parameter(data: Any, *_: object) -> object:
    return data


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> object:
    return tensor_of(storage, offset, size, stride)


def _tensor_v3(storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: object) -> object:
    return tensor_of(storage, offset, size, stride, dtype)


def _quantised(storage: Any, _offset: Any, size: Any, *_: object) -> Unusable:
    kind = str(storage.dtype).removeprefix("torch.") if isinstance(storage, Storage) else "integers"
    return Unusable(kind=f"quantised, {kind}", shape=arrays.shape_of(size))


def _sparse(_layout: Any, data: Any, *_: object) -> Unusable:
    values = next((part for part in data if hasattr(part, "is_floating_point") and part.is_floating_point()), None)
    size = next((part for part in data if isinstance(part, tuple)), ())
    kind = "values" if values is None else str(values.dtype).removeprefix("torch.")
    return Unusable(kind=f"{kind}, sparse", shape=arrays.shape_of(size))


def _meta(dtype: Any, size: Any, *_: object) -> Unusable:
    return Unusable(kind=f"{str(dtype).removeprefix('torch.')}, without values", shape=arrays.shape_of(size))


def _typed(function: Any, _kind: Any, arguments: Any, _state: Any = None) -> object:
    """`torch._tensor._rebuild_from_type_v2`: a tensor with attributes of its own, or of a subclass; only the tensor counts."""
    if not isinstance(function, _Global) or function.build not in _TENSOR_BUILDERS or not isinstance(arguments, tuple):
        name = function.name if isinstance(function, _Global) else type(function).__name__
        return Inert(name=name)
    return function.build(*arguments) if function.build is not None else None


_TENSOR_BUILDERS: Final = (_tensor, _tensor_v3, _parameter)
_TORCH_UTILS: Final[Mapping[str, Callable[..., object]]] = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _tensor_v3,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
    "_rebuild_device_tensor_from_numpy": lambda array, *_: arrays.tensor_from_array(array),
    "_rebuild_device_tensor_from_cpu_tensor": _parameter,
    "_rebuild_qtensor": _quantised,
    "_rebuild_sparse_tensor": _sparse,
    "_rebuild_meta_tensor_no_storage": _meta,
}
_NUMPY: Final[Mapping[str, Callable[..., object]]] = {
    "dtype": lambda code="", *_: NumpyType(code=str(code)),
    "_reconstruct": lambda *_: NumpyArray(),
    "scalar": arrays.scalar,
    "_frombuffer": arrays.from_buffer,
}
_PLAIN: Final[Mapping[str, Callable[..., object]]] = {
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": lambda *_: OrderedDict(),
    "_codecs.encode": _bytes,
    "copyreg._reconstructor": _reconstructor,
    "copy_reg._reconstructor": _reconstructor,
    "torch.Size": lambda given=(), *_: tuple(given),
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch.serialization._get_layout": lambda name="", *_: name,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.nn.parameter.Buffer": _parameter,
}
_OF_BUILTINS: Final[Mapping[str, Callable[..., object]]] = {
    "dict": _dict,
    "list": _list,
    "set": _set,
    "frozenset": _set,
    "tuple": lambda given=(), *_: tuple(_list(given)),
    "bytearray": _bytearray,
    "complex": lambda real=0.0, imaginary=0.0, *_: complex(real, imaginary),
}


class InertUnpickler(pickle._Unpickler):  # the one in Python: C's fills the memory by a forged memo index
    """Reads one pickle of a stream. `unknown` collects the names that became inert.

    `persistent_load` answers the references to storages; `nested` reads the bytes of a checkpoint inside (plain pickles of
    tensors hold such). Raises HostilePickle, pickle.UnpicklingError, and what a damaged stream leads to.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    # The library's own, which its type information lacks.
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(
        self,
        file: io.BytesIO,
        unknown: set[str],
        *,
        persistent_load: PersistentLoad | None = None,
        nested: Callable[[bytes], object] | None = None,
    ) -> None:
        # latin1 decodes any bytes that Python 2 wrote as text; names of tensors are ASCII.
        super().__init__(file, encoding="latin1")
        self.unknown = unknown
        self._persistent = persistent_load
        self._nested = nested

    def persistent_load(self, pid: object) -> object:
        if self._persistent is None or not isinstance(pid, tuple):
            raise pickle.UnpicklingError("a reference to something outside of it that is no storage")
        return self._persistent(pid)

    def find_class(self, module: str, name: str) -> object:
        """Answer a global by a thing of ours."""
        full = f"{module}.{name}"
        hostile = module.partition(".")[0] in _HOSTILE_MODULES or full in _HOSTILE_NAMES
        if hostile or (module in _BUILTINS and name in _HOSTILE_BUILTINS):
            raise HostilePickle(full)
        return self._known(module, name, full)

    def _known(self, module: str, name: str, full: str) -> object:
        root = module.partition(".")[0]
        if module in _BUILTINS:
            return _Global(full, _OF_BUILTINS.get(name))
        if module == "torch._utils":
            return _Global(full, _TORCH_UTILS.get(name))
        if root == "numpy":
            return _Global(full, _NUMPY.get(name))
        if full == "torch.storage._load_from_bytes":
            return _Global(full, self._nested or (lambda data, *_: Inert(name="a nested checkpoint")))
        if root == "torch" and (found := arrays.storage_or_type(name)) is not None:
            return found
        return _Global(full, _PLAIN.get(full))

    def _make(self, kind: object, arguments: object) -> object:
        if not isinstance(kind, _Global) or not isinstance(arguments, tuple | list):
            raise pickle.UnpicklingError(f"it calls a value of type {type(kind).__name__}")
        return kind.made(tuple(arguments), self.unknown)

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._make(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._make(self.stack[-1], arguments)

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_newobj()

    def _instantiate(self, kind: object, arguments: object) -> None:
        self.append(self._make(kind, arguments))

    def load_build(self) -> None:
        state = self.stack.pop()
        inst = self.stack[-1]
        if isinstance(inst, Inert):
            inst.state = _attributes(state)
        elif isinstance(inst, NumpyArray | NumpyType):
            inst.set_state(state)
        elif not isinstance(inst, (OrderedDict, arrays.tensor_type())):  # their attributes are not read: _metadata, gradients
            raise pickle.UnpicklingError(f"it gives a state to a {type(inst).__name__}")

    def load_append(self) -> None:
        value = self.stack.pop()
        self._extend(self.stack[-1], [value])

    def load_appends(self) -> None:
        values = self.pop_mark()
        self._extend(self.stack[-1], values)

    def load_additems(self) -> None:
        values = self.pop_mark()
        self._extend(self.stack[-1], values)

    @staticmethod
    def _extend(target: object, values: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(values)
        elif isinstance(target, Inert):
            target.items.extend(values)
        else:
            raise pickle.UnpicklingError(f"it appends to a {type(target).__name__}")

    def load_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._set(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        values = self.pop_mark()
        self._set(self.stack[-1], values)

    @staticmethod
    def _set(target: object, values: list[Any]) -> None:
        entries = target.entries if isinstance(target, Inert) else target
        if not isinstance(entries, dict):
            raise pickle.UnpicklingError(f"it sets entries of a {type(target).__name__}")
        for place in range(0, len(values), 2):
            entries[values[place]] = values[place + 1]

    def load_bytearray8(self) -> None:
        # The library's own makes room for as many bytes as the file claims.
        length = int.from_bytes(self.read(8), "little")
        self.append(self.read(length))

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"it uses extension {code} of another program")

    for _place, _function in {
        pickle.REDUCE: load_reduce,
        pickle.NEWOBJ: load_newobj,
        pickle.NEWOBJ_EX: load_newobj_ex,
        pickle.BUILD: load_build,
        pickle.APPEND: load_append,
        pickle.APPENDS: load_appends,
        pickle.ADDITEMS: load_additems,
        pickle.SETITEM: load_setitem,
        pickle.SETITEMS: load_setitems,
        pickle.BYTEARRAY8: load_bytearray8,
    }.items():
        dispatch[_place[0]] = _function


def _attributes(state: object) -> object:
    """One mapping of (__dict__, slots), as objects with slots give it."""
    if isinstance(state, tuple) and len(state) == 2 and all(part is None or isinstance(part, dict) for part in state):
        merged: dict[Any, Any] = {}
        for part in state:
            merged |= part or {}
        return merged
    return state


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins so may be a pickle of protocol 2 or later."""
    return re.match(rb"\x80[\x02-\x05]", start) is not None
