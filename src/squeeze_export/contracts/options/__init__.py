"""Every option, described once: the command line, the config file, ExportRequest and the docs' table are made of this.

It stands among the contracts, below the commands, because ExportRequest holds what a program gives against it.
"""

from __future__ import annotations

from typing import Final

from squeeze_export.contracts.option import Option
from squeeze_export.contracts.options.bundle import BUNDLE
from squeeze_export.contracts.options.input_image import INPUT_IMAGE
from squeeze_export.contracts.options.limits import CHECKS
from squeeze_export.contracts.options.others import OF_COMMANDS
from squeeze_export.contracts.options.source_model import SOURCE_MODEL
from squeeze_export.contracts.options.what import WHAT_IS_EXPORTED

SPECIAL_WEIGHTS: Final = ("imagenet", "random", "demo")

OPTIONS: Final[tuple[Option, ...]] = (*SOURCE_MODEL, *INPUT_IMAGE, *WHAT_IS_EXPORTED, *CHECKS, *BUNDLE, *OF_COMMANDS)
