"""What makes probabilities of a network's scores, and what a network gives by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array


Activation = Literal["softmax", "sigmoid"]
AskedActivation = Literal["softmax", "sigmoid", "none"]
ModelGives = Literal["logits", "probabilities", "log-probabilities"]
ACTIVATIONS: Final[tuple[AskedActivation, ...]] = ("softmax", "sigmoid", "none")
GIVEN: Final[tuple[ModelGives, ...]] = ("logits", "probabilities", "log-probabilities")


def log_probabilities(logits: Array, activation: Activation) -> Array:
    """The logarithm of what the activation makes of logits (N, classes), float64."""
    import numpy as np

    scores = logits.astype(np.float64)
    if activation == "sigmoid":
        alone: Array = -np.logaddexp(0.0, -scores)
        return alone
    shifted = scores - scores.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def probabilities_gap(logits: Array, probabilities: Array, activation: Activation) -> float:
    """How far probabilities are from what the activation makes of the logits, at most."""
    import numpy as np

    return float(np.abs(np.exp(log_probabilities(logits, activation)) - probabilities).max())
