"""What a person sees of an evaluation: bars with the time left, lines where there is no terminal, and the table."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeRemainingColumn

from squeeze_export.evaluation.report import ArtifactRow, Evaluation, ReferenceRow, UnreadableImage, accuracy_of, comparison_of
from squeeze_export.exporters.progress import Spoken
from squeeze_export.screen import live, tables, terminal
from squeeze_export.validation.standing import standing_of

LABELS = np.arange(40, dtype=np.int32) % 8
RIGHT = np.stack([(LABELS + step) % 8 for step in range(5)], axis=1)
WORSE = RIGHT.copy()
WORSE[3] = (WORSE[3] + 1) % 8

REFERENCE = ReferenceRow(
    status="MEASURED", reason=None, waived=False, executor="eager", accuracy=accuracy_of(RIGHT, LABELS, 8), cached=0
)
ROW = ArtifactRow(
    target="tflite",
    precision="fp32",
    path="tflite/net.tflite",
    status="MEASURED",
    reason=None,
    exit_code=0,
    executor="LiteRT",
    accuracy=accuracy_of(RIGHT, LABELS, 8),
    comparison=comparison_of(RIGHT, RIGHT, LABELS, 8),
    cached=0,
)
FOUND = Evaluation(
    name="net",
    source="photographs",
    images=40,
    unreadable=(),
    missing=(),
    passed_over=(),
    reference=REFERENCE,
    artifacts=(
        ROW,
        replace(ROW, target="coreml", accuracy=accuracy_of(WORSE, LABELS, 8), comparison=comparison_of(WORSE, RIGHT, LABELS, 8)),
    ),
    notices=(),
    logs={},
)


def text_of(found: Evaluation) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(tables.evaluation_table(found))
    return console.file.getvalue()


def row_of(found: Evaluation, name: str) -> list[str]:
    (line,) = (line for line in text_of(found).splitlines() if line.startswith(f"│ {name}"))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_table_holds_every_figure_with_its_uncertainty():
    assert row_of(FOUND, "reference")[1:3] == ["100.0 [91.2, 100.0]", "100.0 [91.2, 100.0]"]
    assert row_of(FOUND, "tflite")[3:] == ["no image differs", "no image differs", "100.0 [91.2, 100.0]"]
    assert row_of(FOUND, "coreml") == [
        *("coreml fp32", "97.5 [87.1, 99.6]", "97.5 [87.1, 99.6]", "-2.5 ± 2.5", "-2.5 ± 2.5", "97.5 [87.1, 99.6]")
    ]
    assert "reference: eager; tflite fp32, coreml fp32: LiteRT." in " ".join(text_of(FOUND).split())
    sized = tuple(replace(ROW, target="coreml", precision="auto", size_budget=size) for size in (450_000, 490_000))
    assert "coreml auto:450KB, coreml auto:490KB: LiteRT." in " ".join(text_of(replace(FOUND, artifacts=sized)).split())


def test_what_was_not_measured_has_no_figures():
    reference = replace(REFERENCE, status="NOT_RUN", reason="why", accuracy=None, executor=None)
    failed = replace(ROW, status="FAILED", reason="it crashed", exit_code=5, accuracy=None, comparison=None)
    found = replace(FOUND, reference=reference, artifacts=(failed,))
    assert row_of(found, "reference")[1:3] == ["NOT_RUN", "–"]
    assert row_of(found, "tflite")[1:] == ["FAILED", "–", "–", "–", "–"]
    assert found.problems == ("tflite/net.tflite: FAILED: it crashed", "reference: NOT_RUN: why")


def test_top5_of_few_classes_is_left_out():
    accuracy = accuracy_of(RIGHT[:, :4] % 4, LABELS % 4, 4)
    assert accuracy.top5 is None
    few = replace(ROW, accuracy=accuracy, comparison=comparison_of(RIGHT % 4, RIGHT % 4, LABELS % 4, 4))
    assert row_of(replace(FOUND, artifacts=(few,)), "tflite")[2::2] == ["–", "–"]


@pytest.mark.parametrize(
    ("codes", "reference", "unreadable", "missing", "expected"),
    [
        ((0, 0), REFERENCE, (), (), 0),
        ((0, 6), REFERENCE, (), (), 6),
        ((5, 6), REFERENCE, (), ("a",), 5),
        ((0, 6), REFERENCE, (), ("a",), 2),
        ((0, 0), REFERENCE, (UnreadableImage(name="a", reason="b"),), (), 2),
        ((0, 0), replace(REFERENCE, status="NOT_RUN"), (), (), 6),
        ((0, 0), replace(REFERENCE, status="NOT_RUN", waived=True), (), (), 0),
        ((0, 0), replace(REFERENCE, status="NOT_RUN"), (), ("a",), 2),
    ],
)
def test_the_exit_code_is_that_of_the_worst(codes, reference, unreadable, missing, expected):
    rows = tuple(replace(ROW, exit_code=code, status="FAILED" if code else "MEASURED") for code in codes)
    found = replace(FOUND, artifacts=rows, reference=reference, unreadable=unreadable, missing=missing)
    assert found.exit_code == expected
    assert bool(found.problems) is (expected != 0)


def test_a_reference_that_is_never_right_is_told():
    wrong = ((LABELS * 3) + 1) % 8
    never = replace(FOUND, standing=standing_of(RIGHT[:, 0], wrong.astype(np.int32), 8, None))
    assert FOUND.doubt is None
    assert "at chance: it is right on 0 of the 40 images" in str(never.doubt)
    assert (never.exit_code, never.record()["doubt"]) == (0, never.doubt)  # without a limit it is only told
    assert replace(FOUND, standing=standing_of(RIGHT[:, 0], LABELS, 8, None)).doubt is None


def test_a_terminal_shows_a_bar_with_the_time_left():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    clock = [0.0]
    columns = (BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, auto_refresh=False, get_time=lambda: clock[0]) as drawn:
        bars = live.Bars(console, drawn)
        bars.begin("tflite/net.tflite", known=100, total=400)
        for _ in range(5):
            clock[0] += 1.0
            bars.advance("tflite/net.tflite", 30)
        (task,) = drawn.tasks
        assert (task.completed, task.total) == (250, 400)
        # Thirty a second: what was known before the start is no speed.
        assert task.time_remaining == pytest.approx(5, abs=1)


def test_a_long_stage_of_an_export_has_a_bar_and_its_time_left_first():
    told = []
    speak = Spoken(told.append)
    speak("coding features.9 as pal4", 0.42, 61.0)
    speak("too soon after it", 0.43, 60.0)
    assert told == ["42%, 1:01 left: coding features.9 as pal4"]
    assert live.with_bar(told[0]) == f"━━━━┄┄┄┄┄┄ {told[0]}"
    assert live.with_bar("12 of 20 images") == "12 of 20 images"
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Progress("{task.fields[stage]}", console=console, auto_refresh=False) as drawn:
        live.Lines(console, drawn).stage("coreml auto", told[0])
    assert "━━━━┄┄┄┄┄┄ 42%, 1:01 left: coding" in console.file.getvalue()


def test_without_a_terminal_there_are_lines_and_with_quiet_only_notices(capsys):
    for quiet in (False, True):
        with live.evaluation_bars(quiet=quiet) as bars:
            bars.notice("the cache [of mine] was damaged")
            bars.begin("a.tflite", known=3, total=9)
            bars.advance("a.tflite", 6)
            bars.end("a.tflite", "MEASURED")
        told = capsys.readouterr().err
        assert "note: the cache [of mine] was damaged" in told
        assert ("a.tflite: 3 of 9 images known from a run before" in told) is not quiet
        assert ("a.tflite: 9 of 9 images, MEASURED" in told) is not quiet


def test_long_lists_of_names_are_cut():
    assert terminal.some(["a", "b"], 2) == "a, b"
    assert terminal.some(["a", "b", "c"], 2) == "a, b and 1 more"
