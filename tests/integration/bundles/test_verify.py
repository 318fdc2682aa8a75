"""`squeeze-export verify`: a good bundle passes; whatever was changed in it is refused, also behind a mended manifest."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from squeeze_export.bundle.folder import parity_record
from squeeze_export.bundle.manifest import digest, encode, read_manifest
from squeeze_export.contracts.artifact import ExportSettings
from squeeze_export.exporters import EXPORTERS
from squeeze_export.golden.files import read_golden, read_tolerances
from squeeze_export.sources.source import load_source
from squeeze_export.verification import claims
from tests.integration.conftest import run_tool


def mend_digests(bundle: Path) -> None:
    """Make the manifest agree with damaged files, as somebody who wants to hide the damage would."""
    record = read_manifest(bundle)
    (bundle / "parity.json").write_bytes(encode(parity_record(record.name, record.artifacts)))
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    for entry in [*manifest["artifacts"], manifest["golden"], manifest["parity"]]:
        entry["sha256"], entry["size_bytes"] = digest(bundle / entry["path"])
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def only(bundle: Path, target: str) -> Path:
    """Leave one artifact in the bundle, which makes its verification cheap; the file with its weights."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["artifacts"] = [entry for entry in manifest["artifacts"] if entry["target"] == target]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    for other in {"coreml", "tflite", "torchscript"} - {target}:
        shutil.rmtree(bundle / other)
    mend_digests(bundle)
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
    """Artifacts that are whole and run, but were made from another model with the same classes."""
    folder = tmp_path_factory.mktemp("other")
    record = read_manifest(bundle)
    source = load_source(
        name=record.name,
        model="squeezenet1_1",
        weights="random",
        seed=9,
        labels=bundle / "labels.txt",
        preprocessing=record.source.preprocessing,
    )
    for entry in record.artifacts:
        asked = ExportSettings(
            precision=entry.precision, input_kind="image", output_kind=entry.signature.outputs[0].kind, ios_target="iOS16"
        )
        (folder / entry.path).parent.mkdir()
        made = EXPORTERS[entry.target].export(source, asked, folder / entry.path)
        assert made.signature == entry.signature
    return folder


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
        (lambda bundle: shutil.rmtree(bundle / "tflite"), "tflite/squeezenet1_1-demo.tflite: missing"),
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
    outside = shutil.copy(copied / "tflite" / "squeezenet1_1-demo.tflite", tmp_path / "outside.tflite")
    manifest["artifacts"][1]["path"] = f"../{Path(outside).name}"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 5
    assert "leads out of the bundle" in ended.err


def test_a_folder_of_bundles_is_named(copied, tmp_path):
    ended = run_tool("verify", copied.parent, cwd=tmp_path)
    assert ended.code == 2
    assert "It holds bundles: net" in ended.err


@pytest.fixture(scope="module")
def proven(bundle):
    """The record of a good bundle, and its golden pack."""
    return read_manifest(bundle), read_golden(bundle / "golden")


def source_claims(bundle, proven, **changes):
    """What is told of a manifest whose `source` was changed."""
    record, pack = proven
    return claims.of_source(bundle, replace(record, source=replace(record.source, **changes)), pack, labelled=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "squeezenet1_0"}, "source says squeezenet1_0 with 34 classes, the golden pack's weights are others"),
        ({"num_classes": 33}, "source says squeezenet1_1 with 33 classes"),
        ({"head": "features"}, "source.head is features, the golden pack holds the answers of classifier"),
        ({"parameters": 1}, "source.parameters is 1, the golden pack's weights have 739"),
        ({"weights_sha256": "0" * 64}, "source.weights_sha256 is 000000000000…"),
    ],
)
def test_a_source_that_is_another_is_told(bundle, proven, changes, told):
    assert source_claims(bundle, proven) == []
    assert any(line.startswith(told) for line in source_claims(bundle, proven, **changes)), source_claims(
        bundle, proven, **changes
    )


def test_another_preprocessing_is_told(bundle, proven):
    other = replace(proven[0].source.preprocessing, resize=99)
    (told,) = source_claims(bundle, proven, preprocessing=other)
    assert told.startswith("source.preprocessing is PreprocessingSpec(resize=99")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda report: replace(report, verdict="FAILED"), "the manifest records FAILED"),
        (lambda report: replace(report, tolerance=replace(report.tolerance, min_snr_db=1.0)), "records another tolerance"),
        (lambda report: replace(report, weights=replace(report.weights, compared=3)), "another comparison of the weights"),
        (lambda report: replace(report, outputs=()), "records other outputs"),
        (lambda report: with_output(report, snr_db=150.0), "records snr_db 150.0, found now"),
        (lambda report: with_output(report, max_abs_error=1e-9), "records max_abs_error 1e-09, found now"),
        (lambda report: with_output(report, images=9), "another number of images"),
    ],
)
def test_a_report_that_is_better_than_the_truth_is_told(proven, change, told):
    record = proven[0]
    entry = record.artifacts[0]
    found = (entry.parity, *entry.witnesses)
    assert claims.of_reports(record, entry, found) == []
    (line,) = claims.of_reports(record, replace(entry, parity=change(entry.parity)), found)
    assert told in line


def with_output(report, **changes):
    return replace(report, outputs=(replace(report.outputs[0], **changes), *report.outputs[1:]))


def test_a_modest_record_of_another_machine_is_no_lie(proven):
    record = proven[0]
    entry = record.artifacts[0]
    modest = with_output(entry.parity, snr_db=entry.parity.outputs[0].snr_db - 5)
    assert claims.of_reports(record, replace(entry, parity=modest), (entry.parity,)) == []


def test_an_untrue_manifest_is_refused(copied, tmp_path):
    only(copied, "tflite")
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["source"]["preprocessing"]["resize"] = 99
    manifest["artifacts"][0]["parity"]["outputs"][0]["snr_db"] = 999.0
    path.write_text(json.dumps(manifest), encoding="utf-8")
    (copied / "tflite" / "other.tflite").write_bytes(b"stray")
    (copied / ".DS_Store").write_bytes(b"litter")
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 5
    for told in (
        "resize=99",
        "records snr_db 999.0",
        "parity.json and manifest.json tell different",
        "tflite/other.tflite: is no part",
    ):
        assert told in ended.err
    assert "DS_Store" not in ended.err


def test_an_unknown_key_is_refused_by_name(copied, tmp_path):
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["artifacts"][1]["signature"]["approved"] = True
    path.write_text(json.dumps(manifest), encoding="utf-8")
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 5
    assert "the key $.artifacts[1].signature.approved" in ended.err


def test_another_executor_that_decided_is_told(proven):
    record = proven[0]
    entry = record.artifacts[0]
    renamed = replace(entry.parity, executor="Core ML runtime (macOS 26)")
    (line,) = claims.of_reports(record, replace(entry, parity=renamed), (entry.parity,))
    assert "records Core ML runtime (macOS 26) as the executor that decided" in line
    newer = replace(entry.parity, executor=entry.parity.executor.replace("9.0", "9.1"))
    assert claims.of_reports(record, replace(entry, parity=newer), (entry.parity,)) == []


def test_weights_excused_without_need_and_loosened_bars_are_told(bundle, proven):
    record = proven[0]
    entries = {entry.target: entry for entry in record.artifacts}
    assert [claims.of_artifact(entry) for entry in record.artifacts] == [[]] * 3
    (line,) = claims.of_artifact(replace(entries["torchscript"], folded_weights=("features.0.weight",)))
    assert "folded_weights excuses features.0.weight" in line
    (line,) = claims.of_artifact(replace(entries["coreml"], size_budget=1000))
    assert "size_budget is 1,000 bytes" in line
    (line,) = claims.of_artifact(replace(entries["tflite"], folded_weights=("features.0.weight", "classifier.1.bias")))
    assert "excuses classifier.1.bias" in line
    bars = read_tolerances(bundle / "golden")
    assert claims.of_tolerances(record, bars) == []
    name = entries["tflite"].key.name
    (line,) = claims.of_tolerances(record, {**bars, name: replace(bars[name], max_error_of_peak=1e9)})
    assert f"tolerance of {name}" in line
    assert len(claims.of_tolerances(record, {})) == 3


def test_labels_inside_an_artifact_are_held_against_those_beside_it(copied, tmp_path):
    """A label that was swapped inside one file, and labels.txt turned round for the others: each is told by class."""
    path = only(copied, "torchscript")
    with zipfile.ZipFile(path) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for info, data in entries:
            archive.writestr(info, data.replace(b"0\n1\n", b"1\n0\n") if info.filename.endswith("labels.txt") else data)
    mend_digests(copied)
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 5
    assert "label of class 0 is '1', the source's '0' (2 differ)" in " ".join(ended.err.split())


def test_labels_turned_round_beside_the_artifacts_are_told_by_each(copied, tmp_path):
    labels = (copied / "labels.txt").read_text(encoding="utf-8").splitlines()
    (copied / "labels.txt").write_text("".join(f"{label}\n" for label in reversed(labels)), encoding="utf-8")
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["labels"]["sha256"], manifest["labels"]["size_bytes"] = digest(copied / "labels.txt")
    path.write_text(json.dumps(manifest), encoding="utf-8")
    ended = run_tool("verify", copied, cwd=tmp_path)
    assert ended.code == 5
    assert ended.err.count("the file's label of class 0 is '0', the source's 'Z'") == 3
