"""manifest.json: digests, strict reading, and the published schema."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from squeeze_export.bundle import manifest
from squeeze_export.bundle.manifest import read_manifest
from squeeze_export.errors import ArtifactError
from tests.starter_bundles import make_bundle


def test_the_digest_of_a_folder_is_as_documented(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two").write_bytes(b"22")
    (tmp_path / "a").write_bytes(b"1")
    expected = hashlib.sha256(b"a\x001\x001" + b"b/two\x002\x0022").hexdigest()
    assert manifest.digest(tmp_path) == (expected, 3)


def test_the_digest_of_a_file_is_its_plain_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert manifest.digest(tmp_path / "f") == (hashlib.sha256(b"abc").hexdigest(), 3)


def test_moving_bytes_between_files_changes_the_digest(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    (tmp_path / "x" / "a").write_bytes(b"12")
    (tmp_path / "x" / "b").write_bytes(b"3")
    (tmp_path / "y" / "a").write_bytes(b"1")
    (tmp_path / "y" / "b").write_bytes(b"23")
    assert manifest.digest(tmp_path / "x") != manifest.digest(tmp_path / "y")


def test_a_link_in_a_folder_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match="is a link"):
        manifest.digest(tmp_path)


def test_the_committed_schema_is_the_one_that_the_code_makes():
    committed = json.loads((resources.files("squeeze_export.bundle") / "manifest.schema.json").read_text(encoding="utf-8"))
    assert committed == manifest.schema()
    jsonschema.Draft202012Validator.check_schema(committed)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}', '{"schema_version": 1}', "\udcff"])
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    (tmp_path / manifest.MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArtifactError, match="cannot be read"):
        manifest.read_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_not_a_complete_bundle(tmp_path):
    with pytest.raises(ArtifactError, match="not a complete bundle"):
        manifest.read_manifest(tmp_path)


def test_a_manifest_of_before_there_were_other_ways_to_resize_is_read(tmp_path):
    folder, made = make_bundle(tmp_path / "net", targets=("tflite",))
    written = json.loads((folder / "manifest.json").read_text())
    for key in ("resize_mode", "interpolation", "resize_width", "pad_color"):
        del written["source"]["preprocessing"][key]
    (folder / "manifest.json").write_text(json.dumps(written))
    assert read_manifest(folder) == made
    for key, value in (("resize_mode", "stretch"), ("interpolation", "box")):
        written["source"]["preprocessing"] |= {key: value}
        (folder / "manifest.json").write_text(json.dumps(written))
        with pytest.raises(ArtifactError, match=rf"'{value}' - at `\$\.source\.preprocessing\.{key}`"):
            read_manifest(folder)
        del written["source"]["preprocessing"][key]


def test_infinities_become_null():
    assert json.loads(manifest.encode({"snr_db": float("inf")})) == {"snr_db": None}


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="the documented shell command needs sha256sum")
def test_the_documented_shell_command_gives_the_same_digest(tmp_path):
    package = tmp_path / "coreml" / "NAME.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "weight.bin").write_bytes(bytes(range(256)))
    (package / "Manifest.json").write_text("{}")
    (package / "Data é.txt").write_text("sorted by bytes")
    text = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "bundle.md").read_text(encoding="utf-8")
    command = text[text.index("    cd coreml/NAME.mlpackage") :].split("\n\n")[0]
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == manifest.digest(package)[0]
