"""A network, its images and their classes, all in a program's memory: exported, held to limits and scores, and evaluated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import squeeze_export
from squeeze_export import ExportRequest, spec_for
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.pipeline import own_reference
from squeeze_export.pipeline.walk import source_of
from tests.captured_nets import mixed

SPEC = spec_for("torchvision", model="", input_size=32, resize=32)


@pytest.fixture(scope="module")
def pictures():
    """Twelve, N x C x H x W in 0..1, as torchvision's ToTensor gives them."""
    levels = np.random.default_rng(0).integers(0, 256, (12, 3, 4, 4)).repeat(8, 2).repeat(8, 3)
    return torch.from_numpy(levels).float() / 255


@pytest.fixture(scope="module")
def scores(pictures):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (SPEC.mean, SPEC.std))
    with torch.no_grad():
        return mixed(classes=3)((pictures - mean) / std)


def exported(folder, pictures, **fields):
    given = {"targets": ("torchscript",), "images": pictures, "preprocessing": SPEC, "output": folder, "starters": ()}
    return squeeze_export.export(mixed(classes=3), **{**given, **fields})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, pictures, scores):
    classes = scores.argmax(1)
    folder = tmp_path_factory.mktemp("dist")
    return exported(folder, pictures, classes=classes, reference=scores, max_accuracy_drop=10, min_accuracy=90, name="net")


def test_limits_and_scores_are_held_to(bundle):
    found = bundle.manifest.accuracy
    assert (found.origin, found.expected, found.images, found.reference) == ("memory", "labels", 12, 12)
    assert bundle.manifest.reference_scores.images == 12 and bundle.manifest.reference_scores.max_probability_error < 1e-5


def test_it_is_evaluated_on_them(bundle, pictures, scores):
    wrong = [int(scores[0].argmin()), *map(int, scores[1:].argmax(1))]
    found = squeeze_export.evaluate(bundle, images=pictures, classes=wrong, model=mixed(classes=3))
    assert (found.source, found.images) == ("12 images in memory", 12)
    assert {row["top1"] for row in found.rows} == {11 / 12}
    with pytest.raises(UsageError, match="Accuracy needs the class of each image, and 12 images in memory have none"):
        squeeze_export.evaluate(bundle, images=pictures, reference=False)


def test_other_scores_are_refused(pictures, scores):
    wanted = ExportRequest(
        model=mixed(classes=3),
        weights="module",
        targets=("torchscript",),
        images=pictures,
        preprocessing=SPEC,
        reference=-scores,
    )
    with pytest.raises(SourceError, match="The source model does not give the scores given"):
        own_reference.compare(wanted, source_of(wanted, "net"))
    with pytest.raises(SourceError, match="has 5 scores per image, the model has 3 classes"):
        own_reference.compare(replace(wanted, reference=np.zeros((12, 5))), source_of(wanted, "net"))
