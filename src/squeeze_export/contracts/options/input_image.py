"""Options of the input: how an image becomes the network's numbers."""

from __future__ import annotations

from typing import Final

from squeeze_export.contracts.option import Option, both, plain, same
from squeeze_export.contracts.options.headings import AS, INPUT

_SIZE: Final = 'a whole number or "HEIGHTxWIDTH"'
_NUMBERS: Final = "three numbers, or one for all channels"

INPUT_IMAGE: Final[tuple[Option, ...]] = (
    Option(
        name="input_size",
        kind="text",
        metavar="N|HxW",
        heading=INPUT,
        wants=_SIZE,
        also="whole",
        help=both("Height and width of the crop; default: the preset's (224, caffe 227).", f"{AS}; default: the preset's."),
    ),
    plain("preprocessing", "text", INPUT, same("torchvision (default), caffe or inception."), "PRESET"),
    plain(
        "resize_mode",
        "text",
        INPUT,
        same("Resize the short side (default), squash to an exact size, or fit into it and pad the rest."),
        "short-side|squash|pad",
    ),
    plain(
        "resize",
        "text",
        INPUT,
        same(
            "Short side before the crop, default the preset's share of the crop (256 for 224); or the size to squash or pad to, "
            "default the crop's."
        ),
        "N|HxW",
        wants=_SIZE,
        also="whole",
    ),
    plain("crop_pct", "number", INPUT, same("Instead of --resize: the crop's share of it, as timm has it."), "SHARE"),
    plain("interpolation", "text", INPUT, same("Pillow's filter; default bilinear."), "nearest|bilinear|bicubic|lanczos"),
    plain(
        "pad_color", "text", INPUT, same("Around a padded image; default the mean's."), "R,G,B", wants=_NUMBERS, also="numbers"
    ),
    plain("mean", "text", INPUT, same("Replaces the preset's mean; one number: all."), "A,B,C", wants=_NUMBERS, also="numbers"),
    plain("std", "text", INPUT, same("Replaces the preset's std."), "A,B,C", wants=_NUMBERS, also="numbers"),
    plain("scale", "number", INPUT, same("Multiplies 0..255 pixels before mean and std."), "X"),
    plain("color_order", "text", INPUT, same("Order of the model's channels; GRAY: one."), "RGB|BGR|GRAY"),
)
