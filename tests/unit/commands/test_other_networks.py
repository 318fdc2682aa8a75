"""Options of networks other than SqueezeNet, from the command line and from TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from squeeze_export.commands.request.settled import build_request
from squeeze_export.commands.request.written import Options, read_config
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.errors import UsageError
from squeeze_export.pipeline.plan import plan


def request(**options):
    return build_request(Options(**{"target": ("all",), **options}))


def of_config(tmp_path, text):
    (tmp_path / "squeeze-export.toml").write_text(f'target = "tflite"\n{text}', encoding="utf-8")
    return build_request(read_config(tmp_path / "squeeze-export.toml"))


@pytest.mark.parametrize(
    ("model", "read"),
    [
        ("model.pt2", "{folder}/model.pt2"),
        ("nets/MODEL.PT2", "{folder}/nets/MODEL.PT2"),
        ("/models/model.pt2", "/models/model.pt2"),
        ("hf:vit", "hf:{folder}/vit"),
        ("hf:/models/vit", "hf:/models/vit"),
        ("nets.flowers:build", "nets.flowers:build"),
        ("timm:resnet18", "timm:resnet18"),
        ("squeezenet1_0", "squeezenet1_0"),
    ],
)
def test_a_program_and_a_folder_in_a_config_file_are_relative_to_it(tmp_path, model, read):
    assert of_config(tmp_path, f'model = "{model}"').model == read.format(folder=tmp_path)


def test_published_weights_are_words_and_files_are_files(tmp_path):
    assert request(model="torchvision:resnet18", weights="IMAGENET1K_V1").weights == "IMAGENET1K_V1"
    assert request(model="timm:resnet18", weights="pretrained").weights == "pretrained"
    assert request(model="torchvision:resnet18", weights="./DEFAULT").weights == Path("DEFAULT")
    assert request(model="nets:build", weights="DEFAULT").weights == Path("DEFAULT")
    assert of_config(tmp_path, 'model = "torchvision:resnet18"\nweights = "DEFAULT"').weights == "DEFAULT"
    assert of_config(tmp_path, 'model = "torchvision:resnet18"\nweights = "best.pth"').weights == tmp_path / "best.pth"
    (tmp_path / "DEFAULT").touch()
    assert of_config(tmp_path, 'model = "torchvision:resnet18"\nweights = "DEFAULT"').weights == tmp_path / "DEFAULT"
    assert ExportRequest(targets=("tflite",), model="timm:resnet18", weights="pretrained").weights == "pretrained"
    with pytest.raises(UsageError, match="--checkpoint-key ema is for weights from a file, and these are DEFAULT"):
        request(model="torchvision:resnet18", weights="DEFAULT", checkpoint_key="ema")


def test_the_ladder_of_another_network_is_what_it_can_be_made_in():
    made = request(model="nets:build", precision=("ladder",))
    assert made.precisions == {"coreml": ("fp32", "fp16"), "tflite": ("fp32", "fp16"), "torchscript": ("fp32", "fp16")}
    assert list(plan(made)) == list(made.keys) and made.notes == ()


def test_limits_and_scores_are_for_any_network_and_the_rest_is_refused_by_name(tmp_path):
    (tmp_path / "scores.csv").touch()
    plan(request(model="nets:build", max_accuracy_drop=1.0, min_accuracy=50.0, reference="scores.csv", images=str(tmp_path)))
    for option, told in (
        ({"head_relu": "no"}, "--head-relu no is for SqueezeNet so far, not for nets:build"),
        ({"weights": "imagenet"}, "--weights imagenet is for SqueezeNet so far"),
        ({"precision": ("int8",)}, "is made of SqueezeNet only so far"),
    ):
        with pytest.raises(UsageError, match=told):
            plan(request(model="nets:build", **option))
