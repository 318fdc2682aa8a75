"""The SDKs' door: which are missing and how to get them, and coremltools in a quarter of its time."""

from __future__ import annotations

import importlib
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Final

from squeeze_export.errors import TargetUnavailableError

# coremltools imports these where they are installed, to convert from them or for compression that asks for them again later;
# each import stands in a bare try/except. Measured on 2 cores with torch loaded: 8 to 10 s with them, 2 s without; same bytes.
_NOT_NEEDED: Final = (
    *("tensorflow", "sklearn", "torchao", "transformers", "executorch", "torchvision", "torchaudio", "xgboost", "libsvm"),
)

# What coremltools logs as warnings on every import here, whatever is done with it. Anything else it logs is shown.
_EXPECTED_LOGS: Final = (
    "Torch version",  # newer than its authors tested; what it makes of this version is proven by the parity check
    "scikit-learn version",  # disables a converter that is not used
    "Failed to load _ML",  # the Core ML runtime is missing: true on every machine but a Mac, and not needed here
)


# What an extra of this project brings, by module.
EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "onnx": ("onnx", "onnxruntime"),
    "onnx-tf": ("onnx", "onnx_tf", "tensorflow"),
    "witness": ("tensorflow",),
    "plot": ("matplotlib",),
    "timm": ("timm",),
    "torchvision": ("torchvision",),
    "transformers": ("transformers",),
}
# Those of them by which source models are built, with the form in which `--model` names one: who has another source needs none.
SOURCES: Final[Mapping[str, str]] = {"timm": "timm:NAME", "torchvision": "torchvision:NAME", "transformers": "hf:FOLDER"}
# What to import to see whether a distribution works; those that are not named here are no SDKs, or come with another one.
_PROBES: Final[Mapping[str, str]] = {
    "torch": "import torch",
    "coremltools": "from squeeze_export.sdks import load_coremltools; load_coremltools()",
    "litert-torch": "import litert_torch",
    "ai-edge-litert": "import ai_edge_litert.interpreter",
    "ai-edge-quantizer": "import ai_edge_quantizer.quantizer",
    "onnx": "import onnx",
    "onnxruntime": "import onnxruntime",
    "tensorflow-cpu": "import tensorflow",
    "tensorflow": "import tensorflow",
    "onnx-tf": "from squeeze_export.exporters.tflite.onnx_tf_compat import load_backend; load_backend()",
    "matplotlib": "import matplotlib.figure",
    "timm": "import timm",
    "torchvision": "import torchvision.models",
    "transformers": "import transformers",
}
# What is imported by a probe of another distribution: where that succeeds, so would its own.
_COVERED: Final[Mapping[str, tuple[str, ...]]] = {
    "litert-torch": ("torch",),
    "onnx-tf": ("onnx", "tensorflow-cpu", "tensorflow"),
}
_PROBE_SECONDS: Final = 300
_ONNX_TF_ENDS: Final = (3, 12)  # a Python for which the extra, as pyproject.toml marks it, brings nothing
_OWN_ERROR: Final = re.compile(r"^squeeze_export\.errors\.\w+: ")


def lacking_extras() -> tuple[str, ...]:
    """The extras that would bring something that is not installed, but for those of source models."""
    here = {extra: modules for extra, modules in EXTRAS.items() if extra not in SOURCES}
    if sys.version_info >= _ONNX_TF_ENDS:
        del here["onnx-tf"]
    return tuple(extra for extra, modules in here.items() if missing(modules, extra=extra) is not None)


def probe_order(distributions: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What to probe of these, each with those that need a probe of their own only where its fails."""
    wanted = [name for name in distributions if name in _PROBES]
    covered = {name: by for by, names in _COVERED.items() if by in wanted for name in names if name in wanted}
    return tuple((name, tuple(n for n, by in covered.items() if by == name)) for name in wanted if name not in covered)


def probe(distribution: str, started: Callable[[subprocess.Popen[str]], None] = lambda _: None) -> str | None:
    """Import a distribution in a process of its own and say why it cannot be imported, or None.

    `started` is given the process, for whoever has to end it early.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-P", "-W", "ignore", "-c", _PROBES[distribution]]
    none, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, stdin=none, stdout=none, stderr=pipe, text=True, errors="replace", env=environment) as process:
        started(process)
        try:
            _, said = process.communicate(timeout=_PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"its import did not end within {_PROBE_SECONDS} seconds"
    if process.returncode == 0:
        return None
    if process.returncode < 0:
        return f"its import was ended by signal {-process.returncode}"
    told = [line for line in said.splitlines() if line.strip()]
    return f"its import fails: {_OWN_ERROR.sub('', told[-1].strip()) if told else f'exit code {process.returncode}'}"


@contextmanager
def working(module: str) -> Iterator[None]:
    """Around the import of an installed SDK: where that fails, TargetUnavailableError with the command that mends it.

    `module`: as imported; where it is not loaded yet, the block should do no more than import it and look at what it has.
    """
    try:
        yield
    except (ImportError, AttributeError, OSError) as error:
        name = next((name for name, command in _PROBES.items() if command == f"import {module}" and _installed(name)), module)
        raise TargetUnavailableError(
            f"{name} is installed but broken ({type(error).__name__}: {error}): {reinstalling(name)}"
        ) from error


def reinstalling(distribution: str) -> str:
    """The pip command that writes an installed distribution anew."""
    known = _installed(distribution)
    return f"pip install --force-reinstall --no-deps {distribution}{f'=={known}' if known else ''}"


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def missing(modules: Iterable[str], *, extra: str | None = None) -> str | None:
    """Say which of these modules are not installed, all at once, and the pip command that brings them; None where all are here.

    `extra`: the extra of this project that they belong to; without one, each is named by its own distribution. Imports nothing.
    """
    absent = [name.replace("_", "-") for name in modules if find_spec(name) is None]
    if not absent:
        return None
    wanted = f"'squeeze-export[{extra}]'" if extra else " ".join(absent)
    return f"{_listed(absent)} {'is' if len(absent) == 1 else 'are'} not installed: pip install {wanted}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def load_coremltools() -> Any:
    """Import coremltools with its package reader, if they are not imported yet, without the packages named here."""
    if "coremltools" in sys.modules:
        return sys.modules["coremltools"]
    with expected_logs_dropped(), _hidden(_NOT_NEEDED), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside third-party packages, at their import
        coremltools = importlib.import_module("coremltools")
        # Imported here as well, so that all of the SDK is in before the hidden packages come back.
        importlib.import_module("coremltools.converters.mil.frontend.milproto.load")
    return coremltools


@contextmanager
def expected_logs_dropped() -> Iterator[None]:
    """Drop what coremltools is known to log here; anything else passes."""
    logger = logging.getLogger("coremltools")
    logger.addFilter(_unexpected)
    try:
        yield
    finally:
        logger.removeFilter(_unexpected)


def _unexpected(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_EXPECTED_LOGS)


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Make the import of packages that are not loaded yet fail for a while."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # the documented way to make an import raise
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, ...) is None:
                del sys.modules[name]
