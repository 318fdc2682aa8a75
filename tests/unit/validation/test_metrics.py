"""Each metric against its formula written out, against values known by hand, and against what must not change it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from squeeze_export.validation import metrics

# Multiples of 1/8 up to 1000: exact in float64, so that sums written out in another order agree to the last digits.
SCORES = st.integers(-8000, 8000).map(lambda value: value / 8)
PAIRS = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6).flatmap(
    lambda shape: st.tuples(hnp.arrays(np.float64, shape, elements=SCORES), hnp.arrays(np.float64, shape, elements=SCORES))
)
EVERY = (
    metrics.max_abs_error,
    metrics.worst_image,
    metrics.snr_db,
    metrics.centred_snr_db,
    metrics.psnr_db,
    metrics.cosine,
    metrics.top1,
    lambda reference, target: metrics.top_k_agreement(reference, target, 5),
)

REFERENCE = np.array([[3.0, 4.0, 0.0], [0.0, 1.0, 2.0]])
TARGET = np.array([[3.0, 4.0, 0.5], [0.0, 1.0, 2.0]])


def test_by_hand():
    assert metrics.max_abs_error(REFERENCE, TARGET) == 0.5
    assert metrics.worst_image(REFERENCE, TARGET) == 0
    assert metrics.snr_db(REFERENCE, TARGET) == pytest.approx(10 * math.log10(30 / 0.25))
    # Means 7/3 and 1: centred power 26/3 + 2; the error's own mean is removed as well: 1/4 - 1/12.
    assert metrics.centred_snr_db(REFERENCE, TARGET) == pytest.approx(10 * math.log10((26 / 3 + 2) / (1 / 6)))
    assert metrics.psnr_db(REFERENCE, TARGET) == pytest.approx(10 * math.log10(16 / (0.25 / 6)))
    assert metrics.cosine(REFERENCE, TARGET) == pytest.approx(30 / math.sqrt(30 * 30.25))
    assert metrics.top_k_agreement(REFERENCE, TARGET, 1) == 1.0
    assert metrics.top1(REFERENCE, TARGET) == metrics.Top1(agreement=1.0, ties=0, flips=())


@given(PAIRS)
@settings(deadline=None)
def test_against_the_formulas_in_plain_python(pair):
    reference, target = pair
    rows = list(zip(reference.tolist(), target.tolist(), strict=True))
    error = [[t - r for r, t in zip(*row, strict=True)] for row in rows]
    power, noise = sum(r * r for row, _ in rows for r in row), sum(e * e for row in error for e in row)
    assert metrics.max_abs_error(reference, target) == max(abs(e) for row in error for e in row)
    snr, psnr = metrics.snr_db(reference, target), metrics.psnr_db(reference, target)
    if noise == 0:
        assert snr == psnr == math.inf
    elif power == 0:
        assert snr == psnr == -math.inf
    else:
        assert snr == pytest.approx(10 * math.log10(power / noise))
        peak = max(abs(r) for row, _ in rows for r in row)
        assert psnr == pytest.approx(10 * math.log10(peak * peak * reference.size / noise))


@given(PAIRS)
@settings(deadline=None)
def test_identical_arrays_are_perfect(pair):
    reference, _ = pair
    assert metrics.max_abs_error(reference, reference) == 0
    assert metrics.snr_db(reference, reference) == metrics.psnr_db(reference, reference) == math.inf
    assert metrics.top1(reference, reference) == metrics.Top1(agreement=1.0, ties=0, flips=())
    assert metrics.top_k_agreement(reference, reference, 5) == 1.0
    if reference.any():
        assert metrics.cosine(reference, reference) == pytest.approx(1.0)


@given(PAIRS, st.integers(-800, 800))
@settings(deadline=None)
def test_centred_snr_ignores_a_common_offset(pair, offset):
    reference, target = pair
    if reference.shape[1] == 1:
        assert math.isnan(metrics.centred_snr_db(reference, target))
        return
    plain, moved = metrics.centred_snr_db(reference, target), metrics.centred_snr_db(reference, target + offset)
    # Beyond 250 dB only the rounding of the mean itself is seen.
    assert (plain == pytest.approx(moved, abs=1e-6)) or min(plain, moved) > 250 or max(plain, moved) < -250


def test_a_common_offset_makes_plain_snr_look_better_and_centred_not():
    random = np.random.default_rng(0)
    reference = random.normal(size=(8, 100))
    noise = random.normal(size=(8, 100)) / 100
    lifted = reference + 50
    assert metrics.snr_db(lifted, lifted + noise) > metrics.snr_db(reference, reference + noise) + 30
    assert metrics.centred_snr_db(lifted, lifted + noise) == pytest.approx(metrics.centred_snr_db(reference, reference + noise))


def test_peak_and_power_are_the_references():
    """An outlier in the target must lower its score; with the target's own peak it would raise it."""
    good = REFERENCE + 0.01
    outlier = good.copy()
    outlier[0, 0] = 1000.0
    assert metrics.psnr_db(REFERENCE, outlier) < 0 < metrics.psnr_db(REFERENCE, good)
    assert metrics.snr_db(REFERENCE, outlier) < 0 < metrics.snr_db(REFERENCE, good)
    assert metrics.psnr_db(outlier, REFERENCE) != metrics.psnr_db(REFERENCE, outlier)


def test_sums_are_float64():
    """In float16 the power of these would be infinite, in float32 the error would be lost."""
    large = np.full((1, 4), 60000, np.float16)
    assert metrics.snr_db(large, large - np.float16(32)) == pytest.approx(20 * math.log10(60000 / 32), rel=1e-3)
    reference = np.array([[1.0, 2.0]], np.float64)
    assert metrics.max_abs_error(reference, reference + 1e-12) == pytest.approx(1e-12, rel=1e-3)


def test_a_reference_of_zeros():
    zeros = np.zeros((2, 3))
    assert metrics.snr_db(zeros, zeros) == math.inf
    assert metrics.snr_db(zeros, zeros + 1) == metrics.psnr_db(zeros, zeros + 1) == -math.inf
    assert math.isnan(metrics.cosine(zeros, zeros + 1))
    assert math.isnan(metrics.cosine(zeros + 1, zeros))


def test_cosine_is_blind_to_scale_and_sees_sign():
    assert metrics.cosine(REFERENCE, 7 * REFERENCE) == pytest.approx(1.0)
    assert metrics.cosine(REFERENCE, -REFERENCE) == pytest.approx(-1.0)


def test_top_k_compares_sets():
    reference = np.array([[9.0, 8.0, 7.0, 6.0, 5.0, 4.0]])
    order_changed = np.array([[5.0, 6.0, 7.0, 8.0, 9.0, 4.0]])
    member_changed = np.array([[9.0, 8.0, 7.0, 6.0, 3.0, 4.0]])
    assert metrics.top_k_agreement(reference, order_changed, 5) == 1.0
    assert metrics.top_k_agreement(reference, member_changed, 5) == 0.0
    assert metrics.top_k_agreement(np.vstack([reference] * 2), np.vstack([order_changed, member_changed]), 5) == 0.5
    assert metrics.top_k_agreement(reference, reference[:, ::-1], 6) == 1.0
    assert metrics.top_k_agreement(reference, reference[:, ::-1], 100) == 1.0
    assert metrics.top_k_agreement(np.zeros((1, 9)), np.zeros((1, 9)), 5) == 1.0


def test_a_flip_below_the_error_is_a_tie_and_above_it_is_not():
    reference = np.array([[1.0, 0.9, 0.0]])
    tie = np.array([[0.95, 0.96, 0.2]])  # margin 0.1, error 0.2
    flip = np.array([[0.95, 0.96, 0.0]])  # margin 0.1, error 0.06
    assert metrics.top1(reference, tie) == metrics.Top1(agreement=0.0, ties=1, flips=())
    assert metrics.top1(reference, flip) == metrics.Top1(agreement=0.0, ties=0, flips=(0,))
    both = metrics.top1(np.vstack([reference] * 3), np.vstack([reference, tie, flip]))
    assert both == metrics.Top1(agreement=1 / 3, ties=1, flips=(2,))


def test_the_margin_is_measured_against_the_error_of_the_same_image():
    """A large error elsewhere excuses nothing here."""
    reference = np.array([[1.0, 0.9, 0.0], [5.0, 0.0, 0.0]])
    target = np.array([[0.95, 0.96, 0.0], [9.0, 0.0, 0.0]])
    assert metrics.top1(reference, target).flips == (0,)


def test_exchanged_scores_are_never_a_tie():
    """The error of an exchange is exactly the margin, and below is meant strictly."""
    random = np.random.default_rng(1)
    reference = random.normal(size=(50, 10))
    target = reference.copy()
    rows, best = np.arange(50), reference.argmax(axis=1)
    others = (best + random.integers(1, 10, 50)) % 10
    target[rows, best], target[rows, others] = reference[rows, others], reference[rows, best]
    assert metrics.top1(reference, target) == metrics.Top1(agreement=0.0, ties=0, flips=tuple(range(50)))


@given(PAIRS)
@settings(deadline=None)
def test_every_flip_is_within_twice_the_error(pair):
    """Why the rule says once: with twice the error there would be no flips at all."""
    reference, target = pair
    for index in range(len(reference)):
        own, other = reference[index].argmax(), target[index].argmax()
        assert reference[index, own] - reference[index, other] <= 2 * np.abs(target[index] - reference[index]).max()


@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize(
    ("reference", "target"),
    [
        (np.zeros((2, 3)), np.zeros((1, 3))),
        (np.zeros((2, 3)), np.zeros((2, 1))),
        (np.zeros(3), np.zeros(3)),
        (np.zeros((0, 3)),) * 2,
    ],
)
def test_arrays_that_would_broadcast_or_are_empty_are_refused(metric, reference, target):
    with pytest.raises(ValueError, match="one shape"):
        metric(reference, target)


def test_or_none():
    assert metrics.or_none(1.5) == 1.5
    assert [metrics.or_none(value) for value in (math.inf, -math.inf, math.nan)] == [None] * 3
