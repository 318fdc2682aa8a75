"""Labels from the user's file to what an app reads: inside the artifact, in the bundle, and on the screen."""

from __future__ import annotations

import json
import zipfile

from PIL import Image

from tests.integration.conftest import run_tool

EXPORT = ("--target", "torchscript", "--weights", "random", "--input-size", "64", "--starter", "none", "--name", "it")


def inside(bundle):
    """The labels that the TorchScript Lite file holds."""
    (path,) = bundle.glob("**/*.ptl")
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/extra/labels.txt"))
        return archive.read(name).decode().splitlines()


def test_labels_reach_every_place_and_the_screen_says_what_was_decided(tmp_path):
    # Read as a user's file, the bundle's own labels.txt would be refused: two names with a number, one without.
    names = ["1 person", "2 people", "dog, hound"]
    (tmp_path / "own.csv").write_text('idx,label\n2,"dog, hound"\n0,1 person\n1,2 people\n')
    ended = run_tool(*EXPORT, "--labels", "own.csv", cwd=tmp_path)
    assert ended.code == 0, ended.err
    bundle = tmp_path / "dist" / "it"
    assert inside(bundle) == (bundle / "labels.txt").read_text().splitlines() == names
    assert "column 'idx' was taken for the class's index: class 0 is '1 person'" in " ".join(ended.err.split())
    assert run_tool("verify", "dist/it", cwd=tmp_path).code == 0
    for number, name in enumerate(names):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.radial_gradient("L").convert("RGB").rotate(30 * number).save(tmp_path / "images" / name / "a.png")
    ended = run_tool("evaluate", "dist/it", "--images", "images", "--no-cache", "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["reference"]["accuracy"]["top1"]["images"] == 3
