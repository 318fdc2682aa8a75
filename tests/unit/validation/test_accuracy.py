"""Proportions, intervals, paired differences: against published values, brute force, and inputs that must be refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from squeeze_export.validation.accuracy import agreement, hits, paired_difference, proportion, top_classes


def flags(hit: int, images: int) -> np.ndarray:
    return np.arange(images) < hit


@pytest.mark.parametrize(
    ("hit", "images", "low", "high"),
    [
        # Newcombe (1998), table I: Wilson score without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
    ],
)
def test_the_interval_is_wilsons(hit, images, low, high):
    found = proportion(flags(hit, images))
    assert (found.hits, found.images, found.value) == (hit, images, hit / images)
    assert found.low == pytest.approx(low, abs=6e-5)
    assert found.high == pytest.approx(high, abs=6e-5)


@given(st.integers(1, 5000).flatmap(lambda images: st.tuples(st.integers(0, images), st.just(images))))
def test_the_interval_holds_the_rate_and_is_never_empty(case):
    found = proportion(flags(*case))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


def test_no_images_have_no_proportion():
    with pytest.raises(ValueError, match="no images"):
        proportion(flags(0, 0))


def test_of_equal_scores_the_lower_class_comes_first():
    scores = np.array([[1.0, 3.0, 3.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]], np.float32)
    assert top_classes(scores).tolist() == [[1, 2, 4, 0, 5], [0, 1, 2, 3, 4]]
    assert top_classes(-scores, 1).tolist() == [[3], [0]]


@given(st_numpy.arrays(np.float16, (7, 40), elements=st.floats(-100, 100, width=16)))
def test_half_precision_is_ordered_exactly(scores):
    expected = [sorted(range(40), key=lambda index: (-float(row[index]), index))[:5] for row in scores]
    assert top_classes(scores).tolist() == expected


def test_fewer_classes_than_five_are_all_given():
    assert top_classes(np.array([[0.1, 0.7, 0.2]])).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_without_order_are_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinite"):
        top_classes(np.array([[0.5, bad, 0.1]]))


@pytest.mark.parametrize("shape", [(5,), (1, 5, 1), (3, 0)])
def test_scores_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="must be"):
        top_classes(np.zeros(shape))


def test_hits_look_at_the_first_few_only():
    top = np.array([[3, 1, 2], [1, 3, 2], [1, 2, 3], [0, 1, 2]], np.int32)
    labels = np.array([3, 3, 3, 3], np.int32)
    assert hits(top, labels, 1).tolist() == [True, False, False, False]
    assert hits(top, labels, 2).tolist() == [True, True, False, False]
    assert hits(top, labels, 3).tolist() == [True, True, True, False]


def test_agreement_is_of_the_best_class_and_says_nothing_of_labels():
    mine = np.array([[3, 1], [2, 1], [1, 2]], np.int32)
    theirs = np.array([[3, 2], [1, 2], [1, 2]], np.int32)
    found = agreement(mine, theirs)
    assert (found.hits, found.images) == (2, 3)
    with pytest.raises(ValueError, match="one by one"):
        agreement(mine, theirs[:2])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_the_paired_difference_is_mean_and_standard_error_of_the_differences(pairs):
    mine, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    found = paired_difference(mine, theirs)
    differences = mine.astype(float) - theirs.astype(float)
    assert found.value == pytest.approx(differences.mean(), abs=1e-12)
    assert found.standard_error == pytest.approx(differences.std(ddof=1) / math.sqrt(len(pairs)), abs=1e-9)
    assert (found.gained, found.lost) == ((differences == 1).sum(), (differences == -1).sum())


def test_pairing_makes_a_small_difference_visible():
    theirs = flags(678, 1000)
    mine = theirs.copy()
    mine[:4] = False
    found = paired_difference(mine, theirs)
    assert found.value == pytest.approx(-0.004)
    assert found.standard_error == pytest.approx(0.002, abs=1e-5)
    # Two accuracies apart have more than ten times the error.
    assert proportion(mine).high - proportion(mine).low > 10 * found.standard_error


def test_one_pair_has_no_standard_error_and_none_no_difference():
    assert paired_difference(flags(1, 1), flags(0, 1)).standard_error is None
    with pytest.raises(ValueError, match="one by one"):
        paired_difference(flags(0, 0), flags(0, 0))
    with pytest.raises(ValueError, match="one by one"):
        paired_difference(flags(1, 3), flags(1, 2))
