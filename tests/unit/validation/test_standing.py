"""How the reference stands to the labels: wrong orders are named, right labels never doubted, few images prove little."""

from __future__ import annotations

import numpy as np
import pytest

from squeeze_export.validation.standing import beyond_luck, standing_of

CLASSES = 12
NAMES = ("pear", "fig", "apple", "lime", "date", "kiwi", "plum", "Beet", "grape", "mango", "melon", "quince")
BY_NAME = sorted(range(CLASSES), key=lambda place: NAMES[place])
BY_TEXT = sorted(range(CLASSES), key=str)


def answers(truth, accuracy, classes=CLASSES, seed=1):
    """A model that is right on so many of the images, and elsewhere answers at random."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < accuracy, truth, rng.integers(0, classes, len(truth))).astype(np.int32)


def stands(best, labels, classes=CLASSES, names=NAMES):
    return standing_of(np.asarray(best, np.int32), np.asarray(labels, np.int32), classes, names)


TRUTH = np.arange(240, dtype=np.int32) % CLASSES


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        ([BY_TEXT.index(label) for label in TRUTH], "the labels in the order of their numbers as text (0, 1, 10, 11, 2, …)"),
        ([BY_TEXT[label] for label in TRUTH], "the model's classes in the order of their numbers as text (0, 1, 10, 11, 2, …)"),
        ((TRUTH + 1) % CLASSES, "the labels counted from 1"),
        ((TRUTH - 1) % CLASSES, "the model's classes counted from 1"),
        ([BY_NAME.index(label) for label in TRUTH], "the labels in the order of their sorted names"),
        ([BY_NAME[label] for label in TRUTH], "the model's classes in the order of their sorted names"),
        (CLASSES - 1 - TRUTH, "the classes in reverse"),
    ],
)
def test_the_order_that_fits_is_named(labels, order):
    best = answers(TRUTH, 0.7)
    found = stands(best, labels)
    assert found.fit is not None
    assert found.fit.order == order
    right = int((best == TRUTH).sum())
    # Counted from 1, the one class that wraps around in this test has no counterpart.
    assert right - 25 < found.fit.right <= right
    assert found.far_better and found.no_better_than_a_guess
    assert f"With {order} it is right on {found.fit.right} of 240" in found.doubt()


def test_an_order_without_a_name_is_seen_in_the_answers_of_other_images():
    shuffled = np.random.default_rng(5).permutation(CLASSES)
    found = stands(answers(TRUTH, 0.7), shuffled[TRUTH])
    assert "found on the other half of the images" in found.doubt()
    assert found.fit.right > 0.6 * found.fit.images
    # Wrong preprocessing leaves answers that follow no label in any order.
    lost = stands(answers(TRUTH, 0), TRUTH)
    assert lost.at_chance and lost.fit is None
    assert lost.doubt().endswith("Are these labels, and this preprocessing, the model's?")
    assert stands(np.full(240, 3), TRUTH).fit is None


@pytest.mark.parametrize("accuracy", [0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("images", "classes"), [(60, 2), (60, 12), (240, 12), (320, 1000), (5000, 1000)])
def test_right_labels_are_never_doubted(accuracy, images, classes):
    for seed in range(20):
        truth = np.random.default_rng(seed).integers(0, classes, images).astype(np.int32)
        names = tuple(f"{place * 7919 % classes:04}" for place in range(classes))
        # Half way from a guess on, for a model of two classes.
        sure = accuracy if classes > 2 else 0.5 + accuracy / 2
        found = stands(answers(truth, sure, classes, seed), truth, classes, names)
        assert found.doubt() is None
        assert not found.no_better_than_a_guess


def test_few_images_are_not_called_chance_and_never_called_proof():
    eight = np.arange(8)
    for right in range(1, 9):
        best = np.where(eight < right, eight, 500 + eight)
        assert stands(best, eight, 1000, None).doubt() is None
    none = stands(500 + eight, eight, 1000, None)
    assert none.at_chance and none.doubt("golden images").startswith(
        "the reference is at chance: it is right on 0 of the 8 golden"
    )
    assert stands(eight % 2, eight % 2, 2, None).doubt() is None
    assert stands([0, 1, 0, 1, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1, 0, 0], 2, None).doubt() is None
    # Off by one, seen on eight images of a thousand classes; and one image tells nothing but its own.
    shifted = stands(eight * 10, eight * 10 + 1, 1000, None)
    assert (shifted.fit.order, shifted.fit.right) == ("the labels counted from 1", 8)
    assert stands([5], [3], 1000, None).doubt() is None
    with pytest.raises(ValueError, match="tell nothing"):
        stands([], [])


def test_one_class_for_everything_is_chance_unless_the_images_are_mostly_of_it():
    assert stands(np.zeros(240), TRUTH).at_chance
    mostly = np.asarray([0] * 99 + [1])
    assert not stands(np.zeros(100), mostly, 2, None).at_chance
    assert stands(np.ones(100), mostly, 2, None).no_better_than_a_guess


def test_a_bias_by_one_class_is_asked_about_and_refuses_nothing():
    # Ages, say: right on 40 %, one class too young on 60 %. The labels may well be right.
    truth = np.arange(1200) % CLASSES
    best = np.where(np.arange(1200) % 5 < 2, truth, truth - 1)
    keep = best >= 0
    found = stands(best[keep], truth[keep])
    assert "Are the labels in the order of the model's classes?" in found.doubt()
    assert not found.no_better_than_a_guess


def test_labels_in_reverse_stand_below_chance():
    truth = np.arange(150) % 5
    sound = (np.arange(150) < 110) & ((truth != 2) | (np.arange(150) < 40))
    best = np.where(sound, truth, (truth + 1) % 5)
    found = stands(best, 4 - truth, 5, tuple("abcde"))
    assert found.right / found.images < found.guess
    assert found.no_better_than_a_guess
    assert found.fit.order == "the classes in reverse"
    assert "guessing among the 5 classes that they show is right on 20 %" in found.doubt()


def test_what_luck_allows_knows_the_answers():
    assert beyond_luck(np.arange(8), np.arange(8), 1000)
    assert not beyond_luck(np.asarray([0] * 8), np.asarray([0] * 4 + [1] * 4), 2)
    assert not beyond_luck(np.asarray([0, 501, 502, 503]), np.arange(4), 1000)
