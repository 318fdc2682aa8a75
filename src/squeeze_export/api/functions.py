"""The commands as functions. Each raises what its command would end with: a SqueezeExportError whose class is the exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from squeeze_export.api.by_fields import evaluation_request, export_request, ladder_request, takes_fields
from squeeze_export.api.in_python import in_python
from squeeze_export.api.progress import Told, progress_of, watcher_of
from squeeze_export.contracts.artifact import Target
from squeeze_export.contracts.request import ExportRequest, Starter
from squeeze_export.errors import SqueezeExportError
from squeeze_export.evaluation import walk as evaluation
from squeeze_export.evaluation.report import Evaluation
from squeeze_export.evaluation.walk import EvaluationRequest
from squeeze_export.ladders import ladder as ladders
from squeeze_export.ladders import walk as climbing
from squeeze_export.ladders.ladder import Ladder
from squeeze_export.ladders.walk import LadderRequest
from squeeze_export.pipeline import walk as pipeline
from squeeze_export.pipeline.results import Bundle, ExportFailed
from squeeze_export.processes.jobs import Result
from squeeze_export.screen import ladder_plot
from squeeze_export.starters.projects import render_bundle
from squeeze_export.starters.template import platform_of
from squeeze_export.verification import bundles, comparison
from squeeze_export.verification.bundles import Verification
from squeeze_export.verification.comparison import Comparison

if TYPE_CHECKING:
    import torch

P = ParamSpec("P")
T = TypeVar("T")


def _worded(function: Callable[P, T]) -> Callable[P, T]:
    """Errors name fields in place of options."""

    @functools.wraps(function)
    def call(*given: P.args, **named: P.kwargs) -> T:
        try:
            return function(*given, **named)
        except ExportFailed as error:
            error.args = (in_python(str(error)),)
            error.results = tuple(map(_in_fields, error.results))
            error.notes = tuple(map(in_python, error.notes))
            raise
        except SqueezeExportError as error:
            error.args = (in_python(str(error)), *error.args[1:])
            raise

    return call


@takes_fields(ExportRequest)
@_worded
def export(request: ExportRequest | torch.nn.Module | str | None = None, progress: Told = None, **fields: Any) -> Bundle:
    """Export, prove and bundle; either everything passed and stands in `output`, or nothing was written.

        from squeeze_export import export
        bundle = export(model="squeezenet1_1", targets=("coreml", "tflite"), weights="my.safetensors", progress=True)
        print(bundle.path, bundle.manifest.artifacts[0].parity.verdict)
        export(my_module, targets=("tflite",), labels=["daisy", "tulip"], images=pictures)

    Takes an ExportRequest; or a torch.nn.Module or a model's name, and the request's fields by their names, which
    `help(ExportRequest)` lists. Fields beside a request replace its own. A module in memory is copied, put into eval mode and
    captured once; `labels` may be a list of names, `images` uint8 RGB pictures of (N, H, W, 3) before resize and normalisation.

    `progress`: True shows rich's, in a terminal or a notebook; None does so in a notebook only; False never; or a function of
    two texts, the subject ("source", "coreml fp16", ...) and what is done with it. With `keep_going` what passed is
    written; `bundle.manifest.missing` names the rest. SNRs are in dB, sizes in bytes.

    Raises UsageError, SourceError, ConversionError, ParityError or TargetUnavailableError; ExportFailed, with the figures of
    every artifact in `results`, where one could not be made or proven.
    """
    wanted = export_request(request, fields)
    with progress_of(progress) as told:
        bundle = pipeline.export(wanted, told)
    return replace(bundle, notes=tuple(map(in_python, bundle.notes)))


@_worded
def verify(bundle: PathLike[str] | str, *, witness: bool = False, progress: Told = None) -> Verification:
    """Open a finished bundle again from disk and prove every artifact once more.

        from squeeze_export import verify
        found = verify("dist/squeezenet1_1-demo")
        print(found.reasons or "proven again")

    `witness`: hear TensorFlow's reference kernels on TFLite files as well (needs the extra `witness`). What is wrong is in the
    result, a line per reason. Raises UsageError for a folder that is none, ArtifactError for a manifest that cannot be read.
    """
    with progress_of(progress) as told:
        return bundles.verify(Path(bundle), told, witness=witness)


@takes_fields(EvaluationRequest)
@_worded
def evaluate(
    request: EvaluationRequest | PathLike[str] | str | None = None, *, progress: Told = None, **fields: Any
) -> Evaluation:
    """Measure every artifact's accuracy over labelled images, beside the reference's.

        from squeeze_export import evaluate
        found = evaluate("dist/squeezenet1_1-demo", images="demo", limit=200)
        print(found.artifacts[0].accuracy.top1.value)

    Takes an EvaluationRequest; or a bundle, and the request's fields by their names, which `help(EvaluationRequest)` lists.
    Accuracies are fractions, with their 95 % intervals. An artifact that fails, and an image that cannot be read, are in the
    result. Raises UsageError for a request or images that cannot be used, ArtifactError for a damaged bundle, SourceError for
    weights that are not the bundle's.
    """
    wanted = evaluation_request(request, fields)
    with watcher_of(progress) as told:
        return evaluation.evaluate(wanted, told)


@_worded
def compare(bundle: PathLike[str] | str, *, progress: Told = None) -> Comparison:
    """Run every artifact on the golden pack and hold each against each other and against the reference.

        from squeeze_export import compare
        found = compare("dist/squeezenet1_1-demo")
        print(found.between("coreml fp16", "tflite fp32").top1_agreement)

    SNRs are in dB, agreements fractions of the images. Raises UsageError for a folder that is none, ArtifactError for a damaged
    bundle. An artifact that cannot be executed is a failed subject.
    """
    with progress_of(progress) as told:
        return comparison.compare(Path(bundle), told)


@takes_fields(LadderRequest, ExportRequest)
@_worded
def ladder(
    request: LadderRequest | ExportRequest | torch.nn.Module | str | None = None, *, progress: Told = None, **fields: Any
) -> Ladder:
    """Export every precision that is asked for, and hold bytes, accuracy and milliseconds against each other.

        from squeeze_export import ladder
        rungs = {"tflite": ("fp32", "int8")}
        print(ladder(targets=("tflite",), precisions=rungs, output="ladder", images="demo", limit=200).to_frame())

    Takes a LadderRequest; or an ExportRequest or what `export` takes, and the fields of both requests by their names.
    Writes the bundle into `output`, and beside it ladder.csv, ladder.json and, with the extra `plot`, ladder.png.
    Sizes are in bytes, times in milliseconds, accuracies fractions. A rung that cannot be made is among `problems`.

    Raises UsageError and SourceError before the work; ExportFailed where no rung can be made.
    """
    wanted = ladder_request(request, fields)
    watching, timing = watcher_of(progress), progress_of(progress)  # refused here where it is none, not after the exports
    climbing.check(wanted)
    with progress_of(progress) as told:
        bundle = climbing.make_rungs(wanted, told)
    _, climbed = climbing.climb(wanted, bundle, watching, timing)
    ladders.write(wanted.export.output, ladder_plot.files_of(climbed))
    return climbed


@_worded
def make_starter(
    bundle: PathLike[str] | str,
    platform: Starter,
    output: Path | str,
    *,
    target: Target | None = None,
    precision: str | None = None,
    app_id: str | None = None,
    app_name: str | None = None,
    allow_unproven: bool = False,
    update: bool = False,
) -> Path:
    """Make an Android or iOS project around an artifact of a finished bundle, and give its folder.

        from squeeze_export import make_starter
        make_starter("dist/squeezenet1_1-demo", "android", "MyApp", app_id="com.example.myapp")
        make_starter("dist/squeezenet1_1-demo", "ios", "MyPhoneApp", app_name="My App")

    `target`: None takes the first that platform and bundle share; `precision`: as one asks for it, such as "fp16" or
    "auto:490KB". `update`: `output` is a project that was made so; it takes what is new, and keeps what you changed.

    Raises UsageError for names that cannot be, and where an update meets a file that both sides changed; ArtifactError for a
    damaged bundle; TargetUnavailableError where the bundle has nothing for this platform.
    """
    return render_bundle(
        Path(bundle),
        template=platform_of(platform),
        target=target,
        app_id=app_id,
        app_name=app_name,
        destination=Path(output),
        precision=precision,
        allow_unproven=allow_unproven,
        update=update,
    )


def _in_fields(result: Result) -> Result:
    failure = result.failure
    return replace(
        result,
        failure=None if failure is None else replace(failure, message=in_python(failure.message)),
        reports=tuple(
            report if report.reason is None else replace(report, reason=in_python(report.reason)) for report in result.reports
        ),
    )
