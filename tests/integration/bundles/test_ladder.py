"""`squeeze-export ladder` as a user types it, once, small: two rungs of random weights over a handful of pictures."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec

import numpy as np
from PIL import Image

from tests.integration.conftest import run_tool


def test_two_rungs_are_exported_evaluated_weighed_and_timed(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rows = ["file\tclass_index"]
    for place in range(8):
        y, x = np.mgrid[0:90, 0 : 100 + place]
        waves = [127 + 120 * np.sin(x / (5 + place) + channel) * np.cos(y / (9 - channel)) for channel in range(3)]
        Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8)).save(pictures / f"{place}.png")
        rows.append(f"{place}.png\t{place * 80}")
    (pictures / "labels.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ladder.csv").write_text("of a run before")
    # A model with a normalisation of its own, as the config file of its exports has it.
    own = 'weights = "random"\ninput-size = 64\nmean = [0.4, 0.5, 0.6]\nstd = "0.3,0.3,0.3"\nstarter = "android"\n'
    (tmp_path / "net.toml").write_text(own, encoding="utf-8")
    what = ("ladder", "--config", "net.toml", "--std", "0.2,0.3,0.4", "--name", "net", "--target", "tflite", "--runs", "3")
    what = (*what, "--precision", "fp32,int8-dynamic", "--images", pictures, "--output", "out")
    hidden = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    ended = run_tool(*what, cwd=tmp_path, env=hidden)
    assert (ended.code, [path.name for path in (tmp_path / "out").iterdir()]) == (2, ["ladder.csv"]), ended.err
    assert "--force" in ended.err
    ended = run_tool(*what, "--force", "--json", cwd=tmp_path, env=hidden, timeout=550)
    assert ended.code == 0, ended.err
    drawn = ["ladder.png"] if find_spec("matplotlib") else []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ladder.csv", "ladder.json", *drawn, "net"]
    assert ended.out == (tmp_path / "out" / "ladder.json").read_text(encoding="utf-8")
    found = json.loads(ended.out)
    manifest = json.loads((tmp_path / "out" / "net" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["source"]["preprocessing"]["mean"], manifest["source"]["preprocessing"]["std"]) == (
        [0.4, 0.5, 0.6],
        [0.2, 0.3, 0.4],
    )
    assert (found["images"], found["runs"], found["exit_code"], found["problems"]) == (8, 3, 0, [])
    assert found["reference"]["top1"]["images"] == 8
    full, small = found["rungs"]
    assert (full["precision"], small["precision"]) == ("fp32", "int8-dynamic")
    for rung in (full, small):
        assert rung["bytes"] == (tmp_path / "out" / "net" / rung["path"]).stat().st_size > rung["zip_bytes"] > rung["bytes"] / 2
        assert rung["ms_1_thread"] > 0 and rung["ms_2_threads"] > 0
        assert rung["comparison"]["top1_difference"]["standard_error"] is not None
    assert full["comparison"]["agreement"]["hits"] == 8
    assert small["best_accuracy"]  # the smallest rung is beaten by none
    with (tmp_path / "out" / "ladder.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["precision"], int(line["bytes"]), float(line["ms_1_thread"])) for line in lines] == [
        (rung["precision"], rung["bytes"], rung["ms_1_thread"]) for rung in found["rungs"]
    ]
