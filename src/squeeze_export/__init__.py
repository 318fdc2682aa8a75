"""Export one PyTorch image classifier to phones, and prove each artifact from its saved file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squeeze_export.contracts.request import ExportRequest as ExportRequest
    from squeeze_export.pipeline.api import export as export
    from squeeze_export.pipeline.results import Bundle as Bundle
    from squeeze_export.preprocessing.spec import spec_for as spec_for

__all__ = ["Bundle", "ExportRequest", "export", "spec_for"]


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that `import squeeze_export` costs nothing."""
    if name == "ExportRequest":
        from squeeze_export.contracts.request import ExportRequest

        return ExportRequest
    if name == "export":
        from squeeze_export.pipeline.api import export

        return export
    if name == "Bundle":
        from squeeze_export.pipeline.results import Bundle

        return Bundle
    if name == "spec_for":
        from squeeze_export.preprocessing.spec import spec_for

        return spec_for
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, for those who press Tab."""
    return sorted((*__all__, *globals()))
