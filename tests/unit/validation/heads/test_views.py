"""Independent scores: what probabilities say of the logits behind a sigmoid, and what a single score decides."""

from __future__ import annotations

import numpy as np
import pytest

from squeeze_export.contracts.parity import Tolerance
from squeeze_export.contracts.source import Scores
from squeeze_export.validation import agreement, metrics, views

TOLERANCE = Tolerance(precision="fp32", max_error_of_peak=1e-5, min_snr_db=100, min_centred_snr_db=100, reason="as in the tests")
FLOOR = TOLERANCE.probability_floor


def sigmoid(logits):
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def scores(logits):
    rows = np.asarray(logits, np.float32)
    return Scores(logits=rows, probabilities=sigmoid(rows), activation="sigmoid")


WIDE = scores(np.linspace(-60, 20, 160).reshape(8, 20))


def test_what_a_float_near_one_cannot_tell_apart_is_no_error():
    view = views.behind(WIDE, WIDE.probabilities, FLOOR)
    assert view.observed == "log-odds"
    assert metrics.max_abs_error(view.reference, view.target) < 1e-5 * 60
    assert metrics.snr_db(view.reference, view.target) > 120
    naive = np.log(WIDE.probabilities[WIDE.probabilities < 1] / (1 - WIDE.probabilities[WIDE.probabilities < 1].astype(float)))
    assert np.abs(naive - WIDE.logits[WIDE.probabilities < 1]).max() > 0.1  # which is why the digits count


@pytest.mark.parametrize("place", [(0, 0), (3, 10), (5, 19)])
def test_an_error_of_a_logit_is_seen_wherever_its_probability_can_show_it(place):
    wrong = WIDE.logits.copy()
    wrong[place] += 0.01
    view = views.behind(WIDE, sigmoid(wrong), FLOOR)
    assert metrics.max_abs_error(view.reference, view.target) == pytest.approx(0.01, rel=0.1)
    shown = views.of_probabilities(WIDE, sigmoid(wrong), "probabilities", TOLERANCE)
    assert metrics.max_abs_error(shown.reference, shown.target) <= 0.01 / 4
    assert shown.scale == pytest.approx(60 / 4)


def test_a_softmax_in_the_place_of_a_sigmoid_is_seen():
    rows = np.exp(WIDE.logits - WIDE.logits.max(axis=1, keepdims=True))
    view = views.behind(WIDE, (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32), FLOOR)
    assert metrics.snr_db(view.reference, view.target) < 40


def test_a_single_score_decides_between_yes_and_no():
    one = scores([[2.0], [-0.5], [0.001]])
    wrong = np.asarray([[2.0], [0.5], [-0.001]], np.float32)
    for view in (views.of_logits(one, wrong), views.of_probabilities(one, sigmoid(wrong), "probabilities", TOLERANCE)):
        found = metrics.top1(*view.decided)
        assert found.agreement == pytest.approx(1 / 3)
    assert metrics.top1(*views.of_logits(one, wrong).decided, tie=0.01).flips == (1,)
    assert agreement.agreement("probabilities", one.probabilities, sigmoid(wrong), floor=FLOOR).top1_agreement < 0.5
