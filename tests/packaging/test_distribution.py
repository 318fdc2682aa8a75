"""sdist and wheel: one import package, every file of the rooms in it, and nothing of the tests."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Where a room stands in the repository, and where in the wheel.
ROOMS = {
    "src/squeeze_export": "squeeze_export",
    "exporters": "squeeze_export/exporters",
    "validation": "squeeze_export/validation",
    "mobile_templates": "squeeze_export/mobile_templates",
}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this checkout has no git, so it cannot be known which files belong to it")
    return [name for name in listed.stdout.split("\0") if name]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build as a user would from a clean checkout without symlinks: sdist, then the wheel from the sdist."""
    checkout, made = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("built")
    for name in tracked():
        source, copy = ROOT / name, checkout / name
        if source.is_symlink() or not source.exists():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(made), str(checkout)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def wheel_files(built: Path) -> set[str]:
    (wheel,) = built.glob("*.whl")
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_the_rooms_and_nothing_else(built):
    expected = set()
    for name in tracked():
        if (ROOT / name).is_symlink():
            continue
        for room, place in ROOMS.items():
            if name.startswith(f"{room}/"):
                expected.add(place + name.removeprefix(room))
    assert wheel_files(built) == expected


def test_the_wheel_installs_one_top_level_package(built):
    assert {name.split("/")[0] for name in wheel_files(built)} == {"squeeze_export"}


def test_the_sdist_can_be_built_again_and_has_the_licence(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "exporters/coreml/exporter.py", "validation/parity.py"} <= names
