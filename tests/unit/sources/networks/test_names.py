from __future__ import annotations

import pytest

from squeeze_export.contracts.source import MODELS
from squeeze_export.errors import UsageError
from squeeze_export.sources.networks.names import parse_model


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        *((model, "squeezenet", model) for model in MODELS),
        ("timm:mobilenetv4_conv_small.e2400_r224_in1k", "timm", "mobilenetv4_conv_small.e2400_r224_in1k"),
        ("torchvision:mobilenet_v3_small", "torchvision", "mobilenet_v3_small"),
        ("hf:path/to/folder", "hf", "path/to/folder"),
        ("hf:C:\\models\\mine", "hf", "C:\\models\\mine"),
        ("nets.flowers:build", "factory", "nets.flowers:build"),
        ("nets:Outer.build", "factory", "nets:Outer.build"),
        ("model.pt2", "program", "model.pt2"),
        ("./timm.d/model.PT2", "program", "./timm.d/model.PT2"),
        ("C:\\models\\mine.pt2", "program", "C:\\models\\mine.pt2"),
    ],
)
def test_what_a_model_may_be(text, kind, name):
    wanted = parse_model(text)
    assert (wanted.kind, wanted.name, wanted.shown) == (kind, name, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("squeezenet1.1", "Did you mean squeezenet1_1?"),
        ("Timm:resnet18", "Did you mean timm:resnet18?"),
        ("timm:", "names nothing behind the colon"),
        ("timm:hf-hub:someone/model", "is no name of a timm model"),
        ("nets/flowers.py:build", "nets.flowers:build"),
        ("best.pth", "pass them as --weights"),
        ("model.onnx", "another format"),
        ("resnet18", "timm:NAME, torchvision:NAME"),
        ("", "is unknown"),
        ("a:b:c", "is unknown"),
    ],
)
def test_anything_else_is_refused_with_what_may_be_meant(text, words):
    with pytest.raises(UsageError) as caught:
        parse_model(text)
    assert words in str(caught.value)
