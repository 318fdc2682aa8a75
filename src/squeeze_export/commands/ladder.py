"""The command `ladder`: every precision of every target, exported, evaluated, weighed and timed in one go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import typer

from squeeze_export import signals
from squeeze_export.commands.parameters import takes
from squeeze_export.errors import UsageError
from squeeze_export.streams import print_json

if TYPE_CHECKING:
    from squeeze_export.ladders.walk import LadderRequest
    from squeeze_export.pipeline.results import Bundle

EPILOG: Final = (
    "Exit codes: 0 every rung measured on every image, 2 usage, or images that could not be read, 3 bad source model or weights, "
    "or a reference that no limit can be held against, 4 a conversion failed, 5 parity failed or an artifact failed, "
    "6 a target unavailable here, or NOT_RUN."
)


@takes("ladder")
def ladder(**given: Any) -> None:
    """Export every precision, and hold bytes, accuracy and milliseconds of all of them against each other.

    Writes OUTPUT/NAME as an export does, and beside it ladder.csv, ladder.json and ladder.png (the picture needs the extra plot).
    """
    if given["redraw"] is not None:
        _redraw(given)
        return
    missing = [f"--{name}" for name in ("images", "output") if given[name] is None]
    if missing:
        raise UsageError(f"A ladder needs {' and '.join(missing)}. squeeze-export ladder --help shows all options.")
    images, runs, no_cache = given["images"], given["runs"], given["no_cache"]
    from squeeze_export.commands.request.settled import build_request
    from squeeze_export.commands.request.written import Options, with_config
    from squeeze_export.evaluation.cache import default_path
    from squeeze_export.ladders import ladder as ladders
    from squeeze_export.ladders.walk import LadderRequest, check, climb
    from squeeze_export.screen import ladder_plot, live, tables, terminal

    shown: Path | Literal["demo"] = "demo" if images == "demo" else Path(images)
    config: Path | None = given["config"]
    flags = Options.of(given)
    options = with_config(flags, config)
    json, quiet, verbose = bool(options.json), bool(options.quiet), bool(options.verbose)
    asked = options.replaced(
        target=options.target or ("all",),
        precision=flags.precision or ("ladder",),
        starter=("none",),
        images=None if shown == "demo" else images,
    )
    request = LadderRequest(
        export=build_request(asked, config),
        images=shown,
        limit=given["limit"],
        runs=runs,
        workers=given["workers"],
        cache=None if no_cache else default_path(),
    )
    check(request)
    no_picture = ladder_plot.unavailable()
    if no_picture is not None:  # told before the work, which takes long
        terminal.note(f"{ladders.PNG} will not be drawn: {no_picture}")
    bundle = _export_what_passes(request, quiet=quiet, json=json, verbose=verbose)
    try:
        found, climbed = climb(request, bundle, live.evaluation_bars(quiet=quiet), live.progress_lines(quiet=quiet))
    except signals.Signalled as signalled:
        known = "" if no_cache else ", and what was evaluated is known"
        signalled.told = (
            f"the bundle {terminal.shown(bundle.path)} stands complete, of the ladder nothing was written; the same command with "
            f"--force makes it{known}"
        )
        raise
    contents = ladder_plot.files_of(climbed)
    ladders.write(request.export.output, contents)
    if json:
        print_json(contents[ladders.JSON])
    elif not quiet:
        terminal.out().print(tables.ladder_table(climbed))
        for line in climbed.advised:
            terminal.out().print(line)
        terminal.out().print(
            f"{', '.join(contents)} and the bundle {bundle.path.name} stand in {terminal.shown(request.export.output)}."
        )
    for told in bundle.notes:
        terminal.note(told)
    for text in dict.fromkeys(entry.notice for entry in bundle.manifest.artifacts if entry.notice):
        terminal.note(text)
    if found.passed_over:
        terminal.note(f"{len(found.passed_over)} files have no label and were not evaluated: {terminal.some(found.passed_over)}")
    if found.doubt and not request.limits.unfit(found):
        terminal.note(found.doubt)
    if climbed.exit_code:
        if not json:
            terminal.problem("The ladder is not complete.\n" + "\n".join(climbed.problems))
        raise typer.Exit(climbed.exit_code)


def _redraw(given: dict[str, Any]) -> None:
    """Draw the picture of a ladder that was measured before; with any option but those of the screen it is refused."""
    from squeeze_export.bundle.manifest import encode
    from squeeze_export.commands.parameters import taken_by
    from squeeze_export.screen import ladder_plot, terminal

    own = ("redraw", "json", "quiet", "verbose")
    others = [one.flag for one in taken_by("ladder") if one.name not in own and given[one.name] not in (None, False, one.default)]
    if others:
        raise UsageError(f"--redraw measures nothing, so {', '.join(others)} cannot count. Leave it out.")
    found, picture = ladder_plot.redraw(given["redraw"])
    if given["json"]:
        print_json(encode(found))
    elif not given["quiet"]:
        for line in found.advised:
            terminal.out().print(line)
        terminal.out().print(f"{terminal.shown(picture)} was drawn.")


def _export_what_passes(request: LadderRequest, *, quiet: bool, json: bool, verbose: bool) -> Bundle:
    """The bundle of all rungs that can be made; told is what is left out of it."""
    from squeeze_export.ladders.walk import make_rungs
    from squeeze_export.pipeline.results import ExportFailed
    from squeeze_export.pipeline.walk import interrupted
    from squeeze_export.screen import live, tables, terminal

    try:
        with live.progress_lines(quiet=quiet) as lines:
            bundle = make_rungs(request, lines)
    except signals.Signalled as signalled:
        signalled.told = interrupted(request.rungs)
        if lines.written is not None:
            signalled.told = f"the bundle {terminal.shown(lines.written)} stands complete, of the ladder nothing was written"
        raise
    except ExportFailed as error:
        if verbose:
            terminal.print_tracebacks(error.results, error.logs)
        if not quiet and not json:
            terminal.out().print(tables.result_table("Nothing can be written", tables.rows_of(error.results)))
        raise
    if verbose:
        terminal.print_tracebacks(bundle.failed)
    if bundle.failed and not quiet and not json:
        terminal.out().print(tables.result_table("Left out of the ladder", tables.rows_of(bundle.failed)))
    return bundle
