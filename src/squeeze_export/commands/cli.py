"""The command line: argv becomes an ExportRequest, an error becomes an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from squeeze_export import signals
from squeeze_export.commands import compare as compare_command
from squeeze_export.commands import evaluate as evaluate_command
from squeeze_export.commands import given_once
from squeeze_export.commands import ladder as ladder_command
from squeeze_export.commands import schema as schema_command
from squeeze_export.commands import starter as starter_command
from squeeze_export.commands import targets as targets_command
from squeeze_export.commands import verify as verify_command
from squeeze_export.commands.parameters import takes
from squeeze_export.contracts.options.headings import SCREEN
from squeeze_export.errors import SqueezeExportError, UsageError
from squeeze_export.streams import print_json

if TYPE_CHECKING:
    from squeeze_export.commands.request.written import Options

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
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from squeeze_export.versions import version_of

        typer.echo(f"squeeze-export {version_of('squeeze-export')}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=_EPILOG)
@takes("export")
def export_command(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Print the version.", rich_help_panel=SCREEN
        ),
    ] = False,
    **given: Any,
) -> None:
    """Export one PyTorch image classifier to Core ML, TFLite and TorchScript Lite, each proven from its saved file.

    `squeeze-export --target all` writes dist/NAME with one artifact per target, opens each again from disk, runs it,
    and compares what it says with eager PyTorch. Whatever does not agree is not written.
    """
    from squeeze_export.commands.request.written import Options

    config: Path | None = given.pop("config")
    options = Options.of(given)
    if context.invoked_subcommand is not None:
        if options != Options() or config is not None:
            raise UsageError(
                f"Options of an export stand before the command {context.invoked_subcommand}. "
                f"Write its own options behind it: see squeeze-export {context.invoked_subcommand} --help."
            )
        return
    _export(options, config)


def _export(flags: Options, config: Path | None) -> None:
    from squeeze_export.commands.request.settled import build_request
    from squeeze_export.commands.request.written import with_config
    from squeeze_export.pipeline.plausibility import told_of_weights
    from squeeze_export.pipeline.results import ExportFailed
    from squeeze_export.pipeline.walk import export, interrupted
    from squeeze_export.processes.jobs import worst
    from squeeze_export.screen import live, tables, terminal
    from squeeze_export.screen.accuracy import accuracy_table

    options = with_config(flags, config)
    json, quiet, verbose = bool(options.json), bool(options.quiet), bool(options.verbose)
    request = build_request(options, config)
    try:
        with live.progress_lines(quiet=quiet) as lines:
            bundle = export(request, lines)
    except signals.Signalled as signalled:
        signalled.told = f"{terminal.shown(lines.written)} stands complete" if lines.written else interrupted(request)
        raise
    except ExportFailed as error:
        if not quiet and not json:
            terminal.out().print(tables.result_table("Nothing was written", tables.rows_of(error.results)))
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
    if not quiet and not json:
        rows = [
            tables.Row(key=entry.key, size_bytes=entry.size_bytes, report=report)
            for entry in manifest.artifacts
            for report in (entry.parity, *entry.witnesses)
        ] + tables.rows_of(bundle.failed)
        terminal.out().print(tables.result_table(terminal.shown(bundle.path), rows))
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
    if not quiet and not json:
        ending = _next_step(
            terminal.shown(bundle.path), manifest.starters, complete=not codes, trained=manifest.source.weights_kind != "random"
        )
        terminal.out().print(ending, end="", markup=False, soft_wrap=True)  # a path is whole, to be copied
    if codes:
        raise typer.Exit(worst(codes))


def _next_step(bundle: str, starters: Sequence[str], *, complete: bool, trained: bool = True) -> str:
    """Lines that say where the apps lie and, where everything was written and proven, the one thing to do next."""
    apps = [f"{bundle}/{folder}" for folder in starters]
    lines = [f"Apps: {', '.join(apps)}"] if apps else []
    if complete and not trained:
        lines.append("Next: export a trained model: --weights FILE.")
    elif complete and apps:
        tool = "Xcode" if "ios" in starters[0] else "Android Studio"
        lines.append(f"Next: open {apps[0]} in {tool}; its README.md says how.")
    elif complete:
        lines.append(f"Next: squeeze-export verify {bundle} proves it again, here or elsewhere.")
    return "".join(f"{line}\n" for line in lines)


app.command(cls=given_once.Command, short_help="Prove every artifact of a bundle again, from disk.")(verify_command.verify)
app.command(cls=given_once.Command, short_help="Measure the accuracy of every artifact.", epilog=evaluate_command.EPILOG)(
    evaluate_command.evaluate
)
app.command(cls=given_once.Command, short_help="Export every precision: bytes, accuracy, time.", epilog=ladder_command.EPILOG)(
    ladder_command.ladder
)
app.command(cls=given_once.Command, short_help="Make an app project around an artifact.")(starter_command.starter)
app.command(cls=given_once.Command, short_help="Compare all artifacts with each other.")(compare_command.compare)
app.command(cls=given_once.Command, short_help="Show what can be exported and run here.")(targets_command.targets)
app.command(cls=given_once.Command, short_help="Print a JSON schema of a file or report.")(schema_command.schema)


def run(arguments: list[str] | None = None) -> int:
    """Run one command and give its exit code; no traceback for a user's mistake."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["export"]:  # the command that stands for itself may also be named
        arguments = arguments[1:]
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
                sys.stderr.write(f"{message}\n")  # which is the help
                return UsageError.exit_code
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
