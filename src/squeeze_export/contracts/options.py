"""Every option, described once: the command line, the config file, ExportRequest and the docs' table are made of this.

It stands among the contracts, below the commands, because ExportRequest holds what a program gives against it.
"""

from __future__ import annotations

from typing import Final

from squeeze_export.contracts.option import Option, both, every, measured, plain, same

WHAT, MODEL, INPUT, OUTPUT, SCREEN = "What to export", "Source model", "Input and output", "Bundle", "Screen"
MEASURE, STARTER = "Evaluation", "Starter project"
SPECIAL_WEIGHTS: Final = ("imagenet", "random", "demo")


_AS: Final = "As in an export"
_SIZE: Final = 'a whole number or "HEIGHTxWIDTH"'
_NUMBERS: Final = "three numbers, or one for all channels"
_IMAGES: Final = "Images with a labels.tsv (columns file and class_index), a folder per class, or the generated demo images."

OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="target",
        kind="list",
        metavar="TARGET",
        heading=WHAT,
        request_field="targets",
        help={
            "export": "coreml, tflite, torchscript, onnx, or all (the first three); several with commas.",
            "ladder": f"{_AS}; default all (not onnx).",
        },
    ),
    Option(
        name="precision",
        kind="list",
        metavar="[TARGET=]PRECISION",
        heading=WHAT,
        request_field="precisions",
        help=both(
            "Default: fp16 for Core ML, else fp32. Also int8 (not onnx); for TFLite int8-uint8 (uint8 in and out), int8-dynamic, "
            "int8-weights, int4-mixed; for Core ML pal8, pal6, pal4, pal3, pal2 (2^N values per layer), sparse, sparse-pal6, "
            "sparse-pal4 and auto:SIZE (the best within so many bytes: coreml=auto:490KB). ladder: all but auto. For every "
            "target, or for one (coreml=fp32). Several, repeated or with commas (coreml=fp16,auto:490KB), give an artifact each.",
            f"{_AS}, repeatable, such as coreml=ladder,auto:490KB; default ladder.",
        ),
    ),
    Option(
        name="calibration_data",
        kind="path",
        metavar="DIR",
        heading=WHAT,
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
        heading=WHAT,
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
        heading=WHAT,
        form="min_accuracy=60.0",
        help={
            "export": "At least so much top-1 on labelled --images, such as 60; refuses artifacts with less (exit code 5), and a "
            "source model with less (3).",
            "ladder": "Mark artifacts with less top-1, such as 60; exit code 3 where the source model has less.",
            "evaluate": "At least so much top-1, such as 60; exit code 5 where an artifact has less, 3 where the reference has.",
        },
    ),
    Option(
        name="ios_target",
        kind="text",
        metavar="iOS15..iOS18",
        heading=WHAT,
        form='ios_target="iOS16"',
        help=both("Minimum deployment target of the Core ML package; default iOS16.", f"{_AS}; default iOS16."),
    ),
    Option(
        name="tflite_route",
        kind="text",
        metavar="litert-torch|onnx-tf",
        heading=WHAT,
        form='tflite_route="litert-torch"',
        help={
            "export": "Converter of the TFLite file; default litert-torch. onnx-tf goes over ONNX and TensorFlow and "
            "needs an extra."
        },
    ),
    Option(
        name="config",
        kind="file",
        metavar="TOML",
        heading=WHAT,
        help=both("Read these options from a file; flags win.", "Read what no flag says from the config file of an export."),
    ),
    Option(
        name="model",
        kind="text",
        metavar="MODEL",
        heading=MODEL,
        form='model="squeezenet1_1"',
        help=both(
            "squeezenet1_1 (default), squeezenet1_0, squeezenet1_0_bypass or squeezenet1_0_complex_bypass. Any other network: "
            "timm:NAME, torchvision:NAME, hf:FOLDER, MODULE:FACTORY or FILE.pt2, in fp32 and fp16.",
            "squeezenet1_1 (default), or another SqueezeNet as in an export.",
        ),
    ),
    Option(
        name="model_arg",
        kind="list",
        metavar="NAME=VALUE",
        heading=MODEL,
        request_field="model_arguments",
        help={"export": "An argument of a MODULE:FACTORY, repeatable; a Python literal, or else text."},
    ),
    Option(
        name="weights",
        kind="path",
        metavar="PATH|demo|imagenet|random",
        heading=MODEL,
        form='weights="my.safetensors", or "imagenet", "random" or "demo"',
        help={
            "export": "A PyTorch or safetensors checkpoint; the demo's printed characters (default); torchvision's; or random "
            "ones.",
            "ladder": f"{_AS}; default demo.",
            "evaluate": "The checkpoint that the bundle was exported from: needed where its weights came from a file.",
        },
    ),
    Option(
        name="checkpoint_key",
        kind="text",
        metavar="KEY",
        heading=MODEL,
        form='checkpoint_key="model_ema"',
        help=both(
            "Which state dict of the checkpoint, dotted where nested; default: averaged weights (EMA) before others.",
            "Which state dict of the checkpoint, as in an export.",
        ),
    ),
    Option(
        name="seed",
        kind="whole",
        metavar="N",
        heading=MODEL,
        form="seed=0",
        help=same("Seed of --weights random; default 0."),
    ),
    Option(
        name="labels",
        kind="path",
        metavar="PATH",
        heading=MODEL,
        form='labels="labels.txt", a file with one name per class',
        help=both(
            "One name per class: a file (lines, a table, JSON, YAML), or a folder per class.",
            "One name per class, as in an export.",
        ),
    ),
    Option(
        name="input_size",
        kind="text",
        metavar="N|HxW",
        heading=INPUT,
        wants=_SIZE,
        also="whole",
        help=both("Height and width of the crop; default: the preset's (224, caffe 227).", f"{_AS}; default: the preset's."),
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
        "pad_color", "text", INPUT, same("Around a padded picture; default the mean's."), "R,G,B", wants=_NUMBERS, also="numbers"
    ),
    plain("mean", "text", INPUT, same("Replaces the preset's mean; one number: all."), "A,B,C", wants=_NUMBERS, also="numbers"),
    plain("std", "text", INPUT, same("Replaces the preset's std."), "A,B,C", wants=_NUMBERS, also="numbers"),
    plain("scale", "number", INPUT, same("Multiplies 0..255 pixels before mean and std."), "X"),
    plain("color_order", "text", INPUT, same("Order of the model's channels; GRAY: one."), "RGB|BGR|GRAY"),
    Option(
        name="input_kind",
        kind="text",
        metavar="image|tensor",
        heading=INPUT,
        form='input_kind="image"',
        help=both("Normalisation inside the artifact (image, default) or left to the app (tensor).", f"{_AS}; default image."),
    ),
    Option(
        name="head",
        kind="text",
        metavar="classifier|features",
        heading=INPUT,
        form='head="classifier"',
        help={
            "export": "Scores per class (default), or the 512 averaged channels in front of the classifier: no labels, no "
            "softmax."
        },
    ),
    Option(
        name="head_relu",
        kind="text",
        metavar="yes|no",
        heading=INPUT,
        form="head_relu=False",
        python="switch",
        help=both(
            "Whether a ReLU stands behind the classifier's convolution (default yes, as torchvision). Weights do not tell.",
            f"{_AS}; default yes.",
        ),
    ),
    Option(
        name="output_kind",
        kind="text",
        metavar="probabilities|logits",
        heading=INPUT,
        form='output_kind="probabilities"',
        help={"export": "Softmax inside the artifact (default) or not."},
    ),
    Option(
        name="images",
        kind="path",
        metavar="DIR",
        heading=INPUT,
        form='images="photos", a folder of images',
        help={
            "export": "Images for the parity check: 8 of them, evenly spread over the sorted names; default: the demo images. "
            "--max-accuracy-drop and --min-accuracy use all of them.",
        },
    ),
    Option(
        name="reference",
        kind="path",
        metavar="NPZ|CSV",
        heading=INPUT,
        form='reference="scores.npz", a file with your own scores',
        help={"export": "Your own scores of some of --images, by name: the source must give them, before anything is exported."},
    ),
    Option(
        name="output",
        kind="path",
        metavar="DIR",
        heading=OUTPUT,
        short="-o",
        required=frozenset({"ladder", "starter"}),
        form='output="dist"',
        help={
            "export": "Where the bundle's folder goes; default dist.",
            "ladder": "Where the bundle's folder, ladder.csv, .json and .png go.",
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
        name="keep_going",
        kind="switch",
        heading=OUTPUT,
        form="keep_going=True",
        help={
            "export": "Write the artifacts that passed although others did not; the exit code and the manifest say "
            "what is missing."
        },
    ),
    plain("images", "path", MEASURE, measured(_IMAGES), "DIR|demo", required=True),
    plain("no_reference", "switch", MEASURE, {"evaluate": "Do without the reference."}),
    plain("limit", "whole", MEASURE, measured("At most N images, evenly spread; of the demo the first N, default 2000."), "N"),
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
