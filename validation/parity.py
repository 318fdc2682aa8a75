"""Runs one opened artifact over the golden pack and judges it: outputs by tolerance, weights by exact comparison.

One allowed logit error E = max_error_of_peak * max |reference logit| rules everything, by what softmax makes of it:
    logits                 |error| <= E
    log-probabilities      |error| <= 2 E                    (the normaliser may move against the logit)
    probabilities          |error| <= min(1/2, 2 peak) E     (peak: the largest reference probability; |dp| <= p (1 - p) 2 E)
The SNRs judge logits and log-probabilities; of probabilities, which are nearly all zero, they would say nothing.
Behind a sigmoid, which has no normaliser: |error| <= E of the log-odds, E / 4 of the probabilities. A single score decides
between yes and no, and that counts as its best class.

Of few classes the tolerance gives the largest probability error itself, in place of what E makes of it; where the output is
logits, it holds for their softmax. The best class may be another where the reference prefers its own by less than that.

Integers are judged as what they stand for. Integer probabilities hide what is behind them, whatever floor one puts below them: so
the runner must show the logits, whose log-probabilities are judged, and the integers must be their softmax to the level.

Features are judged like logits, by the bar of log-probabilities, E being that share of the largest feature; as they rank nothing,
there is no top-1 or top-5.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.contracts.heads import probabilities_gap
from squeeze_export.contracts.parity import OutputParity, ParityReport
from squeeze_export.contracts.signature import LOGITS_TAP
from squeeze_export.contracts.source import Features, Scores
from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.validation import metrics, views
from squeeze_export.validation.weights import compare_kernels, compare_weights, different_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from squeeze_export.contracts.arrays import Array, PixelArray
    from squeeze_export.contracts.artifact import Precision
    from squeeze_export.contracts.parity import Runner, Tolerance, Verdict, WeightsParity
    from squeeze_export.contracts.signature import OutputSpec, Signature
    from squeeze_export.contracts.source import GoldenPack, WeightDigest
    from squeeze_export.validation.views import View

NOT_FINITE: Final = "holds NaN or infinity"
_SLACK: Final = 1e-5  # of the pack's own probabilities against its logits: fp32 softmax is good to 1e-7


def judge(
    runner: Runner,
    signature: Signature,
    pack: GoldenPack,
    tolerance: Tolerance,
    precision: Precision,
    *,
    exempt_weights: tuple[str, ...] = (),
    chosen_weights: tuple[WeightDigest, ...] = (),
) -> ParityReport:
    """Run every image, collect all differences, then judge them.

    NOT_RUN where the runner meets an operation it does not implement; FAILED where anything is missing, not finite, of
    another name, shape or dtype than declared, beyond the tolerance, or cannot be shown. `exempt_weights`: see compare_weights.
    `chosen_weights`: of a compressed artifact, what stands in the source's place; then nothing is exempt.
    """
    if tolerance.precision != precision:
        raise ValueError(f"the tolerance is for {tolerance.precision}, the artifact is {precision}")

    def report(
        verdict: Verdict, reason: str | None, outputs: tuple[OutputParity, ...] = (), weights: WeightsParity | None = None
    ) -> ParityReport:
        return ParityReport(
            verdict=verdict, executor=runner.executor, reason=reason, tolerance=tolerance, outputs=outputs, weights=weights
        )

    problem = _pack_problem(signature, pack)
    if problem is not None:
        return report("FAILED", problem)
    try:
        results = [_run(runner, signature, pixels) for pixels in pack.pixels]
        inverted = _run(runner, signature, 255 - pack.pixels[0])
        stored = runner.stored_weights()
    except UnsupportedOperationError as error:
        return report("NOT_RUN", str(error))
    except ArtifactError as error:
        return report("FAILED", str(error))

    problems = _name_problems(results, signature)
    outputs: list[OutputParity] = []
    for spec in signature.outputs:
        outputs += _judge_output(spec, results, pack, tolerance)
        # Integer probabilities are the same for two pictures of one class of which the model is sure.
        seen = LOGITS_TAP if spec.quantisation is not None and LOGITS_TAP in results[0] else spec.name
        if seen in results[0] and seen in inverted and np.array_equal(results[0][seen], inverted[seen]):
            problems.append(f"{spec.name} is the same for {pack.names[0]} and its negative: the input is ignored")
    weights = None
    if stored is not None and chosen_weights:
        problems += different_weights(chosen_weights, pack.weights)
        weights = compare_weights(stored, chosen_weights, precision)
    elif stored is not None and pack.noise_floor is not None:
        weights = compare_kernels(stored, pack.weights, precision, pack.kernels)
    elif stored is not None:
        weights = compare_weights(stored, pack.weights, precision, exempt=exempt_weights)
    problems += [
        f"{output.name if output.name == output.observed else f'{output.name} as {output.observed}'}: {found}"
        for output in outputs
        for found in output.problems
    ]
    problems += () if weights is None else weights.problems
    return report("FAILED" if problems else "PASSED", "; ".join(problems) or None, tuple(outputs), weights)


def answers(runner: Runner, signature: Signature, pack: GoldenPack) -> dict[str, Array]:
    """Run every image and give each output's rows, (images, classes or channels), unjudged.

    Raises ArtifactError where an output is missing, not finite or not as declared.
    """
    problem = _pack_problem(signature, pack)
    if problem is not None:
        raise ArtifactError(f"Nothing can be executed with this golden pack: {problem}.")
    results = [_run(runner, signature, pixels) for pixels in pack.pixels]
    found: dict[str, Array] = {}
    for spec in signature.outputs:
        rows, problems = _stack(spec.name, results, spec.shape, spec.dtype, spec.decode)
        if rows is None or problems:
            raise ArtifactError(f"The output {spec.name} {'; '.join(problems)}. Run squeeze-export verify on the bundle.")
        found[spec.name] = rows
    return found


def _pack_problem(signature: Signature, pack: GoldenPack) -> str | None:
    """Say why nothing could be proven with this pack."""
    count = len(pack.names)
    if not signature.outputs:
        return "the artifact declares no outputs: there is nothing to compare"
    if count == 0:
        return "the golden pack holds no images: there is nothing to compare"
    if len(set(pack.names)) != count:
        return "two images of the golden pack have one name"
    arrays = _arrays(pack)
    first = next(iter(arrays.values()))
    if any(array.ndim != 2 or len(array) != count or array.shape != first.shape or array.size == 0 for array in arrays.values()):
        found = " and ".join(f"{name} {array.shape}" for name, array in arrays.items())
        return f"the golden pack has {count} names, {found}"
    spec = signature.input
    height, width = spec.shape[2:] if spec.layout == "NCHW" else spec.shape[1:3]
    if pack.pixels.shape != (count, height, width, 3) or pack.pixels.dtype != np.uint8:
        found = f"{pack.pixels.dtype.name} {pack.pixels.shape}"
        return f"the golden pack has pixels {found} where uint8 {(count, height, width, 3)} is needed"
    if not all(np.isfinite(array).all() for array in arrays.values()):
        return "the reference itself is not finite: NaN or infinity in the golden pack"
    scores = pack.reference
    if isinstance(scores, Scores) and probabilities_gap(scores.logits, scores.probabilities, scores.activation) > _SLACK:
        return f"the golden pack's probabilities are not the {scores.activation} of its logits"
    return None


def _arrays(pack: GoldenPack) -> dict[str, Array]:
    match pack.reference:
        case Scores(logits=logits, probabilities=probabilities):
            return {"logits": logits, "probabilities": probabilities}
        case Features(features=features):
            return {"features": features}


def _run(runner: Runner, signature: Signature, pixels: PixelArray) -> Mapping[str, Array]:
    return runner.run({signature.input.name: signature.input.encode(pixels[None])})


def _name_problems(results: list[Mapping[str, Array]], signature: Signature) -> list[str]:
    declared = {spec.name for spec in signature.outputs}
    found = [set(result) - {LOGITS_TAP} for result in results]
    others = [names for names in found if names != declared]
    return [f"the outputs are {sorted(others[0])} where {sorted(declared)} are declared"] if others else []


def _judge_output(
    spec: OutputSpec, results: list[Mapping[str, Array]], pack: GoldenPack, tolerance: Tolerance
) -> list[OutputParity]:
    """Judge an output as what it is and, for probabilities, what lies behind the activation as well."""
    reference = pack.reference
    rows = reference.features if isinstance(reference, Features) else reference.logits
    shape, columns = (1, rows.shape[1]), "channels" if isinstance(reference, Features) else "classes"
    found, problems = _stack(spec.name, results, spec.shape, spec.dtype, spec.decode)
    if spec.shape != shape:
        problems.append(f"the declared shape {spec.shape} is not one row of the reference's {rows.shape[1]} {columns}")
    if (spec.kind == "features") != isinstance(reference, Features):
        problems.append(f"{spec.kind} are declared, and the golden pack holds a reference for {columns}")
    if found is None or problems:
        return [_unmeasured(spec.name, spec.kind, len(results), problems)]
    if isinstance(reference, Features):
        return [_compare(spec.name, views.of_features(reference, found), pack, tolerance)]
    shown = views.of_probabilities(reference, found, spec.kind, tolerance)
    if spec.kind == "logits":
        view = views.of_logits(reference, found)
        both = [view] if tolerance.max_probability_error is None else [view, shown]
        return [_compare(spec.name, each, pack, tolerance) for each in both]

    judged = [_compare(spec.name, shown, pack, tolerance)]
    if any(LOGITS_TAP in result for result in results):
        tapped, problems = _stack(LOGITS_TAP, results, shape, None)
        if tapped is None or problems:
            return [*judged, _unmeasured(spec.name, LOGITS_TAP, len(results), problems)]
        if spec.quantisation is None:
            behind = views.tapped(reference, tapped)
        else:
            judged = [replace(judged[0], problems=(*judged[0].problems, *_level_problems(spec, found, tapped)))]
            behind = views.in_front_of_rounding(reference, tapped)
    elif spec.quantisation is not None:
        hidden = "integers hide the logits behind them, and this executor does not show them"
        return [*judged, _unmeasured(spec.name, LOGITS_TAP, len(results), [hidden])]
    else:
        behind = views.behind(reference, found, tolerance.probability_floor)
    return [*judged, _compare(spec.name, behind, pack, tolerance)]


def _level_problems(spec: OutputSpec, found: Array, tapped: Array) -> list[str]:
    """Of integers: whether they stand for the softmax of their own logits, to one level, and tell any class from another.

    Rounding takes half a level, and a probability of 1, which has none, a whole one.
    """
    if spec.quantisation is None:
        return []
    step = spec.quantisation.scale
    problems = []
    error = probabilities_gap(tapped, found, "softmax")
    if error > step + _SLACK:
        problems.append(f"{error / step:.1f} levels from the softmax of the logits behind them; 1 is what rounding takes")
    blank = int((found == found[:, :1]).all(axis=1).sum()) if found.shape[1] > 1 else 0
    if blank:
        problems.append(
            f"one and the same for all classes on {blank} of {len(found)} images: levels of {step:g} are too coarse here; "
            "with --output-kind logits they follow the model's own"
        )
    return problems


def _stack(
    name: str,
    results: list[Mapping[str, Array]],
    shape: tuple[int, ...],
    dtype: str | None,
    decode: Callable[[Array], Array] | None = None,
) -> tuple[Array | None, list[str]]:
    """Put the rows of one output together, decoded, or say why they do not fit the declaration."""
    missing = sum(name not in result for result in results)
    if missing:
        return None, [f"missing from {missing} of {len(results)} results"]
    rows = [np.asarray(result[name]) for result in results]
    wrong = sorted(
        {f"{row.dtype.name} {row.shape}" for row in rows if row.shape != shape or row.dtype.name != (dtype or row.dtype)}
    )
    if wrong:
        return None, [f"is {', '.join(wrong)} where {dtype or 'any float'} {shape} is declared"]
    rows = rows if decode is None else [decode(row) for row in rows]
    if any(row.dtype.kind != "f" for row in rows):
        return None, [f"is {rows[0].dtype.name} where a float is needed"]
    scores = np.concatenate(rows)
    broken = int((~np.isfinite(scores)).any(axis=1).sum())
    return scores, [f"{NOT_FINITE} on {broken} of {len(rows)} images"] if broken else []


def _compare(name: str, view: View, pack: GoldenPack, tolerance: Tolerance) -> OutputParity:
    """Measure everything, then hold it against the bar."""
    reference, target = view.reference, view.target
    error, worst = metrics.max_abs_error(reference, target), pack.names[metrics.worst_image(reference, target)]
    # A reference of zeros allows no error at all: then nothing but equality passes, and no tolerance would help.
    smallest = error / view.scale if view.scale > 0 else (0.0 if error == 0 else None)
    snr, centred = metrics.snr_db(reference, target), metrics.centred_snr_db(reference, target)
    top1 = metrics.top1(*view.decided, tie=None if view.bar is None else 2 * view.bar) if view.ranked else None

    problems: list[str] = []
    if view.bar is not None:
        if error > view.bar:
            problems.append(f"an error of {error:.3g} ({worst}) exceeds {view.bar:g}, which is what few classes may differ by")
    elif smallest is None or smallest > tolerance.max_error_of_peak:
        needed = "no tolerance" if smallest is None else f"{smallest:.3g}"
        problems.append(
            f"max abs error {error:.3g} ({worst}) exceeds the tolerance {tolerance.max_error_of_peak:g} of the peak; "
            f"{needed} would have passed"
        )
    if view.judge_snr:
        bars = (("SNR", snr, tolerance.min_snr_db), ("centred SNR", centred, tolerance.min_centred_snr_db))
        # NaN: there is one class only, which has no centred SNR.
        problems += [f"{what} {found:.1f} dB is below {bar:g} dB" for what, found, bar in bars if found < bar]
    # Of probabilities the quantity behind them is judged: after a softmax an error says nothing of the margin of close classes.
    # Of few classes it is the probabilities: an error on the one class is an error on the others, so that it hardly ever exceeds
    # the margin of a flip, however wrong that is, and seldom excuses a near tie. Two of them may each move by the bar.
    decides = view.judge_snr if tolerance.max_probability_error is None else view.bar is not None
    if decides and top1 is not None and top1.flips:
        flipped = ", ".join(pack.names[index] for index in top1.flips[:5])
        margin = "the error" if view.bar is None else f"{2 * view.bar:g}"
        problems.append(f"{len(top1.flips)} of {len(pack.names)} images have another top-1 by more than {margin}: {flipped}")
    return OutputParity(
        name=name,
        observed=view.observed,
        images=len(reference),
        max_abs_error=error,
        worst_image=worst,
        snr_db=metrics.or_none(snr),
        centred_snr_db=metrics.or_none(centred),
        psnr_db=metrics.or_none(metrics.psnr_db(reference, target)),
        cosine=metrics.or_none(metrics.cosine(reference, target)),
        top1_agreement=None if top1 is None else top1.agreement,
        top1_ties=0 if top1 is None else top1.ties,
        top5_agreement=metrics.top_k_agreement(reference, target, 5) if view.ranked and reference.shape[1] > 1 else None,
        smallest_passing_error_of_peak=None if view.bar is not None else smallest,
        problems=tuple(problems),
    )


def _unmeasured(name: str, observed: str, images: int, problems: list[str]) -> OutputParity:
    return OutputParity(
        name=name,
        observed=observed,
        images=images,
        max_abs_error=None,
        worst_image=None,
        snr_db=None,
        centred_snr_db=None,
        psnr_db=None,
        cosine=None,
        top1_agreement=None,
        top1_ties=0,
        top5_agreement=None,
        smallest_passing_error_of_peak=None,
        problems=tuple(problems),
    )
