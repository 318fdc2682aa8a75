"""The bars exist for everything that can be exported and keep the order that physics gives them."""

from __future__ import annotations

import re

import pytest

from squeeze_export.contracts.artifact import TARGETS
from squeeze_export.exporters import EXPORTERS
from squeeze_export.validation.tolerances import TOLERANCES, tolerance_for

CASES = [(target, precision) for target in TARGETS for precision in EXPORTERS[target].PRECISIONS]
LOWEST = {"fp32": 100, "fp16": 50, "int8": 25, "int8-uint8": 25, "int8-dynamic": 26, "int8-weights": 29, "int4-mixed": 22}
LOWEST |= {"pal8": 42, "pal6": 31, "pal4": 21, "pal3": 14, "pal2": 3, "auto": 14}
LOWEST |= {"sparse": 50, "sparse-pal6": 24, "sparse-pal4": 13}


def test_every_target_and_precision_has_a_bar():
    assert set(TOLERANCES) == set(CASES)


@pytest.mark.parametrize(("target", "precision"), CASES)
def test_a_bar_is_no_looser_than_the_fields_and_gives_a_measured_reason(target, precision):
    bar = tolerance_for(target, precision)
    assert bar.precision == precision
    assert bar.min_snr_db >= LOWEST[precision]
    # Centred, a logit is about 10 dB smaller, and so is its SNR where errors do not follow the logits.
    assert bar.min_snr_db - (5 if precision in ("fp32", "fp16", "sparse") else 11) <= bar.min_centred_snr_db <= bar.min_snr_db
    # An error of the whole allowed size on every logit would be this far down: the two bars agree in size.
    assert 0 < bar.max_error_of_peak <= 10 ** (-bar.min_snr_db / 20) * 2
    assert re.search(r"\d+ dB", bar.reason)


@pytest.mark.parametrize(("target", "precision"), CASES)
def test_logits_have_a_wider_bar_only_where_log_probabilities_were_measured(target, precision):
    bar, wider = tolerance_for(target, precision), tolerance_for(target, precision, "logits")
    assert tolerance_for(target, precision, "features") == bar
    if target in ("coreml", "onnx") or precision in ("fp32", "fp16"):
        assert wider == bar
    else:
        assert (wider.min_snr_db, wider.max_error_of_peak) == (bar.min_snr_db - 6, 2 * bar.max_error_of_peak)
        assert wider.min_centred_snr_db == bar.min_centred_snr_db <= wider.min_snr_db
        assert "As logits" in wider.reason


def test_only_core_ml_computes_in_fp16():
    for target, precision in CASES:
        if precision == "int8-uint8":  # between executions, compare sees nothing below its level; the gate sees the logits
            assert tolerance_for(target, precision).probability_floor == 1 / 256
            continue
        computes_in_fp16 = target == "coreml" and precision != "fp32"
        assert tolerance_for(target, precision).probability_floor == (2**-14 if computes_in_fp16 else 2**-126)
    assert tolerance_for("tflite", "fp16").min_snr_db > tolerance_for("coreml", "fp16").min_snr_db
