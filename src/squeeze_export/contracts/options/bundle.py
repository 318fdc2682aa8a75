"""Options of the bundle: where it goes, and what may stand in it."""

from __future__ import annotations

from typing import Final

from squeeze_export.contracts.option import Option, both, same
from squeeze_export.contracts.options.headings import OUTPUT

BUNDLE: Final[tuple[Option, ...]] = (
    Option(
        name="output",
        kind="path",
        metavar="DIR",
        heading=OUTPUT,
        short="-o",
        required=frozenset({"starter"}),
        form='output="dist"',
        help={
            "export": "Where the bundle's folder goes; default dist.",
            "ladder": "Where the bundle's folder, ladder.csv, .json and .png go; needed, but with --redraw.",
            "starter": "The project's folder, new or empty.",
        },
    ),
    Option(
        name="name",
        kind="text",
        metavar="NAME",
        heading=OUTPUT,
        form='name="my_model"',
        help=same("The bundle's name; default: model and weights."),
    ),
    Option(
        name="starter",
        kind="list",
        metavar="android|ios|none",
        heading=OUTPUT,
        request_field="starters",
        help={"export": "App projects to put beside the artifacts; repeatable; default: those that the targets allow."},
    ),
    Option(
        name="force",
        kind="switch",
        heading=OUTPUT,
        form="force=True",
        help=both(
            "Replace an existing bundle, unless an app project in it was changed.", "Replace an existing bundle and its ladder."
        ),
    ),
    Option(
        name="keep_going",
        kind="switch",
        heading=OUTPUT,
        form="keep_going=True",
        help={
            "export": "Write the artifacts that passed although others did not; the exit code and the manifest say "
            "what is missing."
        },
    ),
    Option(
        name="allow_unproven",
        kind="switch",
        heading=OUTPUT,
        form="allow_unproven=True",
        help={
            "export": "Write artifacts that could not be executed here (NOT_RUN; exit code 6).",
            "starter": "Take an artifact that could not be executed here (NOT_RUN).",
        },
    ),
    Option(
        name="config",
        kind="file",
        metavar="TOML",
        heading=OUTPUT,
        help=both("Read these options from a file; flags win.", "Read what no flag says from the config file of an export."),
    ),
)
