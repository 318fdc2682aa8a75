"""Types of a request that a program made: each field that is of another type is told with the form that is right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from squeeze_export.errors import UsageError

_PATH: Final = (str, Path)
# Field -> (what is taken, whether None is, the right form).
_FORMS: Final[Mapping[str, tuple[tuple[type, ...], bool, str]]] = {
    "model": ((str,), False, 'model="squeezenet1_1"'),
    "weights": (_PATH, False, 'weights="my.safetensors", or "imagenet", "random" or "demo"'),
    "seed": ((int,), False, "seed=0"),
    "labels": (_PATH, True, 'labels="labels.txt", a file with one name per class'),
    "input_kind": ((str,), False, 'input_kind="image"'),
    "head": ((str,), False, 'head="classifier"'),
    "output_kind": ((str,), True, 'output_kind="probabilities"'),
    "images": (_PATH, True, 'images="photos", a folder of pictures'),
    "ios_target": ((str,), False, 'ios_target="iOS16"'),
    "tflite_route": ((str,), False, 'tflite_route="litert-torch"'),
    "output": (_PATH, False, 'output="dist"'),
    "name": ((str,), True, 'name="my_model"'),
    "force": ((bool,), False, "force=True"),
    "allow_unproven": ((bool,), False, "allow_unproven=True"),
    "checkpoint_key": ((str,), True, 'checkpoint_key="model_ema"'),
    "keep_going": ((bool,), False, "keep_going=True"),
    "head_relu": ((bool,), False, "head_relu=False"),
    "reference": (_PATH, True, 'reference="scores.npz", a file with your own scores'),
    "calibration": (_PATH, True, 'calibration="photos", a folder of pictures'),
    "max_accuracy_drop": ((int, float), True, "max_accuracy_drop=1.0"),
    "min_accuracy": ((int, float), True, "min_accuracy=60.0"),
}
_TUPLES: Final[Mapping[str, tuple[type, bool, str]]] = {
    "targets": (str, False, 'targets=("coreml", "tflite")'),
    "starters": (str, True, 'starters=("android",)'),
    "size_budgets": (int, False, "size_budgets=(490_000,)"),
    "notes": (str, False, 'notes=("…",)'),
}
_PRECISIONS: Final = 'precisions={"tflite": ("fp16", "int8")}'


def check_types(request: Any) -> None:
    """Raise UsageError where a field of an ExportRequest is of another type than is taken; lists are taken for tuples."""
    for name, (types, optional, form) in _FORMS.items():
        value = getattr(request, name)
        right = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if not (right or (optional and value is None)):
            raise _refused(name, value, form)
    for name, (kind, optional, form) in _TUPLES.items():
        value = getattr(request, name)
        if optional and value is None:
            continue
        if isinstance(value, str) or not isinstance(value, tuple | list) or not all(isinstance(part, kind) for part in value):
            raise _refused(name, value, form)
        object.__setattr__(request, name, tuple(value))
    precisions = request.precisions
    if not isinstance(precisions, Mapping):
        raise _refused("precisions", precisions, _PRECISIONS)
    for target, named in precisions.items():
        if target not in request.targets:
            raise UsageError(f"precisions names {target!r}, which is not among the targets {request.targets}. Add it there.")
        if isinstance(named, str) or not isinstance(named, tuple | list) or not all(isinstance(part, str) for part in named):
            raise UsageError(f"precisions[{target!r}] is {named!r}. Write {_PRECISIONS}: a tuple, also of one.")
        if not named:
            raise UsageError(f"precisions[{target!r}] is empty. Leave it out, or write {_PRECISIONS}.")
    object.__setattr__(request, "precisions", {target: tuple(named) for target, named in precisions.items()})


def _refused(name: str, value: object, form: str) -> UsageError:
    shown = repr(value)
    short = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return UsageError(f"{name} is {short}, a {type(value).__name__}. Write {form}.")
