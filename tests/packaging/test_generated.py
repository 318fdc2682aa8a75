"""What is generated is what stands in the repository."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from benchmarks import ladder_picture

from tests import generate


def test_the_schema_is_the_one_that_the_code_makes():
    assert generate.SCHEMA.read_text(encoding="utf-8") == generate.schema_text(), "run `just generate`"
    assert generate.FAILURE.read_text(encoding="utf-8") == generate.failure_text(), "run `just generate`"


def test_the_table_of_tolerances_is_the_one_in_the_code():
    page = generate.PARITY.read_text(encoding="utf-8")
    assert page == generate.with_tolerances(page), "run `just generate`"


def test_the_table_of_options_is_the_one_in_the_code():
    page = generate.OPTIONS.read_text(encoding="utf-8")
    assert page == generate.with_options(page), "run `just generate`"


def test_the_tables_of_operations_are_those_in_the_code():
    page = generate.EXECUTOR.read_text(encoding="utf-8")
    assert page == generate.with_operations(page), "run `just generate`"


def test_the_picture_of_the_ladder_is_drawn_from_its_table():
    """Its bytes change with matplotlib's version, what it is drawn from does not."""
    found, references = ladder_picture.points(ladder_picture.PAGE.read_text(encoding="utf-8"))
    assert len(found) == 29 and len(references) == 2
    said = ElementTree.parse(ladder_picture.PICTURE).find(".//{http://purl.org/dc/elements/1.1/}identifier")
    assert said is not None and said.text == ladder_picture.drawn_from(found, references), "run benchmarks.ladder_picture"
    assert ladder_picture.drawn_from(found[1:], references) != said.text


def test_the_picture_of_the_ladder_has_a_point_per_artifact(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra plot draws the picture")
    found, references = ladder_picture.points(ladder_picture.PAGE.read_text(encoding="utf-8"))
    ladder_picture.draw(found, references, tmp_path / "ladder.svg")
    drawn, kept = (
        path.read_text(encoding="utf-8").count('id="PathCollection_')
        for path in (tmp_path / "ladder.svg", ladder_picture.PICTURE)
    )
    assert drawn == kept >= len(found)


def test_the_rows_of_the_readme_are_rows_of_the_ladder():
    row = re.compile(r"\| ([\w. ]+) \| ([\w -:]+) \| ([\d,]+) \| ([\d.]+ %) \| ([^|]+) \|$", re.MULTILINE)
    rows = row.findall(generate.README.read_text(encoding="utf-8"))
    assert len(rows) == 6
    ladder = ladder_picture.PAGE.read_text(encoding="utf-8")
    first, second = ladder.split("| *deep-compression* in PyTorch")
    for weights, artifact, size, top1, difference in rows:
        name = artifact.replace("Core ML", "coreml").replace("TFLite", "tflite")
        here = second if weights.startswith("Deep") else first
        kept = [line for line in here.splitlines() if re.match(rf"\| \**{re.escape(name)}\** \|", line)]
        assert len(kept) == 1, artifact
        for figure in (f"| {size} |", f"| {top1} |", f"| {difference} |"):
            assert figure in kept[0], f"{artifact}: {figure}"
