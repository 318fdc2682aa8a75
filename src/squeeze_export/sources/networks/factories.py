"""The user's own code: a module imported from the current folder, and a function or class in it that gives the network.

It runs in this process only, and what goes wrong in it is told with its own file and line.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.errors import SourceError, UsageError
from squeeze_export.sources.networks import faults

if TYPE_CHECKING:
    import torch

_WORDS: Final = {"true": True, "false": False, "none": None}


def parse_arguments(given: Sequence[str]) -> dict[str, object]:
    """Read `--model-arg NAME=VALUE`, each a Python literal or else text; true, false and none in any case. Raises UsageError."""
    arguments: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--model-arg {text!r} is not NAME=VALUE, such as --model-arg width=0.5.")
        if name in arguments:
            raise UsageError(f"--model-arg {name} is given twice.")
        arguments[name] = _value(value)
    return arguments


def _value(text: str) -> object:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def make(name: str, arguments: Mapping[str, object], num_classes: int | None) -> torch.nn.Module:
    """Import `package.module` and call `factory(**arguments)`; SourceError that says what was found instead of a module.

    `num_classes` is passed to a factory that has a parameter of that name, unless `arguments` say it.
    """
    with _current_folder():
        found = _find(name)
        return _called(name, found, arguments, num_classes)


def takes_classes(name: str) -> bool:
    """Whether the factory has a parameter `num_classes`, so that it can be built for what a checkpoint holds."""
    with _current_folder():
        return "num_classes" in _parameters(_find(name))


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """The current folder first on the way of imports, as `python -m` has it; what the code prints goes to standard error."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _find(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    module = _imported(name, module_name)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise SourceError(f"--model {name}: {_where(module)} has no {attribute}.{_instead(module, attribute)}")
        found = getattr(found, part)
    return found


def _imported(name: str, module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise SourceError(
                f"--model {name}: there is no module {error.name}, neither in the current folder ({Path.cwd()}) nor "
                f"installed.{_beside(error.name)}"
            ) from error
        raise SourceError(
            f"--model {name}: importing {module_name} fails: {faults.told(error)}. Install what it needs"
        ) from error
    except (Exception, SystemExit) as error:
        raise SourceError(f"--model {name}: importing {module_name} fails: {faults.told(error)}") from error


def _called(name: str, found: Any, arguments: Mapping[str, object], num_classes: int | None) -> torch.nn.Module:
    from torch import nn

    if isinstance(found, nn.Module):
        if arguments:
            raise SourceError(f"--model {name} is a module already, which takes no --model-arg ({', '.join(arguments)})")
        return found
    if not callable(found):
        raise SourceError(f"--model {name} is no function or class, but a {_kind(found)}. Name what returns the network")
    given = dict(arguments)
    if num_classes is not None and "num_classes" in _parameters(found):
        given.setdefault("num_classes", num_classes)
    _fits(name, found, given)
    try:
        made = found(**given)
    except (Exception, SystemExit) as error:
        raise SourceError(f"--model {name} raised {faults.told(error)}") from error
    if not isinstance(made, nn.Module):
        inside = f" of {', '.join(_kind(item) for item in made[:4])}" if isinstance(made, tuple | list) and made else ""
        raise SourceError(f"--model {name} returned no torch.nn.Module, but a {_kind(made)}{inside}. Return the network itself")
    return made


def _fits(name: str, found: Any, given: Mapping[str, object]) -> None:
    try:
        signature = inspect.signature(found)
    except (ValueError, TypeError):  # written in C: the call itself will tell
        return
    try:
        signature.bind(**given)
    except TypeError as error:
        known = signature.parameters
        unknown = [argument for argument in given if argument not in known]
        needed = [
            parameter.name
            for parameter in known.values()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            and parameter.name not in given
        ]
        if unknown:
            close = difflib.get_close_matches(unknown[0], known, n=1)
            takes = f"Did you mean {close[0]}?" if close else f"It takes {', '.join(known) or 'no arguments'}"
            raise SourceError(f"--model {name} has no parameter {', '.join(unknown)}. {takes}") from error
        if needed:
            options = " ".join(f"--model-arg {argument}=VALUE" for argument in needed)
            raise SourceError(f"--model {name} needs arguments: {', '.join(needed)}. Give {options}") from error
        raise SourceError(f"--model {name} cannot be called by name: {error}. Give it defaults") from error


def _parameters(found: Any) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(found).parameters)
    except (ValueError, TypeError):
        return ()


def _kind(value: object) -> str:
    return type(value).__name__


def _where(module: Any) -> str:
    file = getattr(module, "__file__", None)
    return f"{module.__name__} ({file})" if file else str(module.__name__)


def _instead(module: Any, attribute: str) -> str:
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    if close := difflib.get_close_matches(attribute, own, n=1):
        return f" Did you mean {close[0]}?"
    return f" It has {', '.join(own[:8])}." if own else " It defines no functions or classes."


def _beside(module_name: str) -> str:
    """What stands in the folder instead, where a name is close."""
    folder = Path.cwd().joinpath(*module_name.split(".")[:-1])
    try:
        names = [
            entry.stem for entry in folder.iterdir() if entry.suffix == ".py" or (entry.is_dir() and entry.stem.isidentifier())
        ]
    except OSError:
        return ""
    close = difflib.get_close_matches(re.sub(r".*\.", "", module_name), names, n=1)
    return f" Did you mean {'.'.join((*module_name.split('.')[:-1], close[0]))}?" if close else ""
