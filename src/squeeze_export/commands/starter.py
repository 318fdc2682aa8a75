"""The `starter` command: an app project around an artifact of a finished bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from squeeze_export.errors import UsageError


def starter(
    platform: Annotated[str, typer.Argument(metavar="android|ios", help="Which kind of project.")],
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder, such as dist/squeezenet1_1-random.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The project's folder, new or empty.")],
    app_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Such as com.example.app; default: made of the bundle's name.")
    ] = None,
    app_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="As the home screen shows it; default: the bundle's.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET", help="The artifact to put in: for Android tflite (default) or torchscript, for iOS coreml."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="PRECISION",
            help="Which, where the bundle has the target in several, such as fp16 or auto:490KB; default: the target's default, "
            "else the first asked for.",
        ),
    ] = None,
    allow_unproven: Annotated[
        bool, typer.Option("--allow-unproven", help="Take an artifact that could not be executed here (NOT_RUN).")
    ] = False,
) -> None:
    """Make an Android or iOS project around an artifact of a finished bundle.

    It opens, builds, classifies, and proves itself on the phone.
    """
    from squeeze_export.commands.precisions import precision_of
    from squeeze_export.contracts.artifact import AUTO, TARGETS, rung_name
    from squeeze_export.contracts.request import STARTERS
    from squeeze_export.screen import terminal
    from squeeze_export.starters.projects import render_bundle

    template = next((known for known in STARTERS if known == platform), None)
    if template is None:
        raise UsageError(f"There is no starter for {platform!r}; choose {' or '.join(STARTERS)}.")
    chosen = next((known for known in TARGETS if known == target), None)
    if target is not None and chosen is None:
        raise UsageError(f"{target!r} is not a target; choose one of {', '.join(TARGETS)}.")
    # Auto alone says enough where the bundle has it in one size.
    wanted = precision if precision in (None, AUTO) else rung_name(*precision_of(precision))
    made = render_bundle(
        bundle,
        template=template,
        target=chosen,
        app_id=app_id,
        app_name=app_name,
        destination=output,
        precision=wanted,
        allow_unproven=allow_unproven,
    )
    terminal.out().print(
        f"{terminal.shown(made)}: open it in {'Android Studio' if template == 'android' else 'Xcode'}; see its README.md."
    )
