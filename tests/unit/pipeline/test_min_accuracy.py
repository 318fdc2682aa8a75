"""`--min-accuracy`, and limits beside a reference that is no measure; fake runners in real processes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from squeeze_export.bundle import manifest
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.errors import UsageError
from squeeze_export.evaluation.limit import check_floor, falls_short, short_words
from squeeze_export.ladders import ladder
from squeeze_export.pipeline import accuracy_gate, incomplete
from squeeze_export.pipeline.plan import plan
from squeeze_export.pipeline.results import ExportFailed, Silent
from squeeze_export.pipeline.walk import refuse_drop
from squeeze_export.screen import terminal
from squeeze_export.screen.accuracy import accuracy_table
from squeeze_export.verification import claims
from tests.unit.evaluation.evaluations import CLASSES, PERFECT_REFERENCE, make_bundle, make_pictures, run

SOURCE = SimpleNamespace(labels=tuple("abcdefg"), num_classes=CLASSES)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder per class. Not to be changed."""
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def reversed_labels(pictures, tmp_path):
    """The same pictures, with the classes counted backwards."""
    folder = tmp_path / "reversed"
    folder.mkdir()
    for label in range(CLASSES):
        (folder / str(CLASSES - 1 - label)).symlink_to(pictures / str(label))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No answers of another test, nor of the user's own evaluations."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def exported(tmp_path, images, *artifacts, **limits):
    """What an export of these fake artifacts would find, and its manifest."""
    bundle = tmp_path / "net"
    if not bundle.exists():
        make_bundle(bundle, *artifacts, kind="random", seed=5)
    request = ExportRequest(targets=("tflite",), images=images, weights="random", **limits)
    made = manifest.read_manifest(bundle)
    found = accuracy_gate.pictures(request, SOURCE)
    told = accuracy_gate.measure(bundle, made, SOURCE, found, request, Silent(), command=PERFECT_REFERENCE)
    return told, replace(made, accuracy=accuracy_gate.record_of(told, found))


def refused(found, record):
    with pytest.raises(ExportFailed) as caught:
        refuse_drop(found, record, (), allow_unproven=False)
    return caught.value.exit_code, str(caught.value)


def test_an_artifact_below_the_floor_is_refused_and_one_above_it_recorded(tmp_path, pictures):
    worse = {"do": {"3": "last"}}  # wrong on one class of seven: 85.7 %
    found, made = exported(tmp_path, pictures, {}, worse, min_accuracy=90)
    code, told = refused(found, made.accuracy)
    assert code == 5
    figures = "reference 100.0, artifact 85.7 % < 90 % of 42 labelled images"
    assert f"torchscript fp32 (torchscript/net.1): accuracy TOO LOW: {figures}." in told
    assert "tflite fp32" not in told
    (left_out,) = incomplete.dropped_of(found)  # --keep-going writes the other
    assert (left_out.target, left_out.exit_code) == ("torchscript", 5)
    assert "TOO LOW" in left_out.reason
    console = terminal.out()
    with console.capture() as captured:
        console.print(accuracy_table(made.accuracy))
    words = " ".join(captured.get().split())
    assert "torchscript fp32 85.7 % +14.3 ± 5.5 TOO LOW" in words
    assert "Asked for is 90 %; one image is worth 2.4." in words
    (line,) = claims.of_accuracy(made)
    assert line == "accuracy of torchscript fp32 is below the floor: 85.7 % < 90 %"
    found, made = exported(tmp_path, pictures, min_accuracy=85, max_accuracy_drop=20)
    refuse_drop(found, made.accuracy, (), allow_unproven=False)
    assert (made.accuracy.max_drop, made.accuracy.min_accuracy) == (20.0, 85.0)
    assert claims.of_accuracy(made) == []
    assert manifest.decode(manifest.encode(made), manifest.Manifest).accuracy == made.accuracy


@pytest.mark.parametrize("limits", [{"max_accuracy_drop": 20}, {"min_accuracy": 10}])
def test_no_limit_is_held_against_a_reference_whose_labels_are_in_another_order(tmp_path, pictures, reversed_labels, limits):
    found, made = exported(tmp_path, reversed_labels, {}, {"do": {"3": "last"}}, **limits)
    code, told = refused(found, made.accuracy)
    assert code == 3
    assert "says nothing here: the reference is" in told
    assert "With the classes in reverse it is right on 42 of 42" in told
    assert "DROPPED" not in told and "TOO LOW" not in told
    assert incomplete.dropped_of(found) == ()  # --keep-going finds nothing that could be written without the others
    found, made = exported(tmp_path, pictures, **limits)
    refuse_drop(found, made.accuracy, (), allow_unproven=False)
    assert (found.doubt, found.exit_code) == (None, 0)


def test_a_reference_below_the_floor_or_the_limit_is_refused_by_name(tmp_path, pictures):
    found, _ = exported(tmp_path, pictures, {}, min_accuracy=90)
    low = replace(found, standing=replace(found.standing, right=37), artifacts=())
    assert low.exit_code == 3
    assert low.problems == ("--min-accuracy 90: the reference itself is too low: 88.1 % < 90 % of 42 labelled images.",)
    few = replace(found, standing=replace(found.standing, right=8), min_accuracy=None, max_accuracy_drop=20.0)
    assert few.exit_code == 3
    assert "the reference itself is right on 8 of the 42 images, so no artifact could drop by more" in few.problems[0]
    guessing = replace(found, standing=replace(found.standing, right=6), min_accuracy=None, max_accuracy_drop=20.0)
    assert "guessing among the 7 classes that they show is right on 14 %" in guessing.problems[0]
    assert replace(few, max_accuracy_drop=None).exit_code == 0


def test_evaluate_holds_to_the_floor_with_and_without_a_reference(tmp_path, pictures, reversed_labels):
    bundle = make_bundle(tmp_path / "net", {}, {"do": {"3": "last"}}, kind="random", seed=5)
    found = run(bundle, pictures, min_accuracy=90, reference=False)
    assert (found.exit_code, [row.path for row in found.below]) == (5, ["torchscript/net.1"])
    assert found.record()["below"] == ["torchscript/net.1"]
    assert replace(found, min_accuracy=85).exit_code == 0
    found = run(bundle, reversed_labels, min_accuracy=1, reference=True, command=PERFECT_REFERENCE)
    assert found.exit_code == 3
    # Nothing asked, nothing refused; it is told all the same.
    found = run(bundle, reversed_labels, reference=True, command=PERFECT_REFERENCE)
    assert found.exit_code == 0
    assert "With the classes in reverse" in found.doubt
    for floor in (0, -1, 101, float("nan"), True, "60"):
        with pytest.raises(UsageError, match="above 0 and at most 100"):
            run(bundle, pictures, min_accuracy=floor)


def test_a_ladder_marks_what_is_below_the_floor_and_says_where_the_reference_is_no_measure(tmp_path, pictures, reversed_labels):
    bundle = make_bundle(tmp_path / "net", {}, {"do": {"3": "last"}}, kind="random", seed=5)
    made = SimpleNamespace(path=bundle, manifest=replace(manifest.read_manifest(bundle), artifacts=()))
    record = manifest.read_manifest(bundle)
    climbed_of = SimpleNamespace(path=bundle, manifest=replace(record, artifacts=record.artifacts[1:]))  # LiteRT times the other
    limits = ladder.Limits(max_drop=20, min_accuracy=90)
    found = run(bundle, pictures, reference=True, command=PERFECT_REFERENCE)
    climbed = ladder.assemble(climbed_of, found, runs=1, limits=limits, progress=Silent())
    (rung,) = climbed.rungs
    assert (rung.within_max_drop, rung.above_min_accuracy, rung.refused, climbed.exit_code) == (True, False, True, 0)
    assert ladder.table(climbed).splitlines()[1].endswith(",yes,no")
    assert climbed.limits_words == " ✗: drops by more than 20 points or is right on less than 90 %."
    found = run(bundle, reversed_labels, reference=True, command=PERFECT_REFERENCE)
    climbed = ladder.assemble(made, found, runs=1, limits=limits, progress=Silent())
    assert climbed.exit_code == 3
    assert "With the classes in reverse" in climbed.problems[0]
    assert ladder.assemble(made, found, runs=1, progress=Silent()).exit_code == 0


def test_what_no_floor_can_be_held_on_is_refused_before_the_work(tmp_path, pictures):
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.png").symlink_to(pictures / "0" / "0.png")
    request = ExportRequest(targets=("tflite",), images=flat, min_accuracy=60)
    with pytest.raises(UsageError, match=r"--min-accuracy 60 needs labels, and the images in .*flat have none"):
        accuracy_gate.pictures(request, SOURCE)
    with pytest.raises(UsageError, match="--min-accuracy 60 needs images to measure on"):
        accuracy_gate.pictures(replace(request, images=None), SOURCE)
    with pytest.raises(UsageError, match=r"--min-accuracy cannot be combined with --head features"):
        plan(replace(request, head="features"))
    with pytest.raises(UsageError, match="above 0 and at most 100"):
        plan(replace(request, min_accuracy=0))


def test_the_floor_itself_passes_whatever_binary_fractions_make_of_it():
    for percent, images in ((60, 5), (99.9, 1000), (0.1, 1000), (33.3, 1000)):
        exact = round(percent * images / 100)
        assert not falls_short(exact, images, percent)
        assert falls_short(exact - 1, images, percent)
    assert short_words(8999, 10_000, 90) == "89.99 % < 90 %"
    check_floor(100)
