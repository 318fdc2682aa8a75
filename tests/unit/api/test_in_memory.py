"""What a program holds in its memory, in place of names and files: a module, labels, pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from squeeze_export import ExportRequest
from squeeze_export.contracts.in_memory import GivenPictures
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.golden.images import given_images
from squeeze_export.pipeline.plan import plan
from squeeze_export.sources.labels import read_labels
from squeeze_export.sources.networks.names import parse_model, wanted_of
from squeeze_export.sources.source import default_name


def wanted(**fields):
    return ExportRequest(**{"targets": ("torchscript",), **fields})


def test_a_module_is_named_by_its_class():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3))
    made = wanted(model=module)
    assert made.model is module and made.model_name == "in-memory:Sequential" == wanted_of(module).shown
    assert default_name(made.model_name, "demo") == "Sequential"
    assert list(plan(made)) == list(made.keys)
    with pytest.raises(UsageError, match=r"was a module in a program's memory"):
        parse_model(made.model_name)
    with pytest.raises(UsageError, match="model is <object"):
        wanted(model=object())


def test_labels_may_be_a_list():
    assert wanted(labels=["a", "b"]).labels == ("a", "b") and str(wanted(labels="a").labels) == "a"
    assert read_labels(("tench", " crane "), 2).names == ("tench", "crane")
    for labels, told in (
        (("a",), "has 1 label, the model has 2 classes"),
        (("a", "a"), "same label twice"),
        (("a", ""), "empty labels: class 1"),
        (("0", "1"), "bare number"),
    ):
        with pytest.raises(SourceError, match=told):
            read_labels(labels, 2)
    with pytest.raises(UsageError, match="labels holds 3, a int"):
        wanted(labels=["a", 3])


PICTURES = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)


@pytest.mark.parametrize(
    "images",
    [
        PICTURES,
        torch.from_numpy(PICTURES),
        [*PICTURES],
        [Image.fromarray(one) for one in PICTURES],
        tuple(torch.from_numpy(PICTURES)),
    ],
)
def test_pictures_may_be_arrays_tensors_or_pil_images(images):
    found = wanted(images=images).images
    assert isinstance(found, GivenPictures) and repr(found) == "3 images in memory"
    assert all(np.array_equal(one, other) for one, other in zip(found.pictures, PICTURES, strict=True))


def test_they_are_copied_and_eight_are_taken():
    many = np.zeros((20, 4, 4, 3), np.uint8)
    many[:, 0, 0, 0] = range(20)
    found = wanted(images=many).images
    many[:] = 255
    taken = given_images(found)
    assert [int(picture[0, 0, 0]) for _, picture in taken] == [0, 2, 5, 8, 10, 13, 16, 19]
    assert [name for name, _ in taken][:2] == ["image-0", "image-2"]
    assert len(wanted(images=PICTURES[0]).images.pictures) == 1


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.rand(2, 3, 8, 8), r"images is float32 of shape \(2, 3, 8, 8\)\. Floats do not say how they were made"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"channels first\. Write images\.permute\(0, 2, 3, 1\)"),
        (np.zeros((3, 8, 8), np.uint8), r"channels first\. Write images\.permute\(1, 2, 0\)"),
        (np.zeros((2, 8, 8, 3), np.int64), r"images is int64 of shape"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"shape \(2, 8, 8, 4\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "empty array"),
        ([], "empty list"),
        (["a.png"], r"images\[0\] is a str"),
        ([PICTURES[0], np.zeros((8, 8), np.uint8)], r"images\[1\] is uint8 of shape \(8, 8\)"),
        (3, 'images is 3, a int. Write images="photos"'),
    ],
)
def test_what_are_no_pictures_is_told(images, told):
    with pytest.raises(UsageError, match=told):
        wanted(images=images)


def test_what_needs_files_says_so():
    for fields in ({"max_accuracy_drop": 1.0}, {"min_accuracy": 50.0}):
        with pytest.raises(UsageError, match="measures on files, and images holds 3 images in memory"):
            plan(wanted(images=PICTURES, **fields))
    with pytest.raises(UsageError, match="names images: pass their folder"):
        plan(wanted(images=PICTURES, reference="scores.csv"))
