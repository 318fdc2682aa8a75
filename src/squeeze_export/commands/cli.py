"""The command line: argv becomes an ExportRequest, an error becomes an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from squeeze_export import signals
from squeeze_export.commands import compare as compare_command
from squeeze_export.commands import evaluate as evaluate_command
from squeeze_export.commands import given_once
from squeeze_export.commands import ladder as ladder_command
from squeeze_export.commands import starter as starter_command
from squeeze_export.commands import targets as targets_command
from squeeze_export.commands import verify as verify_command
from squeeze_export.errors import SqueezeExportError, UsageError
from squeeze_export.streams import print_json

if TYPE_CHECKING:
    from squeeze_export.commands.request import Options

_EPILOG: Final = (
    "Exit codes: 0 all passed, 2 usage, 3 bad source model or weights, 4 conversion failed, 5 parity failed or accuracy dropped, "
    "6 target unavailable here."
)


class _Grouped(given_once.Group):
    """The options under their headings, as plain text: Typer's own renderer of headings costs more time than all else here."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a list of options per heading, then the commands."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                headings.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)
        self.format_commands(ctx, formatter)


app = typer.Typer(
    name="squeeze-export",
    cls=_Grouped,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

_WHAT, _MODEL, _INPUT, _OUTPUT, _SCREEN = "What to export", "Source model", "Input and output", "Bundle", "Screen"


def _print_version(wanted: bool) -> None:
    if wanted:
        from squeeze_export.versions import version_of

        typer.echo(f"squeeze-export {version_of('squeeze-export')}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=_EPILOG)
def export_command(
    context: typer.Context,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TARGET", help="coreml, tflite, torchscript, onnx, or all (but onnx); with commas.", rich_help_panel=_WHAT
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TARGET=]PRECISION",
            help="fp32, fp16, int8 (not onnx); for TFLite int8-uint8 (uint8 in and out), int8-dynamic, int8-weights, int4-mixed; "
            "for Core ML pal8, pal6, pal4, pal3, pal2, sparse, sparse-pal6, sparse-pal4 and auto:SIZE (the best within so many "
            "bytes: coreml=auto:490KB); or ladder for all but auto; for every target or one (coreml=fp32). "
            "Several, repeated or with commas (coreml=fp16,auto:450KB,auto:490KB), give an artifact each. Default: fp16 for "
            "Core ML, else fp32.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    calibration_data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Unlabelled pictures by which int8 and compressed weights are chosen, some hundred; default: drawn demo "
            "pictures.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Refuse (exit code 5) artifacts whose top-1 is lower than the reference's by more, such as 1.0, on --images: "
            "by their labels if they have some (labels.tsv, or a folder per class), else by agreement with the reference.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            help="Refuse artifacts (exit code 5), or a reference (3), whose top-1 is lower, such as 60, on labelled --images.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    ios_target: Annotated[
        str | None,
        typer.Option(
            metavar="iOS15..iOS18", help="Minimum deployment target of the Core ML package; default iOS16.", rich_help_panel=_WHAT
        ),
    ] = None,
    tflite_route: Annotated[
        str | None,
        typer.Option(
            metavar="litert-torch|onnx-tf",
            help="Converter of the TFLite file; default litert-torch. onnx-tf goes over ONNX and TensorFlow and needs an extra.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="TOML", help="Read these options from a file; flags win.", rich_help_panel=_WHAT)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="squeezenet1_1 (default), squeezenet1_0, squeezenet1_0_bypass or squeezenet1_0_complex_bypass.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|demo|imagenet|random",
            help="A PyTorch or safetensors checkpoint; the demo's printed characters (default); torchvision's; or random ones.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    checkpoint_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Which state dict of the checkpoint, dotted where nested; default: averaged weights (EMA) before others.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of --weights random; default 0.", rich_help_panel=_MODEL)
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="One name per class: a file (lines, a table, JSON, YAML), or a folder per class.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    input_size: Annotated[
        str | None, typer.Option(metavar="N|HxW", help="Height and width of the crop; default 224.", rich_help_panel=_INPUT)
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(metavar="PRESET", help="torchvision (default), caffe or inception.", rich_help_panel=_INPUT),
    ] = None,
    resize: Annotated[
        int | None, typer.Option(metavar="N", help="Short side before the crop; default by preset.", rich_help_panel=_INPUT)
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Replaces the preset's mean; one number: all channels.", rich_help_panel=_INPUT),
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="A,B,C", help="Replaces the preset's std.", rich_help_panel=_INPUT)] = None,
    scale: Annotated[
        float | None,
        typer.Option(metavar="X", help="Multiplies 0..255 pixels before mean and std.", rich_help_panel=_INPUT),
    ] = None,
    color_order: Annotated[
        str | None, typer.Option(metavar="RGB|BGR", help="Order of the model's channels.", rich_help_panel=_INPUT)
    ] = None,
    input_kind: Annotated[
        str | None,
        typer.Option(
            metavar="image|tensor",
            help="Normalisation inside the artifact (image, default) or left to the app (tensor).",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="classifier|features",
            help="Scores per class (default), or the 512 averaged channels in front of the classifier: no labels, no softmax.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    head_relu: Annotated[
        str | None,
        typer.Option(
            metavar="yes|no",
            help="Whether a ReLU stands behind the classifier's convolution (default yes, as torchvision). Weights do not tell.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    output_kind: Annotated[
        str | None,
        typer.Option(
            metavar="probabilities|logits", help="Softmax inside the artifact (default) or not.", rich_help_panel=_INPUT
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Pictures for the parity check: 8 of them, evenly spread over the sorted names; default: the demo images. "
            "All of them for --max-accuracy-drop.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="NPZ|CSV",
            help="Your own scores of some of --images, by name: the source must give them, before anything is exported.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Where the bundle's folder goes; default dist.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The bundle's name; default: model and weights.", rich_help_panel=_OUTPUT)
    ] = None,
    starter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="android|ios|none",
            help="App projects to put beside the artifacts; repeatable; default: those that the targets allow.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that stands there.", rich_help_panel=_OUTPUT)] = False,
    allow_unproven: Annotated[
        bool,
        typer.Option(
            "--allow-unproven",
            help="Write artifacts that could not be executed here (NOT_RUN; exit code 6).",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Write the artifacts that passed although others did not; the exit code and the manifest say what is missing.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the manifest, or the error, as JSON.", rich_help_panel=_SCREEN)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.", rich_help_panel=_SCREEN)] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tracebacks and what the SDKs print.", rich_help_panel=_SCREEN)
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.", rich_help_panel=_SCREEN),
    ] = False,
) -> None:
    """Export one PyTorch image classifier to Core ML, TFLite and TorchScript Lite, each proven from its saved file.

    `squeeze-export --target all` writes dist/NAME with one artifact per target, opens each again from disk, runs it,
    and compares what it says with eager PyTorch. Whatever does not agree is not written.
    """
    from squeeze_export.commands.request import Options

    options = Options(
        target=tuple(target or ()),
        starter=tuple(starter or ()),
        precision=tuple(precision or ()),
        calibration_data=calibration_data,
        max_accuracy_drop=max_accuracy_drop,
        min_accuracy=min_accuracy,
        ios_target=ios_target,
        tflite_route=tflite_route,
        model=model,
        weights=weights,
        checkpoint_key=checkpoint_key,
        seed=seed,
        labels=labels,
        input_size=input_size,
        preprocessing=preprocessing,
        resize=resize,
        mean=mean,
        std=std,
        scale=scale,
        color_order=color_order,
        input_kind=input_kind,
        head=head,
        head_relu=head_relu,
        reference=reference,
        output_kind=output_kind,
        images=images,
        output=output,
        name=name,
        force=force or None,
        allow_unproven=allow_unproven or None,
        keep_going=keep_going or None,
        json=json or None,
        quiet=quiet or None,
        verbose=verbose or None,
    )
    if context.invoked_subcommand is not None:
        if options != Options() or config is not None:
            raise UsageError(
                f"Options of an export stand before the command {context.invoked_subcommand}. "
                f"Write its own options behind it: see squeeze-export {context.invoked_subcommand} --help."
            )
        return
    _export(options, config)


def _export(flags: Options, config: Path | None) -> None:
    from squeeze_export.commands.request import build_request, with_config
    from squeeze_export.pipeline.plausibility import told_of_weights
    from squeeze_export.pipeline.results import ExportFailed
    from squeeze_export.pipeline.walk import export, interrupted
    from squeeze_export.processes.jobs import worst
    from squeeze_export.screen import terminal
    from squeeze_export.screen.accuracy import accuracy_table

    options = with_config(flags, config)
    json, quiet, verbose = bool(options.json), bool(options.quiet), bool(options.verbose)
    request = build_request(options, config)
    try:
        with terminal.progress_lines(quiet=quiet) as lines:
            bundle = export(request, lines)
    except signals.Signalled as signalled:
        signalled.told = f"{terminal.shown(lines.written)} stands complete" if lines.written else interrupted(request)
        raise
    except ExportFailed as error:
        if not quiet and not json:
            terminal.out().print(terminal.result_table("Nothing was written", terminal.rows_of(error.results)))
            if error.accuracy is not None:
                terminal.out().print(accuracy_table(error.accuracy))
        if verbose:
            terminal.print_tracebacks(error.results, error.logs)
        raise
    manifest = bundle.manifest
    if verbose:
        terminal.print_tracebacks(bundle.failed)
    if json:
        print_json((bundle.path / "manifest.json").read_bytes())
    if not quiet:
        if not json:
            rows = [
                terminal.Row(key=entry.key, size_bytes=entry.size_bytes, report=report)
                for entry in manifest.artifacts
                for report in (entry.parity, *entry.witnesses)
            ] + terminal.rows_of(bundle.failed)
            terminal.out().print(terminal.result_table(terminal.shown(bundle.path), rows))
            if manifest.accuracy is not None:
                terminal.out().print(accuracy_table(manifest.accuracy))
        for told in bundle.notes:
            terminal.note(told)
        for notice in dict.fromkeys(entry.notice for entry in manifest.artifacts if entry.notice):
            terminal.note(notice)
        if told_of := told_of_weights(manifest.source):
            terminal.note(told_of)
    codes = [record.exit_code for record in manifest.missing]
    codes += [6 for entry in manifest.artifacts if entry.parity.verdict == "NOT_RUN"]
    if codes:
        raise typer.Exit(worst(codes))


app.command(cls=given_once.Command)(verify_command.verify)
app.command(cls=given_once.Command, epilog=evaluate_command.EPILOG)(evaluate_command.evaluate)
app.command(cls=given_once.Command, epilog=ladder_command.EPILOG)(ladder_command.ladder)
app.command(cls=given_once.Command)(starter_command.starter)
app.command(cls=given_once.Command)(compare_command.compare)
app.command(cls=given_once.Command)(targets_command.targets)


def run(arguments: list[str] | None = None) -> int:
    """Run one command and give its exit code; no traceback for a user's mistake."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # The parser may be what fails, so these two are looked for without it; behind "--" there are no options.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    verbose, as_json = bool({"--verbose", "-v"} & {*options}), "--json" in options
    try:
        with signals.raised():
            code = app(arguments, prog_name="squeeze-export", standalone_mode=False)
            return code if isinstance(code, int) else 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except SqueezeExportError as error:
        if verbose:
            traceback.print_exc()
        _report(type(error).__name__, str(error), error.exit_code, as_json=as_json, error=error)
        return error.exit_code
    except signals.Signalled as signalled:
        how = "Interrupted" if signalled.number == signal.SIGINT else "Terminated"
        _report(how, f"{how}; {signalled.told}." if signalled.told else f"{how}.", signalled.exit_code, as_json=as_json)
        return signalled.exit_code
    except Exception as error:
        # Typer's parser has errors of its own, of a class that it does not show: a message, and always a user's mistake.
        if hasattr(error, "format_message"):
            message = error.format_message()
            if type(error).__name__ == "NoArgsIsHelpError":
                return UsageError.exit_code  # the help has been printed
            context = getattr(error, "ctx", None)
            command = context.command_path if context is not None else "squeeze-export"
            _report("UsageError", f"{message.rstrip('.')}. See {command} --help.", UsageError.exit_code, as_json=as_json)
            return UsageError.exit_code
        if verbose:
            traceback.print_exc()
        told = f"This is a fault of squeeze-export itself: {type(error).__name__}: {error}. Report what --verbose prints."
        _report(type(error).__name__, told, 1, as_json=as_json)
        return 1


def _report(kind: str, message: str, code: int, *, as_json: bool, error: SqueezeExportError | None = None) -> None:
    if as_json:
        from squeeze_export.bundle.manifest import encode
        from squeeze_export.pipeline.results import ExportFailed
        from squeeze_export.processes.failure import ErrorRecord, FailureRecord, attempts

        told = ErrorRecord(kind=kind, message=message, exit_code=code)
        record = FailureRecord(error=told)
        if isinstance(error, ExportFailed):
            record = FailureRecord(
                error=told, artifacts=attempts(error.results, error.sizes), accuracy=error.accuracy, notes=error.notes
            )
        print_json(encode(record))
        return
    from squeeze_export.screen import terminal

    terminal.problem(message)
