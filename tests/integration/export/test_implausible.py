"""Preprocessing that cannot be right, and labels in another order, as a user meets them."""

from __future__ import annotations

from squeeze_export.demo import characters
from tests.integration.conftest import run_tool


def test_what_fails_in_the_reference_already_is_the_sources_fault_and_what_only_looks_wrong_is_told(tmp_path):
    export = ("--target", "torchscript", "--starter", "none", "--name", "net", "--quiet")
    ended = run_tool(*export, "--scale", "1", cwd=tmp_path)
    assert ended.code == 3, ended.err
    told = " ".join(ended.err.split())
    assert "parity" not in told
    assert "own answers are saturated" in told
    assert "Pass --scale 0.00392157 (1/255), or multiply them by 255." in told
    assert not (tmp_path / "dist").exists()
    units = ("--mean", "[123.675, 116.28, 103.53]", "--std", "58.395 57.12 57.375")
    ended = run_tool(*export[:-1], *units, "--input-size", "96", cwd=tmp_path)
    assert ended.code == 0, ended.err
    told = " ".join(ended.err.split())
    assert "note: the inputs of the golden images span" in told
    assert "Pass --scale 1, or divide them by 255." in told


def test_a_limit_is_not_held_against_a_reference_with_labels_in_reverse(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    lines = ["file\tclass_index"]
    for index in range(20):
        picture, label = characters.demo_image(11, index)
        picture.save(images / f"{index:02}.png")
        lines.append(f"{index:02}.png\t{33 - label}")
    (images / "labels.tsv").write_text("\n".join(lines), encoding="utf-8")
    export = ("--target", "torchscript", "--starter", "none", "--images", images, "--min-accuracy", "5", "--quiet")
    ended = run_tool(*export, cwd=tmp_path, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert ended.code == 3, ended.err
    told = " ".join(ended.err.split())
    assert "Nothing was written" in told
    assert "--min-accuracy 5 says nothing here: the reference is at chance: it is right on 0 of the 20 images" in told
    assert "With the classes in reverse it is right on" in told
    assert not (tmp_path / "dist").exists()
