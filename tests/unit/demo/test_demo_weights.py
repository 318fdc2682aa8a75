"""The weights that ship: the right network, small, and able to read."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from squeeze_export.demo import characters


def test_weights_are_half_precision_and_small() -> None:
    blob = characters.WEIGHTS.read_bytes()
    assert len(blob) <= 1_600_000
    header = json.loads(blob[8 : 8 + struct.unpack("<Q", blob[:8])[0]])
    described = header.pop("__metadata__")
    assert described["model"] == "squeezenet1_1"
    assert described["classes"] == characters.CHARACTERS
    assert {entry["dtype"] for entry in header.values()} == {"F16"}
    assert header["classifier.1.weight"]["shape"] == [34, 512, 1, 1]


def _network():
    from safetensors.torch import load_file

    from squeeze_export.sources.squeezenet import SqueezeNet

    network = SqueezeNet("squeezenet1_1", 34)
    network.load_state_dict({name: value.float() for name, value in load_file(characters.WEIGHTS).items()})
    return network.eval()


def _correct(network, pictures) -> int:
    """How many are read right after resize 256, crop 224 and the torchvision normalisation."""
    import torch

    right = 0
    for picture, label in pictures:
        short = min(picture.size)
        resized = picture.resize((int(256 * picture.width / short), int(256 * picture.height / short)), 2)
        left, top = round((resized.width - 224) / 2), round((resized.height - 224) / 2)
        crop = np.asarray(resized.crop((left, top, left + 224, top + 224)), np.float32) / 255
        values = ((crop - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).astype(np.float32).transpose(2, 0, 1)
        with torch.inference_mode():
            right += int(network(torch.from_numpy(values)[None]).argmax()) == label
    return right


@pytest.fixture(scope="module")
def pictures():
    # A demo set that no report uses. 102 pictures: a network at 98 % falls below 95 once in some hundred sets; this set is fixed.
    return [characters.demo_image(77, index) for index in range(102)]


def test_weights_read_fonts_they_were_not_trained_on(pictures) -> None:
    assert _correct(_network(), pictures) >= 95


def test_the_check_above_would_see_damaged_weights(pictures) -> None:
    import torch

    network = _network()
    with torch.no_grad():
        network.classifier[1].weight.copy_(network.classifier[1].weight.roll(1, dims=0))
    assert _correct(network, pictures[:34]) <= 10


def test_the_eight_demo_pictures_are_read_right() -> None:
    pictures = [characters.demo_image(characters.PICTURES_SEED, index) for index in characters.PICTURES]
    assert _correct(_network(), pictures) == 8
