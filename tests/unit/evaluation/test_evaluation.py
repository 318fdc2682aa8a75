"""The walk of an evaluation, with fake runners in real processes: figures, failures, what is known from a run before."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from squeeze_export.bundle import manifest
from squeeze_export.errors import ArtifactError, UsageError
from squeeze_export.evaluation import subjects
from tests.unit.evaluation.evaluations import CLASSES, NO_WORKER, PER_CLASS, SIDE, SPEC, Watcher, make_bundle, make_pictures, run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Not to be changed: copy them."""
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def test_every_artifact_gets_its_own_figures(tmp_path, pictures):
    bundle = make_bundle(tmp_path / "net", {}, {"do": {"3": "second", "5": "last"}})
    watcher = Watcher()
    found = run(bundle, pictures, watcher=watcher)
    right, wrong = found.artifacts
    images = CLASSES * PER_CLASS
    assert (found.images, found.exit_code, found.problems) == (images, 0, ())
    assert (right.status, right.executor, right.cached) == ("MEASURED", "fake runner 1.0", 0)
    assert right.accuracy.top1.value == right.accuracy.top5.value == 1
    assert wrong.accuracy.top1.hits == images - 2 * PER_CLASS
    assert wrong.accuracy.top5.hits == images - PER_CLASS
    assert wrong.comparison is None
    assert watcher.done == {"tflite/net.0": images, "torchscript/net.1": images}
    assert watcher.ended == {"tflite/net.0": "MEASURED", "torchscript/net.1": "MEASURED"}


def test_json_holds_everything_but_the_logs(tmp_path, pictures):
    found = run(make_bundle(tmp_path / "net", {}, {"do": {"0": "crash"}}), pictures, limit=3)
    record = json.loads(manifest.encode(found.record()))
    assert (record["schema_version"], record["exit_code"], record["images"]) == (1, 5, 3)
    assert [row["status"] for row in record["artifacts"]] == ["MEASURED", "FAILED"]
    assert record["artifacts"][0]["accuracy"]["top1"]["low"] < 1
    assert record["reference"]["status"] == "NOT_RUN"
    assert "logs" not in record
    assert record["problems"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (
            {"do": {"4": "crash"}},
            r"ended by signal 11 \(SIGSEGV\)\. Its last words: the runtime says goodbye.* It was at 4/0\.png",
        ),
        ({"do": {"4": "nan"}}, r"scores are NaN or infinite.* It was at 4/0\.png"),
        ({"do": {"4": "raise"}}, r"An unexpected ZeroDivisionError: by the runtime.* It was at 4/0\.png"),
        ({"do": {"4": "refuse"}}, r"The file is no fake.* It was at 4/0\.png"),
        ({"do": {"4": "short"}}, r"gives \(1, 6\) scores where 7 classes are declared.* It was at 4/0\.png"),
        ({"do": {"4": "rename"}}, r"no output 'scores', only other"),
        ({"open": "refuse"}, r"^The file cannot be opened\.$"),
    ],
)
def test_an_artifact_that_fails_is_told_in_words_and_the_others_go_on(tmp_path, pictures, told, reason):
    found = run(make_bundle(tmp_path / "net", told, {}), pictures)
    failed, fine = found.artifacts
    assert (failed.status, failed.accuracy, found.exit_code) == ("FAILED", None, 5)
    assert re.search(reason, failed.reason, re.DOTALL), failed.reason
    assert fine.accuracy.top1.value == 1
    assert len(found.problems) == 1


def test_a_worker_that_cannot_even_start_is_told(tmp_path, pictures):
    found = run(make_bundle(tmp_path / "net", {}), pictures, command=NO_WORKER)
    assert found.artifacts[0].status == "FAILED"
    assert found.artifacts[0].reason.endswith("ended with code 1. Its last words: a worker was started.")
    assert "a worker was started" in found.logs["tflite/net.0"]


def test_a_target_that_cannot_be_executed_here_is_not_run(tmp_path, pictures, monkeypatch):
    table = dict(subjects.RUNNERS)
    table["tflite"] = (SimpleNamespace(NAME="x", PACKAGES=(), unavailable=lambda: "x is not installed: pip install x"),)
    monkeypatch.setattr(subjects, "RUNNERS", table)
    found = run(make_bundle(tmp_path / "net", {}, {}), pictures)
    assert [row.status for row in found.artifacts] == ["NOT_RUN", "MEASURED"]
    assert found.exit_code == 6
    assert "pip install x" in found.problems[0]


def test_unreadable_images_are_named_counted_and_in_no_figure(tmp_path, pictures):
    images = Path(shutil.copytree(pictures, tmp_path / "images"))
    whole = (images / "2" / "3.png").read_bytes()
    (images / "2" / "3.png").write_bytes(whole[: len(whole) // 2])
    (images / "5" / "text.jpg").write_text("no picture")
    (images / "6" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    found = run(make_bundle(tmp_path / "net", {}), images)
    assert [image.name for image in found.unreadable] == ["2/3.png", "5/text.jpg", "6/photo.heic"]
    assert all(image.name in image.reason for image in found.unreadable)
    assert (found.images, found.exit_code) == (CLASSES * PER_CLASS - 1, 2)
    assert found.artifacts[0].accuracy.top1.images == found.images
    assert "3 images could not be read" in found.problems[0]


def test_missing_images_end_with_2_and_unlabelled_ones_are_listed(tmp_path, pictures):
    images = Path(shutil.copytree(pictures, tmp_path / "images"))
    (images / "labels.tsv").write_text("file\tclass_index\n1/0.png\t1\n1/gone.png\t1\n", encoding="utf-8")
    found = run(make_bundle(tmp_path / "net", {}), images)
    assert (found.images, found.missing, found.exit_code) == (1, ("1/gone.png",), 2)
    assert len(found.passed_over) == CLASSES * PER_CLASS - 1


def test_a_folder_without_one_readable_image_is_refused(tmp_path):
    (tmp_path / "images" / "1").mkdir(parents=True)
    (tmp_path / "images" / "1" / "a.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"None of the 1 images .* could be read"):
        run(make_bundle(tmp_path / "net", {}), tmp_path / "images")


def test_what_is_known_is_not_run_again(tmp_path, pictures):
    bundle, cache = make_bundle(tmp_path / "net", {}, {"do": {"3": "second"}}), tmp_path / "cache.sqlite3"
    first = run(bundle, pictures, cache=cache, limit=20)
    again = run(bundle, pictures, cache=cache, limit=20, command=NO_WORKER)
    assert [row.cached for row in again.artifacts] == [20, 20]
    assert [row.accuracy for row in again.artifacts] == [row.accuracy for row in first.artifacts]
    more = run(bundle, pictures, cache=cache)
    assert all(0 < row.cached <= 20 for row in more.artifacts)
    assert more.artifacts[0].accuracy.top1.value == 1


def test_the_cache_knows_no_other_artifact_image_or_preprocessing(tmp_path, pictures):
    images, cache = Path(shutil.copytree(pictures, tmp_path / "images")), tmp_path / "cache.sqlite3"
    run(make_bundle(tmp_path / "net", {}), images, cache=cache)
    other = run(make_bundle(tmp_path / "other", {"do": {"1": "last"}}), images, cache=cache)
    assert (other.artifacts[0].cached, other.artifacts[0].accuracy.top1.hits) == (0, 36)
    Image.fromarray(np.full((40, 40, 3), 60, np.uint8)).save(images / "0" / "0.png")
    changed = run(tmp_path / "net", images, cache=cache)
    assert (changed.artifacts[0].cached, changed.artifacts[0].accuracy.top1.hits) == (41, 41)
    record = manifest.read_manifest(tmp_path / "net")
    resized = replace(record, source=replace(record.source, preprocessing=replace(SPEC, resize=SIDE + 1)))
    (tmp_path / "net" / "manifest.json").write_bytes(manifest.encode(resized))
    assert run(tmp_path / "net", images, cache=cache).artifacts[0].cached == 0


def test_a_stopped_run_goes_on_where_it_ended_and_leaves_no_process(tmp_path, pictures):
    pids = tmp_path / "pids"
    pids.mkdir()
    bundle, cache = make_bundle(tmp_path / "net", {"seconds": 0.005, "pids": str(pids)}), tmp_path / "cache.sqlite3"
    with pytest.raises(KeyboardInterrupt):
        run(bundle, pictures, cache=cache, watcher=Watcher(stop_after=10))
    for pid in pids.iterdir():
        assert not Path("/proc", pid.name).exists()
    watcher = Watcher()
    found = run(bundle, pictures, cache=cache, watcher=watcher)
    assert 10 <= watcher.known["tflite/net.0"] < CLASSES * PER_CLASS
    assert found.artifacts[0].accuracy.top1.value == 1


def test_answers_before_a_crash_are_kept(tmp_path, pictures):
    bundle, cache = make_bundle(tmp_path / "net", {"do": {"4": "crash"}}), tmp_path / "cache.sqlite3"
    run(bundle, pictures, cache=cache, workers=1)
    watcher = Watcher()
    run(bundle, pictures, cache=cache, watcher=watcher)
    assert watcher.known["tflite/net.0"] == 4 * PER_CLASS


def test_a_damaged_cache_is_told_and_not_used(tmp_path, pictures):
    bundle, cache = make_bundle(tmp_path / "net", {}), tmp_path / "cache.sqlite3"
    cache.write_bytes(b"garbage " * 1000)
    watcher = Watcher()
    found = run(bundle, pictures, cache=cache, watcher=watcher, limit=5)
    assert found.artifacts[0].accuracy.top1.value == 1
    assert found.notices == tuple(watcher.notices)
    assert "was damaged" in found.notices[0]
    connection = sqlite3.connect(cache)
    with connection:
        connection.execute("UPDATE answers SET answer = X'00'")
    connection.close()
    found = run(bundle, pictures, cache=cache, limit=5)
    assert (found.artifacts[0].cached, found.artifacts[0].accuracy.top1.value) == (0, 1)
    assert "5 damaged entries" in found.notices[0]


def test_two_evaluations_may_share_a_cache_at_once(tmp_path, pictures):
    bundle, cache = make_bundle(tmp_path / "net", {"do": {"1": "last"}}, {}), tmp_path / "cache.sqlite3"
    found = []
    threads = [threading.Thread(target=lambda: found.append(run(bundle, pictures, cache=cache))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.artifacts[0].accuracy.top1.hits for result in found] == [36, 36]
    assert all(result.notices == () for result in found)
    assert run(bundle, pictures, cache=cache, command=NO_WORKER).artifacts[1].cached == CLASSES * PER_CLASS


def test_an_artifact_that_lags_gets_a_second_process(tmp_path, pictures):
    pids = tmp_path / "pids"
    pids.mkdir()
    images = make_pictures(tmp_path / "images", per_class=16)
    slow = {"seconds": 0.1, "pids": str(pids), "do": {"2": "last"}}
    found = run(make_bundle(tmp_path / "net", slow), images)
    assert found.artifacts[0].accuracy.top1.hits == 6 * 16
    assert len(list(pids.iterdir())) == 2


def test_one_worker_computes_one_thing_at_a_time(tmp_path, pictures):
    found = run(make_bundle(tmp_path / "net", {}, {"do": {"3": "last"}}), pictures, workers=1)
    assert [row.accuracy.top1.hits for row in found.artifacts] == [42, 36]


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -3}, {"workers": 0}])
def test_numbers_that_make_no_sense_are_refused(tmp_path, pictures, options):
    with pytest.raises(UsageError, match="must be at least 1"):
        run(make_bundle(tmp_path / "net", {}), pictures, **options)


def test_features_have_no_accuracy(tmp_path, pictures):
    bundle = make_bundle(tmp_path / "net", {}, head="features")
    with pytest.raises(UsageError, match="--head features: it names no classes"):
        run(bundle, pictures)


def test_a_damaged_bundle_is_refused_before_anything_runs(tmp_path, pictures):
    bundle = make_bundle(tmp_path / "net", {}, {})
    (bundle / "tflite" / "net.0").write_text('{"do": {}}')
    (bundle / "torchscript" / "net.1").unlink()
    with pytest.raises(ArtifactError, match=r"(?s)tflite/net.0: its bytes are not those .*torchscript/net.1: missing"):
        run(bundle, pictures, command=NO_WORKER)


def test_labels_are_part_of_what_may_be_damaged(tmp_path, pictures):
    bundle = make_bundle(tmp_path / "net", {})
    (bundle / "labels.txt").write_text("x\n" * CLASSES)
    with pytest.raises(ArtifactError, match=r"labels\.txt"):
        run(bundle, pictures, command=NO_WORKER)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path, pictures):
    make_bundle(tmp_path / "dist" / "net", {})
    with pytest.raises(UsageError, match="It holds bundles: net"):
        run(tmp_path / "dist", pictures)
    with pytest.raises(UsageError, match="is not a folder"):
        run(tmp_path / "nowhere", pictures)
    with pytest.raises(UsageError, match=r"has no manifest\.json"):
        run(pictures, pictures)
