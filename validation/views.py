"""What is compared of one output: quantities seen by reference and target, and how large an error each may have.

Probabilities of a sigmoid hide logits too: what lies behind them is their log-odds. Near 1 a float has few digits left for these,
and what it cannot tell apart is no error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.contracts.heads import log_probabilities
from squeeze_export.contracts.signature import LOGITS_TAP
from squeeze_export.validation import metrics

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array
    from squeeze_export.contracts.parity import Tolerance
    from squeeze_export.contracts.signature import OutputKind
    from squeeze_export.contracts.source import Features, Scores

_ULP: Final = 2.0**-24  # from 1 to the float below it
_ULPS: Final = 4.0  # so exact a runtime's sigmoid is at worst


@dataclass(frozen=True, kw_only=True)
class View:
    """One quantity seen by reference and target, (images, classes), and how large an error E allows in it (`scale` E).

    `ranked`: whether the columns are classes, so that there is a best one. `bar`: the largest error itself, in place of E's.
    `threshold`: of a single score, what it must exceed for a yes.
    """

    observed: str
    reference: Array
    target: Array
    scale: float
    judge_snr: bool
    ranked: bool = True
    bar: float | None = None
    threshold: float = 0.0

    @property
    def decided(self) -> tuple[Array, Array]:
        """What is ranked: the columns, or whether a single one exceeds its threshold."""
        return metrics.decided(self.reference, self.threshold), metrics.decided(self.target, self.threshold)


def of_features(reference: Features, found: Array) -> View:
    """Features are compared like logits, and rank nothing."""
    rows = reference.features
    return View(observed="features", reference=rows, target=found, scale=_peak(rows), judge_snr=True, ranked=False)


def of_logits(reference: Scores, found: Array, observed: str = "logits") -> View:
    """Logits as they are, also those seen behind an activation."""
    rows = reference.logits
    return View(observed=observed, reference=rows, target=found, scale=_peak(rows), judge_snr=True)


def tapped(reference: Scores, found: Array) -> View:
    """Logits seen in front of the activation that ends an artifact."""
    return of_logits(reference, found, LOGITS_TAP)


def of_probabilities(reference: Scores, found: Array, kind: OutputKind, tolerance: Tolerance) -> View:
    """Probabilities as they are, or what the activation makes of logits.

    |dp| <= p (1 - p) 2 E behind a softmax, whose normaliser may move against the logit; behind a sigmoid |dp| <= E / 4.
    """
    share = 0.25 if reference.activation == "sigmoid" else min(0.5, 2 * float(reference.probabilities.max()))
    return View(
        observed="probabilities",
        reference=reference.probabilities,
        target=np.exp(log_probabilities(found, reference.activation)) if kind == "logits" else found,
        scale=share * _peak(reference.logits),
        judge_snr=False,
        bar=tolerance.max_probability_error,
        threshold=0.5,
    )


def in_front_of_rounding(reference: Scores, found: Array) -> View:
    """Log-probabilities of the logits behind integers: as if the file gave the float probabilities that it rounds."""
    return View(
        observed="log-probabilities",
        reference=log_probabilities(reference.logits, reference.activation),
        target=log_probabilities(found, reference.activation),
        scale=2 * _peak(reference.logits),
        judge_snr=True,
    )


def behind(reference: Scores, found: Array, floor: float) -> View:
    """What probabilities say of the logits: their logarithm, or of independent ones the log-odds.

    Below the floor both sides count as the floor: equal where both are below, and far apart where one is not.
    """
    if reference.activation == "sigmoid":
        return _log_odds(reference, found, floor)
    return View(
        observed="log-probabilities",
        reference=np.maximum(log_probabilities(reference.logits, "softmax"), np.log(floor)),
        target=np.log(np.maximum(found.astype(np.float64), floor)),
        scale=2 * _peak(reference.logits),
        judge_snr=True,
    )


def _log_odds(reference: Scores, found: Array, floor: float) -> View:
    """The logits again; of an error only what is left when the digits that a float near 1 lacks are taken away."""
    low, high = np.log(floor), -np.log(max(floor, _ULP))
    expected = np.clip(reference.logits.astype(np.float64), low, high)
    chance = np.clip(found.astype(np.float64), floor, 1 - _ULP)
    error = np.clip(np.log(chance) - np.log1p(-chance), low, high) - expected
    hidden = _ULPS * _ULP / (1 - chance)
    return View(
        observed="log-odds",
        reference=expected,
        target=expected + np.sign(error) * np.maximum(np.abs(error) - hidden, 0),
        scale=_peak(reference.logits),
        judge_snr=True,
    )


def _peak(rows: Array) -> float:
    return float(np.abs(rows).max())
