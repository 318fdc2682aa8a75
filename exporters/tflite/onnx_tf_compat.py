"""Imports onnx-tf 1.10.0 (2022, archived) beside today's onnx and TensorFlow, which lack three modules that it imports.

- `onnx.mapping`: tables of types, dropped from onnx 1.19; rebuilt here from onnx.helper, which has the same facts as functions.
- `tensorflow_addons`: ended 2024, does not import under Keras 3; onnx-tf takes `seq2seq.hardmax` from it, for Hardmax alone.
- `tensorflow_probability`: not even required by onnx-tf; it takes `distributions` from it, for Bernoulli alone.

The stand-ins are in sys.modules only while onnx_tf is imported. The operations that would call them are refused by name.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from squeeze_export.errors import ConversionError
from squeeze_export.sdks import missing
from squeeze_export.versions import version_of

TENSORFLOW: Final = "2.21"  # what onnx-tf was run with here; its converter and Keras change from minor to minor
ONNX_TF: Final = "1.10.0"
_EXTRA: Final = "onnx-tf"
_REMEDY: Final = "pip install 'squeeze-export[onnx-tf]'"
# Distributions that bring the module `tensorflow`.
_TENSORFLOWS: Final = ("tensorflow-cpu", "tensorflow", "tensorflow-macos", "tf-nightly", "tf-nightly-cpu")

_STUBBED: Final = {"Hardmax": "tensorflow_addons", "Bernoulli": "tensorflow_probability"}
STAND_INS: Final = ("onnx.mapping", "tensorflow_addons", "tensorflow_probability")


def unavailable() -> str | None:
    """Why this road is closed here (naming the pip command), or None. Loads no SDK."""
    if sys.version_info >= (3, 12) and find_spec("onnx_tf") is None:
        return "onnx-tf needs tensorflow-addons, whose last wheels are for Python 3.11: use that, or the route litert-torch"
    lacking = missing(("onnx", "onnx_tf", "tensorflow"), extra=_EXTRA)
    if lacking is not None:
        return lacking
    return version_problem(tensorflow_version(), version_of("onnx-tf"))


def tensorflow_version() -> str | None:
    """The installed TensorFlow, under whichever name it was distributed."""
    return next((found for name in _TENSORFLOWS if (found := version_of(name)) is not None), None)


def version_problem(tensorflow: str | None, onnx_tf: str | None) -> str | None:
    """Say which of the two is not the version that was tried, or None."""
    if tensorflow is None or tensorflow.split(".")[:2] != TENSORFLOW.split("."):
        found = tensorflow or "of unknown version"
        too = "too new" if tensorflow and _numbers(tensorflow) > _numbers(TENSORFLOW) else "not the one that works"
        return f"TensorFlow {found} is {too}: onnx-tf 1.10.0 is archived and was made to run with {TENSORFLOW} only: {_REMEDY}"
    if onnx_tf != ONNX_TF:
        return f"onnx-tf {onnx_tf or 'of unknown version'} is installed where {ONNX_TF} is needed: {_REMEDY}"
    return None


def refuse_stubbed(operations: Iterable[str]) -> None:
    """Raise ConversionError where an operation would call one of the stand-ins."""
    for operation in sorted(set(operations) & set(_STUBBED)):
        raise ConversionError(
            f"onnx-tf computes {operation} with {_STUBBED[operation]}, which does not run beside TensorFlow {TENSORFLOW}. "
            "Take it out of the model, or use --tflite-route litert-torch."
        )


def load_backend() -> Any:
    """Import onnx_tf.backend. ConversionError says which module it could not import."""
    if "onnx_tf.backend" in sys.modules:
        return sys.modules["onnx_tf.backend"]
    try:
        with _stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside packages that nobody maintains, at their import
            return importlib.import_module("onnx_tf.backend")
    except ImportError as error:
        for name in [name for name in sys.modules if name.partition(".")[0] == "onnx_tf"]:
            del sys.modules[name]  # half an import would fail elsewhere, and later
        raise ConversionError(
            f"onnx-tf is installed but cannot be imported ({type(error).__name__}: {error}). Install what it was tried with: "
            f"{_REMEDY}; or use --tflite-route litert-torch."
        ) from error


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Put the three modules where `import` looks, and take them away again."""
    import onnx
    from onnx import helper

    mapping = _mapping()
    addons = ModuleType("tensorflow_addons")
    addons.seq2seq = SimpleNamespace(hardmax=_never)  # type: ignore[attr-defined]
    probability = ModuleType("tensorflow_probability")
    probability.distributions = SimpleNamespace(Bernoulli=_never)  # type: ignore[attr-defined]
    modules = dict(zip(STAND_INS, (mapping, addons, probability), strict=True))
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    # onnx_tf also writes `from onnx import mapping` and `from onnx.helper import mapping`.
    holders = [holder for holder in (onnx, helper) if not hasattr(holder, "mapping")]
    for holder in holders:
        holder.mapping = mapping
    try:
        yield
    finally:
        for holder in holders:
            del holder.mapping
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _mapping() -> ModuleType:
    """onnx.mapping as it was, for the types that onnx still knows."""
    import numpy as np
    from onnx import TensorProto, helper

    mapping = ModuleType("onnx.mapping")
    types = [number for name, number in TensorProto.DataType.items() if name not in ("UNDEFINED",)]
    known = {}
    for number in types:
        try:
            known[number] = np.dtype(helper.tensor_dtype_to_np_dtype(number))
        except (KeyError, TypeError, ValueError):
            continue  # a type without one in numpy
    storage = {number: helper.tensor_dtype_to_storage_tensor_dtype(number) for number in known}
    tables = {
        "TENSOR_TYPE_TO_NP_TYPE": known,
        "NP_TYPE_TO_TENSOR_TYPE": {known[number]: number for number in sorted(known, reverse=True)},
        "TENSOR_TYPE_TO_STORAGE_TENSOR_TYPE": storage,
        "STORAGE_TENSOR_TYPE_TO_FIELD": {number: helper.tensor_dtype_to_field(number) for number in storage.values()},
    }
    for name, table in tables.items():
        setattr(mapping, name, table)
    return mapping


def _never(*_: object, **__: object) -> None:
    raise ConversionError("onnx-tf called a stand-in of squeeze-export: report this as a bug.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
