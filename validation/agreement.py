"""Two executions held against each other, neither of them the eager reference: measured, not judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from squeeze_export.contracts.agreements import Agreement
from squeeze_export.validation import metrics

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array
    from squeeze_export.contracts.signature import OutputKind


def agreement(kind: OutputKind, reference: Array, target: Array, *, floor: float) -> Agreement:
    """Measure two arrays (images, classes or channels) of one kind.

    Probabilities below `floor` have no digits to compare: in the SNR both sides count as at least that.
    """
    seen = (reference, target)
    observed: str = kind
    if kind == "probabilities":
        observed = "log-probabilities"
        seen = _logarithms(reference, floor), _logarithms(target, floor)
    ranked = kind != "features"
    threshold = 0.5 if kind == "probabilities" else 0.0
    best = metrics.top1(*(metrics.decided(rows, threshold) for rows in (reference, target))) if ranked else None
    return Agreement(
        observed=observed,
        images=len(reference),
        max_abs_error=metrics.max_abs_error(reference, target),
        snr_db=metrics.or_none(metrics.snr_db(*seen)),
        top1_agreement=None if best is None else best.agreement,
        top1_ties=0 if best is None else best.ties,
        top5_agreement=metrics.top_k_agreement(reference, target, 5) if ranked else None,
    )


def _logarithms(probabilities: Array, floor: float) -> Array:
    result: Array = np.log(np.maximum(probabilities.astype(np.float64), floor))
    return result
