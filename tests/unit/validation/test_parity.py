"""The judge: what passes, and above all that everything which is wrong does not."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze_export.contracts.signature import LOGITS_TAP, InputSpec, OutputSpec, PreprocessingSpec, Quantisation, Signature
from squeeze_export.contracts.source import GoldenPack, Scores, WeightDigest
from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.validation.parity import judge
from squeeze_export.validation.tolerances import tolerance_for

SIDE, CLASSES, IMAGES = 16, 10, 6
FP32, FP16 = tolerance_for("torchscript", "fp32"), tolerance_for("torchscript", "fp16")
COREML_FP16 = tolerance_for("coreml", "fp16")
PREPROCESSING = PreprocessingSpec(
    resize=SIDE, height=SIDE, width=SIDE, color_order="RGB", scale=1 / 255, mean=(0.5,) * 3, std=(1.0,) * 3
)
WEIGHTS = tuple(np.full(shape, 0.5, np.float32) for shape in ((2, 3, 1, 1), (2,)))


def softmax(logits):
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def pictures(count=IMAGES):
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    waves = [
        np.stack([127 + 120 * np.sin((k + 1) * x / 5 + c) * np.cos((c + 1) * y / 7 + k) for c in range(3)], axis=-1)
        for k in range(count)
    ]
    return np.stack(waves).astype(np.uint8)


def network(inputs):
    """A linear classifier over means of 4x4 pixels, whose logits reach about 20: (N, 3, H, W) -> (N, classes)."""
    features = inputs.reshape(len(inputs), 3, 4, 4, 4, 4).mean(axis=(3, 5)).reshape(len(inputs), 48)
    weights = np.random.default_rng(7).normal(size=(48, CLASSES)) * 6
    return (features.astype(np.float64) @ weights).astype(np.float32)


def signature_of(kind):
    scale = (1 / 255,) * 3
    spec = InputSpec(
        name="image",
        shape=(1, 3, SIDE, SIDE),
        dtype="float32",
        layout="NCHW",
        color_order="RGB",
        scale=scale,
        bias=(-0.5,) * 3,
    )
    return Signature(input=spec, outputs=(OutputSpec(name=kind, shape=(1, CLASSES), dtype="float32", kind=kind),))


def golden_pack(count=IMAGES):
    pixels = pictures(count)
    logits = network(signature_of("logits").input.encode(pixels))
    digests = [
        WeightDigest(
            name=f"w{index}",
            shape=value.shape,
            fp32=hashlib.sha256(value.tobytes()).hexdigest(),
            fp16=hashlib.sha256(value.astype(np.float16).tobytes()).hexdigest(),
        )
        for index, value in enumerate(WEIGHTS)
    ]
    return GoldenPack(
        names=tuple(f"{index}.png" for index in range(count)),
        pictures=tuple(pixels),
        preprocessing=PREPROCESSING,
        pixels=pixels,
        reference=Scores(logits=logits, probabilities=softmax(logits)),
        weights=tuple(digests),
    )


def scored(pack, **scores):
    """The pack with other logits or probabilities."""
    return dataclasses.replace(pack, reference=dataclasses.replace(pack.reference, **scores))


PACK = golden_pack()


class Fake:
    """A runner of the linear classifier; `change(logits, call)` and `replace(outputs, call)` say what is wrong with it."""

    executor = "fake 1.0"

    def __init__(self, kind="logits", *, tap=False, change=None, replace=None, weights=WEIGHTS, see=None):
        self.kind, self.tap, self.change, self.replace, self.weights, self.see = kind, tap, change, replace, weights, see
        self.calls = 0

    def run(self, inputs):
        (image,) = inputs.values()
        logits = network(image if self.see is None else self.see(image))
        if self.change is not None:
            logits = np.asarray(self.change(logits.copy(), self.calls), np.float32)
        outputs = {self.kind: logits if self.kind == "logits" else softmax(logits)}
        if self.tap:
            outputs[LOGITS_TAP] = logits
        if self.replace is not None:
            outputs = self.replace(outputs, self.calls)
        self.calls += 1
        return outputs

    def stored_weights(self):
        return self.weights


KINDS = [("logits", False), ("probabilities", False), ("probabilities", True)]


def judged(kind="logits", tap=False, tolerance=FP32, pack=PACK, signature=None, **wrong):
    runner = Fake(kind, tap=tap, **wrong)
    return judge(runner, signature or signature_of(kind), pack, tolerance, tolerance.precision)


def test_the_fixture_is_worth_testing_with():
    assert 10 < np.abs(PACK.reference.logits).max() < 60
    assert len(set(PACK.reference.logits.argmax(axis=1))) > 2


@pytest.mark.parametrize(("kind", "tap"), KINDS)
@pytest.mark.parametrize("tolerance", [FP32, FP16, COREML_FP16])
def test_agreement_passes(kind, tap, tolerance):
    weights = WEIGHTS if tolerance is FP32 else tuple(value.astype(np.float16) for value in WEIGHTS)
    report = judged(kind, tap, tolerance, weights=weights)
    assert (report.verdict, report.reason, report.executor, report.tolerance) == ("PASSED", None, "fake 1.0", tolerance)
    assert (report.weights.compared, report.weights.expected) == (2, 2)
    expected = {"logits": ["logits"], "probabilities": ["probabilities", LOGITS_TAP if tap else "log-probabilities"]}[kind]
    assert [output.observed for output in report.outputs] == expected
    for output in report.outputs:
        assert (output.name, output.images, output.problems) == (kind, IMAGES, ())
        assert (output.top1_agreement, output.top1_ties, output.top5_agreement) == (1.0, 0, 1.0)
        assert output.max_abs_error < 1e-5
        assert output.cosine == pytest.approx(1.0)


def test_identical_outputs_have_no_finite_snr():
    (output,) = judged().outputs
    assert output.max_abs_error == output.smallest_passing_error_of_peak == 0.0
    assert output.snr_db is output.centred_snr_db is output.psnr_db is None


def test_reported_numbers_are_the_metrics():
    (output,) = judged(tolerance=FP16, change=lambda logits, call: logits * 1.0005).outputs
    assert output.snr_db == pytest.approx(20 * math.log10(2000), abs=0.01)
    assert output.centred_snr_db == pytest.approx(20 * math.log10(2000), abs=0.01)
    assert output.max_abs_error == pytest.approx(np.abs(PACK.reference.logits).max() / 2000, rel=1e-3)
    assert output.smallest_passing_error_of_peak == pytest.approx(5e-4, rel=1e-3)


def exchange(first, second):
    def change(logits, call):
        logits[:, [first, second]] = logits[:, [second, first]]
        return logits

    return change


def noise(size):
    return lambda logits, call: logits + np.random.default_rng(call).normal(size=logits.shape) * size


WRONG = {
    "a constant": lambda logits, call: np.arange(CLASSES)[None],
    "the reference's average": lambda logits, call: PACK.reference.logits.mean(axis=0, keepdims=True),
    "always the first answer": lambda logits, call: PACK.reference.logits[:1],
    "the next image's answer": lambda logits, call: PACK.reference.logits[[(call + 1) % IMAGES]],
    "zeros": lambda logits, call: logits * 0,
    "the wrong sign": lambda logits, call: -logits,
    "scaled by 1 %": lambda logits, call: logits * 1.01,
    "classes 0 and 1 exchanged": exchange(0, 1),
    "classes 8 and 9 exchanged": exchange(8, 9),
    "classes rolled": lambda logits, call: np.roll(logits, 1, axis=1),
    "classes reversed": lambda logits, call: logits[:, ::-1],
    "a ReLU too many": lambda logits, call: np.maximum(logits, 0),
    "clipped": lambda logits, call: np.minimum(logits, np.abs(PACK.reference.logits).max() / 2),
    "quantised to 8 bit": lambda logits, call: np.round(logits * 4) / 4,
    "noise": noise(0.3),
    "one class off": lambda logits, call: logits + np.eye(CLASSES)[3],
    "one image off": lambda logits, call: logits + (call == 2) * np.eye(CLASSES)[3],
}
WRONG_INPUT = {
    "BGR": lambda image: image[:, ::-1],
    "upside down": lambda image: image[:, :, ::-1],
    "mirrored": lambda image: image[..., ::-1],
    "turned": lambda image: image.transpose(0, 1, 3, 2),
    "shifted by a pixel": lambda image: np.roll(image, 1, axis=3),
    "another scale": lambda image: image * 1.02,
    "another mean": lambda image: image + 0.02,
    "black": lambda image: image * 0,
}


@pytest.mark.parametrize(("kind", "tap"), KINDS)
@pytest.mark.parametrize("tolerance", [FP32, FP16, COREML_FP16], ids=["fp32", "fp16", "coreml fp16"])
@pytest.mark.parametrize("name", [*WRONG, *WRONG_INPUT])
def test_whatever_is_wrong_fails(name, tolerance, kind, tap):
    weights = WEIGHTS if tolerance is FP32 else tuple(value.astype(np.float16) for value in WEIGHTS)
    report = judged(kind, tap, tolerance, weights=weights, change=WRONG.get(name), see=WRONG_INPUT.get(name))
    assert report.verdict == "FAILED"
    assert report.reason


@pytest.mark.parametrize("size", [2e-3, 1e-3])
def test_what_fp16_may_lose_fp32_may_not(size):
    weights = tuple(value.astype(np.float16) for value in WEIGHTS)
    for kind, tap in KINDS:
        assert judged(kind, tap, FP16, weights=weights, change=noise(size)).verdict == "PASSED"
        assert judged(kind, tap, FP32, change=noise(size)).verdict == "FAILED"


def test_an_offset_per_image_fails_on_logits_and_means_nothing_to_probabilities():
    def offset(logits, call):
        return logits + 1.0 + call

    assert judged(change=offset).verdict == "FAILED"
    assert judged("probabilities", True, change=offset).verdict == "FAILED"
    assert judged("probabilities", change=offset).verdict == "PASSED"  # softmax removes it: both agree in all that an app sees


def test_a_tap_cannot_hide_an_error_of_the_output():
    """Right logits and a wrong softmax: the output itself is judged as well."""
    for wrong in (lambda p: p * 0, lambda p: np.sqrt(p), lambda p: np.roll(p, 1, axis=1), lambda p: p * 1.01 - 1e-6):

        def replace(outputs, call, wrong=wrong):
            return outputs | {"probabilities": wrong(outputs["probabilities"]).astype(np.float32)}

        shown, behind = judged("probabilities", True, replace=replace).outputs
        assert shown.problems != ()
        assert behind.problems == ()


@given(st.integers(0, IMAGES - 1), st.integers(0, CLASSES - 1), st.floats(0.05, 1e6), st.booleans(), st.sampled_from(KINDS))
@settings(deadline=None, max_examples=150)
def test_one_wrong_logit_anywhere_fails(image, index, size, up, how):
    def change(logits, call):
        logits[0, index] += (call == image) * (size if up else -size)
        return logits

    # A class may become impossible or certain, but never go unnoticed.
    report = judged(*how, change=change)
    assert report.verdict == "FAILED"
    assert any(output.worst_image == f"{image}.png" and output.problems for output in report.outputs)


@pytest.mark.parametrize(("kind", "tap"), KINDS)
@pytest.mark.parametrize("size", [1e-6, 1e-4, 1e-2, 1.0])
def test_the_smallest_passing_tolerance_passes_and_nothing_smaller_does(kind, tap, size):
    lenient = dataclasses.replace(FP32, max_error_of_peak=0.0, min_snr_db=-300.0, min_centred_snr_db=-300.0)
    outputs = judged(kind, tap, lenient, change=noise(size)).outputs
    named = max(output.smallest_passing_error_of_peak for output in outputs)
    assert named > 0
    exactly = dataclasses.replace(lenient, max_error_of_peak=named)
    below = dataclasses.replace(lenient, max_error_of_peak=float(np.nextafter(named, 0)))

    def errors(tolerance):
        report = judged(kind, tap, tolerance, change=noise(size))
        return [problem for output in report.outputs for problem in output.problems if "max abs error" in problem]

    assert errors(exactly) == []
    assert len(errors(below)) == 1
    assert f"{named:.3g} would have passed" in errors(below)[0]


@pytest.mark.parametrize(("kind", "tap"), KINDS)
def test_one_rule_of_error_covers_logits_and_what_softmax_makes_of_them(kind, tap):
    """Any logit error of at most E passes the max-error rule in each view: the bounds in parity.py's first lines."""
    lenient = dataclasses.replace(FP32, max_error_of_peak=1e-2, min_snr_db=-300.0, min_centred_snr_db=-300.0)
    allowed = 1e-2 * np.abs(PACK.reference.logits).max() * 0.999
    for seed in range(40):

        def worst_case(logits, call, seed=seed):
            return logits + np.random.default_rng((seed, call)).choice([-allowed, allowed], size=logits.shape)

        report = judged(kind, tap, lenient, change=worst_case)
        assert not any("max abs error" in problem for output in report.outputs for problem in output.problems)


def flat_pack(logits):
    logits = np.asarray(logits, np.float32)
    return scored(golden_pack(len(logits)), logits=logits, probabilities=softmax(logits))


def answering(rows):
    """Make the fake answer with these logits, whatever it is shown, and with something else to the negative."""
    return lambda logits, call: np.asarray(rows, np.float32)[[call]] if call < len(rows) else logits


UNLIKELY = [[30.0, 20.0, 0.0, *[15.0] * 7], [20.0, 30.0, 0.0, *[14.0] * 7]]


def far_less_likely(tap, tolerance):
    """Class 2 has a probability of 1e-13 in the reference and of 1e-17 in the target."""
    weights = WEIGHTS if tolerance is FP32 else None
    answers = np.asarray(UNLIKELY) - 9 * np.eye(CLASSES)[2]
    return judged("probabilities", tap, tolerance, flat_pack(UNLIKELY), change=answering(answers), weights=weights)


@pytest.mark.parametrize("tolerance", [FP32, FP16, COREML_FP16], ids=["fp32", "fp16", "coreml fp16"])
@pytest.mark.parametrize("tap", [False, True])
def test_softmax_cannot_hide_an_error(tap, tolerance):
    """An unlikely class made far less likely: invisible in the probabilities, plain behind them."""
    report = far_less_likely(tap, tolerance)
    shown, behind = report.outputs
    assert shown.problems == ()
    if tolerance is COREML_FP16 and not tap:
        # fp16 probabilities have no digits there to compare: this is what a tap on the logits is for.
        assert report.verdict == "PASSED"
        return
    assert report.verdict == "FAILED"
    assert len(behind.problems) == 3
    assert behind.max_abs_error == pytest.approx(9, rel=0.01)


def test_a_near_tie_is_reported_as_a_tie_and_passes():
    row = [20.0, 19.999, *range(8)]
    other = [19.9985, 19.9994, *range(8)]  # margin 0.001, error 0.0015
    loose = dataclasses.replace(FP16, max_error_of_peak=1e-3)
    report = judged(tolerance=loose, pack=flat_pack([row, row[::-1]]), change=answering([other, row[::-1]]), weights=None)
    (output,) = report.outputs
    assert (output.top1_agreement, output.top1_ties) == (0.5, 1)
    assert report.verdict == "PASSED"


def test_a_flip_by_more_than_the_error_fails_even_within_the_tolerance():
    row = [20.0, 19.999, *range(8)]
    other = [19.9994, 19.9996, *range(8)]  # margin 0.001, error 0.0006
    report = judged(tolerance=FP16, pack=flat_pack([row, row[::-1]]), change=answering([other, row[::-1]]), weights=None)
    assert report.verdict == "FAILED"
    assert report.reason == "logits: 1 of 2 images have another top-1 by more than the error: 0.png"


def test_probabilities_below_the_floor_are_not_compared_and_above_it_are():
    pack = flat_pack([[100.0, 0.0, 80.0, *[50.0] * 7], [0.0, 100.0, 80.0, *[50.0] * 7]])
    assert (pack.reference.probabilities[:, 2] > 1e-9).all()

    def lose(index):
        def replace(outputs, call):
            scores = outputs["probabilities"].copy()
            scores[0, index] = 0
            return {"probabilities": scores}

        return replace

    answers = answering(pack.reference.logits)
    lost = [1, 0]
    below = judged("probabilities", pack=pack, change=answers, replace=lambda o, call: lose(lost[call % 2])(o, call))
    assert below.verdict == "PASSED"
    above = judged("probabilities", pack=pack, change=answers, replace=lose(2))
    assert above.verdict == "FAILED"
    assert "log-probabilities" in above.reason


@pytest.mark.parametrize(("kind", "tap"), KINDS)
@pytest.mark.parametrize("count", [1, 2])
def test_an_artifact_that_ignores_its_input_fails_even_where_the_pack_cannot_tell(kind, tap, count):
    pack = flat_pack(PACK.reference.logits[[0] * count])
    ignorant = judged(kind, tap, pack=pack, change=lambda logits, call: pack.reference.logits[:1])
    assert ignorant.verdict == "FAILED"
    assert ignorant.reason == f"{kind} is the same for 0.png and its negative: the input is ignored"
    assert judged(kind, tap, pack=pack, change=answering(pack.reference.logits)).verdict == "PASSED"


def test_a_dead_reference_proves_nothing():
    pack = flat_pack(np.zeros((2, CLASSES)))
    assert judged(pack=pack, change=lambda logits, call: logits * 0).verdict == "FAILED"
    report = judged(pack=pack, change=noise(1e-9))
    assert report.verdict == "FAILED"
    assert report.outputs[0].smallest_passing_error_of_peak is None
    assert "no tolerance would have passed" in report.reason


def test_one_class_has_no_centred_snr_and_logits_are_still_judged():
    output = OutputSpec(name="logits", shape=(1, 1), dtype="float32", kind="logits")
    signature = dataclasses.replace(signature_of("logits"), outputs=(output,))
    pack = flat_pack(PACK.reference.logits[:, :1])
    assert judged(pack=pack, signature=signature, change=lambda logits, call: logits[:, :1]).verdict == "PASSED"
    assert judged(pack=pack, signature=signature, change=lambda logits, call: logits[:, :1] * 1.01).verdict == "FAILED"


def without(outputs, name):
    return {key: value for key, value in outputs.items() if key != name}


def changed(name, function, calls=range(99)):
    def replace(outputs, call):
        return outputs | {name: function(outputs[name])} if call in calls else outputs

    return replace


def put(value, dtype=np.float32):
    def function(scores):
        scores = scores.astype(dtype)
        scores[0, 4] = value
        return scores

    return function


STRUCTURE = [
    (lambda outputs, call: {}, "missing from 6 of 6"),
    (lambda outputs, call: without(outputs, "probabilities") if call == 3 else outputs, "missing from 1 of 6"),
    (lambda outputs, call: without(outputs, "probabilities") | {"scores": outputs["probabilities"]}, "outputs are .*'scores'"),
    (lambda outputs, call: outputs | {"more": outputs["probabilities"]}, r"outputs are \['more', 'probabilities'\]"),
    (lambda outputs, call: outputs | ({"more": outputs["probabilities"]} if call == 5 else {}), "outputs are"),
    (changed("probabilities", lambda scores: scores[0]), r"is float32 \(10,\) where float32 \(1, 10\)"),
    (changed("probabilities", lambda scores: scores[:, :9]), r"is float32 \(1, 9\)"),
    (changed("probabilities", lambda scores: scores[..., None, None]), r"is float32 \(1, 10, 1, 1\)"),
    (changed("probabilities", lambda scores: np.repeat(scores, 2, axis=0)), r"is float32 \(2, 10\)"),
    (changed("probabilities", lambda scores: scores[:0]), r"is float32 \(0, 10\)"),
    (changed("probabilities", lambda scores: scores.astype(np.float64)), "is float64"),
    (changed("probabilities", lambda scores: scores.astype(np.float16), [4]), "is float16"),
    (changed("probabilities", lambda scores: np.round(scores).astype(np.int64)), "is int64"),
    (changed("probabilities", put(np.nan), [1]), "NaN or infinity on 1 of 6"),
    (changed("probabilities", put(np.inf)), "NaN or infinity on 6 of 6"),
    (changed("probabilities", put(-np.inf), [5]), "NaN or infinity on 1 of 6"),
    (changed(LOGITS_TAP, put(np.nan), [0]), r"logits \(tapped\): holds NaN"),
    (changed(LOGITS_TAP, lambda scores: scores[:, :9]), r"logits \(tapped\): is float32 \(1, 9\)"),
    (changed(LOGITS_TAP, lambda scores: np.round(scores).astype(np.int32)), "is int32 where a float is needed"),
    (lambda outputs, call: outputs if call else without(outputs, LOGITS_TAP), r"logits \(tapped\): missing from 1 of 6"),
]


@pytest.mark.parametrize(("replace", "reason"), STRUCTURE)
def test_another_structure_fails(replace, reason):
    report = judged("probabilities", True, replace=replace)
    assert report.verdict == "FAILED"
    assert re.search(reason, report.reason)
    broken = [output for output in report.outputs if output.problems and output.max_abs_error is None]
    assert all(output.snr_db is output.top1_agreement is output.smallest_passing_error_of_peak is None for output in broken)


def test_a_tap_in_half_precision_is_measured():
    weights = tuple(value.astype(np.float16) for value in WEIGHTS)
    report = judged(
        "probabilities", True, FP16, weights=weights, replace=changed(LOGITS_TAP, lambda scores: scores.astype(np.float16))
    )
    assert report.verdict == "PASSED"


def test_a_declared_shape_of_other_classes_fails():
    output = dataclasses.replace(signature_of("logits").outputs[0], shape=(1, 9))
    report = judged(
        signature=dataclasses.replace(signature_of("logits"), outputs=(output,)), change=lambda logits, call: logits[:, :9]
    )
    assert report.verdict == "FAILED"
    assert "not one row of the reference's 10 classes" in report.reason


def test_no_outputs_declared_fails():
    report = judged(signature=dataclasses.replace(signature_of("logits"), outputs=()))
    assert (report.verdict, report.outputs) == ("FAILED", ())
    assert "declares no outputs" in report.reason


EMPTY = dataclasses.replace(
    scored(PACK, logits=PACK.reference.logits[:0], probabilities=PACK.reference.probabilities[:0]),
    names=(),
    pixels=PACK.pixels[:0],
)
BAD_PACKS = [
    (EMPTY, "no images"),
    (dataclasses.replace(PACK, names=PACK.names[:5]), "5 names"),
    (dataclasses.replace(PACK, names=("a",) * IMAGES), "one name"),
    (dataclasses.replace(PACK, pixels=PACK.pixels[:5]), "pixels uint8 .5, 16, 16, 3."),
    (dataclasses.replace(PACK, pixels=PACK.pixels[:, :15]), "pixels uint8 .6, 15, 16, 3."),
    (dataclasses.replace(PACK, pixels=PACK.pixels / 255.0), "pixels float64"),
    (scored(PACK, logits=PACK.reference.logits[:, :9]), "logits .6, 9. and probabilities .6, 10."),
    (scored(PACK, logits=PACK.reference.logits[:, :0], probabilities=PACK.reference.probabilities[:, :0]), "logits .6, 0."),
    (scored(PACK, logits=PACK.reference.logits * np.nan), "not finite"),
    (scored(PACK, logits=PACK.reference.logits + 1e-2 * np.eye(CLASSES)[2]), None),
    (scored(PACK, probabilities=PACK.reference.probabilities[::-1]), "not the softmax"),
    (scored(PACK, logits=PACK.reference.logits[::-1]), "not the softmax"),
]


@pytest.mark.parametrize(("pack", "reason"), BAD_PACKS)
def test_a_pack_that_proves_nothing_or_was_altered_fails(pack, reason):
    report = judged(pack=pack)
    assert report.verdict == "FAILED"
    if reason is not None:
        assert re.search(reason, report.reason)


class Raising(Fake):
    def __init__(self, error, at):
        super().__init__()
        self.error, self.at = error, at

    def run(self, inputs):
        if self.calls == self.at:
            raise self.error
        return super().run(inputs)

    def stored_weights(self):
        if self.at == "weights":
            raise self.error
        return super().stored_weights()


@pytest.mark.parametrize("at", [0, 5, 6, "weights"])
def test_a_runner_that_cannot_is_not_run_and_one_that_finds_damage_fails(at):
    for error, verdict in ((UnsupportedOperationError("no gather"), "NOT_RUN"), (ArtifactError("damaged"), "FAILED")):
        report = judge(Raising(error, at), signature_of("logits"), PACK, FP32, "fp32")
        assert (report.verdict, report.reason, report.outputs, report.weights) == (verdict, str(error), (), None)


def test_a_bug_of_a_runner_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        judge(Raising(ZeroDivisionError(), 0), signature_of("logits"), PACK, FP32, "fp32")


def test_weights_are_judged():
    other = (WEIGHTS[0], WEIGHTS[1] * 2)
    report = judged(weights=other)
    assert report.verdict == "FAILED"
    assert report.reason.startswith("1 of the source's weights are not in the file: w1")
    assert report.weights.compared == 1
    exempt = judge(Fake(weights=other), signature_of("logits"), PACK, FP32, "fp32", exempt_weights=("w1",))
    assert (exempt.verdict, exempt.weights.compared, exempt.weights.exempt) == ("PASSED", 1, ("w1",))
    hidden = judged(weights=None)
    assert (hidden.verdict, hidden.weights) == ("PASSED", None)


def test_the_tolerance_must_be_the_artifacts():
    with pytest.raises(ValueError, match="tolerance is for fp16"):
        judge(Fake(), signature_of("logits"), PACK, FP16, "fp32")


def test_every_problem_is_named_in_the_reason():
    report = judged("probabilities", True, change=WRONG["classes rolled"], weights=(WEIGHTS[0],))
    assert report.reason.count(";") >= 6
    for output in report.outputs:
        for problem in output.problems:
            seen = "" if output.observed == "probabilities" else f" as {output.observed}"
            assert f"probabilities{seen}: {problem}" in report.reason


LEVELS = dataclasses.replace(
    signature_of("probabilities"),
    outputs=(
        dataclasses.replace(
            signature_of("probabilities").outputs[0], dtype="uint8", quantisation=Quantisation(scale=1 / 256, zero_point=0)
        ),
    ),
)


def in_levels(make=lambda scores: scores * 256, tap=True):
    """Probabilities as uint8."""

    def replace(outputs, call):
        made = np.clip(np.rint(make(outputs["probabilities"])), 0, 255).astype(np.uint8)
        return (outputs if tap else without(outputs, LOGITS_TAP)) | {"probabilities": made}

    return replace


def test_levels_are_judged_by_the_logits_behind_them():
    bar = dataclasses.replace(tolerance_for("tflite", "int8-uint8"), precision="fp32")
    report = judged("probabilities", True, bar, signature=LEVELS, replace=in_levels())
    assert (report.verdict, [output.observed for output in report.outputs]) == ("PASSED", ["probabilities", "log-probabilities"])
    # So an error that leaves every level as it is, of a class far below 1/256, is refused nevertheless.
    low = PACK.reference.logits[1].argmin()
    assert PACK.reference.probabilities[1, low] < 1e-6

    def sunk(logits, call):
        logits[0, low] -= 5 * (call == 1)
        return logits

    report = judged("probabilities", True, bar, signature=LEVELS, replace=in_levels(), change=sunk)
    assert report.verdict == "FAILED" and not report.outputs[0].problems
    assert "log-probabilities: max abs error 5" in report.reason
    # Surer than any level can say: the same levels for another picture are no sign that it is ignored, the same logits are.
    report = judged("probabilities", True, bar, signature=LEVELS, replace=in_levels(), see=np.zeros_like)
    assert "the input is ignored" in report.reason
    certain = 99 * np.eye(CLASSES)[0]
    sure = judged("probabilities", True, bar, signature=LEVELS, replace=in_levels(), change=lambda logits, _: logits + certain)
    assert "the input is ignored" not in sure.reason


@pytest.mark.parametrize(
    ("replace", "reason"),
    [
        (in_levels(lambda scores: scores * 250), r"\d\.\d levels from the softmax of the logits behind them"),
        (in_levels(lambda scores: scores * 256 + 2), "levels from the softmax"),
        (in_levels(lambda scores: scores * 0), "same for all classes on 6 of 6 images: levels of 0.0039"),
        (in_levels(tap=False), "integers hide the logits behind them"),
    ],
)
def test_levels_that_say_something_else_fail(replace, reason):
    bar = dataclasses.replace(tolerance_for("tflite", "int8-uint8"), precision="fp32")
    report = judged("probabilities", True, bar, signature=LEVELS, replace=replace)
    assert report.verdict == "FAILED"
    assert re.search(reason, report.reason)
