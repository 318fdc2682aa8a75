"""Which projects are rendered for the tests of the Android starter, and under what names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.integration.android import toolchain
from tests.starter_bundles import THREE_MODELS

# Awkward on purpose: a package that Kotlin must quote, and a name that XML, Android and Kotlin each must escape.
APP_IDS = {"tflite": "in.shop.app", "torchscript": "org.example.App_7"}
APP_NAME = 'Bob\'s <1>  & "$x" @ 100% %s %d'
PROJECTS = [(kind, target) for target in APP_IDS for kind in THREE_MODELS]
NAMES = [f"{kind}-{target}" for kind, target in PROJECTS]


@dataclass(frozen=True)
class Compiled:
    """A compiled project: where, and how the compiler ended."""

    out: Path
    done: toolchain.Done
