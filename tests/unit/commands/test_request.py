"""Options from the command line and from TOML become one request, or a usage error that names the option."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from squeeze_export.bundle.folder import artifact_path
from squeeze_export.commands.request.settled import build_request
from squeeze_export.commands.request.written import Options, merge, read_config, settable
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.errors import UsageError
from squeeze_export.exporters import EXPORTERS
from squeeze_export.pipeline.plan import plan
from squeeze_export.sources.weights import load_weights


def request(**options):
    return build_request(Options(**{"target": ("all",), **options}))


def config(tmp_path, text):
    path = tmp_path / "squeeze-export.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def test_all_means_every_target_once_in_a_fixed_order():
    assert request(target=("tflite,onnx", "coreml")).targets == ("coreml", "tflite", "onnx")
    assert request(target=("tflite", "all")).targets == ("coreml", "tflite", "torchscript")
    assert request(target=("torchscript", "coreml", "coreml")).targets == ("coreml", "torchscript")


def test_onnx_is_named_beside_all_and_its_route_is_one_of_two():
    assert request(target=("onnx", "all")).targets == ("coreml", "tflite", "torchscript", "onnx")
    assert request(target=("tflite",), tflite_route="onnx-tf").tflite_route == "onnx-tf"
    with pytest.raises(UsageError, match="--tflite-route 'onnx2tf' is unknown"):
        request(target=("tflite",), tflite_route="onnx2tf")


def test_precision_is_for_all_targets_or_for_one():
    assert request(precision=("fp16",)).precisions == {"coreml": ("fp16",), "tflite": ("fp16",), "torchscript": ("fp16",)}
    assert request(precision=("fp16", "coreml=fp32")).precisions["coreml"] == ("fp32",)
    assert request(precision=("coreml=fp32",)).precisions == {"coreml": ("fp32",)}


def test_several_precisions_are_artifacts_of_their_own_in_the_order_asked():
    for written in (("coreml=fp32", "coreml=fp16"), ("coreml=fp32,fp16",), ("coreml=fp32,fp16,fp32", "coreml=fp16")):
        assert request(precision=written).precisions == {"coreml": ("fp32", "fp16")}
    assert request(precision=("fp32", "fp16"), target=("tflite",)).precisions == {"tflite": ("fp32", "fp16")}
    everything = request(precision=("ladder",))
    # Of Core ML what iOS 16 has operations for, without a size.
    assert everything.precisions == {
        "coreml": ("fp32", "fp16", "int8", "pal8", "pal6", "pal4", "pal2"),
        "tflite": EXPORTERS["tflite"].PRECISIONS,
        "torchscript": EXPORTERS["torchscript"].PRECISIONS,
    }
    assert everything.notes == ("the ladder of Core ML for iOS16 leaves out pal3: pass --ios-target iOS18 for them.",)
    newest = request(precision=("ladder",), ios_target="iOS18")
    assert "pal3" in newest.precisions["coreml"] and newest.notes == ()
    assert request(precision=("tflite=ladder",)).notes == request(precision=("ladder", "coreml=fp16")).notes == ()
    assert request(precision=("ladder",), ios_target="iOS15").precisions["coreml"] == ("fp32", "fp16")
    assert list(plan(everything)) == list(everything.keys)
    tensors = request(target=("tflite",), precision=("ladder",), input_kind="tensor")
    assert set(EXPORTERS["tflite"].PRECISIONS) - set(tensors.precisions["tflite"]) == {"int8-uint8"}
    assert tensors.notes[0].startswith("the ladder of TFLite leaves out int8-uint8: it takes pixels")
    unsure = request(target=("tflite",), precision=("ladder",), weights="random")
    assert "int8-uint8" not in unsure.precisions["tflite"] and "random weights" in unsure.notes[0]
    assert (
        "int8-uint8"
        in request(target=("tflite",), precision=("ladder",), weights="random", output_kind="logits").precisions["tflite"]
    )
    assert list(plan(tensors)) == list(tensors.keys)
    keys = request(target=("coreml", "tflite"), precision=("coreml=fp32,fp16",)).keys
    assert [key.name for key in keys] == ["coreml-fp32", "coreml-fp16", "tflite-fp32"]
    paths = [artifact_path("net", key, keys, ".x") for key in keys]
    assert paths == ["coreml/net-fp32.x", "coreml/net-fp16.x", "tflite/net.x"]


def test_the_ladder_keeps_zeros_where_the_weights_have_some(tmp_path):
    state = load_weights("squeezenet1_1", "random", seed=0, random_classes=2).state
    for name in ("features.9.expand3x3.weight", "features.10.expand3x3.weight"):
        state[name][:, ::2] = 0
    save_file(state, tmp_path / "pruned.safetensors")
    asked = {"target": ("coreml",), "weights": str(tmp_path / "pruned.safetensors"), "precision": ("ladder",)}
    assert request(**asked).precisions["coreml"] == ("fp32", "fp16", "sparse", "int8", "pal8", "pal6", "pal4", "pal2")
    assert request(**asked, ios_target="iOS18").precisions["coreml"][-2:] == ("sparse-pal6", "sparse-pal4")


def test_auto_takes_sizes_and_each_is_an_artifact_of_its_own(tmp_path):
    text = """
        target = "coreml"
        ios-target = "iOS18"
        precision = { coreml = ["auto:0.45MB", "fp16", "auto:489500", "auto:450KB"] }
    """
    written = request(
        target=("coreml",), precision=("coreml=auto:0.45MB,fp16,auto:489500", "coreml=auto:450KB"), ios_target="iOS18"
    )
    assert build_request(config(tmp_path, text)) == written
    assert written.notes == ("auto:0.45MB and auto:450KB are one size, 450,000 bytes: one artifact.",)
    settings = plan(written)
    assert [(wanted.precision, wanted.size_budget) for wanted in settings.values()] == [
        ("auto", 450_000),
        ("auto", 489_500),
        ("fp16", None),
    ]
    # Names of files and on the screen, the same whether there is one size or several.
    assert [artifact_path("net", key, settings, ".mlpackage") for key in settings] == [
        f"coreml/net-{name}.mlpackage" for name in ("auto-450KB", "auto-489500", "fp16")
    ]
    one = request(target=("coreml",), precision=("coreml=fp16,auto:450KB,auto:450KB",), ios_target="iOS18")
    assert one.notes == () and [str(key) for key in one.keys] == ["coreml fp16", "coreml auto:450KB"]
    assert [key.name for key in one.keys] == ["coreml-fp16", "coreml-auto-450KB"]
    with pytest.raises(UsageError, match=r"tflite cannot be written in auto:450KB; .* write --precision coreml=auto:450KB"):
        plan(request(target=("coreml", "tflite"), precision=("auto:450KB",), ios_target="iOS18"))
    with pytest.raises(UsageError, match="auto needs a size"):
        plan(ExportRequest(targets=("coreml",), precisions={"coreml": ("auto",)}, ios_target="iOS18"))


def test_a_precision_wants_a_deployment_target_that_has_it():
    for precision, ios, needed in (
        ("pal3", "iOS16", "iOS18"),
        ("sparse-pal6", "iOS17", "iOS18"),
        ("auto:490KB", "iOS16", "iOS18"),
        ("int8", "iOS15", "iOS16"),
        ("sparse", "iOS15", "iOS16"),
    ):
        with pytest.raises(UsageError, match=f"pass --ios-target {needed}"):
            plan(request(target=("coreml",), precision=(f"coreml={precision}",), ios_target=ios))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"precision": ("coreml=auto",)}, "--precision auto needs a size"),
        ({"precision": ("coreml=auto:much",)}, "--precision auto:much: 'much' is no size"),
        ({"target": ("coreml",), "precision": ("int8", "coreml=fp16")}, "every target has: write coreml=int8"),
        ({"precision": ("coreml=auto:450KB,auto:0",)}, "--precision auto:0: '0' is no size"),
        ({"precision": ("coreml=pal4:450KB",)}, "--precision 'pal4:450KB' is unknown"),
        ({"target": ()}, "No target was named"),
        ({"target": ("cormel",)}, "Did you mean coreml"),
        ({"model": "squeezenet"}, "--model 'squeezenet' is unknown"),
        ({"precision": ("fp8",)}, "--precision 'fp8' is unknown"),
        ({"precision": ("fp16,",)}, "--precision '' is unknown"),
        ({"precision": ("tflite=fp16,fp8",)}, "--precision 'fp8' is unknown"),
        ({"target": ("coreml",), "precision": ("tflite=fp16",)}, "Add --target tflite"),
        ({"max_accuracy_drop": -0.5}, "--max-accuracy-drop -0.5"),
        ({"max_accuracy_drop": 100.0}, "below 100"),
        ({"max_accuracy_drop": float("nan")}, "--max-accuracy-drop nan"),
        ({"calibration_data": "", "precision": ("tflite=int8",)}, "--calibration-data is empty"),
        ({"input_size": "224px"}, "is no size"),
        ({"input_size": "-224"}, "is no size"),
        ({"input_size": "1x1"}, "1"),
        ({"mean": "0.5,0.5"}, "three numbers"),
        ({"std": "1,0,1"}, "std"),
        ({"ios_target": "iOS14"}, "Did you mean iOS1"),
        ({"name": "../evil"}, "cannot be a file name"),
        ({"name": ".hidden"}, "cannot be a file name"),
        ({"name": "a/b"}, "cannot be a file name"),
        ({"seed": -1}, "--seed"),
        ({"preprocessing": "vgg"}, "--preprocessing 'vgg' is unknown"),
        ({"input_kind": "picture"}, "--input-kind"),
        ({"output_kind": "logit"}, "Did you mean logits"),
        ({"output_kind": "features"}, "Known: logits, probabilities"),  # that is the head's to say
        ({"head": "feature"}, "Did you mean features"),
        ({"color_order": "rgb"}, "--color-order"),
        ({"color_order": "GRAY", "mean": "0.5,0.5,0.5"}, "--mean '0.5,0.5,0.5' is not one number"),
        ({"color_order": "GRAY", "mean": "0.5", "std": "0.5"}, "colour order GRAY does not fit: the network takes 3 channel(s)"),
        ({"resize_mode": "stretch"}, "--resize-mode 'stretch' is unknown"),
        ({"interpolation": "bicubc"}, "Did you mean bicubic"),
        ({"interpolation": "box"}, "Known: nearest, bilinear, bicubic, lanczos"),
        ({"resize": "256px"}, "--resize '256px' is no size"),
        ({"resize": "256x256"}, "only the short side is resized: pass one number, or the resize mode squash or pad"),
        ({"resize": "256", "crop_pct": 0.9}, "both resize 256 and crop pct 0.9 say"),
        ({"crop_pct": 0.0}, "crop pct 0: it is the share"),
        ({"crop_pct": 87.5}, "crop pct 87.5: it is the share"),
        ({"crop_pct": float("nan")}, "crop pct nan: it is the share"),
        ({"crop_pct": 0.05}, "crop pct 0.05 of 224x224 is 4480x4480: sides may be at most 4096"),
        ({"resize_mode": "squash", "resize": "223"}, "at least as large as the crop"),
        ({"resize_mode": "pad", "resize": "224x223"}, "resize 224x223 with input size 224x224: it must be at least as large"),
        ({"pad_color": "0"}, "with the resize mode short-side nothing is padded"),
        ({"resize_mode": "squash", "pad_color": "0,0,0"}, "with the resize mode squash nothing is padded"),
        ({"resize_mode": "pad", "pad_color": "0,0,256"}, "pad color 0,0,256: its levels are whole numbers in 0..255"),
        ({"resize_mode": "pad", "pad_color": "0.5"}, "--pad-color '0.5': its levels are whole numbers"),
        ({"resize_mode": "pad", "pad_color": "black"}, "--pad-color 'black' is neither three numbers"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(options, told):
    with pytest.raises(UsageError) as caught:
        request(**options)
    assert told in str(caught.value)


def test_the_head_and_what_cannot_stand_beside_it(tmp_path):
    assert (request().head, request().output_kind) == ("classifier", None)
    assert {asked.output_kind for asked in plan(request(output_kind="logits")).values()} == {"logits"}
    assert {asked.output_kind for asked in plan(request()).values()} == {"probabilities"}
    assert {asked.output_kind for asked in plan(request(head="features")).values()} == {"features"}
    assert build_request(config(tmp_path, 'target = "all"\nhead = "features"')).head == "features"
    for options in ({"labels": "labels.txt"}, {"output_kind": "logits"}, {"output_kind": "probabilities"}):
        ((name, value),) = options.items()
        with pytest.raises(UsageError) as caught:
            plan(request(head="features", **options))
        assert f"--head features cannot be combined with --{name.replace('_', '-')} {value}" in str(caught.value)


def test_an_input_size_is_height_by_width():
    spec = request(input_size="227x224").preprocessing
    assert (spec.height, spec.width) == (227, 224)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, ("short-side", 256, None, "bilinear", None)),
        ({"crop_pct": 0.9, "interpolation": "bicubic"}, ("short-side", 248, None, "bicubic", None)),
        ({"crop_pct": 0.95, "input_size": "240x320"}, ("short-side", 336, None, "bilinear", None)),
        ({"resize_mode": "squash"}, ("squash", 224, None, "bilinear", None)),
        ({"resize_mode": "squash", "resize": "256"}, ("squash", 256, None, "bilinear", None)),
        ({"resize_mode": "squash", "resize": "256x300"}, ("squash", 256, 300, "bilinear", None)),
        ({"resize_mode": "squash", "crop_pct": 0.9, "input_size": "224x192"}, ("squash", 248, 213, "bilinear", None)),
        ({"resize_mode": "pad"}, ("pad", 224, None, "bilinear", (124, 116, 104))),
        ({"resize_mode": "pad", "preprocessing": "caffe"}, ("pad", 227, None, "bilinear", (123, 117, 104))),
        ({"resize_mode": "pad", "pad_color": "114"}, ("pad", 224, None, "bilinear", (114, 114, 114))),
        ({"resize_mode": "pad", "input_size": "48x192"}, ("pad", 48, 192, "bilinear", (124, 116, 104))),
    ],
)
def test_how_a_picture_is_resized(options, wanted):
    spec = request(**options).preprocessing
    assert (spec.resize_mode, spec.resize, spec.resize_width, spec.interpolation, spec.pad_color) == wanted


def test_every_option_can_stand_in_the_config_file(tmp_path):
    text = """
        target = ["coreml", "tflite"]
        model = "squeezenet1_0"
        model-arg = ["width=24"]
        model-output = 1
        model-gives = "logits"
        activation = "softmax"
        weights = "w.safetensors"
        checkpoint-key = "ema"
        labels = "labels.txt"
        precision = { coreml = "fp32", tflite = ["int8", "fp32"] }
        calibration-data = "unlabelled"
        max-accuracy-drop = 1
        min-accuracy = 60
        input-size = 227
        preprocessing = "caffe"
        resize = 300
        resize-mode = "pad"
        interpolation = "bicubic"
        pad-color = [0, 128, 255]
        mean = [1, 2, 3]
        std = [1.0, 1.5, 2.0]
        scale = 1
        color-order = "RGB"
        input-kind = "tensor"
        head = "classifier"
        features-at = "layer4"
        head-relu = "yes"
        reference = "scores.npz"
        output-kind = "logits"
        images = "photos"
        starter = "none"
        ios-target = "iOS17"
        tflite-route = "onnx-tf"
        output = "out"
        name = "net"
        force = true
        allow-unproven = false
        keep-going = true
        json = false
        quiet = true
        verbose = false
    """
    options = config(tmp_path, text)
    assert options.written().keys() == {option.name for option in settable()} - {
        "seed",  # which would not go with weights from a file
        "crop_pct",  # nor this with resize
    }
    assert config(tmp_path, "crop-pct = 1").crop_pct == 1
    assert config(tmp_path, "seed = 3").seed == 3
    made = build_request(options)
    assert made.weights == tmp_path / "w.safetensors"
    assert made.output == tmp_path / "out"
    assert (made.model_output, made.model_gives, made.activation) == ("1", "logits", "softmax")
    assert made.preprocessing.mean == (1, 2, 3)
    assert (made.preprocessing.resize_mode, made.preprocessing.interpolation) == ("pad", "bicubic")
    assert (made.preprocessing.canvas, made.preprocessing.pad_color) == ((300, 300), (0, 128, 255))
    assert made.precisions == {"coreml": ("fp32",), "tflite": ("int8", "fp32")}
    assert made.calibration == tmp_path / "unlabelled"
    assert made.max_accuracy_drop == 1.0
    assert made.min_accuracy == 60.0
    assert made.force is True


def test_flags_win_over_the_config_file(tmp_path):
    options = merge(Options(target=("tflite",), seed=0), config(tmp_path, 'target = "coreml"\nseed = 5\nname = "net"'))
    assert (options.target, options.seed, options.name) == (("tflite",), 0, "net")


def test_special_weights_are_not_paths_of_the_config_file(tmp_path):
    assert config(tmp_path, 'weights = "random"').weights == "random"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tagret = 'coreml'", "Did you mean target"),
        ("zzz = 1", "Known keys"),
        ("target = 1", "list of strings"),
        ("seed = '1'", "whole number"),
        ("input-size = 2.5", "HEIGHTxWIDTH"),
        ("seed = true", "a whole number, not true"),
        ("force = 1", "true or false"),
        ("name = 1", "a string, not 1"),
        ("name = ", "not valid TOML"),
    ],
)
def test_a_bad_config_file_is_refused_by_name(tmp_path, text, told):
    with pytest.raises(UsageError) as caught:
        config(tmp_path, text)
    assert told in str(caught.value)
    assert "squeeze-export.toml" in str(caught.value)


def test_a_missing_config_file_is_a_usage_error():
    with pytest.raises(UsageError, match="does not exist"):
        read_config(Path("nowhere.toml"))


def test_one_line_of_a_script_fits_every_target_and_precision():
    """What nothing here uses is a note; a name that nobody knows stays an error."""
    idle = request(target=("torchscript",), seed=3, ios_target="iOS17", tflite_route="onnx-tf", calibration_data="photos")
    assert [note.split(":")[0] for note in idle.notes] == [
        "--seed 3 has no effect",
        "--ios-target iOS17 has no effect",
        "--tflite-route onnx-tf has no effect",
        "--calibration-data photos has no effect",
    ]
    assert (idle.tflite_route, idle.calibration) == ("litert-torch", Path("photos"))
    used = {"seed": 3, "ios_target": "iOS17", "precision": ("int8",), "calibration_data": "photos"}
    assert request(target=("coreml", "tflite"), weights="random", **used).notes == ()
