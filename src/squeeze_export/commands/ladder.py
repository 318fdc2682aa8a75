"""The command `ladder`: every precision of every target, exported, evaluated, weighed and timed in one go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from squeeze_export import signals
from squeeze_export.streams import print_json

if TYPE_CHECKING:
    from squeeze_export.contracts.request import ExportRequest
    from squeeze_export.pipeline.results import Bundle

EPILOG: Final = (
    "Exit codes: 0 every rung measured on every image, 2 usage, or images that could not be read, 3 bad source model or weights, "
    "or a reference that no limit can be held against, 4 a conversion failed, 5 parity failed or an artifact failed, "
    "6 a target unavailable here, or NOT_RUN."
)


def ladder(
    images: Annotated[
        str,
        typer.Option(
            metavar="DIR|demo",
            help="Pictures with a labels.tsv (columns file and class_index), a folder per class, or the generated demo pictures.",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Where the bundle's folder, ladder.csv, .json and .png go.")
    ],
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="squeezenet1_1 (default), or another as in an export."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="PATH|demo|imagenet|random", help="As in an export; default demo.")
    ] = None,
    checkpoint_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Which state dict of the checkpoint, as in an export.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of --weights random; default 0.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="PATH", help="One name per class, as in an export.")] = None,
    target: Annotated[list[str] | None, typer.Option(metavar="TARGET", help="As in an export; default all (not onnx).")] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TARGET=]PRECISION", help="As in an export, repeatable, such as coreml=ladder,auto:490KB; default ladder."
        ),
    ] = None,
    calibration_data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Unlabelled pictures for int8 and compressed weights, as in an export.")
    ] = None,
    ios_target: Annotated[str | None, typer.Option(metavar="iOS15..iOS18", help="As in an export; default iOS16.")] = None,
    input_size: Annotated[str | None, typer.Option(metavar="N|HxW", help="As in an export; default 224.")] = None,
    preprocessing: Annotated[
        str | None, typer.Option(metavar="PRESET", help="torchvision (default), caffe or inception.")
    ] = None,
    resize: Annotated[int | None, typer.Option(metavar="N", help="Short side before the crop, as in an export.")] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Replaces the preset's mean; one number: all channels.")
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="A,B,C", help="Replaces the preset's std.")] = None,
    scale: Annotated[float | None, typer.Option(metavar="X", help="Multiplies 0..255 pixels before mean and std.")] = None,
    color_order: Annotated[str | None, typer.Option(metavar="RGB|BGR", help="Order of the model's channels.")] = None,
    input_kind: Annotated[str | None, typer.Option(metavar="image|tensor", help="As in an export; default image.")] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="TOML", help="Read what no flag says from the config file of an export.")
    ] = None,
    head_relu: Annotated[str | None, typer.Option(metavar="yes|no", help="As in an export; default yes.")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The bundle's name; default: model and weights.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="At most N images, evenly spread; of the demo the first N, default 2000."),
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Mark rungs whose top-1 is lower than the reference's by more, such as 1.0."),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT", help="Mark rungs whose top-1 is lower, such as 60; exit code 3 where the reference's is."
        ),
    ] = None,
    runs: Annotated[int, typer.Option(metavar="N", help="A time is the median of N executions.")] = 50,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="How many processes evaluate at a time; default: the cores.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither use nor keep what was computed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle and a ladder that stand there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print ladder.json, or the error, as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tracebacks and what the SDKs print.")] = False,
) -> None:
    """Export every precision, and hold bytes, accuracy and milliseconds of all of them against each other.

    Writes OUTPUT/NAME as an export does, and beside it ladder.csv, ladder.json and ladder.png (the picture needs the extra plot).
    """
    from squeeze_export.bundle.manifest import encode
    from squeeze_export.commands.request import Options, build_request, with_config
    from squeeze_export.evaluation.cache import default_path
    from squeeze_export.evaluation.walk import EvaluationRequest, evaluate
    from squeeze_export.ladders import ladder as ladders
    from squeeze_export.pipeline.plan import plan
    from squeeze_export.screen import ladder_plot, terminal

    shown: Path | Literal["demo"] = "demo" if images == "demo" else Path(images)
    flags = Options(
        target=tuple(target or ()),
        precision=tuple(precision or ()),
        images=images,
        output=output,
        model=model,
        weights=weights,
        checkpoint_key=checkpoint_key,
        seed=seed,
        labels=labels,
        calibration_data=calibration_data,
        ios_target=ios_target,
        input_size=input_size,
        preprocessing=preprocessing,
        resize=resize,
        mean=mean,
        std=std,
        scale=scale,
        color_order=color_order,
        input_kind=input_kind,
        head_relu=head_relu,
        name=name,
        max_accuracy_drop=max_accuracy_drop,
        min_accuracy=min_accuracy,
        force=force or None,
        json=json or None,
        quiet=quiet or None,
        verbose=verbose or None,
    )
    options = with_config(flags, config)
    json, quiet, verbose = bool(options.json), bool(options.quiet), bool(options.verbose)
    # A rung that drops more, or is below the floor, is marked, not refused.
    limits = ladders.Limits(max_drop=options.max_accuracy_drop, min_accuracy=options.min_accuracy)
    asked = replace(
        options,
        target=options.target or ("all",),
        precision=flags.precision or ("ladder",),
        starter=("none",),
        images=None if shown == "demo" else images,
        max_accuracy_drop=None,
        min_accuracy=None,
    )
    request = build_request(asked, config)
    plan(request)
    ladders.check(request, shown, limit=limit, runs=runs, limits=limits)
    no_picture = ladder_plot.unavailable()
    bundle, lost = _export_what_passes(request, quiet=quiet, json=json, verbose=verbose)
    try:
        with terminal.evaluation_bars(quiet=quiet) as bars:
            found = evaluate(
                EvaluationRequest(
                    bundle=bundle.path,
                    images=shown,
                    weights=str(request.weights) if isinstance(request.weights, Path) else None,
                    limit=limit,
                    workers=workers,
                    cache=None if no_cache else default_path(),
                ),
                bars,
            )
        with terminal.progress_lines(quiet=quiet) as lines:
            climbed = ladders.assemble(bundle, found, runs=runs, limits=limits, progress=lines, lost=lost)
    except signals.Signalled as signalled:
        known = "" if no_cache else ", and what was evaluated is known"
        signalled.told = (
            f"the bundle {terminal.shown(bundle.path)} stands complete, of the ladder nothing was written; the same command with "
            f"--force makes it{known}"
        )
        raise
    contents = {ladders.CSV: ladders.table(climbed).encode(), ladders.JSON: encode(climbed)}
    if no_picture is None:
        contents[ladders.PNG] = ladder_plot.draw(climbed)
    ladders.write(request.output, contents)
    if json:
        print_json(contents[ladders.JSON])
    elif not quiet:
        terminal.out().print(terminal.ladder_table(climbed))
        terminal.out().print(
            f"{', '.join(contents)} and the bundle {bundle.path.name} stand in {terminal.shown(request.output)}."
        )
    if not quiet:
        for told in bundle.notes:
            terminal.note(told)
        for text in dict.fromkeys(entry.notice for entry in bundle.manifest.artifacts if entry.notice):
            terminal.note(text)
        if found.passed_over:
            terminal.note(
                f"{len(found.passed_over)} files have no label and were not evaluated: {terminal.some(found.passed_over)}"
            )
        if found.doubt and not limits.unfit(found):
            terminal.note(found.doubt)
    if no_picture is not None:
        terminal.note(f"{ladders.PNG} was not drawn: {no_picture}")
    if climbed.exit_code:
        if not json:
            terminal.problem("The ladder is not complete.\n" + "\n".join(climbed.problems))
        raise typer.Exit(climbed.exit_code)


def _export_what_passes(
    request: ExportRequest, *, quiet: bool, json: bool, verbose: bool
) -> tuple[Bundle, tuple[tuple[str, int], ...]]:
    """The bundle of all rungs that can be made; of each other why not, with its exit code. ExportFailed if none can be made."""
    from squeeze_export.pipeline.results import ExportFailed
    from squeeze_export.pipeline.walk import export, interrupted
    from squeeze_export.screen import terminal

    try:
        with terminal.progress_lines(quiet=quiet) as lines:
            bundle = export(replace(request, keep_going=True), lines)
    except signals.Signalled as signalled:
        signalled.told = interrupted(request)
        if lines.written is not None:
            signalled.told = f"the bundle {terminal.shown(lines.written)} stands complete, of the ladder nothing was written"
        raise
    except ExportFailed as error:
        if verbose:
            terminal.print_tracebacks(error.results, error.logs)
        if not quiet and not json:
            terminal.out().print(terminal.result_table("Nothing can be written", terminal.rows_of(error.results)))
        raise
    if verbose:
        terminal.print_tracebacks(bundle.failed)
    if bundle.failed and not quiet and not json:
        terminal.out().print(terminal.result_table("Left out of the ladder", terminal.rows_of(bundle.failed)))
    return bundle, tuple((record.reason, record.exit_code) for record in bundle.manifest.missing)
