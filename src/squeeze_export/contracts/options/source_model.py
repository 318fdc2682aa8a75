"""Options of the source model: which network, with which weights and labels."""

from __future__ import annotations

from typing import Final

from squeeze_export.contracts.in_memory import MODEL_FORM
from squeeze_export.contracts.option import Option, both, same
from squeeze_export.contracts.options.headings import AS, MODEL

SOURCE_MODEL: Final[tuple[Option, ...]] = (
    Option(
        name="model",
        kind="text",
        metavar="MODEL",
        heading=MODEL,
        form=MODEL_FORM,
        help={
            "export": "squeezenet1_1 (default), squeezenet1_0, squeezenet1_0_bypass or squeezenet1_0_complex_bypass. Any other "
            "network: timm:NAME, torchvision:NAME, hf:FOLDER, MODULE:FACTORY or FILE.pt2, in fp32 and fp16.",
            "ladder": f"{AS}; default squeezenet1_1.",
            "evaluate": "The network again, where the bundle is of another than SqueezeNet: its reference is made of it.",
        },
    ),
    Option(
        name="model_arg",
        kind="list",
        metavar="NAME=VALUE",
        heading=MODEL,
        request_field="model_arguments",
        help={
            "export": "An argument of a MODULE:FACTORY, repeatable; a Python literal, or else text.",
            "ladder": f"{AS}, repeatable.",
            "evaluate": f"{AS}, repeatable.",
        },
    ),
    Option(
        name="model_output",
        kind="text",
        metavar="NAME|PLACE",
        heading=MODEL,
        also="whole",
        form='model_output="logits"',
        help={"export": "Which output of a network that gives several: its name, or its place from 0."},
    ),
    Option(
        name="model_gives",
        kind="text",
        metavar="logits|probabilities|log-probabilities",
        heading=MODEL,
        form='model_gives="probabilities"',
        help={
            "export": "What a network other than SqueezeNet gives by itself; default: found on the golden images. No softmax or "
            "sigmoid is applied twice."
        },
    ),
    Option(
        name="weights",
        kind="path",
        metavar="PATH|demo|imagenet|random|NAME",
        heading=MODEL,
        form='weights="my.safetensors", or "imagenet", "random", "demo" or a library\'s name for its own',
        help={
            "export": "A PyTorch or safetensors checkpoint; the demo's printed characters (default); torchvision's; or random "
            "ones. Published ones: DEFAULT, IMAGENET1K_V1 and so on of torchvision:NAME, pretrained of timm:NAME.",
            "ladder": f"{AS}; default demo.",
            "evaluate": "The weights that the bundle was exported from: needed where they came from a file or by name.",
        },
    ),
    Option(
        name="checkpoint_key",
        kind="text",
        metavar="KEY",
        heading=MODEL,
        form='checkpoint_key="model_ema"',
        help={
            "export": "Which state dict of the checkpoint, dotted where nested; default: averaged weights (EMA) before others.",
            "ladder": "Which state dict of the checkpoint, as in an export.",
            "evaluate": f"{AS}, of another network than SqueezeNet.",
        },
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
        form='labels="labels.txt", a file with one name per class, or labels=["daisy", "tulip"]',
        help=both(
            "One name per class: a file (lines, a table, JSON, YAML), or a folder per class.",
            "One name per class, as in an export.",
        ),
    ),
    Option(
        name="head_relu",
        kind="text",
        metavar="yes|no",
        heading=MODEL,
        form="head_relu=False",
        python="switch",
        help=both(
            "Whether a ReLU stands behind the classifier's convolution (default yes, as torchvision). Weights do not tell.",
            f"{AS}; default yes.",
        ),
    ),
)
