"""`squeeze-export verify`: a good bundle passes; whatever was changed in it is refused, also behind a mended manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from squeeze_export.manifest import digest
from tests.integration.conftest import run_tool

pytestmark = pytest.mark.xdist_group("bundle")


def mend_digests(bundle: Path) -> None:
    """Make the manifest agree with damaged files, as somebody who wants to hide the damage would."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for record in [*manifest["artifacts"], manifest["golden"]]:
        record["sha256"], record["size_bytes"] = digest(bundle / record["path"])
    path.write_text(json.dumps(manifest), encoding="utf-8")


def only(bundle: Path, target: str) -> Path:
    """Leave one artifact in the bundle, which makes its verification cheap; the file with its weights."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["artifacts"] = [entry for entry in manifest["artifacts"] if entry["target"] == target]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    artifact = bundle / manifest["artifacts"][0]["path"]
    return next(artifact.rglob("weight.bin")) if artifact.is_dir() else artifact


def test_a_good_bundle_passes_from_anywhere(copied, tmp_path):
    moved = shutil.move(copied, tmp_path / "moved and renamed")
    ended = run_tool("verify", moved, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.count("PASSED") == 3


def test_json_tells_the_findings(copied, tmp_path):
    ended = run_tool("verify", copied, "--json", cwd=tmp_path)
    found = json.loads(ended.out)
    assert found["passed"] is True
    assert {entry["reports"][0]["verdict"] for entry in found["artifacts"]} == {"PASSED"}


@pytest.mark.parametrize("target", ["coreml", "tflite", "torchscript"])
@pytest.mark.parametrize("mended", [False, True], ids=["plain", "mended manifest"])
def test_a_flipped_byte_is_refused(copied, tmp_path, target, mended):
    path = only(copied, target)
    data = bytearray(path.read_bytes())
    # The exponent byte of a weight in the middle of the weights: large enough to be seen by numbers alone.
    place = len(data) // 2 | 3
    data[place] ^= 0x40
    path.write_bytes(data)
    if mended:
        mend_digests(copied)
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 5, ended.err
    assert ("not those that were proven" in ended.err) is not mended


@pytest.mark.parametrize("target", ["coreml", "tflite", "torchscript"])
@pytest.mark.parametrize("mended", [False, True], ids=["plain", "mended manifest"])
def test_a_truncated_artifact_is_refused(copied, tmp_path, target, mended):
    path = only(copied, target)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if mended:
        mend_digests(copied)
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 5, ended.err


@pytest.fixture(scope="module")
def other_weights(bundle, tmp_path_factory):
    """Artifacts that are whole, run and passed, but were made from another model with the same classes."""
    folder = tmp_path_factory.mktemp("other")
    labels = ["--labels", bundle / "labels.txt"] if (bundle / "labels.txt").exists() else []
    ended = run_tool(*("--target", "all", "--name", "net", "--weights", "random", "--seed", "9"), *labels, cwd=folder)
    assert ended.code == 0, ended.err
    return folder / "dist" / "net"


@pytest.mark.parametrize("mended", [False, True], ids=["plain", "mended manifest"])
def test_swapped_weights_are_refused_in_every_target(copied, other_weights, tmp_path, mended):
    for target in ("coreml", "tflite", "torchscript"):
        shutil.rmtree(copied / target)
        shutil.copytree(other_weights / target, copied / target)
    if mended:
        mend_digests(copied)
    ended = run_tool("verify", copied, "--json", cwd=tmp_path)
    assert ended.code == 5
    if mended:
        verdicts = [report["verdict"] for entry in json.loads(ended.out)["artifacts"] for report in entry["reports"]]
        assert verdicts == ["FAILED"] * 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda bundle: (bundle / "golden" / "logits.bin").write_bytes(b"\0" * 64), "golden: its bytes"),
        (lambda bundle: shutil.rmtree(bundle / "tflite"), "tflite/net.tflite: missing"),
        (lambda bundle: (bundle / "manifest.json").unlink(), "not a complete bundle"),
        (lambda bundle: (bundle / "manifest.json").write_text("{}"), "cannot be read"),
    ],
    ids=["golden pack", "missing artifact", "no manifest", "empty manifest"],
)
def test_other_damage_is_refused_by_name(copied, tmp_path, change, told):
    change(copied)
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code in (2, 5)
    assert told in ended.err


def test_a_manifest_that_leads_out_of_the_bundle_is_refused(copied, tmp_path):
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    outside = shutil.copy(copied / "tflite" / "net.tflite", tmp_path / "outside.tflite")
    manifest["artifacts"][1]["path"] = f"../{Path(outside).name}"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 5
    assert "leads out of the bundle" in ended.err


def test_a_folder_of_bundles_is_named(copied, tmp_path):
    ended = run_tool("verify", copied.parent, cwd=tmp_path)
    assert ended.code == 2
    assert "It holds bundles: net" in ended.err
