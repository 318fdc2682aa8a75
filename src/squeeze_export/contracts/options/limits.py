"""Options of the checks: by which images, and what an artifact has to reach."""

from __future__ import annotations

from typing import Final

from squeeze_export.contracts.option import Option, both
from squeeze_export.contracts.options.headings import LIMITS

CHECKS: Final[tuple[Option, ...]] = (
    Option(
        name="images",
        kind="path",
        metavar="DIR",
        heading=LIMITS,
        form='images="photos", a folder of images, or uint8 RGB pictures of (N, H, W, 3)',
        help={
            "export": "Images for the parity check: 8 of them, evenly spread over the sorted names; default: the demo images. "
            "--max-accuracy-drop and --min-accuracy use all of them.",
        },
    ),
    Option(
        name="reference",
        kind="path",
        metavar="NPZ|CSV",
        heading=LIMITS,
        form='reference="scores.npz", a file with your own scores',
        help={"export": "Your own scores of some of --images, by name: the source must give them, before anything is exported."},
    ),
    Option(
        name="calibration_data",
        kind="path",
        metavar="DIR",
        heading=LIMITS,
        request_field="calibration",
        form='calibration="photos", a folder of images',
        help=both(
            "Unlabelled images by which int8 and compressed weights are chosen, some hundred; default: generated demo images.",
            "Unlabelled images for int8 and compressed weights, as in an export.",
        ),
    ),
    Option(
        name="max_accuracy_drop",
        kind="number",
        metavar="POINTS",
        heading=LIMITS,
        form="max_accuracy_drop=1.0",
        help={
            "export": "Refuse (exit code 5) artifacts whose top-1 is lower than the reference's by more, such as 1.0, on "
            "--images: by their labels if they have some (labels.tsv, or a folder per class), else by agreement with the "
            "reference.",
            "ladder": "Mark artifacts whose top-1 is lower than the reference's by more, such as 1.0.",
            "evaluate": "Exit code 5 where an artifact's top-1 is lower than the reference's by more, such as 1.0.",
        },
    ),
    Option(
        name="min_accuracy",
        kind="number",
        metavar="PERCENT",
        heading=LIMITS,
        form="min_accuracy=60.0",
        help={
            "export": "At least so much top-1 on labelled --images, such as 60; refuses artifacts with less (exit code 5), and a "
            "source model with less (3).",
            "ladder": "Mark artifacts with less top-1, such as 60; exit code 3 where the source model has less.",
            "evaluate": "At least so much top-1, such as 60; exit code 5 where an artifact has less, 3 where the reference has.",
        },
    ),
)
