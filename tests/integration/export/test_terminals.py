"""Closed and full streams, odd encodings, and what file managers, git and a liar leave in a bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import run_tool

TARGETS = [sys.executable, "-m", "squeeze_export", "targets", "--no-import"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_the_tables_come_in_every_encoding(tmp_path, encoding):
    ended = run_tool("targets", "--no-import", cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
    assert ended.code == 0, ended.err
    assert "yes torch.jit" in ended.out and "?" not in ended.out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    ("redirected", "told"),
    [(">&-", ""), ("2>&-", ""), (">&- 2>&- <&-", ""), ("> /dev/full", "not everything could be printed: No space left on device"),
     ("2> /dev/full", ""), ("| true", ""), ("> /dev/full 2>&1", "")],
)  # fmt: skip
def test_streams_that_take_nothing_change_no_exit_code(tmp_path, redirected, told):
    command = f'set -o pipefail; "$0" -m squeeze_export targets --no-import {redirected}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert told in done.stderr and "fault of squeeze-export" not in done.stderr and "Traceback" not in done.stderr


def test_an_export_with_every_stream_closed_stands_and_is_proven(tmp_path):
    command = '"$0" -m squeeze_export --target torchscript --starter none --output out <&- >&- 2>&-'
    done = subprocess.run(["bash", "-c", command, sys.executable], cwd=tmp_path, check=False, timeout=300)
    assert done.returncode == 0
    assert (
        json.loads((tmp_path / "out" / "squeezenet1_1-demo" / "manifest.json").read_text())["artifacts"][0]["parity"]["verdict"]
        == "PASSED"
    )


def test_a_usage_error_keeps_its_exit_code_where_it_cannot_be_told(tmp_path):
    command = '"$0" -m squeeze_export --target nonsense 2>/dev/full'
    done = subprocess.run(["bash", "-c", command, sys.executable], cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == 2


def test_litter_is_no_damage_and_what_the_manifest_says_of_a_file_is_read_from_it(copied, tmp_path):
    """One run of verify sees both: litter everywhere, and three words of the manifest that the files contradict."""
    package = next((copied / "coreml").glob("*.mlpackage"))
    for folder in (copied, copied / "golden", copied / "golden" / "images", package, package / "Data", copied / "tflite"):
        (folder / ".DS_Store").write_bytes(b"litter")
        (folder / "._x").write_bytes(b"litter")
    (copied / "__MACOSX").mkdir()
    manifest = copied / "manifest.json"
    content = json.loads(manifest.read_text())
    by_target = {entry["target"]: entry for entry in content["artifacts"]}
    by_target["tflite"]["operators"].append("CUSTOM")
    by_target["torchscript"]["bytecode_version"] = 7
    by_target["coreml"]["deployment_target"] = "iOS18"
    manifest.write_text(json.dumps(content))
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 5
    told = [line for line in ended.err.splitlines() if "not as recorded" in line or "damaged" in line]
    assert len(told) == 3, ended.err
    for words in ("CUSTOM in the manifest, CONCATENATION", "bytecode_version is 7 in the manifest, 8 in the file",
                  "deployment_target is iOS18 in the manifest, iOS16 in the file"):  # fmt: skip
        assert any(words in line for line in told), (words, told)


def test_golden_files_that_git_changed_are_named(copied, tmp_path):
    description = copied / "golden" / "golden.json"
    description.write_bytes(description.read_bytes().replace(b"\n", b"\r\n"))
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 5
    assert "CRLF" in ended.err and ".gitattributes" in ended.err
