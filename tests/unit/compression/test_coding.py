"""Coding one layer, and one network, on small problems whose best answers are known or easily bounded."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from squeeze_export.compression.codings import CodedWeight, Coding
from squeeze_export.compression.compensation import Moments, encode, encode_uniform, pose
from squeeze_export.compression.network import compress, convolutions, decoded, stages
from squeeze_export.compression.palettes import nearest, weighted_kmeans
from squeeze_export.errors import UsageError
from tests.unit.compression.tiny import Tiny, tiny_images, tiny_network


def problem(*, rows=16, columns=24, zeros=0.0, seed=0):
    """A layer whose inputs are strongly correlated, as the outputs of a ReLU network are."""
    generator = np.random.default_rng(seed)
    few = generator.normal(size=(4000, 5)) @ generator.normal(size=(5, columns))
    inputs = np.maximum(few + 0.3 * generator.normal(size=(4000, columns)), 0)
    weight = generator.laplace(size=(rows, columns, 1, 1)).astype(np.float32)
    weight[generator.random(weight.shape) < zeros] = 0
    mean = inputs.mean(axis=0)
    covariance = np.cov(inputs.T, bias=True).astype(np.float32)
    moments = Moments(covariance=covariance, cross=covariance, mean=mean, original_mean=mean)
    return pose(weight, moments), weight


def rounded(posed, weight, coding):
    """The weights rounded to the nearest entries of a plain k-means palette: what compensation must beat."""
    values = weight.reshape(-1, coding.vector, weight.shape[1]).transpose(0, 2, 1).reshape(-1, coding.vector)
    table = weighted_kmeans(np.ascontiguousarray(values), np.ones(len(values), np.float32), 2**coding.bits, seed=0)
    plain = table[nearest(np.ascontiguousarray(values), table)].reshape(-1, weight.shape[1], coding.vector).transpose(0, 2, 1)
    return posed.error(plain.reshape(weight.shape))


@pytest.mark.parametrize("text", ["pal4", "pal6x2", "pal8x4", "pal4g8", "keep-pal4", "zero50-pal3"])
def test_a_coding_reads_what_it_writes(text):
    assert str(Coding.parse(text)) == text


@pytest.mark.parametrize("text", ["pal5", "pal4x3", "keep-pal6x2", "int8", "pal", ""])
def test_what_cannot_be_stored_is_refused(text):
    with pytest.raises(UsageError):
        Coding.parse(text)


@pytest.mark.parametrize("text", ["pal4", "pal3", "pal4x2", "pal4g4"])
def test_compensation_beats_rounding(text):
    coding = Coding.parse(text)
    posed, weight = problem()
    coded = encode(posed, coding)
    assert coded.table.dtype == np.float16
    assert set(np.unique(coded.decoded())) <= set(coded.table.astype(np.float32).ravel())
    assert posed.error(coded.decoded()) < 0.6 * rounded(posed, weight, coding)
    again = encode(posed, coding)
    assert np.array_equal(again.indices, coded.indices)
    assert np.array_equal(again.table, coded.table)


def test_descent_and_fitting_only_improve():
    posed, _ = problem(seed=5)
    coding = Coding.parse("pal3")
    assert posed.error(encode(posed, coding).decoded()) < posed.error(encode(posed, coding, passes=0).decoded())


def test_zeros_stay_zeros_and_nothing_else_is():
    posed, weight = problem(rows=32, zeros=0.6)
    coded = encode(posed, Coding.parse("keep-pal2"))
    assert np.array_equal(coded.decoded() == 0, weight == 0)
    pruned = encode(posed, Coding.parse("zero75-pal3")).decoded()
    assert (pruned == 0).sum() == round(0.75 * weight.size)
    assert not pruned[weight == 0].any()


def test_pruning_beats_leaving_away_the_smallest():
    posed, weight = problem(rows=32)
    pruned = encode(posed, Coding.parse("zero50-pal8")).decoded()
    magnitude = np.where(np.abs(weight) >= np.quantile(np.abs(weight), 0.5), weight, 0)
    assert (pruned == 0).sum() == (magnitude == 0).sum()
    assert posed.error(pruned) < 0.5 * posed.error(magnitude)


def test_a_dense_palette_may_serve_a_sparse_layer():
    posed, weight = problem(zeros=1.0)
    assert not encode(posed, Coding.parse("keep-pal2")).decoded().any()
    assert np.abs(encode(posed, Coding.parse("pal2")).decoded()).max() < 1e-3
    assert not weight.any()


def test_integers_per_channel():
    posed, weight = problem()
    coded = encode_uniform(posed, 4)
    assert (coded.values.min(), coded.values.max()) >= (-7, 0)
    assert coded.values.max() <= 7
    scales = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 7
    plain = np.rint(weight / scales) * scales
    assert posed.error(coded.decoded()) < 0.7 * posed.error(plain.astype(np.float32))
    dead = posed.target.copy()
    dead[0] = 0
    halved = encode_uniform(dataclasses.replace(posed, target=dead), 8, half=True)
    assert halved.scales.dtype == np.float16 and (halved.scales > 0).all()
    assert np.array_equal(halved.decoded(), halved.decoded().astype(np.float16))
    assert np.abs(halved.decoded()[0]).max() < 1e-6
    assert np.abs(halved.decoded().reshape(dead.shape) - dead).max() < np.abs(dead).max() / 20


def test_damaged_coded_weights_are_refused():
    good = encode(problem()[0], Coding.parse("pal2"))
    for change in ({"indices": good.indices + 4}, {"table": good.table[:, :3]}, {"table": good.table.astype(np.float32)}):
        with pytest.raises(ValueError):
            dataclasses.replace(good, **change)


def test_vectors_lie_along_the_output_channels():
    table = np.arange(8, dtype=np.float16).reshape(1, 4, 2)
    weight = CodedWeight(
        coding=Coding.parse("pal2x2"), indices=np.array([[3, 0]], np.uint8).reshape(1, 2, 1, 1), table=table, mask=None
    )
    assert weight.decoded().reshape(2, 2).tolist() == [[6, 0], [7, 1]]


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def images():
    return tiny_images()


@pytest.fixture(scope="module")
def coded(network, images):
    codings = {name: Coding.parse("pal3" if "expand" in name else "pal4") for name in convolutions(network)}
    return compress(network, images, codings)


def kl(network, other, images):
    ours, theirs = network(images).log_softmax(1), other(images).log_softmax(1)
    return float((ours.exp() * (ours - theirs)).sum(1).mean())


def test_a_whole_network_is_coded_and_left_as_it_was(network, images, coded):
    assert list(coded) == [name for stage in stages(network) for name, _ in stage.layers]
    assert set(coded) == set(convolutions(network))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = {}
    for name, layer in convolutions(network).items():
        values = layer.weight.numpy().reshape(-1, 1)
        table = weighted_kmeans(values, np.ones(len(values), np.float32), 2 ** coded[name].weight.coding.bits, seed=0)
        plain[f"{name}.weight"] = torch.from_numpy(table[nearest(values, table)].reshape(layer.weight.shape))
    rounded_network = Tiny().eval()
    rounded_network.load_state_dict({**before, **plain})
    with torch.no_grad():
        assert kl(network, decoded(network, coded), images) < 0.5 * kl(network, rounded_network, images)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_biases_keep_the_mean_of_every_output(network, images, coded):
    """Of the first layer, which sees every position or as many as are sampled, and the same inputs as the original's."""
    ours, theirs = network.features[0](images), decoded(network, coded).features[0](images)
    spread = float(ours.std())
    assert float((ours - theirs).mean((0, 2, 3)).abs().max()) < 0.02 * spread
    assert float((ours - theirs).std()) > 0  # something was coded
