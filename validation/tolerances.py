"""The bar for each target and precision, each number with the measurement it comes from.

Measured on 48 photographs, and on the 8 of them that --images picks, with torchvision's SqueezeNet 1.1, the Deep Compression 1.0
(Caffe inputs), random weights of 1.1 and of the complex bypass, and a random 7-class model; the worst of them is quoted. SNRs are
of logits or log-probabilities over all images.

Features (--head features) keep the same bars. On 16 photographs with the same weights, worst of all: fp32 125 dB, 124 dB centred,
6e-7 of the peak; fp16 stored 55 dB, 54 dB centred, 2.1e-3 (Deep Compression; torchvision's 69 dB); fp16 computed 55 dB, 54 dB
centred, 2.3e-3 (Deep Compression; torchvision's 63 dB).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from squeeze_export.contracts.parity import Tolerance
from squeeze_export.contracts.source import Scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from squeeze_export.contracts.artifact import Precision, Target
    from squeeze_export.contracts.signature import OutputKind
    from squeeze_export.contracts.source import GoldenPack

_FP32: Final = Tolerance(
    precision="fp32",
    max_error_of_peak=1e-5,
    min_snr_db=100.0,
    min_centred_snr_db=100.0,
    reason=(
        "fp32 kernels differ from eager PyTorch in the order of summation only: at worst 122 dB, 112 dB centred behind a "
        "saturated softmax, and an error of 1e-6 of the peak. 100 dB is an error of 1e-5."
    ),
)
_FP16_STORED: Final = Tolerance(
    precision="fp16",
    max_error_of_peak=4e-3,
    min_snr_db=53.0,
    min_centred_snr_db=50.0,
    reason=(
        "Weights are rounded to fp16 and computed with in fp32, so the loss is that of the weights: 88 dB where they were fp16 "
        "before (torchvision's), 57 dB, 55 dB centred and 2e-3 of the peak where they were not (Deep Compression)."
    ),
)
_FP16_COMPUTED: Final = Tolerance(
    precision="fp16",
    max_error_of_peak=5e-3,
    min_snr_db=50.0,
    min_centred_snr_db=46.0,
    probability_floor=2.0**-14,
    reason=(
        "Every result is rounded to fp16; emulated, 66 dB (torchvision's weights) and 55 dB, 52 dB centred and 2e-3 of the peak "
        "(Deep Compression), 50 dB centred where only fp16 probabilities are seen. 2^-14 is fp16's smallest normal number; below "
        "it probabilities lose digits."
    ),
)

_INT8_FILTERS: Final = (
    "Filters are rounded to 255 levels per channel{also}: on 8 photographs each, {torchvision} (torchvision's weights), {deep} "
    "(Deep Compression, whose own codebooks are rounded again). Close calls may go the other way; accuracy is evaluate's to say."
)
_INT8_WEIGHTS: Final = Tolerance(
    precision="int8-weights",
    max_error_of_peak=0.05,
    min_snr_db=29.0,
    min_centred_snr_db=21.0,
    reason=_INT8_FILTERS.format(
        also="",
        torchvision="38 dB, 29 dB centred and 1.4e-2 of the peak",
        deep="34 dB, 24 dB centred and 2.3e-2, at worst of 20 times 8 photographs 30 dB, 24 dB centred and 3.5e-2",
    ),
)
_INT8_DYNAMIC: Final = Tolerance(
    precision="int8-dynamic",
    max_error_of_peak=0.05,
    min_snr_db=26.0,
    min_centred_snr_db=20.0,
    reason=_INT8_FILTERS.format(
        also=", activations by the runtime for each image",
        torchvision="38 dB, 29 dB centred and 1.4e-2 of the peak",
        deep="34 dB, 24 dB centred and 2.7e-2, at worst of 20 times 8 photographs 26.7 dB, 23 dB centred and 3.7e-2",
    ),
)
_INT8: Final = Tolerance(
    precision="int8",
    max_error_of_peak=0.1,
    min_snr_db=25.0,
    min_centred_snr_db=16.0,
    reason=_INT8_FILTERS.format(
        also=", activations to 256 levels between the extremes of the calibration",
        torchvision="36 dB, 26 dB centred and 2.0e-2 of the peak",
        deep="31 dB, 20 dB centred and 3.9e-2, at worst of 40 times 8 photographs 25.7 dB, 18 dB centred and 7.7e-2",
    ),
)
_INT8_UINT8: Final = replace(
    _INT8,
    precision="int8-uint8",
    probability_floor=2.0**-8,  # what compare, which sees the integers only, can tell apart
    reason=(
        "int8's tolerance, held to the log-probabilities in front of the last rounding; to those the integers must agree to one "
        "level. On 8 photographs each, 35 dB, 27 dB centred and 1.9e-2 of the peak (torchvision's weights), 29 dB, 20 dB centred "
        "and 4.5e-2 (Deep Compression), where int8 has 33, 26 and 2.0e-2, 31, 20 and 4.7e-2. Close calls may go the other way; "
        "accuracy is evaluate's to say."
    ),
)
_INT4_MIXED: Final = Tolerance(
    precision="int4-mixed",
    max_error_of_peak=0.12,
    min_snr_db=22.0,
    min_centred_snr_db=12.0,
    reason=(
        "The eight largest filters have 15 levels per channel, the others 255, all error-compensated; activations are rounded to "
        "8 bits by the runtime: on 8 photographs each, 30 dB, 22 dB centred and 3.2e-2 of the peak (torchvision's weights), "
        "29 dB, 17 dB centred and 4.5e-2 (Deep Compression). Close calls may go the other way; accuracy is evaluate's to say."
    ),
)
_INT8_QNNPACK: Final = Tolerance(
    precision="int8",
    max_error_of_peak=0.1,
    min_snr_db=25.0,
    min_centred_snr_db=16.0,
    reason=_INT8_FILTERS.format(
        also=", activations by qnnpack to 256 levels between the extremes of the calibration",
        torchvision="37 dB, 26 dB centred and 1.7e-2 of the peak",
        deep="29 dB, 20 dB centred and 5.5e-2, at worst of 20 times 8 photographs 25.7 dB, 18 dB centred and 7.6e-2",
    ),
)

_PALETTE: Final = (
    "Each kernel's weights are one palette's entries, chosen with the layer's inputs; every result is rounded to fp16 too. On 8 "
    "photographs {measured}. Close calls may go the other way; accuracy is evaluate's to say."
)


def _palette(precision: Precision, measured: str, *, error: float, snr: float, centred: float) -> Tolerance:
    return Tolerance(
        precision=precision,
        max_error_of_peak=error,
        min_snr_db=snr,
        min_centred_snr_db=centred,
        reason=_PALETTE.format(measured=measured),
        probability_floor=2.0**-14,
    )


_SPARSE: Final = Tolerance(
    precision="sparse",
    max_error_of_peak=_FP16_COMPUTED.max_error_of_peak,
    min_snr_db=_FP16_COMPUTED.min_snr_db,
    min_centred_snr_db=_FP16_COMPUTED.min_centred_snr_db,
    reason="The weights are fp16's and so is the arithmetic, only stored otherwise: fp16's tolerance, met with 55 dB, "
    "52 dB centred and 1.8e-3 of the peak (Deep Compression).",
    probability_floor=2.0**-14,
)
_INT8_KERNELS: Final = Tolerance(
    precision="int8",
    max_error_of_peak=0.03,
    min_snr_db=35.0,
    min_centred_snr_db=28.0,
    reason=(
        "Kernels are 255 levels per channel, chosen with the layer's inputs; every result is rounded to fp16. On 8 photographs "
        "50 dB, 42 dB centred and 4.5e-3 of the peak (torchvision), 43 dB, 38 dB centred and 8.9e-3 (Deep Compression)."
    ),
    probability_floor=2.0**-14,
)
_PALETTES: Final = (
    _palette("pal8", "52 dB, 44 dB centred and 5e-3 of the peak (torchvision)", error=0.015, snr=42.0, centred=34.0),
    _palette("pal6", "39 dB, 31 dB centred and 1.4e-2 of the peak (torchvision)", error=0.05, snr=31.0, centred=23.0),
    _palette("pal4", "28 dB, 20 dB centred and 6.3e-2 of the peak (torchvision)", error=0.17, snr=21.0, centred=12.0),
    _palette("pal3", "22 dB, 14 dB centred and 1.5e-1 of the peak (torchvision)", error=0.39, snr=14.0, centred=6.0),
    # Half of the photographs get another class: the bar only tells a file from noise, and that the weights are those chosen.
    _palette("pal2", "6 dB, 5 dB centred and 5.5e-1 of the peak (Deep Compression)", error=1.2, snr=3.0, centred=2.0),
    _palette("sparse-pal6", "31 dB, 26 dB centred and 3.9e-2 of the peak (Deep Compression)", error=0.1, snr=24.0, centred=18.0),
    _palette("sparse-pal4", "20 dB, 15 dB centred and 1.5e-1 of the peak (Deep Compression)", error=0.39, snr=13.0, centred=7.0),
    _palette("auto", "of 490 kB 25 dB, 18 dB centred, 1.2e-1 of the peak (torchvision)", error=0.39, snr=14.0, centred=6.0),
)

TOLERANCES: Final[Mapping[tuple[Target, Precision], Tolerance]] = {
    ("coreml", "fp32"): _FP32,
    ("coreml", "fp16"): _FP16_COMPUTED,
    ("coreml", "int8"): _INT8_KERNELS,
    ("coreml", "sparse"): _SPARSE,
    **{("coreml", bar.precision): bar for bar in _PALETTES},
    ("tflite", "fp32"): _FP32,
    ("tflite", "fp16"): _FP16_STORED,
    ("tflite", "int8"): _INT8,
    ("tflite", "int8-uint8"): _INT8_UINT8,
    ("tflite", "int8-dynamic"): _INT8_DYNAMIC,
    ("tflite", "int8-weights"): _INT8_WEIGHTS,
    ("tflite", "int4-mixed"): _INT4_MIXED,
    ("torchscript", "fp32"): _FP32,
    ("torchscript", "fp16"): _FP16_STORED,
    ("torchscript", "int8"): _INT8_QNNPACK,
    ("onnx", "fp32"): _FP32,
    ("onnx", "fp16"): _FP16_STORED,
}


# Bars that were measured on log-probabilities, which span from one answer to all others: about twice what logits reach from zero.
_OF_LOG_PROBABILITIES: Final = frozenset(
    {("tflite", bar.precision) for bar in (_INT8, _INT8_UINT8, _INT8_DYNAMIC, _INT8_WEIGHTS, _INT4_MIXED)}
    | {("torchscript", "int8")}
)

FEW: Final = 10  # classes, at most
_EXACT: Final = frozenset({"fp32", "fp16", "sparse"})  # round nothing that eight drawn images could not show
_FEW_DB: Final = 6.0
_FEW_ERROR: Final = 0.1  # ten points may differ whatever the logits
_FEW_LOGITS: Final = (3.0, 20 / 3)  # between 95 % and 99.9 % of two classes; larger ones change what an app sees no further
# Ten numbers say too little of a sum: with 8 images of two classes the ratio of two equal powers is 6 dB off in 3 of 100 draws.
_FEW_REASON: Final = (
    "Of {classes} classes an app sees the answer and its probability. No probability may differ by more than {error:g}: what "
    "the error of the peak makes of a logit of {logit:.3g}, and at least ten points. An answer that leads by twice that may "
    "be no other. Numbers over so few classes swing: both SNRs may be 6 dB below the centred tolerance of many."
)


def tolerance_for(
    target: Target,
    precision: Precision,
    kind: OutputKind = "probabilities",
    *,
    classes: int | None = None,
    peak: float | None = None,
) -> Tolerance:
    """Give the bar; by target as well, since fp16 is Core ML's arithmetic but only the storage of the other two.

    `classes`: of a classifier. Where weights or activations are rounded and there are at most 10, see of_few.
    `peak`: the largest absolute logit of the reference over all images; None where there is no reference yet.

    `kind`: of the artifact's output. Rounded weights and activations err by as much on logits as on log-probabilities, but
    logits are smaller: their uncentred bars are wider. The centred one, which does not hang on the view, stays.
    """
    bar = TOLERANCES[target, precision]
    if classes is not None and 2 <= classes <= FEW and kind != "features" and precision not in _EXACT:
        bar = of_few(bar, classes, peak)
        if (target, precision) not in _OF_LOG_PROBABILITIES:
            # Measured on logits of 1000 classes: the largest error swings by as much as the SNRs, which have 6 dB more.
            bar = replace(bar, max_error_of_peak=2 * bar.max_error_of_peak)
    if kind != "logits" or (target, precision) not in _OF_LOG_PROBABILITIES:
        return bar
    return replace(
        bar,
        max_error_of_peak=2 * bar.max_error_of_peak,
        min_snr_db=bar.min_snr_db - 6,
        reason=f"{bar.reason} As logits, whose span is half that of log-probabilities: 6 dB less and twice the error.",
    )


def of_few(bar: Tolerance, classes: int, peak: float | None = None) -> Tolerance:
    """The bar for a classifier of few classes: the decision and the probabilities judge, SNRs only that something is compared.

    An error e of a logit moves a probability p by at most p (1 - p) 2 e, which is largest, e / 2, where two classes are level.
    The bar of many classes allows e = `max_error_of_peak` times the `peak`, and so does this one. A peak that is not known, or
    under 3 (95 %), counts as 3, and one above 6.7 (99.9 %) as 6.7.
    """
    lowest = bar.min_centred_snr_db - _FEW_DB
    least, most = _FEW_LOGITS
    logit = least if peak is None else min(max(peak, least), most)
    error = round(min(max(_FEW_ERROR, 0.5 * bar.max_error_of_peak * logit), 1.0), 3)
    reason = f"{_FEW_REASON.format(classes=classes, error=error, logit=logit)} {bar.reason}"
    return replace(bar, min_snr_db=lowest, min_centred_snr_db=lowest, max_probability_error=error, reason=reason)


def peak_of(pack: GoldenPack) -> float | None:
    """The largest absolute logit of the golden pack's reference; None where it holds features."""
    return float(abs(pack.reference.logits).max()) if isinstance(pack.reference, Scores) and pack.reference.logits.size else None
