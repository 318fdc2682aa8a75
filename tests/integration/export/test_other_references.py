"""A network other than SqueezeNet beside its reference: held to accuracy and to the user's own scores, evaluated, in a ladder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import squeeze_export
from squeeze_export import ExportRequest, spec_for
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.evaluation import crew
from squeeze_export.preprocessing.pixels import load_pixels, normalise
from tests.captured_nets import mixed

SIDE = 48
LABELS = ["bud", "daisy", "iris", "lily", "rose", "tulip", "viola"]
SPEC = spec_for("torchvision", input_size=SIDE)
NETWORK = "tests.captured_nets:mixed"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Fourteen pictures in a folder per class, each named by the class that the network sees in it."""
    folder, network = tmp_path_factory.mktemp("pictures"), mixed()
    rng = np.random.default_rng(3)
    for label in LABELS:
        (folder / label).mkdir()
    for place in range(14):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        coarse.resize((72, 60), Image.Resampling.BICUBIC).save(folder / "p.png")
        with torch.inference_mode():
            scores = network(torch.from_numpy(normalise(load_pixels(folder / "p.png", SPEC)[None], SPEC)))
        (folder / "p.png").rename(folder / LABELS[int(scores.argmax())] / f"{place}.png")
    return folder


@pytest.fixture(scope="module")
def scores(pictures, tmp_path_factory):
    """What the network gives for some of them, as its author would have kept it."""
    network, names = mixed(), sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.png"))[:5]
    with torch.inference_mode():
        rows = [network(torch.from_numpy(normalise(load_pixels(pictures / name, SPEC)[None], SPEC)))[0].numpy() for name in names]
    path = tmp_path_factory.mktemp("scores") / "scores.npz"
    np.savez(path, names=names, logits=np.stack(rows))
    return path


@pytest.fixture(scope="module")
def bundle(pictures, scores, tmp_path_factory):
    return squeeze_export.export(
        model=NETWORK,
        targets=("torchscript",),
        labels=LABELS,
        images=pictures,
        reference=scores,
        max_accuracy_drop=10.0,
        min_accuracy=90.0,
        preprocessing=SPEC,
        output=tmp_path_factory.mktemp("dist"),
    )


def test_an_export_is_held_to_accuracy_and_to_scores_of_ones_own(bundle):
    accuracy = bundle.manifest.accuracy
    assert (accuracy.expected, accuracy.images, accuracy.reference) == ("labels", 14, 14)
    assert accuracy.reference_executor.startswith("captured, in eager PyTorch")
    assert [(figure.status, figure.right) for figure in accuracy.artifacts] == [("MEASURED", 14)]
    told = bundle.manifest.reference_scores
    assert told.images == 5 and told.max_probability_error < 1e-4 and told.top1_agreement == 1


def test_scores_of_another_network_are_refused_before_the_work(pictures, scores, tmp_path):
    with np.load(scores) as kept:
        np.savez(tmp_path / "other.npz", names=kept["names"], logits=kept["logits"][:, ::-1])
    wanted = ExportRequest(targets=("torchscript",), model=NETWORK, images=pictures, preprocessing=SPEC, output=tmp_path / "out")
    with pytest.raises(SourceError, match="the classes in reverse order"):
        squeeze_export.export(wanted, reference=tmp_path / "other.npz")
    assert not (tmp_path / "out").exists()


def test_its_reference_is_made_again_from_the_network_given_again(bundle, pictures, tmp_path, monkeypatch):
    cache = tmp_path / "answers.sqlite3"
    found = squeeze_export.evaluate(bundle, images=pictures, model=NETWORK, cache=cache)
    assert found.reference.accuracy.top1.hits == 14 and found.exit_code == 0
    assert found.artifacts[0].comparison.agreement.value == 1
    # Everything is known of the same network: no process is started for it.
    monkeypatch.setattr(crew.Crew, "__init__", lambda *_, **__: pytest.fail("a worker was started"))
    again = squeeze_export.evaluate(bundle, images=pictures, model=mixed(), cache=cache)
    assert again.reference.accuracy == found.reference.accuracy and again.reference.cached == 14


class Changed(torch.nn.Module):
    """The same weights by the same names, computed otherwise."""

    def __init__(self, network):
        super().__init__()
        self.__dict__.update(network.__dict__)
        self.kept = [network]

    def forward(self, image):
        return self.kept[0](image.flip(-1))


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({}, UsageError, f"the bundle is of {NETWORK}.* Pass model=.* or reference=False"),
        ({"model": NETWORK, "model_arguments": {"width": 24}}, SourceError, "has not the weights that the bundle was made from"),
        ({"model": Changed(mixed())}, SourceError, "answers the golden images otherwise"),
        ({"model": NETWORK, "reference": False}, UsageError, "exclude each other: the model is for the reference"),
    ],
)
def test_another_network_is_no_reference(bundle, pictures, given, kind, told):
    with pytest.raises(kind, match=told):
        squeeze_export.evaluate(bundle, images=pictures, **given)


def test_it_has_a_ladder(pictures, tmp_path):
    found = squeeze_export.ladder(
        mixed(), targets=("torchscript",), labels=LABELS, images=pictures, preprocessing=SPEC, output=tmp_path, runs=1
    )
    assert [rung.name for rung in found.rungs] == ["fp32"] and found.reference.top1.hits == 14
    assert found.exit_code == 0 and json.loads((tmp_path / "ladder.json").read_text())["name"] == "Mixed"
