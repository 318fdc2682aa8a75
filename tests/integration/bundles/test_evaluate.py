"""`squeeze-export evaluate` as a user types it: real artifacts, real runners, real photographs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeeze_export.bundle.manifest import digest
from tests.integration.conftest import run_tool

TARGETS = ["coreml", "tflite", "torchscript"]


@pytest.fixture
def cache(tmp_path):
    """A cache folder of the test's own, as the environment names it."""
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Twelve structured pictures with a table that gives each a class."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = ["file\tclass_index"]
    for place in range(12):
        y, x = np.mgrid[0:260, 0 : 280 + place]
        waves = [127 + 120 * np.sin(x / (5 + place) + channel) * np.cos(y / (9 - channel)) for channel in range(3)]
        Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8)).save(folder / f"{place}.png")
        rows.append(f"{place}.png\t{place * 80}")
    (folder / "labels.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def random_bundle(tmp_path_factory):
    """A bundle of 1000 classes, whose weights can be made again from their seed."""
    folder = tmp_path_factory.mktemp("random")
    ended = run_tool(
        *("--target", "all", "--name", "net", "--weights", "random", "--input-size", "96", "--starter", "none"), cwd=folder
    )
    assert ended.code == 0, ended.err
    return folder / "dist" / "net"


def test_every_artifact_is_measured_beside_the_reference_and_then_known(random_bundle, labelled, cache, tmp_path):
    before = digest(random_bundle)
    ended = run_tool("evaluate", random_bundle, "--images", labelled, "--json", "--quiet", cwd=tmp_path, env=cache)
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert [row["target"] for row in found["artifacts"]] == TARGETS
    assert found["reference"]["executor"].startswith("eager PyTorch")
    assert found["reference"]["accuracy"]["top1"]["images"] == 12
    for row in found["artifacts"]:
        assert (row["status"], row["cached"]) == ("MEASURED", 0)
        # Random weights recognise nothing, but all artifacts must do so in the same way.
        assert row["comparison"]["agreement"]["hits"] >= 11
    assert "MIL reference executor" in found["artifacts"][0]["executor"]
    assert digest(random_bundle) == before
    assert [path.name for path in (tmp_path / "cache" / "squeeze-export").iterdir()] == ["evaluations.sqlite3"]
    ended = run_tool("evaluate", random_bundle, "--images", labelled, cwd=tmp_path, env=cache)
    assert ended.code == 0, ended.err
    assert "12 of 12 images known from a run before" in ended.err
    shown = " ".join(ended.out.split())
    for name in ("reference", "coreml fp16", "tflite fp32", "torchscript fp32", "top-5", "same top-1 as ref."):
        assert name in shown
    # Nothing was executed now, and it is still told who did: word for word as in the run before.
    assert all(f"{row['executor']}" in shown for row in found["artifacts"])


def test_without_a_cache_nothing_is_kept_and_without_a_reference_it_is_waived(random_bundle, labelled, cache, tmp_path):
    options = ("--images", labelled, "--no-cache", "--no-reference", "--limit", "2", "--workers", "1")
    ended = run_tool("evaluate", random_bundle, *options, cwd=tmp_path, env=cache)
    assert ended.code == 0, ended.err
    assert "NOT_RUN" in ended.out
    assert not (tmp_path / "cache").exists()


def test_what_cannot_be_read_is_listed_and_ends_with_2(random_bundle, labelled, cache, tmp_path):
    images = Path(shutil.copytree(labelled, tmp_path / "images"))
    (images / "3.png").write_bytes(b"no picture")
    (images / "5.png").unlink()
    (images / "more.jpg").write_bytes(b"")
    ended = run_tool("evaluate", random_bundle, "--images", images, "--no-reference", cwd=tmp_path, env=cache)
    assert ended.code == 2
    assert "net on 10 images" in ended.out
    assert "1 images could not be read" in ended.err
    assert "3.png" in ended.err
    assert "1 images that labels.tsv names are not there: 5.png" in ended.err
    assert "1 files have no label and were not evaluated: more.jpg" in ended.err


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ((), 2, "--images"),
        (("--images", "nowhere"), 2, "does not exist"),
        (("--images", "outside"), 2, "a.png has 1000 (line 2)"),
        (("--images", "empty"), 2, "no labelled images"),
        (("--images", "labelled", "--limit", "0"), 2, "must be at least 1"),
        (("--images", "labelled", "--weights", "random", "--no-reference"), 2, "exclude each other"),
        (("--images", "labelled", "--weights", "nowhere.pth"), 3, "does not exist"),
        (("--images", "labelled", "--weights", "other.safetensors"), 3, "not those that the bundle was made from"),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_refused_in_words(random_bundle, labelled, cache, tmp_path, options, code, told):
    (tmp_path / "labelled").symlink_to(labelled)
    (tmp_path / "empty").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "labels.tsv").write_text("file\tclass_index\na.png\t1000\n", encoding="utf-8")
    if "other.safetensors" in options:
        import torch
        from safetensors.torch import save_file

        from squeeze_export.sources.weights import load_weights

        state = dict(load_weights("squeezenet1_1", "random", seed=1).state)
        save_file({name: torch.clone(value) for name, value in state.items()}, tmp_path / "other.safetensors")
    ended = run_tool("evaluate", random_bundle, *options, cwd=tmp_path, env=cache)
    assert (ended.code, told in ended.err) == (code, True), ended.err


def test_a_damaged_artifact_is_refused_with_5(copied, labelled, cache, tmp_path):
    path = next((copied / "tflite").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    ended = run_tool("evaluate", copied, "--images", labelled, "--json", cwd=tmp_path, env=cache)
    assert ended.code == 5
    assert json.loads(ended.out)["error"]["class"] == "ArtifactError"


def children_of(folder: Path) -> list[str]:
    """Worker processes whose job folder lies in the given temporary folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder) in entry.read_text(encoding="utf-8", errors="replace"):
                found.append(entry.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are looked up in /proc")
def test_ctrl_c_leaves_no_process_and_a_cache_from_which_the_next_run_goes_on(copied, cache, tmp_path):
    record = json.loads((copied / "manifest.json").read_text(encoding="utf-8"))
    record["artifacts"] = [
        entry for entry in record["artifacts"] if entry["target"] == "tflite"
    ]  # the fastest: the test is long enough
    (copied / "manifest.json").write_text(json.dumps(record), encoding="utf-8")
    images, temporary = tmp_path / "images" / "0", tmp_path / "tmp"
    images.mkdir(parents=True)
    temporary.mkdir()
    for place in range(2400):  # so many that a loaded machine is still at them
        Image.fromarray(np.full((20 + place // 30, 20 + place % 30, 3), place % 256, np.uint8)).save(images / f"{place}.png")
    command = [sys.executable, "-m", "squeeze_export", "evaluate", str(copied), "--images", str(images.parent), "--no-reference"]
    environment = {**os.environ, **cache, "TMPDIR": str(temporary), "NO_COLOR": "1"}
    running = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    database = tmp_path / "cache" / "squeeze-export" / "evaluations.sqlite3"
    deadline = time.monotonic() + 120
    while (not database.exists() or database.stat().st_size < 20_000) and time.monotonic() < deadline:
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    assert children_of(temporary)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "what was computed is kept" in told
    assert children_of(temporary) == []
    assert list(temporary.iterdir()) == []
    ended = run_tool("evaluate", copied, "--images", images.parent, "--no-reference", "--json", cwd=tmp_path, env=cache)
    assert ended.code == 0, ended.err
    (row,) = json.loads(ended.out)["artifacts"]
    assert 0 < row["cached"] < 2400


def test_demo_pictures_need_no_files_and_a_bundle_of_their_classes(bundle, random_bundle, cache, tmp_path):
    ended = run_tool("evaluate", bundle, "--images", "demo", "--limit", "102", "--json", cwd=tmp_path, env=cache)
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["images"] == 102
    for row in (found["reference"], *found["artifacts"]):
        assert row["accuracy"]["top1"]["value"] >= 0.95
    ended = run_tool("evaluate", random_bundle, "--images", "demo", cwd=tmp_path, env=cache)
    assert ended.code == 2
    assert "34 classes" in ended.err


@pytest.mark.realdata
def test_photographs_give_the_known_accuracy(real_data, cache, tmp_path):
    """Core ML in fp16, the others in fp32; every fourth photograph. What the source makes of all 320: test_preprocessing.py."""
    weights = real_data / "weights" / "squeezenet1_1_torchvision.safetensors"
    images = ("--images", real_data / "images" / "evaluation")
    ended = run_tool("--target", "all", "--weights", weights, *images, "--name", "net", cwd=tmp_path)
    assert ended.code == 0, ended.err
    asked = (*images, "--limit", "80", "--weights", weights, "--json", "--quiet")
    ended = run_tool("evaluate", "dist/net", *asked, cwd=tmp_path, env=cache)
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["images"] == 80
    known = found["reference"]["accuracy"]
    assert (known["top1"]["hits"], known["top5"]["hits"]) == (47, 65)
    for row in found["artifacts"]:
        assert abs(row["accuracy"]["top1"]["hits"] - 47) <= 1
        assert abs(row["accuracy"]["top5"]["hits"] - 65) <= 1
    assert all(row["comparison"]["agreement"]["value"] >= 0.99 for row in found["artifacts"])
