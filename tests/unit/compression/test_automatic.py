"""A budget met exactly, refused with the smallest reachable, and a run that is stopped and taken up again."""

from __future__ import annotations

import itertools
import os
import threading

import numpy as np
import pytest
import torch

from squeeze_export.compression import automatic, budget, checkpoint
from squeeze_export.compression.automatic import compress_within
from squeeze_export.compression.checkpoint import Checkpoint
from squeeze_export.compression.compensation import encode_uniform
from squeeze_export.compression.network import CodedLayer, convolutions, decoded, walk
from squeeze_export.errors import UsageError
from squeeze_export.exporters.coreml.sizes import stored
from tests.unit.compression.tiny import tiny_images, tiny_network


def test_the_choice_is_the_best_of_all():
    generator = np.random.default_rng(4)
    options = {
        f"layer {layer}": {f"coding {way}": (float(generator.random()), int(generator.integers(1, 40)) * 16) for way in range(4)}
        for layer in range(5)
    }
    for limit in (1000, 1400, 2500):
        every = [dict(zip(options, ways, strict=True)) for ways in itertools.product(*options.values())]
        fitting = [way for way in every if sum(options[layer][coding][1] for layer, coding in way.items()) <= limit]
        best = min(sum(options[layer][coding][0] for layer, coding in way.items()) for way in fitting)
        chosen = budget.choose(options, limit)
        assert sum(options[layer][coding][1] for layer, coding in chosen.items()) <= limit
        assert sum(options[layer][coding][0] for layer, coding in chosen.items()) == pytest.approx(best)
    # More than everything needs is no harder: the best of each layer, without a table as large as the budget.
    chosen = budget.choose(options, 10**15)
    assert chosen == {layer: min(table, key=lambda way: table[way][0]) for layer, table in options.items()}


@pytest.mark.parametrize(
    ("text", "size"),
    [("490KB", 490_000), ("480kib", 491_520), ("0.5 MB", 500_000), ("1MiB", 1_048_576), ("490000", 490_000), ("4GB", 4 * 10**9)],
)
def test_sizes_are_read(text, size):
    assert budget.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KB", "-5KB", "0", "0.1B", "490 TB", "4e5", "١KB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="is no size"):
        budget.parse_size(text)


def test_an_unreachable_budget_names_the_smallest_reachable():
    options = {"a": {"x": (0.0, 100), "y": (1.0, 60)}, "b": {"x": (0.0, 100)}}
    with pytest.raises(UsageError, match=r"159 bytes cannot be reached.*160"):
        budget.choose(options, 159)
    with pytest.raises(UsageError, match="allow 192"):  # costs are rounded up to 16 bytes
        budget.choose(options, 160)
    assert budget.choose(options, 192) == {"a": "y", "b": "x"}


def test_what_is_small_is_coded_finely_and_zeros_only_where_there_are_many():
    assert [str(coding) for coding in automatic.menu((64, 16, 1, 1), 1024, 10**6, stored)] == ["pal8", "pal6"]
    dense = automatic.menu((64, 64, 3, 3), 36864, 10**6, stored)
    sparse = automatic.menu((64, 64, 3, 3), 12000, 10**6, stored)
    assert not any(coding.zeros for coding in dense)
    assert {str(coding) for coding in sparse} - {str(coding) for coding in dense} >= {"keep-pal4", "keep-pal2"}
    for found in (dense, sparse):
        costs = [cost for coding, cost in found.items() if coding.zeros is None]
        assert costs == sorted(costs, reverse=True)  # finer is larger, or it is not offered


def test_what_a_checkpoint_had_says_nothing_of_the_time_left(monkeypatch):
    now, heard = [0.0], []
    monkeypatch.setattr(automatic.time, "monotonic", lambda: now[0])
    clock = automatic.Clock(total=100.0, told=lambda what, part, left: heard.append((part, left)))
    for seconds, work, free in ((30.0, 60.0, True), (1.0, 10.0, False), (2.0, 20.0, False)):
        now[0] += seconds
        clock.advance("layer", work, free=free)
    assert np.isnan(heard[0][1])  # walking over known layers took 30 s
    assert heard[1:] == [(0.7, pytest.approx(3.0)), (0.9, pytest.approx(1.0))]


class Stopped(Exception):
    pass


def test_a_stopped_run_is_taken_up_again(tmp_path):
    network, images = tiny_network(), tiny_images()
    free = sum(stored(automatic.MENU[3], tuple(layer.weight.shape), 0) for layer in convolutions(network).values())
    heard: list[tuple[str, float, float]] = []
    whole = compress_within(network, images, free, stored, told=lambda *event: heard.append(event))
    assert [part for _, part, _ in heard] == sorted(part for _, part, _ in heard)
    assert heard[-1][1:] == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-9))

    for stop in (3, len(heard) - 3):  # while it measures, while it codes
        count = 0

        def told(what, part, left, stop=stop):
            nonlocal count
            count += 1
            if count == stop:
                raise Stopped

        with pytest.raises(Stopped):
            compress_within(network, images, free, stored, checkpoints=tmp_path, told=told)
    measured: list[str] = []
    again = compress_within(
        network, images, free, stored, checkpoints=tmp_path, told=lambda what, part, left: measured.append(what)
    )
    assert not any(" as " in what for what in measured if what.startswith("measuring"))
    for name, layer in whole.items():
        assert again[name].weight.coding == layer.weight.coding
        assert np.array_equal(again[name].weight.decoded(), layer.weight.decoded())
        assert np.array_equal(again[name].bias, layer.bias)
    used = sum(stored(layer.weight.coding, layer.weight.shape, 0) for layer in whole.values())
    assert free * 0.9 < used <= free

    # Other weights share nothing, and a damaged file counts as none.
    for file in tmp_path.rglob("*.npz"):
        file.write_bytes(b"PK\x03\x04 damaged")
    healed = compress_within(network, images, free, stored, checkpoints=tmp_path)
    assert all(np.array_equal(healed[name].bias, whole[name].bias) for name in whole)


def test_two_sizes_at_the_same_time_measure_once_and_share_nothing_else(tmp_path):
    """The second begins while the first measures; it waits, finds the losses, and chooses and codes by its own size."""
    network, images = tiny_network(), tiny_images()
    costs = [
        stored(automatic.MENU[way], tuple(layer.weight.shape), 0) for way in (1, 3) for layer in convolutions(network).values()
    ]
    large, small = sum(costs[: len(costs) // 2]), sum(costs[len(costs) // 2 :])
    waiting, heard, second = threading.Event(), {large: [], small: []}, []

    def told(size, what):
        heard[size].append(what)
        if what.startswith("waiting"):
            waiting.set()
        elif not second:
            second.append(threading.Thread(target=coded, args=(small,)))
            second[0].start()
            assert waiting.wait(20)

    made = {}

    def coded(size):
        made[size] = compress_within(
            network, images, size, stored, checkpoints=tmp_path, told=lambda what, part, left: told(size, what)
        )

    coded(large)
    second[0].join(60)
    measured = {size: any(what.startswith("measuring") and " as " in what for what in heard[size]) for size in made}
    assert measured == {large: True, small: False}
    assert not any(what.startswith("waiting") for what in heard[large])
    codings = {}
    for size, layers in made.items():
        alone = compress_within(network, images, size, stored)
        codings[size] = [str(layer.weight.coding) for layer in layers.values()]
        assert codings[size] == [str(layer.weight.coding) for layer in alone.values()]
        assert all(np.array_equal(layer.weight.decoded(), alone[name].weight.decoded()) for name, layer in layers.items())
        assert sum(stored(layer.weight.coding, layer.weight.shape, 0) for layer in layers.values()) <= size
    assert codings[large] != codings[small]


def test_old_checkpoints_go_when_there_are_too_many_bytes(tmp_path, monkeypatch):
    """The folder of the run itself stays, then those used last; what is no checkpoint is left alone."""
    weight = encode_uniform(next(walk(tiny_network(), tiny_images(), seed=0)).problem, 8, half=True)
    layer = CodedLayer(name="features.0", weight=weight, bias=np.zeros(12, np.float32))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_bytes(bytes(5000))
    for age, key in enumerate("abc"):
        Checkpoint(tmp_path, key * 64).keep_layer("plan", layer)
        os.utime(tmp_path / (key * 32), (age, age))
    size = sum(file.stat().st_size for file in (tmp_path / ("a" * 32)).iterdir())
    monkeypatch.setattr(checkpoint, "MOST_BYTES", 2 * size)
    Checkpoint(tmp_path, "a" * 64)  # used again: now b is the oldest
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["a", "c", "m"]
    found = Checkpoint(tmp_path, "a" * 64).layer("plan", "features.0")
    assert np.array_equal(found.weight.values, weight.values) and np.array_equal(found.weight.scales, weight.scales)
    monkeypatch.setattr(checkpoint, "MOST_BYTES", 0)
    Checkpoint(tmp_path, "d" * 64)
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["d", "m"]


def test_more_bytes_give_better_answers():
    network, images = tiny_network(), tiny_images()
    reference = network(images)
    losses = []
    smallest = sum(
        min(automatic.menu(tuple(layer.weight.shape), layer.weight.numel(), 4000, stored).values())
        for layer in convolutions(network).values()
    )
    with pytest.raises(UsageError, match="cannot be reached"):
        compress_within(network, images, smallest - 1, stored)
    for more in (200, 3000):
        coded = compress_within(network, images, smallest + more, stored)
        losses.append(automatic.divergence(reference, decoded(network, coded)(images)))
    assert losses[1] < losses[0]
    assert torch.isfinite(reference).all()
