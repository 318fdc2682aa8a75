"""Standard output and error that never end a command."""

from __future__ import annotations

import io
import json
import sys

import pytest
from rich.table import Table
from rich.text import Text

from squeeze_export import streams
from squeeze_export.screen import consoles


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("ascii", "diff. top-1 +/- 0.5 yes no ..., caf\\xe9 \\u732b"),
        ("latin-1", "diff. top-1 ± 0.5 yes no ..., café \\u732b"),
        ("cp1252", "diff. top-1 ± 0.5 yes no …, café \\u732b"),
        ("utf-8", "Δ top-1 ± 0.5 ✓ ✗ …, café 猫"),
    ],
)
def test_signs_become_words_and_names_become_escapes(encoding, said):
    assert streams.plain("Δ top-1 ± 0.5 ✓ ✗ …, café 猫", encoding) == said


def test_no_sign_that_is_printed_becomes_a_question_mark():
    everything = "".join(chr(code) for code in range(0x20, 0x2FFF) if not 0xD800 <= code < 0xE000)
    assert "?" not in streams.plain(everything.replace("?", ""), "ascii")


@pytest.fixture
def stdout(monkeypatch):
    def of(encoding):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=streams.ERRORS)
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return of


def test_a_table_stays_in_its_columns_in_ascii(stdout):
    stream = stdout("ascii")
    table = Table()
    table.add_column("Δ top-1")
    table.add_column("export")
    table.add_row("no image differs", Text("✓ ", style="green").append("torch\n✗ onnx"))
    consoles.out().print(table)
    stream.flush()
    lines = stream.buffer.getvalue().decode("ascii").splitlines()
    assert len({len(line) for line in lines if line.strip()}) == 1
    assert "| diff. top-1" in lines[1] and "| yes torch" in lines[3] and "| no onnx" in lines[4]


def test_json_is_the_same_document_in_every_encoding(stdout):
    document = '{"label": "猫 😀 é"}\n'.encode()
    for encoding in ("ascii", "cp1252", "utf-8"):
        stream = stdout(encoding)
        streams.print_json(document)
        assert json.loads(stream.buffer.getvalue().decode(encoding)) == {"label": "猫 😀 é"}
