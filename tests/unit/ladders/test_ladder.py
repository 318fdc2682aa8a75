"""The ladder's own arithmetic and files: Pareto front, download size, table, picture, what is refused before the long work."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import replace
from importlib.util import find_spec

import pytest

from squeeze_export.bundle.manifest import encode
from squeeze_export.commands.cli import run
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.errors import ArtifactError, UsageError
from squeeze_export.evaluation.report import Accuracy, Comparison
from squeeze_export.ladders import advice, ladder, rungs
from squeeze_export.screen import ladder_plot, tables, terminal
from squeeze_export.validation.accuracy import PairedDifference, Proportion


def proportion(hits):
    return Proportion(hits=hits, images=200, value=hits / 200, low=hits / 200 - 0.05, high=hits / 200 + 0.05)


def rung(target, precision, size, hits, ms=None, size_budget=None):
    lost = PairedDifference(value=(hits - 120) / 200, standard_error=0.01, gained=0, lost=120 - hits)
    return rungs.Rung(
        target=target,
        precision=precision,
        size_budget=size_budget,
        path=f"{target}/{precision}-{size_budget}",
        bytes=size,
        zip_bytes=size - 100,
        status="MEASURED" if hits else "NOT_RUN",
        reason=None if hits else "no executor",
        executor="somebody" if hits else None,
        accuracy=Accuracy(top1=proportion(hits), top5=None) if hits else None,
        comparison=Comparison(top1_difference=lost, top5_difference=None, agreement=proportion(190)) if hits else None,
        ms_1_thread=ms,
        ms_2_threads=ms and ms / 2,
        within_max_drop=hits > 117 if hits else None,
    )


@pytest.fixture
def climbed():
    found = (
        rung("coreml", "fp16", 2_500_000, 120),
        rung("coreml", "auto", 950_000, 117, size_budget=990_000),
        rung("coreml", "auto", 1_250_000, 117, size_budget=1_250_500),  # dearer than the other size, and no better
        rung("tflite", "fp32", 5_000_000, 120, 3.5),
        rung("tflite", "int8", 1_400_000, 118, 1.0),
        rung("torchscript", "fp32", 5_000_100, 0),
    )
    return ladder.Ladder(
        name="net",
        source="pictures",
        images=200,
        runs=9,
        max_accuracy_drop=1.0,
        reference=Accuracy(top1=proportion(120), top5=None),
        rungs=rungs.fronted(found),
        advice=advice.advise(found, 200, 1.0),
        exit_code=6,
        problems=("torchscript/fp32: NOT_RUN: no executor",),
    )


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        ((), ()),
        (((1, 1),), (0,)),
        (((3, 9), (1, 5), (2, 5), (2, 7), (4, 8)), (1, 3, 0)),  # of equal gain the cheaper, of equal cost the better
        (((1, 5), (1, 5), (0, 4)), (2, 0, 1)),  # equal points both stay
    ],
)
def test_the_front_keeps_what_no_other_point_beats(points, kept):
    assert rungs.front(points) == kept


def test_each_platform_has_its_front_and_a_rung_without_a_figure_is_on_none(climbed):
    best = [(found.target, found.precision) for found in climbed.rungs if found.best_accuracy]
    assert best == [("coreml", "fp16"), ("coreml", "auto"), ("tflite", "fp32"), ("tflite", "int8")]
    assert [(found.target, found.precision) for found in climbed.rungs if found.best_speed] == [("tflite", "int8")]


def test_the_download_is_a_real_archive_and_knows_no_dates(tmp_path):
    package = tmp_path / "net.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "zeros.bin").write_bytes(bytes(200_000))
    (package / "noise.bin").write_bytes(os.urandom(30_000))
    size = ladder.zip_size(package)
    assert 30_000 < size < 32_000  # noise does not shrink, zeros nearly vanish, both are in it
    os.utime(package / "noise.bin", (1_700_000_000, 1_700_000_000))
    assert ladder.zip_size(package) == size
    assert 30_000 < ladder.zip_size(package / "noise.bin") < size


def test_the_table_has_every_figure_and_leaves_the_unknown_empty(climbed):
    rows = list(csv.DictReader(io.StringIO(ladder.table(climbed))))
    assert len(rows) == 6
    assert all(None not in row and None not in row.values() for row in rows)  # as many cells as columns
    fast, gone = rows[4], rows[5]
    assert (fast["bytes"], fast["zip_bytes"], fast["top1"], fast["top1_difference"]) == (
        "1400000",
        "1399900",
        "0.590000",
        "-0.010000",
    )
    assert (fast["top1_difference_error"], fast["ms_1_thread"], fast["ms_2_threads"]) == ("0.010000", "1.0", "0.5")
    assert (fast["best_accuracy"], fast["best_speed"], fast["top5"]) == ("yes", "yes", "")
    assert (gone["status"], gone["top1"], gone["agreement"], gone["ms_1_thread"]) == ("NOT_RUN", "", "", "")
    assert [row["size_budget"] for row in rows] == ["", "990000", "1250500", "", "", ""]
    marks = [row["within_max_drop"] for row in rows]
    assert marks == ["yes", "no", "no", "yes", "yes", ""]
    console = terminal.out()
    with console.capture() as shown:
        console.print(tables.ladder_table(climbed))
    words = " ".join(shown.get().split())
    for expected in (
        "1,400,000 1,399,900 59.0 ●",
        "-1.0 ± 1.0",
        "1.00 ● 0.50",
        "NOT_RUN",
        "reference 60.0",
        "✗ -1.5 ± 1.0",
        "by more than 1 points",
        "TFLite files only",
        "coreml auto:990KB 950,000",
        "coreml auto:1250500 1,250,000",
    ):
        assert expected in words, words


def test_a_platform_is_told_what_to_take(climbed):
    assert climbed.advised == (
        "iOS: take coreml fp16: 2.50 MB, no points lost; smallest of all: coreml auto:990KB, 0.95 MB, -1.5 points.",
        "Android: take tflite int8: 1.40 MB, -1.0 points.",
    )
    by = {(one.platform, one.purpose): one.name for one in climbed.advice}
    assert by[("Android", "fastest within")] == "tflite int8"
    looser = advice.advise([replace(found, within_max_drop=None) for found in climbed.rungs], 200, 1.5)
    assert [one.name for one in looser if one.platform == "iOS"] == ["coreml auto:990KB"]
    # The fastest is named where it is another one.
    slow = replace(climbed.rungs[3], precision="int8-weights", bytes=1_300_000, ms_1_thread=9.0)
    told = advice.sentences(advice.advise((*climbed.rungs[3:5], slow), 200))
    assert told == (
        "Android: take tflite int8-weights: 1.30 MB, no points lost; fastest within as much: tflite int8, 1.40 MB, -1.0 points, "
        "1.0 ms here.",
    )
    # A rung below the floor is no advice, and neither is one that was not measured.
    low = [replace(found, above_min_accuracy=False) for found in climbed.rungs[:2]]
    assert advice.sentences(advice.advise(low, 200)) == (
        "iOS: no file is within 1 point of the reference; smallest of all: coreml auto:990KB, 0.95 MB, -1.5 points.",
    )
    assert advice.advise(climbed.rungs[-1:], 200) == ()


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="the extra [plot] is not installed")
def test_the_picture_follows_from_the_figures(climbed):
    drawn = ladder_plot.draw(climbed)
    assert drawn.startswith(b"\x89PNG") and drawn == ladder_plot.draw(climbed)
    without = replace(climbed, rungs=tuple(replace(found, ms_1_thread=None, ms_2_threads=None) for found in climbed.rungs))
    assert ladder_plot.draw(without) != drawn
    assert ladder_plot.draw(replace(climbed, rungs=climbed.rungs[-1:], reference=None))  # nothing measured is no crash


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="the extra [plot] is not installed")
def test_a_picture_is_drawn_again_from_the_figures(tmp_path, climbed, capsys):
    ladder.write(tmp_path, {ladder.JSON: encode(climbed), ladder.CSV: b"kept", ladder.PNG: b"old"})
    assert run(["ladder", "--redraw", str(tmp_path / ladder.JSON)]) == 0
    assert "iOS: take coreml fp16" in capsys.readouterr().out
    assert (tmp_path / ladder.PNG).read_bytes() == ladder_plot.draw(climbed)
    assert (tmp_path / ladder.CSV).read_bytes() == b"kept"
    # Fronts and advice of a file of before are made anew.
    old = replace(climbed, advice=(), rungs=tuple(replace(found, best_accuracy=False) for found in climbed.rungs))
    (tmp_path / ladder.JSON).write_bytes(encode(old))
    assert ladder.read(tmp_path / ladder.JSON) == climbed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--redraw", "nowhere.json"), "cannot be read"),
        (("--redraw", "other.json"), "is no ladder.json of squeeze-export"),
        (("--redraw", "other.json", "--images", "demo", "--runs", "3"), "--images, --runs cannot count"),
        (("--images", "demo"), "needs --output"),
        ((), "needs --images and --output"),
    ],
)
def test_what_cannot_be_drawn_or_climbed_is_said(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text('{"name": "net"}')
    monkeypatch.setattr(ladder_plot, "unavailable", lambda: None)
    assert run(["ladder", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_without_matplotlib_nothing_is_drawn_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ladder_plot, "unavailable", lambda: "matplotlib is not installed")
    assert run(["ladder", "--redraw", str(tmp_path / ladder.JSON)]) == 6
    assert "--redraw needs matplotlib" in capsys.readouterr().err


def test_files_are_replaced_together_and_an_old_picture_does_not_stay(tmp_path):
    ladder.write(tmp_path, {ladder.CSV: b"old", ladder.JSON: b"old", ladder.PNG: b"old"})
    ladder.write(tmp_path, {ladder.CSV: b"new", ladder.JSON: b"new"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {ladder.CSV: b"new", ladder.JSON: b"new"}
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        ladder.write(tmp_path / "file", {ladder.CSV: b"new"})


def test_what_cannot_end_well_is_refused_first(tmp_path, image_folder):
    request = ExportRequest(targets=("tflite",), output=tmp_path)

    def refused(match, *, images="demo", limit=None, runs=1, limits=None, **changed):
        with pytest.raises(UsageError, match=match):
            ladder.check(replace(request, **changed), images, limit=limit, runs=runs, limits=limits)

    ladder.check(request, "demo", limit=1, runs=1)
    refused("no classes", head="features")
    refused("--limit 0", limit=0)
    refused("--runs 0", runs=0)
    refused("at least 0", limits=ladder.Limits(max_drop=-1))
    refused("above 0 and at most 100", limits=ladder.Limits(min_accuracy=0))
    refused("Take at least 100 images", limit=99, limits=ladder.Limits(max_drop=1))
    refused("own files", name=ladder.CSV)
    refused("does not exist", images=tmp_path / "nowhere")
    refused("names no images", images=image_folder)
    refused("demo images show", weights="random")  # 1000 classes, but the demo images have 34
    (tmp_path / ladder.JSON).touch()
    refused("--force")
    ladder.check(replace(request, force=True), "demo", limit=1, runs=1)
    (tmp_path / ladder.PNG).mkdir()
    refused("is a folder", force=True)


def test_a_file_that_litert_refuses_is_not_given_a_time(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"TFL3 but not really")
    with pytest.raises(ArtifactError, match=r"broken\.tflite"):
        ladder.timed([tmp_path / "broken.tflite"], 1)
