"""What a checkpoint says of its classes: taken without --labels, compared with it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from squeeze_export.errors import SourceError
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources import weights
from squeeze_export.sources.labels import Labels
from squeeze_export.sources.labels.claims import NO_LABELS, settle
from squeeze_export.sources.source import load_source

ANIMALS = ("cat", "dog", "great white shark")
TO_IDX = {"dog": 1, "great white shark": 2, "cat": 0}
SYNSETS = {"n02": 0, "n01": 1, "n03": 2}


def given(*names):
    return Labels(names=names, notes=("read",))


@pytest.mark.parametrize(
    "claims",
    [
        {"class_to_idx": TO_IDX},
        {"class_to_idx": json.dumps(TO_IDX)},  # as the metadata of safetensors has it
        {"class_to_idx": str(TO_IDX)},
        {"id2label": {0: "cat", 1: "dog", 2: "great white shark"}},
        {"id2label": {"2": "great white shark", "0": "cat", "1": "dog"}},
        {"names": {2: "great white shark", 0: "cat", 1: "dog"}},
        {"classes": list(ANIMALS)},
        {"classes": ANIMALS, "names": 3},
        {"classes": [("cat",), ("dog",), ("great white shark",)]},  # torchvision's ImageNet has a tuple of synonyms per class
        {"classes": list(ANIMALS), "class_to_idx": {"n02123045": 0, "n02084071": 1, "n01484850": 2}},
    ],
)
def test_without_labels_the_checkpoints_own_are_taken(claims):
    names, notes = settle(claims, 3, None)
    assert names == ANIMALS
    assert len(notes) == 1 and "the checkpoint's" in notes[0] and "class 0 is 'cat', 1 is 'dog'" in notes[0]


def test_synonyms_are_joined():
    assert settle({"classes": [("tench", "Tinca tinca"), ("hen",)]}, 2, None)[0] == ("tench, Tinca tinca", "hen")


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({}, []),
        ({"classes": 3}, []),
        ({"classes": "3"}, []),
        ({"names": object()}, []),
        ({"classes": ["a", "b"]}, ["2 names for 3 classes"]),
        ({"classes": ["a", "b", "b"]}, ["'b' at class 1 and class 2"]),
        ({"classes": ["a", "b", ""]}, ["empty labels: class 2"]),
        ({"class_to_idx": {"a": 0, "b": 1, "c": 1}}, ["index 1 is given by label b and by label c"]),
        ({"class_to_idx": {"a": 1, "b": 2, "c": 3}}, ["from 1 to 3"]),
        ({"names": {"a": "b"}}, ["'a' is no class index"]),
        ({"id2label": {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}}, ["placeholders, such as LABEL_0"]),
        ({"class_to_idx": {"1": 0, "10": 1, "2": 2}}, ["numbers for names (class 0 is '1')"]),
    ],
)
def test_what_cannot_be_labels_is_said_and_the_app_shows_numbers(claims, words):
    names, notes = settle(claims, 3, None)
    assert names is None and notes[-1] == NO_LABELS
    assert len(notes) == 1 + bool(words)
    assert all(word in notes[0] for word in words), notes


def test_a_checkpoint_that_contradicts_itself():
    claims = {"classes": ["cat", "dog", "bus"], "class_to_idx": {"cat": 0, "bus": 1, "dog": 2}}
    with pytest.raises(SourceError, match="contradicts itself: class 1 is 'bus' in 'class_to_idx' and 'dog' in 'classes'"):
        settle(claims, 3, None)
    # The user has said which is right.
    assert settle(claims, 3, given("cat", "dog", "bus")) == (("cat", "dog", "bus"), ("read",))


@pytest.mark.parametrize(
    "names",
    [
        ANIMALS,
        ("Cat", "DOG", "great_white-shark"),
        ("cat, Felis catus", "dog, domestic dog", "great white shark, white shark"),
    ],
)
def test_labels_that_agree_are_no_news(names):
    assert settle({"class_to_idx": TO_IDX}, 3, given(*names)) == (names, ("read",))


@pytest.mark.parametrize(
    ("names", "moved"),
    [
        (("dog", "cat", "great white shark"), "class 0 is 'dog' in --labels and 'cat' in the checkpoint (2 of 3"),
        (("cat", "Great White Shark", "dog"), "class 1 is 'Great White Shark' in --labels and 'dog' in the checkpoint"),
        (("dog", "puma", "shark"), "class 0 is 'dog' in --labels and 'cat' in the checkpoint (1 of 3"),
        (("cat", "dog, hound", "cat, tom"), None),  # 'cat' alone tells nothing where two begin so
    ],
)
def test_the_same_names_in_another_order_are_refused(names, moved):
    if moved is None:
        assert settle({"class_to_idx": TO_IDX}, 3, given(*names))[0] == names
        return
    with pytest.raises(SourceError) as caught:
        settle({"class_to_idx": TO_IDX}, 3, given(*names))
    assert moved in str(caught.value) and "another order than the checkpoint's 'class_to_idx'" in str(caught.value)


def test_other_names_are_taken_and_said():
    for claims, names, words in (
        ({"class_to_idx": SYNSETS}, ANIMALS, ["could not be compared", "class 0 is 'cat', 'n02' in the checkpoint"]),
        ({"names": list(ANIMALS)}, ("cat", "Hund", "great white shark"), ["differ at 1 of 3", "class 1 is 'Hund', 'dog'"]),
        # Folders with numbers, in ImageFolder's order of text: where it is not that of the numbers is what the user must see.
        ({"class_to_idx": {"0": 0, "1": 1, "10": 2}}, ANIMALS, ["class 2 is 'great white shark', '10' in the checkpoint"]),
    ):
        found, notes = settle(claims, 3, given(*names))
        assert found == names and len(notes) == 2
        assert all(word in notes[1] for word in words), notes


def test_placeholders_say_nothing_against_labels():
    assert settle({"id2label": {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}}, 3, given(*ANIMALS)) == (ANIMALS, ("read",))


@pytest.fixture
def claiming(monkeypatch):
    """Loaded weights of three classes that say what their classes are."""
    plain = weights.load_weights("squeezenet1_1", "random", seed=0, random_classes=3)
    said = replace(plain, label_claims={"class_to_idx": TO_IDX}, notes=("ema was taken",))
    monkeypatch.setattr(weights, "load_weights", lambda *args, **settings: said)
    return said


def load(labels=None, *, head="classifier", unnamed=None):
    spec = spec_for("caffe", model="squeezenet1_0", input_size=(64, 64))
    return load_source(
        name="it",
        model="squeezenet1_1",
        weights="imagenet",
        seed=0,
        labels=labels,
        preprocessing=spec,
        head=head,
        unnamed_classes=unnamed,
    )


def test_a_source_takes_and_compares_the_checkpoints_labels(tmp_path, claiming):
    source = load()
    assert source.labels == ANIMALS
    assert source.notes[0] == "ema was taken" and "the checkpoint's 'class_to_idx'" in source.notes[1] and len(source.notes) == 2
    own = tmp_path / "own.csv"
    own.write_text("idx,animal\n1,hound\n0,cat\n2,shark\n")
    source = load(own)
    assert source.labels == ("cat", "hound", "shark")
    assert [word in note for word, note in zip(("ema", "'idx'", "differ at 2 of 3"), source.notes, strict=True)] == [True] * 3
    own.write_text("label\ndog\ncat\nshark\n")
    with pytest.raises(SourceError, match="in another order"):
        load(own)
    # Where names do not matter they are not looked at: an evaluation's reference, a feature extractor.
    assert load(unnamed=3).labels is None and load(unnamed=3).notes == ("ema was taken",)
    assert load(head="features").labels is None and load(head="features").notes == ("ema was taken",)


def test_a_source_without_labels_says_what_an_app_shows():
    spec = spec_for("caffe", model="squeezenet1_0", input_size=(64, 64))
    source = load_source(name="it", model="squeezenet1_1", weights="random", seed=0, labels=None, preprocessing=spec)
    assert source.notes == (NO_LABELS,) and '"class 0"' in NO_LABELS and "--labels" in NO_LABELS
    demo = load_source(name="it", model="squeezenet1_1", weights="demo", seed=0, labels=None, preprocessing=spec)
    assert demo.labels is not None and demo.notes == ()
    seven = load_source(
        name="it", model="squeezenet1_1", weights="random", seed=0, labels=None, preprocessing=spec, unnamed_classes=7
    )
    assert (seven.num_classes, seven.labels, seven.notes) == (7, None, ())
