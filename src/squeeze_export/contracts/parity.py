"""Bars, measurements and verdicts of parity; and what executes an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from squeeze_export.contracts.artifact import Precision

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array


Verdict = Literal["PASSED", "FAILED", "NOT_RUN"]


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """The bar that an artifact of one precision must clear, and why it stands where it does.

    `max_error_of_peak`: largest absolute error of a logit (or feature) over the largest absolute reference one; parity.py says
    what follows from it for probabilities. SNRs in dB, on logits or features. `probability_floor`: below it the target's
    arithmetic has no full digits. `max_probability_error`: of few classes, the largest absolute error of any probability; None
    where only the others judge.
    """

    precision: Precision
    max_error_of_peak: float
    min_snr_db: float
    min_centred_snr_db: float
    reason: str
    probability_floor: float = 2.0**-126  # the smallest normal fp32
    max_probability_error: float | None = None


Floored = Literal["fp32", "fp16", "fp16-stored"]


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """The error of one kind of rounding, over all images: SNRs in dB, the largest error over the largest reference logit.

    An SNR is infinite where rounding changes nothing; the centred one is NaN where there is one logit only.
    """

    snr_db: float
    centred_snr_db: float
    max_error_of_peak: float


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """What was measured on one network. A level is None where it says nothing, and then `problems` has its reason by its name.

    `images` and `classes`: how many numbers the levels rest on; with few of them a tolerance must leave more room. `constant_db`:
    the centred SNR (of one class: the SNR) of an answer that is the same for every image; no tolerance may be as low.
    """

    images: int
    classes: int
    constant_db: float
    fp32: NoiseLevel | None
    fp16: NoiseLevel | None
    fp16_stored: NoiseLevel | None
    problems: tuple[tuple[Floored, str], ...] = ()

    def level(self, name: Floored) -> NoiseLevel:
        """Raises ValueError, with the reason, where it was not measured."""
        found = {"fp32": self.fp32, "fp16": self.fp16, "fp16-stored": self.fp16_stored}[name]
        if found is None:
            raise ValueError(f"this network has no noise floor for {name}: {dict(self.problems).get(name, 'not measured')}")
        return found


@dataclass(frozen=True, kw_only=True)
class OutputParity:
    """The differences between the reference and one output of an artifact, over the whole golden pack.

    `observed`: the kind of quantity compared; "logits (tapped)" and "log-probabilities" are seen behind a softmax, those of an
    output of integers in front of their rounding; "log-odds" are seen behind a sigmoid.
    `smallest_passing_error_of_peak`: the smallest `max_error_of_peak` that would have passed. SNR, PSNR in dB (None: not
    finite or not defined). Agreements are fractions of the images (None: features rank nothing); `top1_ties` counts flips
    where the reference's margin is below the error.
    """

    name: str
    observed: str
    images: int
    max_abs_error: float | None
    worst_image: str | None
    snr_db: float | None
    centred_snr_db: float | None
    psnr_db: float | None
    cosine: float | None
    top1_agreement: float | None
    top1_ties: int
    top5_agreement: float | None
    smallest_passing_error_of_peak: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WeightsParity:
    """Exact comparison of stored weights with the source's, rounded to the stored precision.

    `compared` of `expected` source weights were found bit for bit; `problems` names the others. `exempt` names those that the
    exporter declares to have changed (by folding): they are not among the compared.
    """

    expected: int
    compared: int
    problems: tuple[str, ...]
    exempt: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """One executor's judgement of one artifact. `reason` is set where the verdict is not PASSED."""

    verdict: Verdict
    executor: str
    reason: str | None
    tolerance: Tolerance | None
    outputs: tuple[OutputParity, ...]
    weights: WeightsParity | None


class Runner(Protocol):
    """An artifact opened from its file, ready to be executed. One image per call.

    `executor` names what computes, with its version. `labels` are those inside the file, in index order, or None.
    """

    @property
    def executor(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Execute once. Inputs and outputs by their names in the file; an input not in the file is an ArtifactError.

        A runner that can see the logits in front of a final softmax adds them under LOGITS_TAP.
        """
        ...

    def stored_weights(self) -> tuple[Array, ...] | None:
        """Every conv weight (O, I, H, W) and bias (O,) as stored (decoded, own dtype), or None if the format hides them."""
        ...
