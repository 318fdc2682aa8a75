"""Options as a user wrote them, on the command line or in a TOML file: known by the table, not yet settled."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from squeeze_export.contracts import options as table
from squeeze_export.contracts.option import Option
from squeeze_export.contracts.source import is_published
from squeeze_export.errors import UsageError

_WANTS: Final = {"switch": "true or false", "whole": "a whole number", "number": "a number"}


class Options:
    """What was written, an attribute per option that a config file takes; None (or empty) where nothing was."""

    def __init__(self, **written: object) -> None:
        self._values: dict[str, Any] = {option.name: _nothing(option) for option in settable()}
        unknown = written.keys() - self._values.keys()
        if unknown:
            raise TypeError(f"there is no option {', '.join(sorted(unknown))}")
        self._values |= written

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """From the parser's values: lists become tuples, and a switch that was not set counts as not written."""
        taken = {}
        for option in settable():
            value = given.get(option.name)
            taken[option.name] = tuple(value or ()) if option.kind == "list" else None if value is False else value
        return cls(**taken)

    def __getattr__(self, name: str) -> Any:
        """The value of an option, of the kind that the table says."""
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"there is no option {name}") from None

    def __eq__(self, other: object) -> bool:
        """Whether the same was written."""
        return isinstance(other, Options) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """What was written, and nothing else."""
        return f"Options({', '.join(f'{name}={value!r}' for name, value in self.written().items())})"

    def written(self) -> dict[str, Any]:
        """The options that have a value."""
        return {name: value for name, value in self._values.items() if value is not None and value != ()}

    def replaced(self, **written: object) -> Options:
        """The same but for these."""
        return Options(**{**self._values, **written})


def settable() -> tuple[Option, ...]:
    """The options that a config file takes, in the table's order."""
    return tuple(option for option in table.OPTIONS if option.in_config)


def _nothing(option: Option) -> object:
    return () if option.kind == "list" else None


def read_config(path: Path) -> Options:
    """Read a TOML file whose keys are the long options without dashes in front (`input-size = "227"`).

    Paths in it are relative to the file. Raises UsageError for a missing file, bad TOML, an unknown key or a wrong type.
    """
    try:
        text = path.read_text(encoding="utf-8")
        written = tomllib.loads(text)
    except FileNotFoundError as error:
        raise UsageError(f"The config file {path} does not exist.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The config file {path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The config file {path} is not valid TOML: {error}.") from error
    known = {option.key: option for option in settable()}
    values: dict[str, Any] = {}
    for key, value in written.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else f" Known keys: {', '.join(known)}."
            raise UsageError(f"The config file {path} has an unknown key {key!r}.{hint}")
        values[known[key].name] = _config_value(path, known[key], value)
    return Options(**values)


def _config_value(path: Path, option: Option, value: Any) -> object:
    if option.kind == "list":
        if option.name == "precision" and isinstance(value, dict):
            value = [
                f"{target}={precision}"
                for target, named in value.items()
                for precision in (named if isinstance(named, list) else [named])
            ]
        entries = [value] if isinstance(value, str) else value
        if isinstance(entries, list) and all(isinstance(entry, str) for entry in entries):
            return tuple(entries)
        raise UsageError(f"The config file {path}: {option.key} must be a string or a list of strings, not {value!r}.")
    truth = isinstance(value, bool)
    if option.kind == "switch" and truth:
        return value
    if option.kind == "whole" and isinstance(value, int) and not truth:
        return value
    if option.kind == "number" and isinstance(value, int | float) and not truth:
        return float(value)
    if option.kind == "path" and isinstance(value, str):
        return value if option.name == "weights" and _is_word(path, value) else str(path.parent / value)
    if option.name == "model" and isinstance(value, str):
        return _model(path, value)
    if option.kind == "text":
        if isinstance(value, str):
            return value
        if not truth and isinstance(value, {"whole": int, "numbers": int | float}.get(option.also or "", ())):
            return str(value)
        if option.also == "numbers" and isinstance(value, list):
            return ",".join(str(entry) for entry in value)
    wants = option.wants or _WANTS.get(option.kind, "a string")
    written = str(value).lower() if truth else repr(value)
    raise UsageError(f"The config file {path}: {option.key} must be {wants}, not {written}.")


def _is_word(path: Path, weights: str) -> bool:
    """Whether the weights in a config file are no file: the model that knows such a word may be named elsewhere."""
    published = any(is_published(library, weights) for library in ("timm", "torchvision"))
    return weights in table.SPECIAL_WEIGHTS or (published and not (path.parent / weights).exists())


def _model(path: Path, model: str) -> str:
    """A program or a folder is relative to the config file; any other model has a name."""
    if model.startswith("hf:"):
        return f"hf:{path.parent / model.removeprefix('hf:')}"
    return str(path.parent / model) if model.lower().endswith(".pt2") else model


def merge(flags: Options, config: Options) -> Options:
    """Flags win over the config file."""
    return Options(**{**config.written(), **flags.written()})


def with_config(flags: Options, config: Path | None) -> Options:
    """The flags, and from the config file, if there is one, what no flag says."""
    return flags if config is None else merge(flags, read_config(config))
