"""The published schemas: each is valid, refuses what is none, and the command prints it."""

from __future__ import annotations

import json

import jsonschema
import pytest

from squeeze_export.commands.cli import run
from squeeze_export.commands.schema import DOCUMENTS, schema_of_document


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_schema_is_one_and_is_printed(document, capsys):
    made = schema_of_document(document)
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["title"] == f"squeeze-export {document}"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, made)
    assert run(["schema", document]) == 0
    assert json.loads(capsys.readouterr().out) == made


def test_another_name_is_refused_with_those_that_there_are(capsys):
    assert run(["schema", "manifesto"]) == 2
    assert "manifest, parity, verify, evaluate, compare, ladder, failure" in capsys.readouterr().err
