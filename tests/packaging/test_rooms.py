"""The house: who imports whom, what importing costs, and that lint, format and types hold."""

from __future__ import annotations

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
