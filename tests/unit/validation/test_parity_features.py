"""The judge over features: no classes, hence no top-1, and everything else as strict as for logits."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from squeeze_export.contracts.signature import InputSpec, OutputSpec, PreprocessingSpec, Signature
from squeeze_export.contracts.source import Features, GoldenPack, Scores
from squeeze_export.validation.parity import judge
from squeeze_export.validation.tolerances import tolerance_for

SIDE, CHANNELS, IMAGES = 16, 12, 5
FP32 = tolerance_for("torchscript", "fp32")
SIGNATURE = Signature(
    input=InputSpec(
        name="image",
        shape=(1, SIDE, SIDE, 3),
        dtype="float32",
        layout="NHWC",
        color_order="RGB",
        scale=(1 / 255,) * 3,
        bias=(0.0,) * 3,
    ),
    outputs=(OutputSpec(name="features", shape=(1, CHANNELS), dtype="float32", kind="features"),),
)


def network(inputs):
    """Averaged channels behind a rectifier: (N, H, W, 3) -> (N, channels), some of them always 0 as in a real network."""
    mixed = inputs.astype(np.float64) @ np.random.default_rng(3).normal(size=(3, CHANNELS))
    mixed[..., :2] = -1
    places = 1 + np.arange(SIDE * SIDE).reshape(SIDE, SIDE, 1) / 50
    return (np.maximum(mixed, 0) * places).mean(axis=(1, 2)).astype(np.float32)


def made_pack():
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    waves = [
        np.stack([127 + 120 * np.sin((k + 1) * x / 5 + c) * np.cos((c + 1) * y / 7 + k) for c in range(3)], -1)
        for k in range(IMAGES)
    ]
    pixels = np.stack(waves).astype(np.uint8)
    half = (0.5,) * 3
    return GoldenPack(
        names=tuple(f"{k}.png" for k in range(IMAGES)),
        pictures=tuple(pixels),
        preprocessing=PreprocessingSpec(
            resize=SIDE, height=SIDE, width=SIDE, color_order="RGB", scale=1 / 255, mean=half, std=half
        ),
        pixels=pixels,
        reference=Features(features=network(SIGNATURE.input.encode(pixels))),
        weights=(),
    )


PACK = made_pack()


class Fake:
    executor = "fake 1.0"

    def __init__(self, change):
        self.change, self.calls = change, 0

    def run(self, inputs):
        outputs = {"features": np.asarray(self.change(network(inputs["image"]), self.calls), np.float32)}
        self.calls += 1
        return outputs

    def stored_weights(self):
        return None


def judged(change=lambda features, call: features, pack=PACK, signature=SIGNATURE):
    return judge(Fake(change), signature, pack, FP32, "fp32")


def test_agreement_passes_and_ranks_nothing():
    report = judged()
    assert (report.verdict, report.reason) == ("PASSED", None)
    (output,) = report.outputs
    assert (output.name, output.observed, output.images, output.max_abs_error) == ("features", "features", IMAGES, 0.0)
    assert (output.top1_agreement, output.top1_ties, output.top5_agreement) == (None, 0, None)
    assert output.cosine == pytest.approx(1.0)


def test_another_largest_channel_is_no_flip():
    """Two channels within the error of each other may change places: features rank nothing."""
    features = np.tile(np.linspace(0.0, 9.0, CHANNELS, dtype=np.float32), (IMAGES, 1)) + np.arange(IMAGES)[:, None] / 7
    features[:, -2] = features[:, -1] - 1e-6
    pack = dataclasses.replace(PACK, reference=Features(features=features.astype(np.float32)))

    def answer(_, call):
        if call == IMAGES:  # the negative
            return features[:1] + 1
        row = features[[call]].copy()
        row[:, [-1, -2]] = row[:, [-2, -1]]
        return row

    report = judged(answer, pack)
    assert report.verdict == "PASSED" and report.outputs[0].max_abs_error > 0


def spike(features):
    features[:, 5] += 2e-5 * np.abs(PACK.reference.features).max()
    return features


WRONG = {
    "channels rolled": (lambda f, call: np.roll(f, 1, axis=1), "exceeds the tolerance"),
    "the next image's": (lambda f, call: PACK.reference.features[[(call + 1) % IMAGES]], "exceeds the tolerance"),
    "sums instead of averages": (lambda f, call: f * SIDE * SIDE, "SNR"),
    "of unit length": (lambda f, call: f / np.linalg.norm(f), "SNR"),
    "a softmax behind": (lambda f, call: np.exp(f) / np.exp(f).sum(), "SNR"),
    "a spike": (lambda f, call: spike(f), "of the peak"),
    "a part per thousand": (lambda f, call: f * 1.001, "centred SNR 60.0 dB"),
    "constant": (lambda f, call: PACK.reference.features[:1], "the input is ignored"),
    "zeros": (lambda f, call: f * 0, "the input is ignored"),
    "NaN": (lambda f, call: f * np.where(call == 2, np.nan, 1), "NaN or infinity on 1 of 5 images"),
    "too few": (lambda f, call: f[:, :-1], "is float32 .1, 11. where float32 .1, 12. is declared"),
    "two rows": (lambda f, call: np.repeat(f, 2, axis=0), "is float32 .2, 12."),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_features_fail(name):
    change, told = WRONG[name]
    report = judged(change)
    assert report.verdict == "FAILED"
    assert re.search(told, report.reason), report.reason


def test_a_pack_or_declaration_that_does_not_fit_fails():
    features = PACK.reference.features
    softmax = np.exp(features.astype(np.float64))
    scores = Scores(logits=features, probabilities=(softmax / softmax.sum(axis=1, keepdims=True)).astype(np.float32))
    (output,) = SIGNATURE.outputs
    as_logits = dataclasses.replace(SIGNATURE, outputs=(dataclasses.replace(output, kind="logits"),))
    smaller = dataclasses.replace(SIGNATURE, outputs=(dataclasses.replace(output, shape=(1, CHANNELS - 1)),))
    for pack, signature, told in (
        (dataclasses.replace(PACK, reference=scores), SIGNATURE, "features are declared, and the golden pack holds"),
        (PACK, as_logits, "logits are declared, and the golden pack holds a reference for channels"),
        (PACK, smaller, "not one row of the reference's 12 channels"),
        (dataclasses.replace(PACK, reference=Features(features=features[:4])), SIGNATURE, "5 names, features (4, 12)"),
        (dataclasses.replace(PACK, reference=Features(features=features[:, :0])), SIGNATURE, "features (5, 0)"),
        (dataclasses.replace(PACK, reference=Features(features=features + np.float32(np.inf))), SIGNATURE, "not finite"),
        (dataclasses.replace(PACK, names=(), pictures=()), SIGNATURE, "no images"),
    ):
        width = signature.outputs[0].shape[1]
        report = judged(pack=pack, signature=signature, change=lambda f, call, width=width: f[:, :width])
        assert report.verdict == "FAILED"
        assert told in report.reason
