"""`--max-accuracy-drop` as a user types it: a really worse artifact is refused, a good one is written with what was measured."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from squeeze_export.bundle.manifest import read_manifest
from squeeze_export.verification.bundles import _claims
from tests.integration.conftest import run_tool


def make_pictures(pictures, calibration):
    """A hundred pictures, of which those that parity looks at, and the calibration, are faint, and all others strong."""
    pictures.mkdir()
    calibration.mkdir()
    y, x = np.mgrid[0:64, 0:64]
    faint = {place * 99 // 7 for place in range(8)}
    for place in range(100):
        contrast = 20 if place in faint else 125
        waves = [127 + contrast * np.sin(x / (3 + place % 11) + channel) * np.cos(y / (2 + place // 11)) for channel in range(3)]
        picture = Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))
        picture.save(pictures / f"{place:03}.png")
        if place in faint:
            picture.save(calibration / f"{place:03}.png")


def test_an_export_is_held_to_its_accuracy(tmp_path):
    pictures, faint = tmp_path / "pictures", tmp_path / "faint"
    make_pictures(pictures, faint)
    export = ("--target", "torchscript", "--weights", "random", "--input-size", "64", "--resize", "64", "--starter", "none")
    export = (*export, "--name", "net", "--images", pictures, "--max-accuracy-drop", "1.0")
    hidden = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    # Ranges chosen by faint pictures clip strong ones: parity on eight faint ones does not see it, the other 92 do.
    spoiled = ("--precision", "fp32,int8", "--calibration-data", faint)
    ended = run_tool(*export, *spoiled, cwd=tmp_path, env=hidden)
    assert ended.code == 5, ended.err
    told = " ".join(ended.err.split())
    assert "Nothing was written" in told
    assert "torchscript int8 (torchscript/net-int8.ptl): accuracy DROPPED: top-1 agreement with the reference" in told
    assert "> 1 points on 100 images without labels" in told
    assert "torchscript fp32 (" not in told
    assert not (tmp_path / "dist").exists()
    assert "PASSED" in ended.out and "DROPPED" in ended.out  # parity and accuracy are two things
    # The best of all is not the smallest, which drops, but the smallest of the others.
    ended = run_tool(*export, "--precision", "best", "--calibration-data", faint, cwd=tmp_path, env=hidden)
    assert ended.code == 0, ended.err
    told = " ".join(ended.err.split())
    assert "take torchscript fp16: " in told and "no points lost; the next smaller one, torchscript int8, loses" in told
    assert "Top-1 on 100 images without labels" in ended.out
    bundle = tmp_path / "dist" / "net"
    record = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    (chosen,) = record["choices"]
    assert [(one["precision"], one["verdict"]) for one in chosen["candidates"]] == [
        ("int8", "DROPPED"), ("fp16", "TAKEN"), ("fp32", "LARGER"),
    ]  # fmt: skip
    assert [path.name for path in (bundle / "torchscript").iterdir()] == ["net-fp16.ptl"]
    assert [one["precision"] for one in record["artifacts"]] == ["fp16"]
    found = record["accuracy"]
    assert (found["expected"], found["origin"], found["images"], found["reference"]) == ("reference", "folder", 100, 100)
    assert (found["artifacts"][0]["status"], found["artifacts"][0]["right"]) == ("MEASURED", 100)
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == ["net"]
    # verify has no pictures, but it reads what was measured: too good a record of a worse artifact contradicts itself.
    assert _claims(bundle, read_manifest(bundle), {}) == []
    found["artifacts"][0] |= {"lost": 7}
    (bundle / "manifest.json").write_text(json.dumps(record), encoding="utf-8")
    (told,) = _claims(bundle, read_manifest(bundle), {})
    assert "do not follow from each other" in told
