"""What is rewritten for converters gives the same numbers; tests/unit/exporters/test_captured.py holds the files to them."""

from __future__ import annotations

import pytest
import torch

from squeeze_export.sources.networks import capture
from squeeze_export.sources.networks.programs.rewriting import rewrite
from tests.unit.sources.networks.quirks import SIDE, Attended, Encoded, Resized, Shifted, captured


def targets(module):
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("network", "gone", "left"),
    [
        (Resized(), "aten.upsample_nearest2d.vec", 1),  # the second one resizes 7 to 7
        (Resized(3), "aten.upsample_nearest2d.vec", 1),
        (Resized(mode="bilinear"), "aten.upsample_bilinear2d.vec", 1),
        (Resized(21), "aten.upsample_nearest2d.vec", 2),
        (Attended(), "aten.expand_as.default", 0),
        (Encoded(), "aten.cos.default", 0),
        (Attended("cat"), "aten.expand_as.default", 1),  # cat does not expand by itself
        (Shifted(), "aten.fill_.Tensor", 0),
        (Shifted(written=True), "aten.fill_.Tensor", 3),  # it is no constant
    ],
    ids=[
        *("3 to 7", "7 to 3", "bilinear", "3 to 21", "expanded", "constant", "expanded for others"),
        *("written constant", "written by an image"),
    ],
)
def test_not_a_bit_changes(network, gone, left):
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    module = captured(network).module()
    before = [module(image[None]) for image in images]
    there = targets(module).count(gone)
    assert rewrite(module) == (there != left)
    assert targets(module).count(gone) == left
    assert all(torch.equal(module(image[None]), kept) for image, kept in zip(images, before, strict=True))


def test_a_program_without_any_of_it_stays_itself():
    plain = captured(Attended("cat"))
    assert capture.rewrite(plain) is plain
