"""The Python API's side of an export: the same walk, with messages that name fields in place of options."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from squeeze_export.errors import SqueezeExportError
from squeeze_export.pipeline import results
from squeeze_export.pipeline import walk as pipeline
from squeeze_export.pipeline.in_python import in_python

if TYPE_CHECKING:
    from squeeze_export.contracts.request import ExportRequest, Progress
    from squeeze_export.pipeline.results import Bundle
    from squeeze_export.processes.jobs import Result


def export(request: ExportRequest, progress: Progress | None = None) -> Bundle:
    """Export, prove and bundle; either everything passed and stands in `request.output`, or nothing was written.

    With `request.keep_going` what passed is written; `bundle.manifest.missing` names the rest. `progress` is told what goes on.
    Raises a SqueezeExportError: pipeline.ExportFailed, with the figures of every artifact, where one could not be made or proven.
    """
    try:
        bundle = pipeline.export(request, progress)
    except results.ExportFailed as error:
        error.args = (in_python(str(error)),)
        error.results = tuple(map(_worded, error.results))
        error.notes = tuple(map(in_python, error.notes))
        raise
    except SqueezeExportError as error:
        error.args = (in_python(str(error)),)
        raise
    return replace(bundle, notes=tuple(map(in_python, bundle.notes)))


def _worded(result: Result) -> Result:
    failure = result.failure
    return replace(
        result,
        failure=None if failure is None else replace(failure, message=in_python(failure.message)),
        reports=tuple(
            report if report.reason is None else replace(report, reason=in_python(report.reason)) for report in result.reports
        ),
    )
