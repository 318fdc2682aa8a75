"""The walk of one export: source, golden pack, a worker per artifact, judgement, bundle."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from squeeze_export import (
    accuracy_gate,
    bundle,
    calibration,
    image_files,
    incomplete,
    manifest,
    own_reference,
    signals,
    torch_state,
)
from squeeze_export.calibration import Calibration, find_pictures
from squeeze_export.contracts import (
    AUTO,
    MODELS,
    PIXELS_IN,
    STARTERS,
    TARGETS,
    ArtifactKey,
    ExportRequest,
    ExportSettings,
    Head,
    InputKind,
    IosTarget,
    OutputKind,
    Progress,
    ScoreKind,
    SourceModel,
    Starter,
    Target,
    TfliteRoute,
)
from squeeze_export.errors import SqueezeExportError, TargetUnavailableError, UsageError
from squeeze_export.evaluation.report import Evaluation
from squeeze_export.exporters import EXPORTERS, tflite
from squeeze_export.exporters.coreml_rungs import check_target
from squeeze_export.golden import keep_tolerances
from squeeze_export.jobs import CALIBRATION, GOLDEN, SOURCE, ExportJob, Result, troubles, worst
from squeeze_export.models.source import check_name, default_name, load_source, save_source
from squeeze_export.plausibility import looked_at
from squeeze_export.preprocessing import spec_for
from squeeze_export.starter_template import fed_targets, starter_folders, targets_of
from squeeze_export.starters import add_starters
from squeeze_export.validation.runners import RUNNERS
from squeeze_export.versions import versions_of
from squeeze_export.workers import workers


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A finished bundle: its folder, what its manifest.json says, and what the user must know of how it was made.

    `failed`: all that is known of the artifacts that the manifest names as missing, where the export was told to keep going.
    """

    path: Path
    manifest: manifest.Manifest
    notes: tuple[str, ...] = ()
    failed: tuple[Result, ...] = ()


class ExportFailed(SqueezeExportError):
    """Not every artifact passed: nothing was written. `results` has what is known about each; the worst one is the exit code.

    `accuracy`: what --max-accuracy-drop found, where it came to that; `logs`: what was printed by what failed in it; `notes`:
    what is known of the golden and calibration images.
    """

    def __init__(
        self,
        message: str,
        exit_code: int,
        results: tuple[Result, ...],
        accuracy: manifest.AccuracyRecord | None = None,
        logs: Mapping[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.results = results
        self.accuracy = accuracy
        self.logs = logs or {}
        self.notes = notes
        self.sizes = {
            result.key: manifest.digest(result.artifact.path)[1]
            for result in results
            if result.artifact is not None and result.artifact.path.exists()
        }


class Silent:
    """Progress that nobody watches."""

    def stage(self, subject: str, stage: str) -> None:
        """Say nothing."""

    def count(self, subject: str, done: int, total: int) -> None:
        """Say nothing."""

    def done(self, subject: str, outcome: str, seconds: float) -> None:
        """Say nothing."""

    def published(self, path: Path) -> None:
        """Say nothing."""


@torch_state.usual()
def export(request: ExportRequest, progress: Progress | None = None) -> Bundle:
    """Export, prove and bundle; either everything passed and stands in `request.output`, or nothing was written.

    Raises a SqueezeExportError: ExportFailed where an artifact could not be made or proven.
    """
    progress = progress or Silent()
    settings = plan(request)
    name = request.name or default_name(request.model, request.weights, request.head)
    bundle.check_destination(request.output, name, force=request.force)
    with (
        bundle.staging(request.output, name) as stage,
        workers(stage / "job", "export", tuple(settings), progress, tflite_route=request.tflite_route) as crew,
    ):
        source, images, compared = prepare(request, name, stage / "job", progress)
        pictures = accuracy_gate.pictures(request, source)
        prepared = stage / "bundle"
        for target in request.targets:
            (prepared / target).mkdir(parents=True)
        results = crew.run(
            [
                ExportJob(
                    key=key,
                    settings=wanted,
                    destination=prepared / bundle.artifact_path(name, key, settings.keys(), EXPORTERS[key.target].SUFFIX),
                )
                for key, wanted in settings.items()
            ]
        )
        notes = calibration.default_notes(request, source, images, judged=any(result.reports for result in results))
        all_results, wanted = results, request
        lost = incomplete.missing_of(results, allow_unproven=request.allow_unproven)
        if not request.keep_going or len(lost) == len(results):
            refuse(results, allow_unproven=request.allow_unproven, notes=(*source.notes, *notes))
        elif lost:
            results, request = leave_out_failed(prepared, stage / "job", results, request, lost)
        made = assemble(prepared, stage / "job", source, results, request, images, lost)
        made = replace(made, reference_scores=compared)
        if pictures is not None:
            found = accuracy_gate.measure(prepared, made, source, pictures, request, progress)
            made = replace(made, accuracy=accuracy_gate.record_of(found, pictures))
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


def plan(request: ExportRequest) -> dict[ArtifactKey, ExportSettings]:
    """Settle what each artifact is asked for, and refuse what cannot be done here before anything slow begins."""
    unknown = [target for target in request.targets if target not in TARGETS]
    if unknown or not request.targets or isinstance(request.targets, str):
        found = repr(request.targets)
        raise UsageError(f"The targets of an export are one or more of {', '.join(TARGETS)}; found {found}.")
    _check_words(request)
    accuracy_gate.check(request)
    own_reference.check_request(request)
    if request.calibration is not None:
        find_pictures(request.calibration)
    output_kind = _output_kind(request)
    for starter in starters_of(request):
        if not set(targets_of(starter)) & fed_targets(request.keys):
            needed = " or ".join(targets_of(starter))
            if set(targets_of(starter)) & set(request.targets):
                raise UsageError(
                    f"--starter {starter} feeds float32, and {PIXELS_IN} takes uint8. Write --precision tflite={PIXELS_IN},fp32."
                )
            raise UsageError(f"--starter {starter} needs {needed} among the targets. Add --target {needed.split()[0]}.")
    if lacking := _lacking(request):
        raise TargetUnavailableError("\n".join(lacking))
    settings: dict[ArtifactKey, ExportSettings] = {}
    for key in request.keys:
        if key.precision not in EXPORTERS[key.target].PRECISIONS:
            known = ", ".join(EXPORTERS[key.target].PRECISIONS)
            having = [target for target in request.targets if key.precision in EXPORTERS[target].PRECISIONS]
            only = f" For {having[0]} alone write --precision {having[0]}={key.rung}." if having else ""
            raise UsageError(f"{key.target} cannot be written in {key.rung}; it has {known}.{only}")
        if key.target == "coreml":
            check_target(key.precision, request.ios_target)
        if key.precision == PIXELS_IN and request.input_kind == "tensor":
            raise UsageError(
                f"{key} takes the pixels of an image as they are, --input-kind tensor what an app has normalised. Leave one of "
                "them out."
            )
        if key.precision == AUTO and key.size_budget is None:
            raise UsageError("The precision auto needs a size: write --precision coreml=auto:490KB.")
        settings[key] = ExportSettings(
            precision=key.precision,
            input_kind=request.input_kind,
            output_kind=output_kind,
            ios_target=request.ios_target,
            tflite_route=request.tflite_route,
            size_budget=key.size_budget,
        )
    return settings


def _check_words(request: ExportRequest) -> None:
    """The same closed sets that the command line has, for a request that a program made."""
    if request.name is not None:
        check_name(request.name)
    closed: tuple[tuple[str, object, tuple[object, ...]], ...] = (
        ("model", request.model, MODELS),
        ("input_kind", request.input_kind, get_args(InputKind)),
        ("head", request.head, get_args(Head)),
        ("output_kind", request.output_kind, (None, *get_args(ScoreKind))),
        ("ios_target", request.ios_target, get_args(IosTarget)),
        ("tflite_route", request.tflite_route, get_args(TfliteRoute)),
    )
    for name, value, known in closed:
        if value not in known:
            raise UsageError(f"{name} {value!r} is unknown; it is one of {', '.join(map(str, known))}.")


def _lacking(request: ExportRequest) -> list[str]:
    """Everything that keeps this request from being carried out here, a line each: nobody installs one SDK after another."""
    lines: list[str] = []
    for target in request.targets:
        made = tflite.unavailable(request.tflite_route) if target == "tflite" else EXPORTERS[target].unavailable()
        run = RUNNERS[target][0].unavailable()
        if made is not None:
            lines.append(f"{target} is not available here: {made}")
        if run is not None and run != made:
            lines.append(f"{target} cannot be executed here, and so not be proven: {run}")
    return lines


def starters_of(request: ExportRequest) -> tuple[Starter, ...]:
    """The app projects that this export makes: those asked for, else those that its targets and its head allow."""
    if request.starters is None:
        fitting = (starter for starter in STARTERS if set(targets_of(starter)) & fed_targets(request.keys))
        return () if request.head == "features" else tuple(fitting)
    if request.starters and request.head == "features":
        raise UsageError("--starter makes an app that shows classes, and --head features has none. Leave one of them out.")
    return request.starters


def _output_kind(request: ExportRequest) -> OutputKind:
    if request.head == "classifier":
        return request.output_kind or "probabilities"
    for option, written, why in (
        ("--labels", request.labels, "a feature has no name"),
        ("--head-relu", None if request.head_relu else "no", "the ReLU stands behind the classifier, which is left away"),
        ("--output-kind", request.output_kind, "logits and probabilities come from the classifier, which is left away"),
    ):
        if written is not None:
            raise UsageError(f"--head features cannot be combined with {option} {written}: {why}. Leave one of them out.")
    return "features"


def prepare(
    request: ExportRequest, name: str, folder: Path, progress: Progress
) -> tuple[SourceModel, Calibration | None, manifest.ReferenceScoresRecord | None]:
    """Load the source, compute the golden pack once, and lay both into the job folder for the workers.

    Beside them the calibration images, where a precision needs some, and what comparing with the user's own scores found.
    """
    from squeeze_export.golden import (
        demo_images,
        make_golden,
        pictures_in,
        read_pictures,
        spread,
        write_golden,
    )
    from squeeze_export.validation.tolerances import peak_of, tolerance_for

    began = time.monotonic()
    progress.stage("source", "loading")
    paths: list[Path] = []
    unreadable: tuple[str, ...] = ()
    shown = ""
    if request.images is None:
        pictures = demo_images()
    else:
        there = pictures_in(request.images)
        paths = [request.images / path for path in spread(there.readable)]
        pictures = read_pictures(paths)
        shown = f" of {len(there.readable)}" if len(there.readable) > len(pictures) else ""
        unreadable = (image_files.told(there.unreadable, request.images),) if there.unreadable else ()
    source = load_source(
        name=name,
        model=request.model,
        weights=request.weights,
        checkpoint_key=request.checkpoint_key,
        seed=request.seed,
        labels=request.labels,
        preprocessing=request.preprocessing or spec_for("torchvision", model=request.model),
        head=request.head,
        head_relu=request.head_relu,
    )
    if request.reference is not None:
        progress.stage("source", "comparing with the scores given")
    compared, told = own_reference.compare(request, source)
    source = replace(source, notes=(*source.notes, *told, *unreadable))
    progress.stage("source", f"golden pack of {len(pictures)}{shown} pictures")
    pack = make_golden(source, pictures)
    source = replace(source, notes=(*source.notes, *looked_at(source, pack, request.images, paths)))
    kind = _output_kind(request)
    peak = peak_of(pack)
    tolerances = {
        key.name: tolerance_for(key.target, key.precision, kind, classes=source.num_classes, peak=peak) for key in request.keys
    }
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


def assemble(
    prepared: Path,
    job: Path,
    source: SourceModel,
    results: Iterable[Result],
    request: ExportRequest,
    images: Calibration | None,
    missing: tuple[manifest.MissingRecord, ...] = (),
) -> manifest.Manifest:
    """Lay labels, golden pack and reports beside the artifacts, and describe it all."""
    name = source.name
    (job / GOLDEN).rename(prepared / bundle.GOLDEN)
    labels = None
    if source.labels is not None:
        path = prepared / bundle.LABELS
        path.write_text("".join(f"{label}\n" for label in source.labels), encoding="utf-8")
        labels = manifest.file_record(prepared, path)
    records = tuple(_record(prepared, result) for result in results)
    (prepared / bundle.PARITY).write_bytes(manifest.encode(bundle.parity_record(name, records)))
    packages = {package for record in records for package in _packages(record.target, request.tflite_route)}
    return manifest.Manifest(
        schema_version=1,
        name=name,
        source=manifest.SourceRecord.of(
            source.model,
            source.num_classes,
            sum(parameter.numel() for parameter in source.module.parameters()),
            source.weights,
            source.preprocessing,
            source.head,
            source.head_relu,
        ),
        tool_versions=versions_of({"squeeze-export", "torch", "numpy", "pillow", *packages}),
        labels=labels,
        golden=manifest.file_record(prepared, prepared / bundle.GOLDEN),
        parity=manifest.file_record(prepared, prepared / bundle.PARITY),
        starters=starter_folders(fed_targets(record.key for record in records), starters_of(request)),
        artifacts=records,
        calibration=images.record if images else None,
        missing=missing,
    )


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


def complete(prepared: Path, made: manifest.Manifest, request: ExportRequest) -> None:
    """Make the app projects, and write manifest.json last."""
    add_starters(prepared, made, starters_of(request), allow_unproven=request.allow_unproven)
    (prepared / manifest.MANIFEST).write_bytes(manifest.encode(made))


def _record(prepared: Path, result: Result) -> manifest.ArtifactRecord:
    artifact = result.artifact
    assert artifact is not None  # refuse() let only converted artifacts through
    file = manifest.file_record(prepared, artifact.path)
    return manifest.ArtifactRecord(
        target=artifact.target,
        precision=artifact.precision,
        path=file.path,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        signature=artifact.signature,
        operators=artifact.operators,
        deployment_target=artifact.deployment_target,
        bytecode_version=artifact.bytecode_version,
        notice=artifact.notice,
        folded_weights=artifact.folded_weights,
        route=artifact.route,
        chosen_weights=artifact.chosen_weights,
        codings=dict(artifact.codings),
        uncompressed_weights=dict(artifact.uncompressed_weights),
        size_budget=artifact.size_budget,
        parity=result.reports[0],
        witnesses=result.reports[1:],
    )


def _packages(target: Target, route: TfliteRoute) -> set[str]:
    runners = {package for runner in RUNNERS[target] for package in runner.PACKAGES}
    made = tflite.ROUTES[route] if target == "tflite" else EXPORTERS[target].PACKAGES
    return {*made, *runners}
