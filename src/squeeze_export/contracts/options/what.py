"""Options of what is exported: targets, precisions, what an artifact takes and gives."""

from __future__ import annotations

from typing import Final

from squeeze_export.contracts.option import Option, both
from squeeze_export.contracts.options.headings import AS, WHAT

WHAT_IS_EXPORTED: Final[tuple[Option, ...]] = (
    Option(
        name="target",
        kind="list",
        metavar="TARGET",
        heading=WHAT,
        request_field="targets",
        help={
            "export": "coreml, tflite, torchscript, onnx, or all (the first three); several with commas.",
            "ladder": f"{AS}; default all (not onnx).",
        },
    ),
    Option(
        name="precision",
        kind="list",
        metavar="[TARGET=]PRECISION",
        heading=WHAT,
        request_field="precisions",
        help=both(
            "Default: fp16 for Core ML, else fp32. Also int8 (not onnx); for TFLite int8-uint8 (uint8 in and out), "
            "int8-dynamic, int8-weights, int4-mixed; for Core ML pal8, pal6, pal4, pal3, pal2 (2^N values per layer), "
            "sparse, sparse-pal6, sparse-pal4 and auto:SIZE (the best within so many bytes: coreml=auto:490KB). ladder: "
            "all but auto. best: the smallest of these within --max-accuracy-drop. For every target, or for one "
            "(coreml=fp32). Several, repeated or with commas (coreml=fp16,auto:490KB), give an artifact each.",
            f"{AS}, repeatable, such as coreml=ladder,auto:490KB; default ladder.",
        ),
    ),
    Option(
        name="input_kind",
        kind="text",
        metavar="image|tensor",
        heading=WHAT,
        form='input_kind="image"',
        help=both("Normalisation inside the artifact (image, default) or left to the app (tensor).", f"{AS}; default image."),
    ),
    Option(
        name="output_kind",
        kind="text",
        metavar="probabilities|logits",
        heading=WHAT,
        form='output_kind="probabilities"',
        help={"export": "Softmax or sigmoid inside the artifact (default) or not."},
    ),
    Option(
        name="activation",
        kind="text",
        metavar="softmax|sigmoid|none",
        heading=WHAT,
        form='activation="sigmoid"',
        help={
            "export": "What makes probabilities of the scores: softmax over the classes (default), or sigmoid for independent "
            "ones (default of a network with one score). none leaves them as the network gives them. SqueezeNet has softmax."
        },
    ),
    Option(
        name="head",
        kind="text",
        metavar="classifier|features",
        heading=WHAT,
        form='head="classifier"',
        help={
            "export": "Scores per class (default), or what stands before the classifier (of SqueezeNet 512 averaged channels):"
            " no labels, no softmax."
        },
    ),
    Option(
        name="features_at",
        kind="text",
        metavar="MODULE",
        heading=WHAT,
        form='features_at="layer4"',
        help={
            "export": "With --head features of another network: the module whose output is taken, dotted, averaged over space; "
            "default: what the classifier takes."
        },
    ),
    Option(
        name="ios_target",
        kind="text",
        metavar="iOS15..iOS18",
        heading=WHAT,
        form='ios_target="iOS16"',
        help=both("Minimum deployment target of the Core ML package; default iOS16.", f"{AS}; default iOS16."),
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
)
