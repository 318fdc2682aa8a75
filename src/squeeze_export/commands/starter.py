"""The `starter` command: an app project around an artifact of a finished bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from squeeze_export.commands.parameters import takes
from squeeze_export.errors import UsageError


@takes("starter")
def starter(
    platform: Annotated[str, typer.Argument(metavar="android|ios", help="Which kind of project.")],
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder, such as dist/squeezenet1_1-demo.")],
    **given: Any,
) -> None:
    """Make an Android or iOS project around an artifact of a finished bundle.

    It opens, builds, classifies, and proves itself on the phone. With --update a project that was made so, and worked in, takes
    another bundle's model.
    """
    target, precision = given["target"], given["precision"]
    from squeeze_export.commands.request.precisions import precision_of
    from squeeze_export.contracts.artifact import AUTO, TARGETS, rung_name
    from squeeze_export.screen import terminal
    from squeeze_export.starters.projects import render_bundle
    from squeeze_export.starters.template import platform_of

    template = platform_of(platform)
    chosen = next((known for known in TARGETS if known == target), None)
    if target is not None and chosen is None:
        raise UsageError(f"{target!r} is not a target; choose one of {', '.join(TARGETS)}.")
    # Auto alone says enough where the bundle has it in one size.
    wanted = precision if precision in (None, AUTO) else rung_name(*precision_of(precision))
    made = render_bundle(
        bundle,
        template=template,
        target=chosen,
        app_id=given["app_id"],
        app_name=given["app_name"],
        destination=Path(given["output"]),
        precision=wanted,
        allow_unproven=given["allow_unproven"],
        update=given["update"],
    )
    terminal.out().print(
        f"{terminal.shown(made)}: open it in {'Android Studio' if template == 'android' else 'Xcode'}; see its README.md."
    )
