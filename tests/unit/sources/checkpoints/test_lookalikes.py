"""Weights of another network are named by the names of their entries."""

from __future__ import annotations

import pytest
import torch

from squeeze_export.contracts.source import MODELS
from squeeze_export.sources.checkpoints.lookalikes import looks_like
from tests.unit.sources.checkpoints.checkpoints import refused, saved, state_of


def resnet(blocks, *, bottleneck=False, middle=(64, 64, 3, 3), prefix=""):
    """The names of torchvision's ResNets, with the one shape by which the wide and the grouped ones are told."""
    names = {"conv1.weight": (64, 3, 7, 7), "bn1.running_mean": (64,), "fc.weight": (1000, 2048)}
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            for place in range(1, 4 if bottleneck else 3):
                names[f"layer{stage}.{block}.conv{place}.weight"] = middle
                names[f"layer{stage}.{block}.bn{place}.running_mean"] = (64,)
    return {prefix + name: shape for name, shape in names.items()}


def vgg(depths, *, norm=False):
    names, place = {}, 0
    for depth in depths:
        for _ in range(depth):
            names[f"features.{place}.weight"] = (64, 3 if place == 0 else 64, 3, 3)
            place += 3 if norm else 2
        place += 1
    return names | {f"classifier.{place}.weight": (4096, 4096) for place in (0, 3, 6)}


def blocks(counts, *, squeeze=False, more=()):
    """The names of timm's EfficientNets and MobileNets."""
    names = {"conv_stem.weight": (32, 3, 3, 3), "conv_head.weight": (1280, 320, 1, 1), **dict.fromkeys(more, (1,))}
    for stage, count in enumerate(counts):
        for block in range(count):
            names[f"blocks.{stage}.{block}.conv_dw.weight"] = (32, 1, 3, 3)
            if squeeze:
                names[f"blocks.{stage}.{block}.se.conv_reduce.weight"] = (8, 32, 1, 1)
    return names


def named(*names, **shapes):
    return {name: shapes.get(name, (1,)) for name in names}


CASES = [
    (resnet((2, 2, 2, 2)), "ResNet-18"),
    (resnet((2, 2, 2, 2), prefix="module.backbone."), "ResNet-18"),
    (resnet((3, 4, 6, 3)), "ResNet-34"),
    (resnet((3, 4, 6, 3), bottleneck=True), "ResNet-50"),
    (resnet((3, 4, 23, 3), bottleneck=True), "ResNet-101"),
    (resnet((3, 8, 36, 3), bottleneck=True), "ResNet-152"),
    (resnet((3, 4, 6, 3), bottleneck=True, middle=(128, 128, 3, 3)), "Wide ResNet-50"),
    (resnet((3, 4, 6, 3), bottleneck=True, middle=(128, 4, 3, 3)), "ResNeXt-50"),
    (resnet((1, 1, 1, 1)), "ResNet"),
    (
        resnet((2, 2, 2, 2), prefix="backbone.") | named("backbone.body.x", "rpn.head.conv.weight", "roi_heads.box.w"),
        "Faster or Mask R-CNN",
    ),
    (vgg((1, 1, 2, 2, 2)), "VGG-11"),
    (vgg((2, 2, 3, 3, 3)), "VGG-16"),
    (vgg((2, 2, 4, 4, 4), norm=True), "VGG-19"),
    ({"features.0.weight": (64, 3, 11, 11), "classifier.1.weight": (4096, 9216), "classifier.6.weight": (10, 4096)}, "AlexNet"),
    (blocks((1, 2, 2, 3, 3, 4, 1), squeeze=True), "EfficientNet-B0"),
    (blocks((2, 4, 4, 6, 6, 8, 2), squeeze=True), "EfficientNet-B4"),
    (blocks((1, 2, 2, 3, 3, 4, 1)), "EfficientNet-Lite0"),
    (blocks((1, 2, 3, 4, 3, 3, 1)), "MobileNetV2"),
    (blocks((1, 2, 3, 3, 2, 3, 1), more=("conv_head.bias",)), "MobileNetV3"),
    (named("features.0.0.weight", "features.1.conv.0.0.weight", "features.18.0.weight", "classifier.1.weight"), "MobileNetV2"),
    (
        named("features.0.0.weight", "features.1.block.0.0.weight", "features.4.block.2.fc1.weight", "classifier.3.bias"),
        "MobileNetV3",
    ),
    (
        named("features.0.0.weight", "features.1.0.block.0.0.weight", "features.1.0.block.1.fc1.weight"),
        "EfficientNet (torchvision",
    ),
    (named("_conv_stem.weight", "_blocks.0._depthwise_conv.weight"), "EfficientNet (efficientnet-pytorch"),
    (named("features.conv0.weight", "features.denseblock1.denselayer1.conv1.weight"), "DenseNet"),
    (named("Mixed_5b.branch1x1.conv.weight", "Mixed_7c.branch1x1.conv.weight"), "Inception v3"),
    (named("inception3a.branch1.conv.weight"), "GoogLeNet"),
    (named("conv1.0.weight", "stage2.0.branch1.0.weight", "conv5.0.weight"), "ShuffleNetV2"),
    (named("stem.0.weight", "trunk_output.block1.block1-0.f.a.0.weight"), "RegNet (torchvision"),
    (named("stem.conv.weight", "s1.b1.conv1.conv.weight"), "RegNet (timm"),
    (named("features.1.0.layer_scale", "features.1.0.block.0.weight"), "ConvNeXt (torchvision"),
    (named("stem.0.weight", "stages.0.blocks.0.gamma", "stages.0.blocks.0.conv_dw.weight"), "ConvNeXt (timm"),
    (named("cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight") | {"cls_token": (1, 1, 192)}, "ViT (tiny)"),
    (named("cls_token", "dist_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"), "DeiT (timm"),
    (named("encoder.layers.encoder_layer_0.ln_1.weight") | {"class_token": (1, 1, 768)}, "ViT (base) (torchvision"),
    (named("vit.embeddings.cls_token", "vit.encoder.layer.0.attention.attention.query.weight"), "ViT (transformers"),
    (named("resnet.embedder.embedder.convolution.weight", "resnet.encoder.stages.0.layers.0.x"), "ResNet (transformers"),
    (named("mobilenet_v2.conv_stem.first_conv.convolution.weight"), "MobileNetV2 (transformers"),
    (named("patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table"), "Swin Transformer (timm"),
    (named("features.1.0.attn.relative_position_bias_table"), "Swin Transformer (torchvision"),
    (named("swin.embeddings.patch_embeddings.projection.weight"), "Swin Transformer (transformers"),
    (named("model.0.conv.weight", "model.22.dfl.conv.weight"), "YOLO detector"),
    (named("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"), "language model"),
    (named("visual.transformer.resblocks.0.ln_1.weight", "token_embedding.weight"), "CLIP model"),
    (named("conv1.weight", "fire2.squeeze.weight", "fire2.expand1x1.weight"), "SqueezeNet (other names)"),
]


@pytest.mark.parametrize(("shapes", "wanted"), CASES, ids=[wanted for _, wanted in CASES])
def test_networks_are_known_by_their_names(shapes, wanted):
    found = looks_like(shapes)
    assert found is not None and found.startswith(wanted), found


def test_what_is_not_known_has_no_name():
    assert looks_like({}) is None
    assert looks_like({"a.weight": (3, 3), "layer1.weight": (3,)}) is None
    for model in MODELS:
        assert looks_like({name: tuple(value.shape) for name, value in state_of(model=model).items()}) is None


def test_the_refusal_says_what_it_looks_like_and_what_is_taken(tmp_path):
    state = {name: torch.zeros(()).expand(shape) for name, shape in resnet((2, 2, 2, 2), prefix="module.").items()}
    told = refused(
        saved(tmp_path / "x.pth", {"state_dict": state, "epoch": 4}),
        "its names under state_dict look like ResNet-18 (torchvision's and timm's names): module.conv1.weight (64, 3, 7, 7); ",
        "squeeze-export takes squeezenet1_1, squeezenet1_0, squeezenet1_0_bypass, squeezenet1_0_complex_bypass",
    )
    assert "missing" not in told


def test_a_squeezenet_by_other_names_is_told_to_be_renamed(tmp_path):
    state = {name.replace("features.", "fire"): value for name, value in state_of().items() if "classifier" not in name}
    state |= {"fire2.squeeze.weight": torch.zeros(1)}
    refused(saved(tmp_path / "x.pth", state), "look like SqueezeNet (other names)", "Rename its entries to torchvision's first")


def test_another_version_of_the_network_is_advised_as_ever(tmp_path):
    told = refused(
        saved(tmp_path / "x.pth", state_of(model="squeezenet1_0")), "these are squeezenet1_0 or squeezenet1_0_bypass weights"
    )
    assert "look like" not in told
