"""A captured network is held to the module it was made from, by no more than what rounding allows."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from squeeze_export.errors import SourceError
from squeeze_export.pipeline.capturing import noise_floor_of
from squeeze_export.sources.networks import capture
from tests.unit.sources.networks.quirks import SIDE, Cancelling, Encoded, captured

IMAGES = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def source_of(network):
    settled, notes = capture.settle(captured(network))
    return SimpleNamespace(module=settled.module(), eager=network, program=settled), notes


def cancelling(offset):
    network = Cancelling()
    with torch.no_grad():
        source_of(network)  # gives it its weights
        network.first.bias += offset
        network.norm.running_mean.copy_(network.first.bias)
    program, notes = capture.settle(capture.capture(network.eval(), SIDE, SIDE))
    assert "batch norms" in notes[0]
    return SimpleNamespace(module=program.module(), eager=copy.deepcopy(network), program=program)  # they share weights


def test_a_program_of_other_digits_than_the_module_passes_where_rounding_explains_them():
    source = cancelling(1e5)
    with pytest.raises(SourceError, match="is not the module that it was made from"):
        capture.compare(source.program, source.eager, IMAGES)
    floor = noise_floor_of(source, IMAGES)
    assert floor.fp32.centred_snr_db > 100  # of the program that is exported


def test_a_fault_that_no_rounding_explains_is_refused():
    source = cancelling(0)
    noise_floor_of(source, IMAGES)
    with torch.no_grad():
        source.eager.last.weight[0, 0] *= 1.01
    with pytest.raises(SourceError, match="is not the module that it was made from"):
        noise_floor_of(source, IMAGES)


def test_a_fault_larger_than_the_rounding_of_such_a_network_is_refused_as_well():
    source = cancelling(1e5)
    with torch.no_grad():
        source.eager.last.weight[0] *= -1
    with pytest.raises(SourceError, match="is not the module that it was made from"):
        noise_floor_of(source, IMAGES)


def test_code_that_cannot_be_computed_in_fp64_excuses_nothing():
    class Typed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = source_of(Encoded())[0].eager

        def forward(self, image):
            assert image.dtype == torch.float32
            return 1.01 * self.inner(image)

    source, _ = source_of(Encoded())
    source.eager = Typed()
    with pytest.raises(SourceError, match="is not the module that it was made from"):
        noise_floor_of(source, IMAGES)
