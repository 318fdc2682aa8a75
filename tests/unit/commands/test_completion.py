"""Shell completion: what a shell asks for, and what installing it writes; what an export ends with."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import pytest
import typer

from squeeze_export.commands import given_once
from squeeze_export.commands.cli import _next_step


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "squeeze_export", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def completed(line: str) -> list[str]:
    """What bash is offered behind this line."""
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = run(_SQUEEZE_EXPORT_COMPLETE="complete_bash", **asked)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("squeeze-export ver", ["verify"]),
        ("squeeze-export --max", ["--max-accuracy-drop"]),
        ("squeeze-export verify --w", ["--witness"]),
        # The line is not finished: an option that stands there twice is no reason to print an error into it.
        ("squeeze-export --model a --model b --weig", ["--weights"]),
    ],
)
def test_a_shell_is_offered_options_and_commands(line, offered):
    assert completed(line) == offered


def test_an_option_given_twice_is_refused_once_the_line_is_run():
    done = run("--target", "tflite", "--model", "a", "--model", "b")
    assert (done.returncode, "--model is given 2 times" in done.stderr) == (2, True)


def test_the_help_beside_an_option_is_one_line():
    done = run(_SQUEEZE_EXPORT_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="squeeze-export verify --w")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "--witness" in line and "…" in line


def test_brackets_in_help_are_not_left_to_typer_which_takes_them_for_markup():
    tool = typer.Typer()

    @tool.command(cls=given_once.Command)
    def make(kind: Annotated[str, typer.Option(help="Needs the extra [kind].")] = "") -> None: ...

    command = typer.main.get_command(tool)
    with command.make_context("make", [], resilient_parsing=True) as context:
        offered = {item.value: item.help for item in command.shell_complete(context, "--k")}
    assert offered == {"--kind": "Needs the extra (kind)."}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_where_the_shell_looks(tmp_path, shell):
    # The flag that names the shell, as Typer's own tests take it: the tests' process has no shell above it.
    bare = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run("--install-completion", shell, **bare)
    assert done.returncode == 0, done.stderr
    written = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_SQUEEZE_EXPORT_COMPLETE" in text for text in written)
    shown = run("--show-completion", shell, **bare)
    assert (shown.returncode, "_SQUEEZE_EXPORT_COMPLETE" in shown.stdout) == (0, True)


@pytest.mark.parametrize(
    ("apps", "complete", "told"),
    [
        (
            ("android-tflite", "ios"),
            True,
            ["Apps: dist/net/android-tflite, dist/net/ios", "Next: open dist/net/android-tflite in And"],
        ),
        (("ios",), True, ["Apps: dist/net/ios", "Next: open dist/net/ios in Xcode"]),
        (("ios",), False, ["Apps: dist/net/ios"]),  # the exit code and the error are what comes next
        ((), True, ["Next: squeeze-export verify dist/net"]),
        ((), False, []),
    ],
)
def test_an_export_ends_with_the_apps_and_one_next_step(apps, complete, told):
    lines = _next_step("dist/net", apps, complete=complete).splitlines()
    assert len(lines) == len(told) and all(line.startswith(part) for part, line in zip(told, lines, strict=True))


def test_random_weights_are_not_sent_to_an_app():
    lines = _next_step("dist/net", ("ios",), complete=True, trained=False).splitlines()
    assert lines == ["Apps: dist/net/ios", "Next: export a trained model: --weights FILE."]
