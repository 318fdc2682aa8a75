"""Which well-known network the names of a state dict look like, for the refusal of weights that are not the network's.

By names and a few shapes, as torchvision, timm and transformers write them. A guess for a sentence, nothing is decided by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """`wanted`: patterns, each of which some name must have, at its start or behind a dot. `refine`: the member, if told."""

    name: str
    naming: str
    wanted: tuple[str, ...]
    refine: Callable[[Shapes], str | None] | None = None


_RESNETS: Final = {
    (2, 2, 2, 2, False): "ResNet-18",
    (3, 4, 6, 3, False): "ResNet-34",
    (3, 4, 6, 3, True): "ResNet-50",
    (3, 4, 23, 3, True): "ResNet-101",
    (3, 8, 36, 3, True): "ResNet-152",
}
_EFFICIENTNETS: Final[Mapping[tuple[int, ...], str]] = {
    (1, 2, 2, 3, 3, 4, 1): "B0",
    (2, 3, 3, 4, 4, 5, 2): "B1 or B2",
    (2, 3, 3, 5, 5, 6, 2): "B3",
    (2, 4, 4, 6, 6, 8, 2): "B4",
    (3, 5, 5, 7, 7, 9, 3): "B5",
    (3, 6, 6, 8, 8, 11, 3): "B6",
    (4, 7, 7, 10, 10, 13, 4): "B7",
}
_LITES: Final[Mapping[tuple[int, ...], str]] = {
    (1, 2, 2, 3, 3, 4, 1): "EfficientNet-Lite0",
    (1, 3, 3, 4, 4, 5, 1): "EfficientNet-Lite1 or Lite2",
    (1, 3, 3, 5, 5, 6, 1): "EfficientNet-Lite3",
    (1, 4, 4, 6, 6, 8, 1): "EfficientNet-Lite4",
    (1, 2, 3, 4, 3, 3, 1): "MobileNetV2",
}
_VITS: Final = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}


def _count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers stand at the group of `pattern`."""
    return len({match[1] for name in shapes if (match := re.search(rf"(?:^|\.){pattern}", name))})


def _shape(shapes: Shapes, tail: str) -> tuple[int, ...]:
    return next((shape for name, shape in shapes.items() if name == tail or name.endswith(f".{tail}")), ())


def _resnet(shapes: Shapes) -> str | None:
    blocks = [_count(shapes, rf"layer{stage}\.(\d+)\.conv1\.") for stage in (1, 2, 3, 4)]
    bottleneck = _count(shapes, r"layer1\.(\d+)\.conv3\.") > 0
    plain = _RESNETS.get((blocks[0], blocks[1], blocks[2], blocks[3], bottleneck))
    middle = _shape(shapes, "layer1.0.conv2.weight")
    if plain is None or not bottleneck or len(middle) != 4 or middle[:2] == (64, 64):
        return plain
    depth = plain.partition("-")[2]
    return f"Wide ResNet-{depth}" if middle[0] == middle[1] else f"ResNeXt-{depth}"


def _vgg(shapes: Shapes) -> str | None:
    convolutions = sum(len(shape) == 4 for shape in shapes.values())
    linear = sum(len(shape) == 2 for shape in shapes.values())
    return f"VGG-{convolutions + linear}" if linear == 3 else None


def _stages(shapes: Shapes) -> tuple[int, ...]:
    return tuple(_count(shapes, rf"blocks\.{stage}\.(\d+)\.") for stage in range(7))


def _efficientnet(shapes: Shapes) -> str | None:
    member = _EFFICIENTNETS.get(_stages(shapes))
    return None if member is None else f"EfficientNet-{member}"


def _without_squeeze(shapes: Shapes) -> str | None:
    return _LITES.get(_stages(shapes))


def _vit(shapes: Shapes) -> str | None:
    width = next((shape[-1] for name, shape in shapes.items() if name.endswith(("cls_token", "class_token")) and shape), 0)
    return f"ViT ({_VITS[width]})" if width in _VITS else None


_TV, _TIMM, _BOTH, _HF = "torchvision's", "timm's", "torchvision's and timm's", "transformers'"

# The special before the general: the first whose patterns are all there.
_KINDS: Final = (
    _Kind(name="YOLO detector", naming="its own", wanted=(r"model\.\d+\.dfl\.conv\.",)),
    _Kind(name="YOLO network", naming="its own", wanted=(r"model\.0\.conv\.weight", r"model\.2\.cv1\.conv\.")),
    _Kind(name="Faster or Mask R-CNN detector", naming=_TV, wanted=(r"rpn\.head\.", r"roi_heads\.")),
    _Kind(name="RetinaNet, FCOS or SSD detector", naming=_TV, wanted=(r"head\.classification_head\.", r"backbone\.")),
    _Kind(name="DETR detector", naming="its own", wanted=(r"query_embed\.weight", r"transformer\.decoder\.")),
    _Kind(
        name="DeepLab or FCN segmentation network", naming=_TV, wanted=(r"backbone\.layer4\.0\.conv1\.", r"classifier\.4\.weight")
    ),
    _Kind(name="U-Net", naming="its own", wanted=(r"(down\d|downs\.\d|encoder1|inc)\.", r"(up\d|ups\.\d|decoder1|outc)\.")),
    _Kind(name="CLIP model", naming="its own", wanted=(r"(visual|vision_model)\.", r"(token_embedding|text_model)")),
    _Kind(name="language model", naming=_HF, wanted=(r"(embed_tokens|word_embeddings|wte)\.weight",)),
    # transformers: the network's name stands in front of everything.
    *(
        _Kind(name=name, naming=_HF, wanted=(rf"{prefix}\.(embeddings|embedder|encoder|conv_stem|stem|layers?)\.",))
        for prefix, name in (
            ("resnet", "ResNet"),
            ("vit", "ViT"),
            ("deit", "DeiT"),
            ("swinv2", "Swin Transformer V2"),
            ("swin", "Swin Transformer"),
            ("convnextv2", "ConvNeXt V2"),
            ("convnext", "ConvNeXt"),
            ("mobilenet_v1", "MobileNetV1"),
            ("mobilenet_v2", "MobileNetV2"),
            ("mobilevit", "MobileViT"),
            ("efficientnet", "EfficientNet"),
            ("regnet", "RegNet"),
            ("beit", "BEiT"),
            ("dinov2", "DINOv2"),
            ("levit", "LeViT"),
            ("bit", "BiT ResNet"),
        )
    ),
    _Kind(name="SENet or SE-ResNet", naming=_TIMM, wanted=(r"layer1\.0\.se(_module)?\.fc1\.", r"layer4\.0\.conv1\.")),
    _Kind(name="Res2Net or ResNeSt", naming=_TIMM, wanted=(r"layer1\.0\.(convs\.0|conv2\.conv)\.weight", r"layer4\.0\.conv1\.")),
    _Kind(name="ResNet", naming=_BOTH, wanted=(r"layer1\.0\.conv1\.", r"layer4\.0\.conv1\."), refine=_resnet),
    _Kind(name="DenseNet", naming=_BOTH, wanted=(r"denseblock1\.denselayer1\.conv1\.",)),
    _Kind(name="Inception v3", naming=_BOTH, wanted=(r"Mixed_5b\.branch1x1\.", r"Mixed_7c\.")),
    _Kind(name="GoogLeNet", naming=_TV, wanted=(r"inception3a\.branch1\.",)),
    _Kind(name="Inception v4 or Inception-ResNet", naming=_TIMM, wanted=(r"(mixed_5b|mixed_6a|features\.\d+\.branch\d)\.",)),
    _Kind(name="Xception", naming=_TIMM, wanted=(r"block1\.rep\.\d+\.",)),
    _Kind(name="ShuffleNetV2", naming=_TV, wanted=(r"stage2\.0\.branch1\.0\.", r"conv5\.0\.")),
    _Kind(name="RegNet", naming=_TV, wanted=(r"trunk_output\.block1\.",)),
    _Kind(name="RegNet", naming=_TIMM, wanted=(r"s1\.b1\.conv1\.conv\.",)),
    _Kind(name="MNASNet", naming=_TV, wanted=(r"layers\.8\.0\.layers\.0\.",)),
    _Kind(name="Swin Transformer", naming=_TV, wanted=(r"features\.1\.0\.attn\.relative_position_bias_table",)),
    _Kind(name="Swin Transformer", naming=_TIMM, wanted=(r"layers\.0\.blocks\.0\.attn\.(relative_position|logit_scale|qkv)",)),
    _Kind(name="ConvNeXt", naming=_TV, wanted=(r"features\.1\.0\.layer_scale",)),
    _Kind(name="ConvNeXt", naming=_TIMM, wanted=(r"stages\.0\.blocks\.0\.(conv_dw|gamma)", r"stem\.0\.")),
    _Kind(name="MobileViT", naming=_TIMM, wanted=(r"stages\.\d\.\d\.transformer\.",)),
    _Kind(name="DeiT", naming=_TIMM, wanted=(r"dist_token", r"blocks\.0\.attn\.")),
    _Kind(name="ViT", naming=_TV, wanted=(r"class_token", r"encoder\.layers\.encoder_layer_0\."), refine=_vit),
    _Kind(name="ViT", naming=_TIMM, wanted=(r"patch_embed\.proj\.", r"blocks\.0\.attn\.qkv\."), refine=_vit),
    _Kind(name="MaxViT", naming=_TV, wanted=(r"blocks\.0\.layers\.0\.layers\.MBconv\.",)),
    _Kind(name="EfficientNetV2 or EfficientNet", naming=_TIMM, wanted=(r"conv_stem\.", r"blocks\.0\.0\.conv_exp\.")),
    _Kind(name="MobileNetV3", naming=_TIMM, wanted=(r"conv_stem\.", r"conv_head\.bias")),
    _Kind(
        name="EfficientNet", naming=_TIMM, wanted=(r"conv_stem\.", r"blocks\.0\.0\.se\.", r"conv_head\."), refine=_efficientnet
    ),
    _Kind(
        name="MobileNet or EfficientNet", naming=_TIMM, wanted=(r"conv_stem\.", r"blocks\.0\.0\.conv_"), refine=_without_squeeze
    ),
    _Kind(name="MobileNetV3", naming=_TV, wanted=(r"features\.0\.0\.", r"features\.\d+\.block\.\d\.\d\.", r"classifier\.3\.")),
    _Kind(name="EfficientNet", naming=_TV, wanted=(r"features\.0\.0\.", r"features\.1\.0\.block\.0\.0\.")),
    _Kind(name="MobileNetV2", naming=_TV, wanted=(r"features\.0\.0\.", r"features\.1\.conv\.0\.0\.")),
    _Kind(name="EfficientNet", naming="efficientnet-pytorch's", wanted=(r"_conv_stem\.", r"_blocks\.0\._depthwise_conv\.")),
    _Kind(name="MLP-Mixer", naming=_TIMM, wanted=(r"blocks\.0\.mlp_tokens\.",)),
    _Kind(name="GhostNet", naming=_TIMM, wanted=(r"conv_stem\.", r"blocks\.0\.0\.ghost1\.")),
    # A SqueezeNet by other names: fire modules numbered as in the paper, or as in other frameworks.
    _Kind(name="SqueezeNet", naming="other", wanted=(r"fire_?2[./_]",)),
    _Kind(name="SqueezeNet", naming="other", wanted=(r"\w*squeeze(_?1x1|_conv|\.conv)[./]", r"\w*expand")),
)


def looks_like(shapes: Shapes) -> str | None:
    """Name the network with whose naming, such as "ResNet-18 (torchvision's and timm's names)"; None where nothing fits."""
    for kind in _KINDS:
        if all(any(re.search(rf"(?:^|\.){pattern}", name) for name in shapes) for pattern in kind.wanted):
            exact = kind.refine(shapes) if kind.refine is not None else None
            return f"{exact or kind.name} ({kind.naming} names)"
    return _by_first_convolution(shapes)


def _by_first_convolution(shapes: Shapes) -> str | None:
    """AlexNet and VGG: plain Sequentials, which only shapes tell from other ones."""
    first, last = _shape(shapes, "features.0.weight"), _shape(shapes, "classifier.6.weight")
    if len(last) == 2 and first[2:] == (11, 11):
        return f"AlexNet ({_TV} names)"
    if len(last) == 2 and first == (64, 3, 3, 3):
        return f"{_vgg(shapes) or 'VGG'} ({_TV} names)"
    if len(first) == 4 and _shape(shapes, "head.fc.weight") and _shape(shapes, "pre_logits.fc1.weight"):
        return f"VGG ({_TIMM} names)"
    return None
