"""`--precision best`: which artifact is taken, why, and what may fail beside it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from squeeze_export.bundle.choices import Candidate
from squeeze_export.bundle.manifest import MissingRecord, decode, encode
from squeeze_export.commands.request.precisions import asked_for
from squeeze_export.contracts.artifact import ArtifactKey
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.errors import UsageError
from squeeze_export.evaluation.report import Accuracy, ArtifactRow, Comparison, Evaluation, ReferenceRow
from squeeze_export.ladders.walk import LadderRequest
from squeeze_export.ladders.walk import check as check_ladder
from squeeze_export.pipeline import best
from squeeze_export.validation.accuracy import Proportion, difference_of

IMAGES = 200
REQUEST = ExportRequest(
    targets=("coreml", "tflite"),
    precisions={"coreml": ("fp16", "pal6", "pal4", "pal2")},
    best=("coreml",),
    max_accuracy_drop=1.0,
)
SIZES = {"fp16": 2_000_000, "pal6": 990_000, "pal4": 680_000, "pal2": 370_000, "fp32": 5_000_000}


def proportion(hits):
    return Proportion(hits=hits, images=IMAGES, value=hits / IMAGES, low=0.0, high=1.0)


def row(key, lost):
    difference = difference_of(0, lost, IMAGES)
    return ArtifactRow(
        target=key.target,
        precision=key.precision,
        path=str(key),
        status="MEASURED" if lost is not None else "NOT_RUN",
        reason=None,
        exit_code=0 if lost is not None else 6,
        executor="it",
        accuracy=None if lost is None else Accuracy(top1=proportion(120 - lost), top5=None),
        comparison=Comparison(top1_difference=difference, top5_difference=None, agreement=proportion(190)),
        cached=0,
    )


def measured(**lost):
    """Manifest and evaluation of these precisions of Core ML, and of TFLite's fp32; each is wrong on so many images more."""
    keys = [ArtifactKey(target="coreml", precision=name) for name in lost] + [ArtifactKey(target="tflite", precision="fp32")]
    made = SimpleNamespace(artifacts=[SimpleNamespace(key=key, size_bytes=SIZES[key.precision]) for key in keys])
    reference = ReferenceRow(
        status="MEASURED", reason=None, waived=False, executor="it", accuracy=Accuracy(top1=proportion(120), top5=None), cached=0
    )
    found = Evaluation(
        name="net",
        source="images",
        images=IMAGES,
        unreadable=(),
        missing=(),
        passed_over=(),
        reference=reference,
        artifacts=tuple(row(key, lost.get(key.precision, 0)) for key in keys),
        notices=(),
        logs={},
        max_accuracy_drop=1.0,
    )
    return made, found


def test_the_smallest_within_the_limit_is_taken_and_the_others_are_told():
    made, found = measured(fp16=0, pal6=0, pal4=2, pal2=46)
    (choice,), unwanted = best.choose(REQUEST, made, found, ())
    assert str(choice.key) == "coreml pal4"
    assert [(one.precision, one.verdict, one.drop) for one in choice.candidates] == [
        ("pal2", "DROPPED", 23.0), ("pal4", "TAKEN", 1.0), ("pal6", "LARGER", 0.0), ("fp16", "LARGER", 0.0),
    ]  # fmt: skip
    assert {key.precision for key in unwanted} == {"fp16", "pal6", "pal2"}  # TFLite's is not touched
    assert best.told(choice, 1.0) == (
        "take coreml pal4: 680,000 bytes, -1.0 points; the next smaller one, coreml pal2, loses 23.0 points, and 1 may be lost"
    )
    assert decode(encode(choice), type(choice)) == choice
    (smallest,), _ = best.choose(REQUEST, *measured(fp16=0, pal6=0), ())
    assert best.told(smallest, 1.0) == (
        "take coreml pal6: 990,000 bytes, no points lost; none of the 2 that were made is smaller"
    )


def test_where_nothing_keeps_to_the_limit_nothing_is_chosen():
    assert best.choose(REQUEST, *measured(pal4=3, pal2=46), ()) == ((), frozenset())
    made, found = measured(fp16=0, pal4=0)
    lost = replace(found, reference=replace(found.reference, status="NOT_RUN", accuracy=None))
    assert best.choose(REQUEST, made, lost, ()) == ((), frozenset())


def test_what_could_not_be_made_is_no_loss_while_one_is_left():
    failed = ArtifactKey(target="coreml", precision="pal2")
    assert best.excused(REQUEST, {failed}) == {failed}
    every = {key for key in REQUEST.keys if key.target == "coreml"}
    assert best.excused(REQUEST, every) == set()
    other = ArtifactKey(target="tflite", precision="fp32")
    assert best.excused(REQUEST, {other}) == set()
    record = MissingRecord(target="coreml", precision="pal2", verdict="FAILED", reason="3 dB", exit_code=5)
    (choice,), _ = best.choose(REQUEST, *measured(fp16=0), [record])
    assert choice.candidates[-1] == Candidate(
        precision="pal2", size_budget=None, verdict="FAILED", size_bytes=None, drop=None, reason="3 dB"
    )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"max_accuracy_drop": None}, "Say how many points it may lose: --max-accuracy-drop 1.0"),
        ({"best": ("onnx",)}, "best names onnx, which is not among the targets"),
    ],
)
def test_without_anything_to_choose_by_it_is_refused(changed, told):
    with pytest.raises(UsageError, match=told):
        best.check(replace(REQUEST, **changed))


def test_it_is_written_as_a_precision():
    def asked(*written):
        return asked_for(written, ("coreml", "tflite"), ios="iOS16", no_pixels=None, model="squeezenet1_1", weights=None)

    found = asked("tflite=best", "coreml=fp16")
    assert (found.best, found.precisions["coreml"]) == (("tflite",), ("fp16",))
    ladder = asked("tflite=ladder", "coreml=fp16").precisions["tflite"]
    assert set(ladder) - set(found.precisions["tflite"]) == {"int8-uint8"}  # which an app project cannot feed
    assert asked("best").best == ("coreml", "tflite")
    assert asked("best", "coreml=pal6").best == ("tflite",)
    assert asked("coreml=best,auto:490KB").sizes == (490_000,)
    with pytest.raises(UsageError, match="Write --precision ladder"):
        check_ladder(LadderRequest(export=replace(REQUEST, output="x"), images="demo"))
