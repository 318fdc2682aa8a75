"""How far two executions agree with each other: what `compare` and `verify --witness` report beside parity, and never judge."""

from __future__ import annotations

from dataclasses import dataclass

from squeeze_export.contracts.parity import ParityReport


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The differences between two executions of one golden pack, the first taken as the reference.

    `max_abs_error` is of the output itself; `snr_db` of logits, features or, where only probabilities are given,
    log-probabilities (None: not finite; beside an error of 0 identical). Agreements are fractions of the images (None: features
    rank nothing); `top1_ties` counts differing best classes where the reference's margin is below the error.
    """

    observed: str
    images: int
    max_abs_error: float
    snr_db: float | None
    top1_agreement: float | None
    top1_ties: int
    top5_agreement: float | None


@dataclass(frozen=True, kw_only=True)
class Witness:
    """A further executor's judgement of an artifact, and how far it agrees with `beside`, the executor that decides.

    `agreement` is None where either of them could not execute the file.
    """

    report: ParityReport
    beside: str
    agreement: Agreement | None
