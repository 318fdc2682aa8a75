"""What a user is told where the demo's drawn images judge a model of his own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from squeeze_export.contracts.request import ExportRequest
from squeeze_export.golden.calibration import Calibration, default_notes, demo_calibration
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import load_source

SPEC = spec_for("torchvision", model="squeezenet1_1", input_size=(32, 32))
SENTENCE = "judged on 8 drawn images that are not this model's; pass --images"


@pytest.fixture(scope="module")
def source():
    return load_source(name="net", model="squeezenet1_1", weights="random", seed=0, labels=None, preprocessing=SPEC)


@pytest.fixture(scope="module")
def drawn():
    return demo_calibration(SPEC, of_demo=False)


def request_with(images):
    return ExportRequest(targets=("tflite",), output=Path("dist"), images=images)


def test_default_images_are_told_and_calibration_alone_is_no_advice(source, drawn):
    (told,) = default_notes(request_with(None), source, None, judged=True)
    assert told.startswith(SENTENCE) and "--calibration-data" not in told
    judged, calibrated = default_notes(request_with(None), source, drawn, judged=True)
    assert judged.startswith(SENTENCE) and judged.endswith("--calibration-data alone changed no verdict.")
    assert calibrated == drawn.notes[0]
    own = Calibration(pixels=drawn.pixels, record=dataclasses.replace(drawn.record, origin="folder"), notes=())
    assert default_notes(request_with(None), source, own, judged=True) == (told,)


def test_nothing_is_told_where_the_images_are_the_users_or_the_demos_or_nothing_was_judged(source, drawn):
    assert default_notes(request_with(Path("photographs")), source, drawn, judged=True) == drawn.notes
    demo = dataclasses.replace(source, weights=dataclasses.replace(source.weights, kind="demo"))
    assert default_notes(request_with(None), demo, None, judged=True) == ()
    assert default_notes(request_with(None), source, drawn, judged=False) == drawn.notes
