"""What a program holds in its memory, in place of names and files: a module, labels, pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from squeeze_export import EvaluationRequest, ExportRequest
from squeeze_export.contracts.in_memory import GivenPictures
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.evaluation import images as image_sets
from squeeze_export.golden.images import given_images
from squeeze_export.pipeline.plan import plan
from squeeze_export.preprocessing.spec import spec_for
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
        torch.from_numpy(PICTURES).permute(0, 3, 1, 2),
        torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float() / 255,
        PICTURES / 255.0,
        [one.transpose(2, 0, 1) for one in PICTURES],
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
        (torch.rand(2, 3, 8, 8), r"images is float32 of shape \(2, 3, 8, 8\), and its numbers are no levels divided by 255"),
        (torch.zeros(2, 3, 8, 8) - 1 / 255, "no levels divided by 255"),
        (np.zeros((2, 8, 8), np.uint8), r"images is uint8 of shape \(2, 8, 8\)"),
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


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (3, 4, 5, 1)])
def test_grey_pictures_become_three_equal_channels(shape):
    found = wanted(images=PICTURES[..., 0].reshape(shape)).images
    assert all(np.array_equal(one, other[..., :1].repeat(3, 2)) for one, other in zip(found.pictures, PICTURES, strict=True))


@pytest.mark.parametrize("classes", [[2, 0, 1], (2, 0, 1), np.array([2, 0, 1]), torch.tensor([2, 0, 1])])
def test_their_classes_may_be_a_list_or_an_array(classes):
    assert wanted(images=PICTURES, classes=classes).classes == (2, 0, 1)
    assert EvaluationRequest(bundle="dist", images=PICTURES, classes=classes).classes == (2, 0, 1)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"images": "photos", "classes": [0]}, "classes is for images in memory"),
        ({"images": PICTURES, "classes": [0, 1]}, "classes has 2 classes for 3 images in memory"),
        ({"images": PICTURES, "classes": [0, 1, -1]}, r"classes\[2\] is -1, no whole number from 0"),
        ({"images": PICTURES, "classes": [0, 1, 0.5]}, r"classes\[2\] is 0\.5"),
        ({"images": PICTURES, "classes": 3}, "classes is a int"),
        ({"images": PICTURES, "reference": np.zeros((2, 7))}, r"reference is float64 of shape \(2, 7\) for 3 images"),
        ({"images": PICTURES, "reference": np.full((3, 7), np.nan)}, "Write finite scores"),
        ({"images": "photos", "reference": np.zeros((2, 7))}, "reference is in memory"),
    ],
)
def test_classes_and_scores_that_are_not_of_the_pictures_are_told(fields, told):
    with pytest.raises(UsageError, match=told):
        wanted(**fields)


def test_what_lacks_classes_or_files_says_so():
    with pytest.raises(UsageError, match=r"--min-accuracy 50 needs the class of each image, and 3 images in memory have none"):
        plan(wanted(images=PICTURES, min_accuracy=50.0))
    assert plan(wanted(images=PICTURES, max_accuracy_drop=1.0))  # agreement with the reference needs none
    with pytest.raises(UsageError, match="names images: pass their folder"):
        plan(wanted(images=PICTURES, reference="scores.csv"))


def test_they_are_told_apart_and_cut_as_files_are(tmp_path):
    found = image_sets.given_images(wanted(images=PICTURES).images, (0, 1, 1), num_classes=2)
    spec = spec_for("torchvision", model="", input_size=4)
    Image.fromarray(PICTURES[1]).save(tmp_path / "1.png")
    file = image_sets.LabelledImage(name="1.png", label=1, path=tmp_path / "1.png")
    assert np.array_equal(image_sets.crop_of(found.images[1], spec), image_sets.crop_of(file, spec))
    assert [image.label for image in found.images] == [0, 1, 1] and found.labelled
    assert len({image_sets.image_key(image) for image in found.images}) == 3
    with pytest.raises(UsageError, match=r"2 classes, numbered from 0 to 1: classes\[2\] is 5"):
        image_sets.given_images(wanted(images=PICTURES).images, (0, 1, 5), num_classes=2)
