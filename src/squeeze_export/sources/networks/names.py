"""What `--model` may name: a SqueezeNet, a network of a library, a folder, the user's own code, or a captured program."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from squeeze_export.contracts.in_memory import MODULE, class_name, is_module
from squeeze_export.contracts.source import MODELS
from squeeze_export.errors import UsageError

Kind = Literal["squeezenet", "timm", "torchvision", "hf", "factory", "program", "memory"]

_FACTORY: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_OF_A_LIBRARY: Final = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_FORMS: Final = "timm:NAME, torchvision:NAME, hf:FOLDER, package.module:factory, or FILE.pt2"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a user named. `name`: the model's name, the path of a folder or file, `package.module:factory`, or a class."""

    kind: Kind
    name: str

    @property
    def shown(self) -> str:
        """As it is written on the command line."""
        if self.kind == "memory":
            return f"{MODULE}:{self.name}"
        return f"{self.kind}:{self.name}" if self.kind in ("timm", "torchvision", "hf") else self.name

    @property
    def short(self) -> str:
        """In one word: the library's name, a folder's or a file's, a factory with its module."""
        if self.kind == "factory":
            module, _, factory = self.name.partition(":")
            return f"{module.rpartition('.')[2]}-{factory}"
        return Path(self.name).stem if self.kind == "program" else Path(self.name).name


def wanted_of(model: object) -> Wanted:
    """What a request's `model` means: a name, as parse_model reads it, or a module in memory."""
    return Wanted(kind="memory", name=class_name(model)) if is_module(model) else parse_model(str(model))


def short_name(model: str) -> str:
    """A model's name, of a module in memory as well, in one word."""
    head, _, name = model.partition(":")
    return name if head == MODULE else parse_model(model).short


def parse_model(text: str) -> Wanted:
    """Read `--model`; UsageError, with what may have been meant, where it is none of the forms. Nothing is looked up."""
    if text in MODELS:
        return Wanted(kind="squeezenet", name=text)
    head, colon, rest = text.partition(":")
    if colon and not rest.strip():
        raise UsageError(f"--model {text!r} names nothing behind the colon: write {_FORMS}.")
    if colon and head == MODULE:
        raise UsageError(
            f"--model {text!r} was a module in a program's memory: only a program can pass it again, model={rest.lower()}."
        )
    if colon and head in ("timm", "torchvision"):
        if _OF_A_LIBRARY.fullmatch(rest) is None:
            raise UsageError(f"--model {text!r}: {rest!r} is no name of a {head} model, such as {_example(head)}.")
        return Wanted(kind="timm" if head == "timm" else "torchvision", name=rest)
    if colon and head == "hf":
        return Wanted(kind="hf", name=rest)
    if text.lower().endswith(".pt2"):
        return Wanted(kind="program", name=text)
    if _FACTORY.fullmatch(text) is not None and head.lower() not in ("timm", "torchvision", "hf"):
        return Wanted(kind="factory", name=text)
    raise UsageError(f"--model {text!r} is unknown.{_hint(text)} Known: {', '.join(MODELS)}, {_FORMS}.")


def _example(library: str) -> str:
    return "timm:mobilenetv3_small_100" if library == "timm" else "torchvision:mobilenet_v3_small"


def _hint(text: str) -> str:
    if close := difflib.get_close_matches(text, MODELS, n=1):
        return f" Did you mean {close[0]}?"
    head, colon, rest = text.partition(":")
    if colon and (library := difflib.get_close_matches(head.lower(), ("timm", "torchvision", "hf"), n=1)):
        return f" Did you mean {library[0]}:{rest}?"
    if re.fullmatch(r".*\.py(:\w+)?", text):
        module = re.sub(r"\.py(:.*)?$", "", text).replace("\\", "/").removeprefix("./").replace("/", ".")
        return f" A factory is named by its module, not by its file: {module}:{rest or 'FUNCTION'}."
    if text.lower().endswith((".pth", ".pt", ".ckpt", ".safetensors", ".bin")):
        return " That looks like weights: pass them as --weights, and the network that they belong to as --model."
    if text.lower().endswith((".onnx", ".tflite", ".mlpackage", ".h5", ".keras")):
        return " That is another format: PyTorch networks are exported."
    return ""
