"""The Python API's names, its progress, and how results show themselves."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import dataclass
from typing import Any

import pytest

import squeeze_export
from squeeze_export.api.progress import in_notebook, progress_of, watcher_of
from squeeze_export.errors import UsageError
from squeeze_export.tabular import Tabular

FUNCTIONS = ("export", "verify", "evaluate", "compare", "ladder", "make_starter")


def test_dir_shows_the_public_names_and_nothing_else():
    assert dir(squeeze_export) == sorted(squeeze_export.__all__)
    assert {*FUNCTIONS, "ExportRequest", "EvaluationRequest", "LadderRequest"} <= {*dir(squeeze_export)}
    for name in squeeze_export.__all__:
        assert getattr(squeeze_export, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        _ = squeeze_export.exprot


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_shows_an_example_and_its_errors(name):
    told = getattr(squeeze_export, name).__doc__
    assert f"from squeeze_export import {name}" in told or f", {name}" in told
    assert "Raises" in told and f"{name}(" in told


def test_no_module_hides_a_function_once_everything_is_imported():
    code = """
import importlib, pkgutil, squeeze_export
for found in pkgutil.walk_packages(squeeze_export.__path__, "squeeze_export."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print(all(callable(getattr(squeeze_export, name)) for name in squeeze_export.__all__))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_importing_the_package_imports_nothing_of_it():
    code = "import sys, squeeze_export; print([name for name in sys.modules if name.startswith('squeeze_export.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout == "[]\n"


def test_messages_name_fields_in_place_of_options(tmp_path):
    with pytest.raises(UsageError) as caught:
        squeeze_export.evaluate(squeeze_export.EvaluationRequest(bundle=tmp_path, images="demo", limit=0))
    assert str(caught.value) == "limit=0: it must be at least 1."
    with pytest.raises(UsageError, match="no starter for 'windows'"):
        squeeze_export.make_starter(tmp_path, "windows", tmp_path / "app")
    with pytest.raises(UsageError):
        squeeze_export.verify(tmp_path)


def test_a_function_of_ones_own_is_told_subject_and_what_is_done():
    told = []
    with progress_of(lambda *words: told.append(words)) as progress:
        progress.stage("source", "loading")
        progress.count("tflite", 3, 8)
        progress.done("tflite", "PASSED", 1.25)
    with watcher_of(lambda *words: told.append(words)) as watcher:
        watcher.begin("reference", 2, 10)
        watcher.advance("reference", 4)
        watcher.end("reference", "MEASURED")
    assert told == [
        ("source", "loading"),
        ("tflite", "3 of 8 images"),
        ("tflite", "PASSED in 1.2 s"),
        ("reference", "2 of 10 images"),
        ("reference", "6 of 10 images"),
        ("reference", "MEASURED"),
    ]


def test_progress_is_shown_where_asked_for_and_by_itself_in_a_notebook_only(capsys, monkeypatch):
    for told, shown in ((None, ""), (False, ""), (True, "loading")):
        with progress_of(told) as progress:
            progress.stage("source", "loading")
        with watcher_of(told) as watcher:
            watcher.begin("reference", 0, 10)
            watcher.end("reference", "MEASURED")
        assert (shown in capsys.readouterr().err) and (shown != "" or capsys.readouterr().err == "")
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert in_notebook()
    with progress_of(None) as progress:
        progress.stage("source", "loading")
    assert "loading" in capsys.readouterr().err


@dataclass(frozen=True, kw_only=True, repr=False)
class Small(Tabular):
    """Two rows."""

    name: str

    @property
    def headline(self) -> tuple[str, str]:
        return f"Small <{self.name}>", "2 rows"

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [{"a": 1.23456, "b": None}, {"a": 2.0, "b": "<x>"}]


def test_a_result_is_two_lines_a_dict_and_an_escaped_table(monkeypatch):
    small = Small(name="n")
    assert repr(small) == "Small <n>\n2 rows"
    assert small.to_dict() == {"name": "n"}
    page = small._repr_html_()
    assert "Small &lt;n&gt;" in page and "<td>&lt;x&gt;</td>" in page and "<td>1.235</td>" in page and "<td>–</td>" in page
    assert "<th>a</th><th>b</th>" in page
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        small.to_frame()
    made = []
    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=lambda rows: made.append(rows) or "frame"))
    assert small.to_frame() == "frame" and made == [small.rows]


def test_a_ladder_refuses_a_progress_that_cannot_watch_its_evaluation_before_the_exports(tmp_path):
    deaf = types.SimpleNamespace(stage=print, count=print, done=print, published=print)
    wanted = squeeze_export.ExportRequest(targets=("tflite",), output=tmp_path / "out")
    with pytest.raises(UsageError, match="progress is namespace"):
        squeeze_export.ladder(squeeze_export.LadderRequest(export=wanted, images="demo", limit=20), progress=deaf)
    assert not (tmp_path / "out").exists()
