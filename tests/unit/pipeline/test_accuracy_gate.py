"""--max-accuracy-drop: which artifacts are refused, on which pictures, in which words; fake runners in real processes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from squeeze_export.bundle import manifest
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.errors import UsageError
from squeeze_export.evaluation import subjects
from squeeze_export.evaluation.limit import check_images, check_limit, drop_words, exceeds, fewest_images
from squeeze_export.pipeline import accuracy_gate
from squeeze_export.pipeline.plan import plan
from squeeze_export.pipeline.results import ExportFailed, Silent
from squeeze_export.pipeline.walk import refuse_drop
from squeeze_export.screen import terminal
from squeeze_export.screen.accuracy import accuracy_table
from squeeze_export.validation.accuracy import difference_of
from squeeze_export.verification import claims
from tests.unit.evaluation.evaluations import CLASSES, NO_WORKER, PER_CLASS, PERFECT_REFERENCE, make_bundle, make_pictures, run

IMAGES = CLASSES * PER_CLASS
SOURCE = SimpleNamespace(labels=tuple("abcdefg"), num_classes=CLASSES)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder per class. Not to be changed: copy them."""
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No answers of another test, nor of the user's own evaluations."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def flat(pictures, folder):
    """The same pictures without their labels."""
    folder.mkdir()
    for path in pictures.rglob("*.png"):
        shutil.copy(path, folder / f"{path.parent.name}-{path.name}")
    return folder


def measured(tmp_path, images, limit, *artifacts):
    """What an export of these fake artifacts would find, and its request."""
    bundle = tmp_path / "net"
    if not bundle.exists():
        make_bundle(bundle, *artifacts, kind="random", seed=5)
    request = ExportRequest(targets=("tflite",), images=images, weights="random", max_accuracy_drop=limit)
    made = manifest.read_manifest(bundle)
    found = accuracy_gate.pictures(request, SOURCE)
    told = accuracy_gate.measure(bundle, made, SOURCE, found, request, Silent(), command=PERFECT_REFERENCE)
    return told, replace(made, accuracy=accuracy_gate.record_of(told, found))


def refused(found, record, *, allow_unproven=False):
    with pytest.raises(ExportFailed) as caught:
        refuse_drop(found, record, (), allow_unproven=allow_unproven)
    return caught.value.exit_code, str(caught.value)


def shown(record):
    console = terminal.out()
    with console.capture() as captured:
        console.print(accuracy_table(record))
    return " ".join(captured.get().split())


@pytest.mark.parametrize("labelled", [True, False])
def test_an_artifact_that_drops_more_is_refused_and_one_that_drops_less_is_recorded(tmp_path, pictures, labelled):
    images = pictures if labelled else flat(pictures, tmp_path / "flat")
    worse = {"do": {"3": "last"}}  # wrong on one class of seven: 14.3 points
    found, made = measured(tmp_path, images, 5, {}, worse)
    code, told = refused(found, made.accuracy, allow_unproven=True)
    assert code == 5
    assert told.startswith("Nothing was written.\n")
    figures = "reference 100.0, artifact 85.7, drop 14.3 ± 5.5 > 5 points on 42 labelled images"
    if not labelled:
        figures = "top-1 agreement with the reference 85.7, drop 14.3 ± 5.5 > 5 points on 42 images without labels"
    assert f"torchscript fp32 (torchscript/net.1): accuracy DROPPED: {figures}." in told
    assert "tflite fp32" not in told
    assert "tflite fp32 100.0 % no image differs within torchscript fp32 85.7 % +14.3 ± 5.5 DROPPED" in shown(made.accuracy)
    assert measured(tmp_path, images, 14.2, {}, worse)[0].exit_code == 5
    found, made = measured(tmp_path, images, 14.3, {}, worse)
    refuse_drop(found, made.accuracy, (), allow_unproven=False)
    record = made.accuracy
    assert (record.images, record.reference, record.expected) == (42, 42, "labels" if labelled else "reference")
    assert [(row.right, row.gained, row.lost) for row in record.artifacts] == [(42, 0, 0), (36, 0, 6)]
    assert claims.of_accuracy(made) == []


def test_a_refused_measurement_names_its_reason(tmp_path, pictures, monkeypatch):
    # Labels that are not this model's: the reference is never right, so nothing could drop.
    wrong = flat(pictures, tmp_path / "wrong")
    rows = [f"{path.name}\t{(int(path.name[0]) + 1) % CLASSES}" for path in wrong.glob("*.png")]
    (wrong / "labels.tsv").write_text("\n".join(["file\tclass_index", *rows]), encoding="utf-8")
    found, made = measured(tmp_path, wrong, 5, {}, {"do": {"1": "nan"}})
    code, told = refused(found, made.accuracy)
    assert code == 5  # an artifact that fails weighs more
    assert "torchscript/net.1: FAILED: It gives scores are NaN" in told
    assert "--max-accuracy-drop 5 says nothing here: the reference is at chance: it is right on 0 of the 42 images" in told
    # A picture that cannot be read is in no figure, so there is none.
    broken = flat(pictures, tmp_path / "broken")
    (broken / "more.png").write_bytes(b"no picture")
    shutil.rmtree(tmp_path / "net")
    found, made = measured(tmp_path, broken, 5, {})
    assert refused(found, made.accuracy, allow_unproven=True)[0] == 2
    assert "more.png" in found.problems[1]
    # What cannot be executed here is not known to keep to the limit.
    table = dict(subjects.RUNNERS)
    table["tflite"] = (SimpleNamespace(NAME="x", PACKAGES=(), unavailable=lambda: "x is not installed: pip install x"),)
    monkeypatch.setattr(subjects, "RUNNERS", table)
    found, made = measured(tmp_path, pictures, 5, {})
    assert refused(found, made.accuracy)[0] == 6
    refuse_drop(found, made.accuracy, (), allow_unproven=True)
    assert "tflite fp32 is NOT_RUN" in accuracy_gate.notes_of(found)[0]
    assert "NOT_RUN" in shown(made.accuracy)
    assert "is NOT_RUN without figures" in claims.of_accuracy(made)[0]  # here parity has passed
    unproven = replace(made.artifacts[0], parity=replace(made.artifacts[0].parity, verdict="NOT_RUN"))
    assert claims.of_accuracy(replace(made, artifacts=(unproven,))) == []


def test_pictures_that_cannot_decide_are_refused_before_the_work(tmp_path, pictures):
    def asked(images, limit, labels=SOURCE.labels):
        request = ExportRequest(targets=("tflite",), images=images, max_accuracy_drop=limit)
        return accuracy_gate.pictures(request, SimpleNamespace(labels=labels, num_classes=CLASSES))

    assert asked(None, None) is None
    assert asked(pictures, 2.4).labelled
    with pytest.raises(UsageError, match=r"42 images: one of them is worth 2\.38 points. Take at least 100 images, or .* 2\.4"):
        asked(pictures, 1)
    with pytest.raises(UsageError, match="needs images to measure on"):
        asked(None, 1)
    demo = asked(None, 1, tuple("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"))
    assert (len(demo.images), demo.labelled) == (accuracy_gate.DEMO_COUNT, True)
    folder = flat(pictures, tmp_path / "flat")
    (folder / "notes.txt").touch()
    assert (asked(folder, 5).labelled, len(asked(folder, 5).images)) == (False, IMAGES)
    (folder / "thumbnails").mkdir()  # subfolders are classes, never passed over
    with pytest.raises(UsageError, match=r"must all be named .* thumbnails"):
        asked(folder, 5)
    (folder / "labels.tsv").write_text("file\tclass_index\n0-0.png\t0\ngone.png\t1\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"are not there: gone\.png"):
        asked(folder, 5)


def test_features_and_limits_without_a_meaning_are_refused_by_name():
    request = ExportRequest(targets=("tflite",), head="features", max_accuracy_drop=1)
    with pytest.raises(UsageError, match="features name no classes"):
        plan(request)
    for limit in (True, "1.0"):
        with pytest.raises(UsageError, match=r"Write max_accuracy_drop=1\.0"):
            replace(request, head="classifier", max_accuracy_drop=limit)
    for limit in (-1, 100, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="--max-accuracy-drop"):
            plan(replace(request, head="classifier", max_accuracy_drop=limit))
    check_limit(0)
    check_limit(99.9)


def test_the_limit_itself_passes_whatever_binary_fractions_make_of_it():
    assert [fewest_images(points) for points in (0, 0.1, 0.3, 1, 1.0, 7)] == [1, 1000, 334, 100, 100, 15]
    for points, lost, images in ((1.0, 3, 300), (0.1, 1, 1000), (0.7, 7, 1000), (0.29, 29, 10_000), (2.3, 23, 1000)):
        assert not exceeds(difference_of(5, lost + 5, images), images, points)
        assert exceeds(difference_of(5, lost + 6, images), images, points)
    assert not exceeds(difference_of(9, 0, 10), 10, 0)
    assert exceeds(difference_of(0, 1, 10), 10, 0)
    check_images(0, 1)
    assert drop_words(difference_of(0, 12, 320), 1.0) == "3.8 ± 1.1 > 1"  # 3.75
    assert drop_words(difference_of(0, 1001, 100_000), 1.0) == "1.001 ± 0.0 > 1"


def test_a_record_that_contradicts_itself_is_told(tmp_path, pictures):
    _, made = measured(tmp_path, pictures, 20, {}, {"do": {"3": "last"}})
    good = made.accuracy
    first, second = good.artifacts

    def told(**changes):
        (line,) = claims.of_accuracy(replace(made, accuracy=replace(good, **changes)))
        return line

    assert "more than the 5 that were allowed" in told(max_drop=5.0)
    assert "exactly the artifacts" in told(artifacts=(first,))
    assert "do not follow" in told(artifacts=(first, replace(second, drop=1.0)))
    assert "do not follow" in told(artifacts=(first, replace(second, right=40)))
    assert "do not follow" in told(artifacts=(first, replace(second, gained=4, right=40, drop=4.8)))
    assert "do not follow" in told(artifacts=(first, replace(second, standard_error=None)))
    assert "FAILED without figures" in told(artifacts=(first, replace(second, status="FAILED")))
    assert "right on 0 of 42" in told(reference=0)
    # Of two sizes of auto the figures of each are its own.
    sized = {size: replace(first, precision="auto", size_budget=size) for size in (450_000, 490_000)}
    assert shown(replace(good, artifacts=tuple(sized.values()))).count("tflite auto:4") == 2
    made = replace(made, artifacts=tuple(replace(made.artifacts[0], precision="auto", size_budget=size) for size in sized))
    good = replace(good, artifacts=tuple(sized.values()))
    assert claims.of_accuracy(replace(made, accuracy=good)) == []
    assert "exactly the artifacts" in told(artifacts=tuple(reversed(sized.values())))
    made = replace(made, accuracy=good)
    read = manifest.decode(manifest.encode(made), manifest.Manifest)
    assert claims.of_accuracy(read) == []


def test_evaluate_holds_a_finished_bundle_to_a_limit(tmp_path, pictures):
    bundle = make_bundle(tmp_path / "net", {}, {"do": {"3": "last"}}, kind="random", seed=5)
    found = run(bundle, pictures, reference=True, command=PERFECT_REFERENCE, max_accuracy_drop=5)
    assert (found.exit_code, [row.path for row in found.dropped]) == (5, ["torchscript/net.1"])
    assert "drop 14.3 ± 5.5 > 5 points on 42 labelled images" in found.problems[0]
    record = json.loads(manifest.encode(found.record()))
    assert (record["dropped"], record["max_accuracy_drop"], record["labelled"]) == (["torchscript/net.1"], 5, True)
    assert record["images_sha256"] == measured(tmp_path, pictures, 20)[1].accuracy.images_sha256
    assert run(bundle, pictures, reference=True, command=PERFECT_REFERENCE, max_accuracy_drop=15).exit_code == 0
    for options, told in (
        ({"reference": False}, "exclude each other"),
        ({"limit": 3}, "3 images: one of them is worth 33.3 points"),
        ({"max_accuracy_drop": -1}, "at least 0"),
    ):
        with pytest.raises(UsageError, match=told):
            run(bundle, pictures, command=NO_WORKER, **{"reference": True, "max_accuracy_drop": 5, **options})
    with pytest.raises(UsageError, match="cannot be made again"):
        run(make_bundle(Path(tmp_path / "other"), {}), pictures, reference=True, command=NO_WORKER, max_accuracy_drop=5)
