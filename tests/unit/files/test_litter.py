"""What file managers and git leave is no part of a bundle; everything else is."""

from __future__ import annotations

import pytest

from squeeze_export.bundle.manifest import damage, digest
from squeeze_export.files.litter import is_litter, without


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._1.png", "Thumbs.db", "thumbs.DB", "desktop.ini",
     "__MACOSX/a.png", "a/.ipynb_checkpoints/b.png", "Icon\r", ".git/config",
     "@eaDir/x"],
)  # fmt: skip
def test_litter(name):
    assert is_litter(name)


@pytest.mark.parametrize("name", ["a.png", ".hidden", "thumbs.png", "MACOSX/a.png", "weights.bin", "golden.json"])
def test_no_litter(name):
    assert not is_litter(name)
    assert without([name, ".DS_Store"]) == [name]


@pytest.fixture
def package(tmp_path):
    inside = tmp_path / "net.mlpackage" / "Data"
    inside.mkdir(parents=True)
    (inside / "model").write_bytes(b"\0weights")
    (tmp_path / "net.mlpackage" / "Manifest.json").write_bytes(b'{\n "a": 1\n}\n')
    return tmp_path / "net.mlpackage"


def test_a_folder_keeps_its_digest_among_litter_and_loses_it_to_a_stranger(package):
    before = digest(package)
    (package / "Data" / ".DS_Store").write_bytes(b"x")
    (package / "__MACOSX").mkdir()
    (package / "__MACOSX" / "._model").write_bytes(b"y")
    assert digest(package) == before
    (package / "Data" / "model2").write_bytes(b"z")
    assert digest(package) != before


def test_line_ends_that_git_changed_are_named(package):
    sha256, _ = digest(package)
    manifest = package / "Manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"\n", b"\r\n"))
    told = damage(package.parent, package.name, sha256)
    assert "line ends are CRLF" in told and ".gitattributes" in told
    manifest.write_bytes(manifest.read_bytes().replace(b"1", b"2"))
    assert "its bytes are not those that were proven" in damage(package.parent, package.name, sha256)


def test_a_git_lfs_pointer_is_named(package):
    sha256, _ = digest(package)
    (package / "Data" / "model").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 8\n")
    assert "model is a Git LFS pointer" in damage(package.parent, package.name, sha256)
    assert "git lfs pull" in damage(package.parent, package.name, sha256)
