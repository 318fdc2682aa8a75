"""timm's and torchvision's networks; skipped, saying why, where they cannot be imported."""

from __future__ import annotations

import math

import pytest
import torch

from squeeze_export.errors import SourceError
from squeeze_export.sources.networks.building import build
from squeeze_export.sources.networks.capture import capture, compare, fold_batch_norms
from squeeze_export.sources.networks.names import parse_model
from squeeze_export.sources.networks.weights_of import fit
from tests.unit.sources.libraries import libraries


def built(name, classes=None, **arguments):
    libraries.needed(name.partition(":")[0])
    return build(parse_model(name), arguments=arguments, num_classes=classes)


@pytest.mark.parametrize(
    ("name", "interpolation", "origin"),
    [
        ("timm:mobilenetv4_conv_small.e2400_r224_in1k", "bicubic", "timm's pretrained_cfg of mobilenetv4_conv_small"),
        ("torchvision:mobilenet_v3_small", "bilinear", "torchvision's MobileNet_V3_Small_Weights.IMAGENET1K_V1"),
    ],
)
def test_a_librarys_network(tmp_path, name, interpolation, origin):
    found = built(name, 7)
    assert found.notes == () and not found.module.training
    hint = found.preprocessing
    assert (hint.height, hint.width, hint.crop_pct, hint.resize_mode) == (224, 224, 0.875, "short-side")
    assert hint.mean == (0.485, 0.456, 0.406) and hint.interpolation == interpolation and hint.origin.startswith(origin)
    taken = capture(found.module, 64, 64)
    images = torch.randn(1, 3, 64, 64)
    assert taken.how == "exported" and compare(taken, found.module, images) == math.inf
    folded, names = fold_batch_norms(taken)
    assert len(names) > 20 and compare(folded, found.module, images) > 90
    assert not any("running_mean" in weight for weight in folded.module().state_dict())

    torch.save({"state_dict": found.module.state_dict()}, tmp_path / "best.pth")
    fitted = fit(
        built(name, 5).module, tmp_path / "best.pth", name=name, classes=5, rebuild=lambda classes: built(name, classes).module
    )
    assert fitted.num_classes == 7
    assert torch.equal(fitted.module(images), found.module(images))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:mobilenetv4_conv_smal", "Did you mean timm:mobilenetv4_conv_small"),
        ("timm:resnet18.nothing", "knows no weights nothing of resnet18"),
        ("torchvision:mobilenet_v3_smal", "Did you mean torchvision:mobilenet_v3_small"),
        ("torchvision:fasterrcnn_resnet50_fpn", "is no image classifier"),
    ],
)
def test_unknown_names(name, words):
    with pytest.raises(SourceError, match=words):
        built(name)


def test_arguments_that_a_library_does_not_take():
    with pytest.raises(SourceError, match=r"torchvision:resnet18 cannot be built: TypeError.*surely_not"):
        built("torchvision:resnet18", surely_not=3)


def test_an_auxiliary_head_is_not_the_head(tmp_path):
    found = built("torchvision:googlenet", 7)
    torch.save(found.module.state_dict(), tmp_path / "best.pth")
    fitted = fit(
        built("torchvision:googlenet", 5).module,
        tmp_path / "best.pth",
        classes=5,
        rebuild=lambda classes: built("torchvision:googlenet", classes).module,
    )
    assert fitted.num_classes == 7


@pytest.mark.realdata
def test_real_weights_of_timm(real_data):
    path = real_data / "weights" / "tf_efficientnet_lite0.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    found = built("timm:tf_efficientnet_lite0")
    fitted = fit(found.module, path, name="timm:tf_efficientnet_lite0", classes=1000)
    assert (fitted.num_classes, fitted.notes) == (1000, ())
    taken, names = fold_batch_norms(capture(fitted.module, 224, 224))
    assert len(names) == 49
    assert compare(taken, fitted.module, torch.randn(1, 3, 224, 224)) > 90
