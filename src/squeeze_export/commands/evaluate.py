"""The command `evaluate`, which cli.py takes in: its options, its screen, its exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import typer

from squeeze_export import signals
from squeeze_export.commands.parameters import BundleFolder, takes
from squeeze_export.errors import SourceError
from squeeze_export.streams import print_json

EPILOG: Final = (
    "Exit codes: 0 every artifact and the reference measured on every image, 2 usage, or images that could not be read, "
    "3 weights that are not the bundle's, or a reference that no limit can be held against, 5 an artifact damaged, failed, "
    "dropped or below the floor, 6 an artifact or the reference NOT_RUN."
)


@takes("evaluate")
def evaluate(
    bundle: BundleFolder,
    **given: Any,
) -> None:
    """Measure every artifact's accuracy over labelled images, beside the reference's.

    What was computed is kept in the user's cache folder: a stopped run goes on where it ended.
    """
    images, weights, no_reference = given["images"], given["weights"], given["no_reference"]
    json, quiet, no_cache = given["json"], given["quiet"], given["no_cache"]
    from squeeze_export.evaluation.cache import default_path
    from squeeze_export.evaluation.walk import EvaluationRequest
    from squeeze_export.evaluation.walk import evaluate as run_evaluation
    from squeeze_export.screen import live, tables, terminal
    from squeeze_export.sources.networks.factories import parse_arguments

    request = EvaluationRequest(
        bundle=bundle,
        images="demo" if images == "demo" else Path(images),
        weights=weights,
        model=given["model"],
        model_arguments=parse_arguments(given["model_arg"] or ()),
        checkpoint_key=given["checkpoint_key"],
        reference=not no_reference,
        limit=given["limit"],
        workers=given["workers"],
        cache=None if no_cache else default_path(),
        max_accuracy_drop=given["max_accuracy_drop"],
        min_accuracy=given["min_accuracy"],
    )
    try:
        with live.evaluation_bars(quiet=quiet) as bars:
            found = run_evaluation(request, bars)
    except signals.Signalled as signalled:
        signalled.told = "" if no_cache else "what was computed is kept: the same command goes on from there"
        raise
    if given["verbose"]:
        for subject, log in found.logs.items():
            sys.stderr.write(f"--- {subject} ---\n{log}\n")
    if json:
        from squeeze_export.bundle.manifest import encode

        print_json(encode(found.record()))
    elif not quiet:
        terminal.out().print(tables.evaluation_table(found))
        if found.passed_over:
            terminal.note(
                f"{len(found.passed_over)} files have no label and were not evaluated: {terminal.some(found.passed_over)}"
            )
    if found.doubt and not found.unfit and not json:
        terminal.note(found.doubt)
    if found.exit_code:
        if not json:
            told = "The evaluation is not complete."
            if found.exit_code == SourceError.exit_code:
                told = "The reference cannot be a measure on these images."
            elif found.dropped or found.below:
                told = "An artifact is not accurate enough."
            terminal.problem(told + "\n" + "\n".join(found.problems))
        raise typer.Exit(found.exit_code)
