"""An option is described in one place: command line, config file, request and docs have it from there."""

from __future__ import annotations

import dataclasses
import re

import pytest
import typer
from typer.testing import CliRunner

from squeeze_export.commands.cli import app, run
from squeeze_export.commands.parameters import taken_by, takes
from squeeze_export.commands.request.settled import build_request
from squeeze_export.commands.request.written import Options, read_config
from squeeze_export.contracts import options as table
from squeeze_export.contracts.option import Option
from squeeze_export.contracts.options.headings import OUTPUT
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.errors import UsageError
from tests.generate import options_table

COLOUR = Option(
    name="icon_folder",
    kind="path",
    metavar="DIR",
    heading=OUTPUT,
    form='icon_folder="icons", a folder',
    help={"export": "Icons of the apps.", "ladder": "As in an export."},
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wider(ExportRequest):
    """A request with a field for the new option."""

    icon_folder: object = None


@pytest.fixture
def one_more(monkeypatch):
    monkeypatch.setattr(table, "OPTIONS", (*table.OPTIONS, COLOUR))


def test_an_option_that_is_added_in_one_place_is_everywhere(one_more, tmp_path):
    # The command line.
    seen = {}
    tool = typer.Typer()

    @tool.command()
    @takes("ladder", table.OPTIONS)
    def ladder(**given):
        seen.update(given)

    told = CliRunner().invoke(tool, ["--help"]).output
    assert "--icon-folder" in told
    assert CliRunner().invoke(tool, ["--images", "i", "-o", "o", "--icon-folder", "x"]).exit_code == 0
    assert seen["icon_folder"] == "x" and seen["images"] == "i"
    # The config file.
    (tmp_path / "c.toml").write_text('icon-folder = "icons"\ntarget = "tflite"\n')
    written = read_config(tmp_path / "c.toml")
    assert written.icon_folder == str(tmp_path / "icons")
    # The request, from the command line and in Python.
    assert build_request(written, into=Wider).icon_folder == tmp_path / "icons"
    with pytest.raises(UsageError, match=r'icon_folder is 3, a int\. Write icon_folder="icons", a folder'):
        Wider(targets=("tflite",), icon_folder=3)
    # The docs.
    assert "| `--icon-folder DIR` |" in options_table()


def test_without_it_nothing_has_it(tmp_path):
    (tmp_path / "c.toml").write_text('icon-folder = "icons"\n')
    with pytest.raises(UsageError, match="unknown key"):
        read_config(tmp_path / "c.toml")
    with pytest.raises(TypeError, match="icon_folder"):
        Options(icon_folder="x")
    assert "icon-folder" not in options_table()


def test_the_real_commands_are_made_of_the_table():
    command = typer.main.get_command(app)
    commands = {"export": command, **command.commands}
    for name in ("export", "ladder", "evaluate", "verify", "compare", "starter", "targets"):
        flags = {flag for parameter in commands[name].params for flag in parameter.opts if flag.startswith("--")}
        expected = {option.flag for option in taken_by(name)} | ({"--version"} if name == "export" else set())
        assert flags - {"--install-completion", "--show-completion"} == expected
    required = {(name, parameter.name) for name in commands for parameter in commands[name].params if parameter.required}
    assert required >= {("evaluate", "images"), ("starter", "output")}


def test_alone_it_shows_its_help_and_both_spellings_print_the_version(capsys):
    assert run([]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "--target TARGET" in told.err and "Exit codes: 0 all passed" in told.err
    for flag in ("--version", "-V"):
        assert run([flag]) == 0
        assert capsys.readouterr().out.startswith("squeeze-export ")


def test_a_command_has_no_option_twice_and_every_field_of_a_request_has_its_option():
    for command in ("export", "ladder", "evaluate", "verify", "compare", "starter", "targets"):
        names = [option.name for option in taken_by(command)]
        assert len(names) == len(set(names))
    fields = {each.name for each in dataclasses.fields(ExportRequest)}
    options = {option.request_field or option.name for option in table.OPTIONS if option.in_config}
    # Of the precision, of how the wish was understood, of the input's options, of images that only a program can pass.
    assert fields - options == {"size_budgets", "best", "notes", "preprocessing_changes", "classes"}


def test_a_switch_that_is_false_is_not_written_and_a_list_is_a_tuple():
    options = Options.of({"force": False, "keep_going": True, "target": ["tflite"], "config": None, "runs": 50})
    assert options.written() == {"keep_going": True, "target": ("tflite",)}
    assert options == Options(keep_going=True, target=("tflite",)) != Options()
    assert re.fullmatch(r"Options\(.*keep_going=True.*\)", repr(options))
    with pytest.raises(AttributeError, match="there is no option colour"):
        _ = options.colour


def test_the_export_may_be_called_by_its_name(capsys):
    """Every other command has a name; an export is what squeeze-export does without one."""
    from squeeze_export.commands.cli import run

    assert run(["export", "--target", "none"]) == 2
    named = capsys.readouterr().err
    assert run(["--target", "none"]) == 2
    assert capsys.readouterr().err == named and "none" in named
