"""README and pages are executed: their commands in their order, in one folder, and what they print is what they show."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from squeeze_export.bundle.manifest import digest
from tests import generate
from tests.generate import shown_commands, stripped
from tests.integration.conftest import run_python, run_tool

README = generate.README.read_text(encoding="utf-8")
ROOT = generate.ROOT


def masked(text: str) -> list[str]:
    """The words of an output: numbers become #, borders and line breaks do not count, columns may be wider or narrower."""
    words = re.sub(r"[\u2500-\u257f]", " ", text)
    words = re.sub(r"\d[\d,.]*(e[+-]\d+)?", "#", words)
    return words.split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


def printed(command: str, folder: Path) -> str:
    """As generate.printed, whose Python would have to import all SDKs first."""
    _, *arguments = shlex.split(command)
    ended = run_tool(*arguments, cwd=folder, env={"XDG_CACHE_HOME": str(folder / "cache")}, timeout=600)
    assert ended.code == 0, ended.err
    return stripped(ended.out)


def test_the_readme_shows_commands():
    assert [shown.command.split()[0] for shown in shown_commands()].count("squeeze-export") >= 4


@pytest.mark.parametrize("shown", shown_commands(), ids=lambda shown: shown.command)
def test_a_command_prints_what_the_readme_shows(shown, folder):
    assert masked(printed(shown.command, folder)) == masked(shown.output)


def test_the_same_source_and_options_give_the_same_bytes(bundle, folder):
    """The first of these commands again: another process, folder and hash seed."""
    made = folder / "dist" / bundle.name
    if not made.is_dir():  # this test alone was asked for
        printed(shown_commands()[0].command, folder)
    assert tree(made) == tree(bundle) and len(tree(made)) > 50
    assert os.environ.get("PYTHONHASHSEED") != "77"


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): digest(path)[0] for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_python_example_runs(folder):
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    code = example.replace("export(model", 'export(name="from-python", model')
    done = run_python(code, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["dist/from-python", "PASSED"]


def test_the_options_that_the_readme_names_exist():
    helped = ""
    commands = ("", "verify", "evaluate", "compare", "ladder", "starter", "targets")
    programs = [["squeeze_export", command] if command else ["squeeze_export"] for command in commands]
    for words in programs:
        program = [sys.executable, "-m", *words, "--help"]
        helped += subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert {option for option in named if option not in helped} == set()


def test_ci_runs_the_readmes_test_command():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m 1 -E '([^']+)'", script)
    assert pattern is not None
    commands = [line for line in README.splitlines() if re.search(pattern[1], line)]
    assert len(commands) == 1
    assert commands[0].strip().endswith(".venv/bin/pytest")


def test_the_exit_codes_are_those_of_the_error_classes():
    from squeeze_export import errors

    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE))
    assert set(table) == {"0", "2", "3", "4", "5", "6"}
    codes = {
        str(kind.exit_code) for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__
    }
    assert codes - {"1"} == set(table) - {"0"}
