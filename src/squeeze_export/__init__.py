"""Export one PyTorch image classifier to phones, and prove each artifact from its saved file.

Six functions, the commands' own: `export`, `verify`, `evaluate`, `compare`, `ladder` and `make_starter`. Each of their docstrings
has an example. `spec_for` makes the preprocessing of a request. Importing this imports nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from squeeze_export.api.functions import compare as compare
    from squeeze_export.api.functions import evaluate as evaluate
    from squeeze_export.api.functions import export as export
    from squeeze_export.api.functions import ladder as ladder
    from squeeze_export.api.functions import make_starter as make_starter
    from squeeze_export.api.functions import verify as verify
    from squeeze_export.contracts.request import ExportRequest as ExportRequest
    from squeeze_export.errors import SqueezeExportError as SqueezeExportError
    from squeeze_export.evaluation.report import Evaluation as Evaluation
    from squeeze_export.evaluation.walk import EvaluationRequest as EvaluationRequest
    from squeeze_export.ladders.ladder import Ladder as Ladder
    from squeeze_export.ladders.walk import LadderRequest as LadderRequest
    from squeeze_export.pipeline.results import Bundle as Bundle
    from squeeze_export.pipeline.results import ExportFailed as ExportFailed
    from squeeze_export.preprocessing.spec import spec_for as spec_for
    from squeeze_export.verification.bundles import Verification as Verification
    from squeeze_export.verification.comparison import Comparison as Comparison

# Where each public name stands; none of them is a module's, which would hide it once that is imported.
_HOMES: Final = {
    "compare": "api.functions",
    "evaluate": "api.functions",
    "export": "api.functions",
    "ladder": "api.functions",
    "make_starter": "api.functions",
    "verify": "api.functions",
    "Bundle": "pipeline.results",
    "Comparison": "verification.comparison",
    "Evaluation": "evaluation.report",
    "EvaluationRequest": "evaluation.walk",
    "ExportFailed": "pipeline.results",
    "ExportRequest": "contracts.request",
    "Ladder": "ladders.ladder",
    "LadderRequest": "ladders.walk",
    "SqueezeExportError": "errors",
    "Verification": "verification.bundles",
    "spec_for": "preprocessing.spec",
}
__all__ = [
    *("compare", "evaluate", "export", "ladder", "make_starter", "verify"),
    *("Bundle", "Comparison", "Evaluation", "EvaluationRequest", "ExportFailed", "ExportRequest", "Ladder", "LadderRequest"),
    *("SqueezeExportError", "Verification", "spec_for"),
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import squeeze_export` costs nothing."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, for those who press Tab; nothing else."""
    return sorted(__all__)
