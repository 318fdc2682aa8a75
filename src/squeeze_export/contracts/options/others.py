"""Options of the other commands, and of the screen."""

from __future__ import annotations

from typing import Final

from squeeze_export.contracts.option import Option, every, measured, plain
from squeeze_export.contracts.options.headings import MEASURE, SCREEN, STARTER

_IMAGES: Final = "Images with a labels.tsv (columns file and class_index), a folder per class, or the generated demo images."

OF_COMMANDS: Final[tuple[Option, ...]] = (
    Option(
        name="images",
        kind="path",
        metavar="DIR|demo",
        heading=MEASURE,
        required=frozenset({"evaluate"}),
        help={"ladder": f"{_IMAGES[:-1]}; needed, but with --redraw.", "evaluate": _IMAGES},
    ),
    plain("no_reference", "switch", MEASURE, {"evaluate": "Do without the reference."}),
    plain("limit", "whole", MEASURE, measured("At most N images, evenly spread; of the demo the first N, default 2000."), "N"),
    plain(
        "redraw",
        "file",
        MEASURE,
        {"ladder": "Measure nothing: draw the picture of a ladder.json again, beside it (extra: plot)."},
        "JSON",
    ),
    plain("runs", "whole", MEASURE, {"ladder": "A time is the median of N executions."}, "N", default=50),
    plain(
        "workers",
        "whole",
        MEASURE,
        {
            "ladder": "How many processes evaluate at a time; default: the cores.",
            "evaluate": "How many processes compute at a time; default: the cores.",
        },
        "N",
    ),
    plain("no_cache", "switch", MEASURE, measured("Neither use nor keep answers that were computed before.")),
    plain(
        "witness",
        "switch",
        MEASURE,
        {"verify": "Run TFLite files on TensorFlow's reference kernels as well: slow, and needs the extra [witness]."},
    ),
    plain("plot", "file", MEASURE, {"compare": "Draw the matrix as a heat map into this file (extra: plot)."}, "PNG"),
    plain(
        "no_import",
        "switch",
        MEASURE,
        {"targets": "Only look what is installed, without trying whether it can be imported."},
    ),
    plain(
        "target",
        "text",
        STARTER,
        {"starter": "The artifact to put in: for Android tflite (default) or torchscript, for iOS coreml."},
        "TARGET",
    ),
    plain(
        "precision",
        "text",
        STARTER,
        {
            "starter": "Which, where the bundle has the target in several, such as fp16 or auto:490KB; default: fp16 for Core "
            "ML, else fp32; without that the first of the export."
        },
        "PRECISION",
    ),
    plain(
        "update",
        "switch",
        STARTER,
        {
            "starter": "Bring this bundle into the project that --output names. Files that you changed stay; what is not given "
            "is as the project was made."
        },
    ),
    plain("app_id", "text", STARTER, {"starter": "Such as com.example.app; default: made of the bundle's name."}, "ID"),
    plain("app_name", "text", STARTER, {"starter": "As the home screen shows it; default: the bundle's."}, "NAME"),
    plain(
        "json",
        "switch",
        SCREEN,
        {
            "export": "Print the manifest, or the error, as JSON.",
            "ladder": "Print ladder.json, or the error, as JSON.",
            "evaluate": "Print the report as JSON.",
            "verify": "Print the findings as JSON.",
            "compare": "Print the matrix as JSON.",
            "targets": "Print the findings as JSON.",
        },
    ),
    plain(
        "quiet",
        "switch",
        SCREEN,
        {**every("No progress and no table; notes and errors stay."), "targets": "No progress."},
        short="-q",
    ),
    plain("verbose", "switch", SCREEN, every("Tracebacks and what the SDKs print.", but="compare"), short="-v"),
)
