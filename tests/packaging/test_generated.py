"""What is generated is what stands in the repository."""

from __future__ import annotations

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
