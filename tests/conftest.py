"""Fixtures that several rooms' tests share: the real data, where there is some, and tiny real models named for their quirk."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from squeeze_export.contracts.source import SourceModel

# Two test processes share the cores, and each thread more than cores only spins: before torch and numpy are imported, and for
# every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED = "SQUEEZE_EXPORT_TESTS"


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder that all test processes share, and tell them with the id of the process that outlives the others."""
    if SHARED not in os.environ:  # the others inherit it
        folder = tempfile.mkdtemp(prefix="tests-")
        os.environ[SHARED] = f"{os.getpid()}:{folder}"
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real ImageNet weights, labels and photographs; the test is skipped, saying why, where it is absent."""
    folder = Path(os.environ.get("SQUEEZE_EXPORT_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "weights").is_dir():
        pytest.skip(
            f"no real data: set SQUEEZE_EXPORT_DATA or provide {os.path.relpath(folder, ROOT)} (needs weights/, images/, labels/)"
        )
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`squeeze-export --target all`, made once for all test processes. Never change it: copy it."""
    import fcntl

    from tests.integration.conftest import run_tool

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all processes of this run
    made = folder / "dist" / "squeezenet1_1-demo"
    with (folder / "bundle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            # A hash seed that the README's own run of this command has not: test_readme.py compares the bytes.
            ended = run_tool("--target", "all", cwd=folder, env={"PYTHONHASHSEED": "77"}, fresh=True)
            assert ended.code == 0, ended.err
    return made


@pytest.fixture(scope="session")
def seven_classes(tmp_path_factory: pytest.TempPathFactory) -> SourceModel:
    """SqueezeNet 1.1 with random weights and a head of 7 labelled classes, over crops of 65x64 pixels: odd and even sides."""
    from squeeze_export.preprocessing.spec import spec_for
    from squeeze_export.sources.source import load_source

    labels = tmp_path_factory.mktemp("seven_classes") / "labels.txt"
    labels.write_text("\n".join(("red", "orange", "yellow", "green", "blue", "indigo", "violet")) + "\n", encoding="utf-8")
    return load_source(
        name="seven_classes",
        model="squeezenet1_1",
        weights="random",
        seed=7,
        labels=labels,
        preprocessing=spec_for("torchvision", model="squeezenet1_1", input_size=(65, 64)),
    )


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten structured pictures of different sizes and formats, and one file that is no picture. Not to be changed by a test."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    for place in range(10):
        height, width = 70 + 9 * place, 150 - 8 * place
        y, x = np.mgrid[0:height, 0:width]
        waves = [127 + 120 * np.sin(x / (5 + place) + channel) * np.cos(y / (9 - channel)) for channel in range(3)]
        picture = Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))
        picture.save(folder / f"picture {place}.{'png' if place % 2 else 'jpg'}")
    (folder / "labels.tsv").write_text("file\tclass_index\n", encoding="utf-8")
    return folder
