"""Requests from what a function was given: a request, its first field alone, or fields by their names."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, TypeVar

from squeeze_export.contracts.in_memory import is_module
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.errors import UsageError
from squeeze_export.evaluation.walk import EvaluationRequest
from squeeze_export.ladders.walk import LadderRequest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")
F = TypeVar("F", bound=Callable[..., Any])

# What a required field looks like, for who leaves it out.
_NEEDED: Final = {
    "targets": 'targets=("coreml", "tflite")',
    "bundle": 'bundle="dist/NAME"',
    "images": 'images="photos", a folder of labelled pictures, or images="demo"',
}


def export_request(given: object, named: Mapping[str, Any]) -> ExportRequest:
    """The request itself with the fields `named` replaced, or one of these fields; `given` may be the model alone."""
    if isinstance(given, ExportRequest):
        return _changed(given, named, "export")
    return _made(ExportRequest, _first("export", "model", given, named, is_module(given) or isinstance(given, str)), "export")


def evaluation_request(given: object, named: Mapping[str, Any]) -> EvaluationRequest:
    """As export_request; `given` may be the bundle alone."""
    if isinstance(given, EvaluationRequest):
        return _changed(given, named, "evaluate")
    return _made(EvaluationRequest, _first("evaluate", "bundle", given, named, isinstance(given, str | PathLike)), "evaluate")


def ladder_request(given: object, named: Mapping[str, Any]) -> LadderRequest:
    """As export_request: fields of the ladder itself, and of its export; `given` may be that, or the model alone."""
    own = {name: value for name, value in named.items() if name in _names(LadderRequest)}
    rest = {name: value for name, value in named.items() if name not in own}
    if isinstance(given, LadderRequest):
        return _changed(given, {**own, "export": _changed(given.export, rest, "ladder")}, "ladder")
    if isinstance(given, ExportRequest):
        return _made(LadderRequest, {**own, "export": _changed(given, rest, "ladder")}, "ladder")
    if given is None and "export" in own and not rest:
        return _made(LadderRequest, own, "ladder")
    taken = _first("ladder", "model", given, rest, is_module(given) or isinstance(given, str))
    return _made(LadderRequest, {**own, "export": _made(ExportRequest, taken, "ladder")}, "ladder")


def takes_fields(*requests: type[DataclassInstance]) -> Callable[[F], F]:
    """Show the fields of these requests among a function's parameters, to those who ask a notebook what it takes."""

    def give(function: F) -> F:
        own = inspect.signature(function)
        spelled = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        kept = {each.name for each in spelled}
        for request in requests:
            for each in fields(request):
                if each.name in kept or (len(requests) > 1 and each.name == "export"):
                    continue
                kept.add(each.name)
                made = each.default_factory() if each.default_factory is not MISSING else each.default
                default = inspect.Parameter.empty if made is MISSING else made
                spelled.append(
                    inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=each.type)
                )
        function.__signature__ = own.replace(parameters=spelled)  # type: ignore[attr-defined]
        return function

    return give


def _names(request: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(request))


def _first(function: str, name: str, given: object, named: Mapping[str, Any], fits: bool) -> dict[str, Any]:
    """The fields, with what was given without a name among them."""
    if given is None:
        return dict(named)
    if not fits:
        raise UsageError(f"{function} is given {_shown(given)}. {_FORMS[function]}.")
    if name in named:
        raise UsageError(f"{function} is given {name} twice: in front, and as {name}={_shown(named[name])}. Keep one of them.")
    return {name: given, **named}


_FORMS: Final = {
    "export": "Pass an ExportRequest, a torch.nn.Module or a model's name, or the request's fields by their names",
    "evaluate": "Pass an EvaluationRequest, a bundle or its folder, or the request's fields by their names",
    "ladder": "Pass a LadderRequest, an ExportRequest, a torch.nn.Module or a model's name, or the fields by their names",
}


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else f'{text[:57]}...'}, a {type(value).__name__}"


def _made(request: type[R], named: Mapping[str, Any], function: str) -> R:
    _check_names(request, named, function)
    missing = [
        each.name
        for each in fields(request)
        if each.default is MISSING and each.default_factory is MISSING and each.name not in named
    ]
    if missing:
        raise UsageError(f"{function} needs {' and '.join(missing)}. Write {', '.join(_NEEDED[name] for name in missing)}.")
    return request(**named)


def _changed(request: R, named: Mapping[str, Any], function: str) -> R:
    _check_names(type(request), named, function)
    return replace(request, **named) if named else request


def _check_names(request: type[DataclassInstance], named: Mapping[str, Any], function: str) -> None:
    known = [*_names(request), *(_names(LadderRequest) if function == "ladder" else ()), "progress"]
    unknown = next((name for name in named if name not in known), None)
    if unknown is not None:
        close = difflib.get_close_matches(unknown, known, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"It takes {', '.join(known)}."
        raise UsageError(f"{function} takes no {unknown}. {hint}")
