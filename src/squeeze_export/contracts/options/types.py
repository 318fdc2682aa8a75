"""Types of a request that a program made: each field that is of another type is told with the form that is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from squeeze_export.contracts import options as table
from squeeze_export.contracts.in_memory import GivenPictures, GivenScores, is_module
from squeeze_export.contracts.option import Kind
from squeeze_export.contracts.signature import PreprocessingSpec
from squeeze_export.errors import UsageError

# What is taken for an option of a kind; the field's default says whether None is.
_TYPES: Final[Mapping[Kind, tuple[type, ...]]] = {
    "text": (str,),
    "path": (str, Path),
    "whole": (int,),
    "number": (int, float),
    "switch": (bool,),
}
_TUPLES: Final[Mapping[str, tuple[type, bool, str]]] = {
    "targets": (str, False, 'targets=("coreml", "tflite")'),
    "starters": (str, True, 'starters=("android",)'),
    "size_budgets": (int, False, "size_budgets=(490_000,)"),
    "best": (str, False, 'best=("coreml",)'),
    "notes": (str, False, 'notes=("…",)'),
}
# What a program may hold itself, in place of a name or a path.
_IN_MEMORY: Final[Mapping[str, Callable[[object], bool]]] = {
    "model": is_module,
    "labels": lambda value: isinstance(value, tuple),
    "images": lambda value: isinstance(value, GivenPictures),
    "reference": lambda value: isinstance(value, GivenScores),
}
_PREPROCESSING: Final = 'preprocessing=spec_for("torchvision", input_size=160), from squeeze_export'
_MAPPINGS: Final[Mapping[str, str]] = {
    "model_arguments": 'model_arguments={"width": 0.5}',
    "preprocessing_changes": 'preprocessing_changes={"input_size": 160}',
}
_PRECISIONS: Final = 'precisions={"tflite": ("fp16", "int8")}'


def check_types(request: Any) -> None:
    """Raise UsageError where a field of an ExportRequest is of another type than is taken; lists are taken for tuples."""
    known = {option.request_field or option.name: option for option in table.OPTIONS if option.form is not None}
    in_memory = {name for name, held in _IN_MEMORY.items() if held(getattr(request, name))}
    check_forms(
        request,
        {
            name: (_TYPES[option.python or option.kind], str(option.form))
            for name, option in known.items()
            if name not in in_memory
        },
    )
    check_forms(request, {"preprocessing": ((PreprocessingSpec,), _PREPROCESSING)})
    for name, (kind, unset, form) in _TUPLES.items():
        value = getattr(request, name)
        if unset and value is None:
            continue
        if isinstance(value, str) or not isinstance(value, tuple | list) or not all(isinstance(part, kind) for part in value):
            raise _refused(name, value, form)
        object.__setattr__(request, name, tuple(value))
    for name, form in _MAPPINGS.items():
        value = getattr(request, name)
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise _refused(name, value, form)
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


def check_forms(request: Any, forms: Mapping[str, tuple[tuple[type, ...], str]]) -> None:
    """Raise UsageError where a field of a request is of no type of its form; None is taken where it is the default."""
    optional = {each.name for each in fields(request) if each.default is None}
    for name, (types, form) in forms.items():
        value = getattr(request, name)
        right = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if not (right or (name in optional and value is None)):
            raise _refused(name, value, form)


def _refused(name: str, value: object, form: str) -> UsageError:
    shown = repr(value)
    short = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return UsageError(f"{name} is {short}, a {type(value).__name__}. Write {form}.")
