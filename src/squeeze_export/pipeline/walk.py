"""The walk of one export: source, golden pack, a worker per artifact, judgement, bundle."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from squeeze_export import signals, torch_state
from squeeze_export.bundle import folder as bundle
from squeeze_export.bundle import manifest
from squeeze_export.contracts.in_memory import GivenPictures, is_module
from squeeze_export.contracts.request import ExportRequest, Progress
from squeeze_export.contracts.source import SourceModel, is_squeezenet
from squeeze_export.errors import SourceError, TargetUnavailableError
from squeeze_export.evaluation.report import Evaluation
from squeeze_export.exporters import EXPORTERS
from squeeze_export.files import pictures as image_files
from squeeze_export.golden import calibration
from squeeze_export.golden.calibration import Calibration
from squeeze_export.golden.files import keep_tolerances
from squeeze_export.golden.pack import crops
from squeeze_export.pipeline import accuracy_gate, best, incomplete, own_reference
from squeeze_export.pipeline.assembly import assemble, complete
from squeeze_export.pipeline.capturing import noise_floor_of
from squeeze_export.pipeline.plan import kind_of_source, plan, starters_of
from squeeze_export.pipeline.plausibility import looked_at
from squeeze_export.pipeline.results import Bundle, ExportFailed, Silent
from squeeze_export.preprocessing.pixels import normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.processes.jobs import CALIBRATION, GOLDEN, SOURCE, ExportJob, Result, troubles, worst
from squeeze_export.processes.workers import workers
from squeeze_export.sources.captured import load_captured
from squeeze_export.sources.features import load_features
from squeeze_export.sources.networks.names import wanted_of
from squeeze_export.sources.source import default_name, load_source, save_source

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.arrays import PixelArray
    from squeeze_export.contracts.signature import PreprocessingSpec
    from squeeze_export.sources.weights import WeightsChoice


@torch_state.usual()
def export(request: ExportRequest, progress: Progress | None = None) -> Bundle:
    """Export, prove and bundle; either everything passed and stands in `request.output`, or nothing was written.

    Raises a SqueezeExportError: ExportFailed where an artifact could not be made or proven.
    """
    progress = progress or Silent()
    settings = plan(request)
    name = request.name or default_name(request.model_name, request.weights, request.head)
    bundle.check_destination(request.output, name, force=request.force)
    with (
        bundle.staging(request.output, name) as stage,
        workers(stage / "job", "export", tuple(settings), progress, tflite_route=request.tflite_route) as crew,
    ):
        source, images, compared = prepare(request, name, stage / "job", progress)
        kind = kind_of_source(request, source)
        pictures = accuracy_gate.pictures(request, source)
        prepared = stage / "bundle"
        for target in request.targets:
            (prepared / target).mkdir(parents=True)
        results = crew.run(
            [
                ExportJob(
                    key=key,
                    settings=replace(wanted, output_kind=kind),
                    destination=prepared / bundle.artifact_path(name, key, settings.keys(), EXPORTERS[key.target].SUFFIX),
                )
                for key, wanted in settings.items()
            ]
        )
        notes = calibration.default_notes(request, source, images, judged=any(result.reports for result in results))
        all_results, wanted = results, request
        lost = incomplete.missing_of(results, allow_unproven=request.allow_unproven)
        excused = best.excused(request, {record.key for record in lost})
        if len(lost) == len(results) or not (request.keep_going or all(record.key in excused for record in lost)):
            refuse(results, allow_unproven=request.allow_unproven, notes=(*source.notes, *notes))
        elif lost:
            results, request = leave_out_failed(prepared, stage / "job", results, request, lost)
        missing = tuple(record for record in lost if record.key not in excused)
        made = assemble(prepared, stage / "job", source, results, request, images, missing)
        made = replace(made, reference_scores=compared)
        if pictures is not None:
            saved = stage / "job" / SOURCE
            found = accuracy_gate.measure(prepared, made, source, pictures, request, progress, saved=saved)
            choices, unwanted = best.choose(request, made, found, lost)
            found = replace(found, artifacts=tuple(row for row in found.artifacts if row.key not in unwanted))
            made = incomplete.take_out(prepared, made, unwanted, starters_of(request)) if unwanted else made
            made = replace(made, accuracy=accuracy_gate.record_of(found, pictures), choices=choices)
            notes += tuple(best.told(choice, request.max_accuracy_drop or 0) for choice in choices)
            dropped = incomplete.dropped_of(found)
            if request.keep_going and made.accuracy is not None and dropped and len(dropped) < len(made.artifacts):
                made = incomplete.leave_out(prepared, made, dropped, starters_of(request))
            else:
                refuse_drop(found, made.accuracy, results, allow_unproven=request.allow_unproven)
            notes += (*found.notices, *accuracy_gate.notes_of(found))
        complete(prepared, made, request)
        notes += incomplete.notes_of(made, starters_of(wanted))
        failed = tuple(result for result in all_results if result.key in {record.key for record in made.missing})
        with signals.held():  # whoever interrupts here is told whether the bundle stands
            path = bundle.publish(prepared, request.output, name)
            progress.published(path)
        return Bundle(path=path, manifest=made, notes=(*request.notes, *source.notes, *notes), failed=failed)


def source_of(request: ExportRequest, name: str, pictures: Sequence[tuple[str, PixelArray]] = ()) -> SourceModel:
    """The source model that a request asks for. Raises SourceError for weights or labels that cannot be used.

    `pictures`: the golden ones, on which is found what another network than SqueezeNet gives.
    """
    model = request.model_name
    if not is_squeezenet(model) and request.head == "features":
        return load_features(
            wanted_of(request.model),
            name=name,
            weights=request.weights,
            arguments=request.model_arguments,
            preprocessing=partial(_spec_of, request),
            seed=request.seed,
            checkpoint_key=request.checkpoint_key,
            given=request.model if is_module(request.model) else None,
            at=request.features_at,
        )
    if not is_squeezenet(model):
        return load_captured(
            wanted_of(request.model),
            name=name,
            weights=request.weights,
            arguments=request.model_arguments,
            labels=request.labels,
            preprocessing=partial(_spec_of, request),
            seed=request.seed,
            checkpoint_key=request.checkpoint_key,
            given=request.model if is_module(request.model) else None,
            output=request.model_output,
            gives=request.model_gives,
            activation=request.activation,
            images=partial(_normalised, pictures) if pictures else None,
        )
    return load_source(
        name=name,
        model=model,
        weights=cast("WeightsChoice", request.weights),
        checkpoint_key=request.checkpoint_key,
        seed=request.seed,
        labels=request.labels,
        preprocessing=request.preprocessing or spec_for("torchvision", model=model),
        head=request.head,
        head_relu=request.head_relu,
    )


def _normalised(pictures: Sequence[tuple[str, PixelArray]], spec: PreprocessingSpec) -> torch.Tensor:
    import torch

    return torch.from_numpy(normalise(crops(pictures, spec), spec))


def _spec_of(request: ExportRequest, own: Mapping[str, Any]) -> PreprocessingSpec:
    """The preprocessing of a captured network: what was given whole, or its `own` with what was given to change in it."""
    if request.preprocessing is not None:
        return request.preprocessing
    changes = request.preprocessing_changes
    kept = {name: value for name, value in own.items() if name != "crop_pct" or "resize" not in changes}
    return spec_for("torchvision", model="", **{**kept, **changes})


def leave_out_failed(
    prepared: Path,
    job: Path,
    results: tuple[Result, ...],
    request: ExportRequest,
    lost: tuple[manifest.MissingRecord, ...],
) -> tuple[tuple[Result, ...], ExportRequest]:
    """Take what failed out of the prepared folder and its golden pack: the results that are left, and the request without it."""
    gone = {record.key for record in lost}
    rest = incomplete.without(request, gone)
    assert rest is not None  # where none passed everything is refused
    incomplete.remove(
        prepared, [result.artifact.path for result in results if result.key in gone and result.artifact is not None]
    )
    for target in set(request.targets) - set(rest.targets):
        shutil.rmtree(prepared / target, ignore_errors=True)
    keep_tolerances(job / GOLDEN, {key.name for key in rest.keys})
    if rest.starters:
        rest = replace(rest, starters=incomplete.starters_left(rest.starters, rest.keys))
    return tuple(result for result in results if result.key not in gone), rest


def prepare(
    request: ExportRequest, name: str, folder: Path, progress: Progress
) -> tuple[SourceModel, Calibration | None, manifest.ReferenceScoresRecord | None]:
    """Load the source, compute the golden pack once, and lay both into the job folder for the workers.

    Beside them the calibration images, where a precision needs some, and what comparing with the user's own scores found.
    """
    import torch

    from squeeze_export.golden.files import write_golden
    from squeeze_export.golden.images import demo_images, given_images, read_folder
    from squeeze_export.golden.pack import make_golden
    from squeeze_export.validation.judgement import tolerance_of

    began = time.monotonic()
    progress.stage("source", "loading")
    paths: list[Path] = []
    unreadable: tuple[str, ...] = ()
    shown = ""
    if request.images is None:
        pictures = demo_images()
    elif isinstance(request.images, GivenPictures):
        pictures = given_images(request.images)
        shown = f" of {len(request.images.pictures)}" if len(request.images.pictures) > len(pictures) else ""
    else:
        pictures, paths, there = read_folder(request.images)
        shown = f" of {len(there.readable)}" if len(there.readable) > len(pictures) else ""
        unreadable = (image_files.told(there.unreadable, request.images),) if there.unreadable else ()
    source = source_of(request, name, pictures)
    if request.reference is not None:
        progress.stage("source", "comparing with the scores given")
    compared, told = own_reference.compare(request, source)
    source = replace(source, notes=(*source.notes, *told, *unreadable))
    progress.stage("source", f"golden pack of {len(pictures)}{shown} images")
    pack = make_golden(source, pictures)
    source = replace(source, notes=(*source.notes, *looked_at(source, pack, request.images, paths)))
    kind = kind_of_source(request, source)
    if not is_squeezenet(source.model):
        progress.stage("source", "noise floor")
        tensors = normalise(pack.pixels, pack.preprocessing)
        pack = replace(pack, noise_floor=noise_floor_of(source, torch.from_numpy(tensors)), kernels=source.kernels)
    try:
        tolerances = {key.name: tolerance_of(pack, key.target, key.precision, kind) for key in request.keys}
    except ValueError as error:
        raise SourceError(f"{source.model}: {error}") from error
    write_golden(pack, folder / GOLDEN, tolerances=tolerances)
    save_source(source, folder / SOURCE)
    images = None
    if any(key.precision in EXPORTERS[key.target].CALIBRATED for key in request.keys):
        import numpy as np

        progress.stage("source", "calibration images")
        if request.calibration is not None:
            images = calibration.read_calibration(request.calibration, source.preprocessing)
        else:
            images = calibration.demo_calibration(source.preprocessing, of_demo=source.weights.kind == "demo")
        np.save(folder / CALIBRATION, images.pixels)
    progress.done("source", "ready", time.monotonic() - began)
    return source, images, compared


def refuse(results: Iterable[Result], *, allow_unproven: bool, notes: tuple[str, ...] = ()) -> None:
    """Raise ExportFailed unless every artifact passed (or, where allowed, could only not be executed here).

    `notes`: what is known of the golden and calibration images, which may well be the cause.
    """
    told = tuple(results)
    found = [trouble for result in told for trouble in troubles(result, allow_unproven=allow_unproven)]
    if found:
        lines = ["Nothing was written.", *(line for line, _ in found), *(f"note: {note}" for note in notes)]
        if any(code == TargetUnavailableError.exit_code for _, code in found):
            lines.append("Pass --allow-unproven to write what is NOT_RUN all the same.")
        raise ExportFailed("\n".join(lines), worst([code for _, code in found]), told, notes=notes)


def refuse_drop(
    found: Evaluation, record: manifest.AccuracyRecord | None, results: tuple[Result, ...], *, allow_unproven: bool
) -> None:
    """Raise ExportFailed unless every artifact was measured within the limit (or, where allowed, cannot be executed here)."""
    # The reference is measured in any case: without it nothing was held against anything.
    if found.exit_code and not (found.exit_code == TargetUnavailableError.exit_code and allow_unproven and record is not None):
        raise ExportFailed("Nothing was written.\n" + "\n".join(found.problems), found.exit_code, results, record, found.logs)


def interrupted(request: ExportRequest) -> str:
    """What a stopped export left, in words for the user."""
    # Only what takes minutes is kept: Core ML's weights that are chosen by pictures, layer by layer.
    kept = set(EXPORTERS["coreml"].CALIBRATED) & set(request.precisions.get("coreml", ()))
    return "nothing was written" + ("; the same command goes on with the weights compressed so far" if kept else "")
