"""The house: who imports whom, what importing costs, and that lint, format and types hold."""

from __future__ import annotations

import collections
import functools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

SDKS = (
    "torch",
    "coremltools",
    "litert_torch",
    "ai_edge_litert",
    "ai_edge_quantizer",
    "sklearn",
    "tensorflow",
    "onnx",
    "onnxruntime",
    "matplotlib",
    "PIL",
)


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def tool(name: str) -> str:
    path = BIN / name
    if not path.exists():
        pytest.skip(f"{name} is not installed beside {sys.executable}: pip install -e '.[test]'")
    return str(path)


@pytest.mark.parametrize(
    "command", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",)], ids=" ".join
)
def test_the_house_rules_hold(command):
    done = run(tool(command[0]), *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def graph():
    """Who imports whom, module by module, in functions too; what is for type checkers only does not count."""
    grimp = pytest.importorskip("grimp", reason="comes with import-linter: pip install -e '.[test]'")
    return grimp.build_graph("squeeze_export", exclude_type_checking_imports=True, cache_dir=None)


def circles(imported):
    """Groups of modules that reach each other: strongly connected components, by removing what imports nothing left, or is not
    imported by anything left, until only circles stand."""
    left = {module: set(targets) for module, targets in imported.items()}
    while True:
        reached = set().union(*left.values()) if left else set()
        free = {module for module, targets in left.items() if not targets & left.keys() or module not in reached}
        if not free:
            return set(left)
        left = {module: targets - free for module, targets in left.items() if module not in free}


def test_no_modules_import_each_other_in_a_circle():
    imported = {module: graph().find_modules_directly_imported_by(module) for module in graph().modules}
    assert len(imported) > 150
    assert circles(imported) == set()
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == {"a", "b", "c"}
    one = "squeeze_export.errors"
    assert one in circles({**imported, one: {"squeeze_export.commands.cli"}})


def test_no_name_in_a_package_hides_one_of_its_modules():
    """`from package.litert import runner as litert` in the package's own file does: `import package.litert.file as f` fails."""
    code = """
        import importlib, pkgutil, sys, squeeze_export
        for found in pkgutil.walk_packages(squeeze_export.__path__, "squeeze_export."):
            if found.name.endswith("__main__"):
                continue
            importlib.import_module(found.name)
            package, _, leaf = found.name.rpartition(".")
            if getattr(sys.modules[package], leaf) is not sys.modules[found.name]:
                print(found.name)
    """
    done = run(sys.executable, "-c", textwrap.dedent(code))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def files_of_the_house():
    listed = run("git", "ls-files", "-z", "src", "exporters", "validation", "tests", "benchmarks", "training")
    if listed.returncode != 0:
        pytest.skip("this checkout has no git, so it cannot be known which files belong to it")
    return [
        Path(name) for name in listed.stdout.split("\0") if name and not (ROOT / name).is_symlink() and (ROOT / name).exists()
    ]


def test_no_folder_is_full_and_no_file_is_long():
    """Past 12 files a folder has a second room in it, and past 400 lines a file; tests may be longer."""
    files = [path for path in files_of_the_house() if "data" not in path.parts and "stubs" not in path.parts]
    full = {str(folder): count for folder, count in collections.Counter(path.parent for path in files).items() if count > 12}
    assert full == {}
    lines = {str(path): len((ROOT / path).read_bytes().splitlines()) for path in files if path.suffix == ".py"}
    assert {path: count for path, count in lines.items() if count > 400 and not path.startswith("tests")} == {}
    assert len(files) > 300


def test_the_import_rules_can_be_broken(tmp_path):
    """A runner that imports an exporter is refused: the check is not vacuous."""
    for room in ("src", "exporters", "validation", "mobile_templates"):
        copied = subprocess.run(["cp", "-R", str(ROOT / room), str(tmp_path / room)], check=False)
        assert copied.returncode == 0
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    runner = tmp_path / "validation" / "runners" / "litert" / "runner.py"
    runner.write_text(runner.read_text() + "\nfrom squeeze_export.exporters.tflite import exporter as _forbidden\n")
    done = subprocess.run(
        [tool("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "squeeze_export.validation.runners.litert.runner -> squeeze_export.exporters" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import squeeze_export.commands.cli",
        "import squeeze_export.pipeline.targets; squeeze_export.pipeline.targets.target_states()",
        "from squeeze_export import ExportRequest",
    ],
)
def test_importing_loads_no_sdk(statement):
    code = f"import sys\n{statement}\nprint([name for name in {SDKS!r} if name in sys.modules])"
    done = run(sys.executable, "-c", code)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_help_loads_nothing_heavy():
    code = """
        import sys
        from squeeze_export.commands.cli import run
        code = run(["--help"])
        heavy = [name for name in ("torch", "numpy", "PIL", "msgspec", "coremltools") if name in sys.modules]
        print(code, heavy)
    """
    done = run(sys.executable, "-c", textwrap.dedent(code))
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr


def test_the_starters_are_data():
    assert not list((ROOT / "mobile_templates").rglob("*.py"))
