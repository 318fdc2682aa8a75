"""`squeeze-export --target all`: what is written, what is said, and that it is the same every time."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from squeeze_export.bundle.manifest import digest
from squeeze_export.validation.tolerances import tolerance_for
from tests.integration.conftest import run_tool


def manifest_of(bundle: Path) -> dict:
    return json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))


def assert_passed(bundle: Path, fp32_db: float = 100.0, fp16_db: float = 50.0) -> None:
    artifacts = manifest_of(bundle)["artifacts"]
    assert [artifact["target"] for artifact in artifacts] == ["coreml", "tflite", "torchscript"]
    for artifact in artifacts:
        parity = artifact["parity"]
        assert parity["verdict"] == "PASSED"
        for output in parity["outputs"]:
            assert output["top1_agreement"] == 1.0 or output["top1_ties"] > 0
            if output["observed"] != "probabilities":
                floor = fp32_db if artifact["precision"] == "fp32" else fp16_db
                assert output["snr_db"] >= floor
                assert output["centred_snr_db"] is not None


def test_the_bundle_has_everything_and_nothing_else(bundle):
    top = sorted(path.name for path in bundle.iterdir())
    assert [name for name in top if name != "labels.txt"] == [
        *("android-tflite", "android-torchscript", "coreml", "golden", "ios", "manifest.json", "parity.json", "tflite"),
        "torchscript",
    ]
    assert (bundle / "coreml" / "squeezenet1_1-demo.mlpackage").is_dir()
    assert (bundle / "tflite" / "squeezenet1_1-demo.tflite").is_file()
    assert (bundle / "torchscript" / "squeezenet1_1-demo.ptl").is_file()
    assert [path.name for path in bundle.parent.iterdir()] == ["squeezenet1_1-demo"]


def test_every_artifact_passed(bundle):
    assert_passed(bundle)


def test_the_manifest_keeps_to_its_schema_and_tells_no_place_or_time(bundle):
    text = (bundle / "manifest.json").read_text(encoding="utf-8")
    schema = json.loads((resources.files("squeeze_export.bundle") / "manifest.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(text), schema)
    everything = text + (bundle / "parity.json").read_text(encoding="utf-8")
    assert str(bundle.parent) not in everything
    notices = {artifact["notice"] for artifact in json.loads(text)["artifacts"] if artifact["notice"]}
    for notice in notices:  # it names the day of a rule of Google's
        everything = everything.replace(notice, "")
    assert not re.search(r"20\d\d-\d\d-\d\d", everything)
    assert "MIL reference executor" in text
    assert '"executor": "Core ML' not in text


def test_the_manifest_says_the_truth_about_the_files(bundle):
    manifest = manifest_of(bundle)
    records = [*manifest["artifacts"], manifest["golden"], *filter(None, [manifest["labels"]])]
    for record in records:
        assert digest(bundle / record["path"]) == (record["sha256"], record["size_bytes"])


def test_published_files_can_be_read_by_others(bundle):
    modes = {path.stat().st_mode & 0o777 for path in bundle.rglob("*") if path.is_file()}
    assert modes <= {0o644, 0o755}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target", "tflite", "--starter", "ios"], "--starter ios needs coreml"),
        (["--target", "all", "--starter", "none", "--starter", "ios"], "cannot stand beside"),
        (["--target", "all", "--starter", "windows"], "'windows' is unknown"),
        (["--target", "all", "--starter", "ios", "--head", "features"], "Leave one of them out"),
    ],
)
def test_starters_that_cannot_be_made_are_refused(tmp_path, arguments, told):
    ended = run_tool(*arguments, cwd=tmp_path)
    assert ended.code == 2
    assert told in ended.err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_no_starter_and_one_made_later(tmp_path):
    weights = ("--weights", "random", "--input-size", "64", "--name", "net")
    assert run_tool("--target", "torchscript", "--starter", "none", *weights, cwd=tmp_path).code == 0
    assert sorted(path.name for path in (tmp_path / "dist" / "net").iterdir()) == [
        "golden",
        "manifest.json",
        "parity.json",
        "torchscript",
    ]
    ended = run_tool("starter", "android", "dist/net", "--app-id", "com.example.app", "-o", "app", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert (tmp_path / "app" / "README.md").is_file()


def test_json_is_the_manifest_and_quiet_leaves_only_notes(tmp_path):
    ended = run_tool("--target", "torchscript", "--json", "--weights", "random", cwd=tmp_path)
    assert ended.code == 0
    assert json.loads(ended.out) == manifest_of(tmp_path / "dist" / "squeezenet1_1-random")
    again = run_tool("--target", "torchscript", "--quiet", "--force", "--weights", "random", cwd=tmp_path)
    assert (again.code, again.out) == (0, "")
    assert again.err.startswith("note: ") and "loading" not in again.err and "PASSED" not in again.err


def test_the_screen_shows_stages_and_one_table(tmp_path):
    ended = run_tool("--target", "torchscript", "--weights", "random", cwd=tmp_path)
    assert ended.code == 0
    for stage in ("loading", "converting", "checking", "PASSED in"):
        assert stage in ended.err
    assert "random" in ended.err
    assert "16 KB" in ended.err
    for heading in ("target", "precision", "size", "max abs", "SNR", "top-1", "verdict"):
        assert heading in ended.out
    assert "PASSED" in ended.out


def test_the_complex_bypass_passes_on_every_target(tmp_path):
    """It has all that 1.0 and the simple bypass have; of each exporter all four are tested beside it."""
    (tmp_path / "labels.txt").write_text("".join(f"class {number}\n" for number in range(1000)))
    ended = run_tool(
        *("--target", "all", "--model", "squeezenet1_0_complex_bypass", "--weights", "random", "--name", "net"),
        *("--input-size", "96x107", "--output-kind", "logits", "--labels", "labels.txt"),
        cwd=tmp_path,
    )
    assert ended.code == 0, ended.err
    assert_passed(tmp_path / "dist" / "net")


def test_tensor_input_and_the_other_precision_pass(tmp_path):
    ended = run_tool(
        *("--target", "all", "--weights", "random", "--name", "net", "--input-size", "64", "--input-kind", "tensor"),
        *("--precision", "fp16", "--precision", "coreml=fp32"),
        cwd=tmp_path,
    )
    assert ended.code == 0, ended.err
    precisions = [artifact["precision"] for artifact in manifest_of(tmp_path / "dist" / "net")["artifacts"]]
    assert precisions == ["fp32", "fp16", "fp16"]
    assert_passed(tmp_path / "dist" / "net")


def test_several_precisions_stand_side_by_side_and_change_nothing_of_one_another(tmp_path):
    weights = ("--weights", "random", "--name", "net", "--input-size", "64", "--output-kind", "logits")
    # Sizes with room for every weight as fp16 has it: nothing is chosen, which would take minutes.
    sizes = ("--precision", "coreml=auto:3MB,auto:2.6MB", "--ios-target", "iOS18")
    asked = ("--precision", "fp16,fp32", "--precision", "tflite=fp32,int8", *sizes)
    ended = run_tool("--target", "all", *asked, *weights, cwd=tmp_path)
    assert ended.code == 0, ended.err
    bundle = tmp_path / "dist" / "net"
    entries = manifest_of(bundle)["artifacts"]
    wanted = [("coreml", "auto", 3_000_000), ("coreml", "auto", 2_600_000), ("tflite", "fp32", None), ("tflite", "int8", None)]
    wanted += [("torchscript", "fp16", None), ("torchscript", "fp32", None)]
    assert [(entry["target"], entry["precision"], entry["size_budget"]) for entry in entries] == wanted
    assert [entry["path"] for entry in entries[:2]] == [f"coreml/net-auto-{size}.mlpackage" for size in ("3000KB", "2600KB")]
    assert [entry["path"] for entry in entries[3:5]] == ["tflite/net-int8.tflite", "torchscript/net-fp16.ptl"]
    assert len({entry["sha256"] for entry in entries[1:]}) == len(entries[1:])
    assert [len(entry["chosen_weights"]) for entry in entries] == [52, 52, 0, 52, 0, 0]
    for size in ("3000KB", "2600KB"):  # lines of progress, rows of the table
        assert all(f"coreml auto:{size} " in " ".join(said.split()) for said in (ended.err, ended.out))
    assert (
        manifest_of(bundle)["calibration"]["origin"] == "demo" and "--calibration-data" in ended.err
    )  # these are not its weights
    bars = json.loads((bundle / "golden" / "golden.json").read_text(encoding="utf-8"))["tolerances"]
    plain = [f"{target}-{precision}" for target, precision, size in wanted if size is None]
    assert sorted(bars) == ["coreml-auto-2600KB", "coreml-auto-3000KB", *sorted(plain)]
    # The bar of logits, in the pack that the apps read as in the manifest; `verify` below holds them against each other.
    assert bars["tflite-int8"]["min_snr_db"] == tolerance_for("tflite", "int8", "logits").min_snr_db
    assert (
        entries[3]["parity"]["tolerance"]["min_snr_db"] == bars["tflite-int8"]["min_snr_db"] < bars["tflite-fp32"]["min_snr_db"]
    )
    # The app has the default precision where that is there, in whatever order it was asked for.
    contract = json.loads(next((bundle / "android-torchscript").rglob("contract.json")).read_text(encoding="utf-8"))
    assert contract["precision"] == "fp32"
    # Without it the one asked for first, under the name that its bar has.
    contract = json.loads(next((bundle / "ios").rglob("contract.json")).read_text(encoding="utf-8"))
    assert f"{contract['target']}-{contract['precision']}" == "coreml-auto-3000KB"
    alone = run_tool(*("--target", "torchscript", "-o", "alone"), *weights, cwd=tmp_path)
    assert alone.code == 0, alone.err
    assert (tmp_path / "alone/net/torchscript/net.ptl").read_bytes() == (bundle / "torchscript/net-fp32.ptl").read_bytes()

    proven = run_tool("verify", bundle, "--json", cwd=tmp_path)
    assert proven.code == 0, proven.err
    found = [(entry["target"], entry["precision"], entry["size_budget"]) for entry in json.loads(proven.out)["artifacts"]]
    assert found == wanted
    # One artifact in the other's place is whole and runs, and is refused all the same.
    shutil.copy(bundle / "torchscript/net-fp16.ptl", bundle / "torchscript/net-fp32.ptl")
    refused = run_tool("verify", bundle, cwd=tmp_path)
    assert refused.code == 5
    assert "torchscript/net-fp32.ptl" in refused.err and "torchscript fp32: not executed" in refused.err


def test_the_python_api_does_the_same(tmp_path):
    code = """
from pathlib import Path
from squeeze_export import ExportRequest, export
from squeeze_export.preprocessing.spec import spec_for
request = ExportRequest(
    targets=("torchscript",), preprocessing=spec_for("torchvision", model="squeezenet1_1"), output=Path("out"), name="net"
)
bundle = export(request)
print(bundle.path, bundle.manifest.artifacts[0].parity.verdict)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["out/net", "PASSED"]


def converting_in(folder: Path) -> subprocess.Popen[str]:
    """An export in a process group of its own, in the middle of its work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "squeeze_export", "--target", "torchscript", "--target", "coreml", "--weights", "random"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stderr:
        if "converting" in line:
            break
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing(tmp_path, number):
    process = converting_in(tmp_path)
    # As a terminal does it: the whole group is told.
    os.killpg(process.pid, number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "nothing was written" in rest
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
    assert not _alive(process.pid)


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    process = converting_in(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while _alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _alive(process.pid)
    # What it left behind is hidden, and the next run clears it away.
    assert all(path.name.startswith(".") for path in (tmp_path / "dist").iterdir())
    ended = run_tool("--target", "torchscript", "--weights", "random", cwd=tmp_path)
    assert ended.code == 0
    assert [path.name for path in (tmp_path / "dist").iterdir()] == ["squeezenet1_1-random"]


def test_two_runs_at_once_into_one_place(tmp_path):
    command = [sys.executable, "-m", "squeeze_export", "--target", "torchscript", "--weights", "random"]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert first.stderr.readline()
    second = run_tool(*command[3:], cwd=tmp_path)
    first.communicate(timeout=120)
    assert first.returncode == 0
    assert second.code == 2
    assert "Another squeeze-export is writing" in second.err
    assert [path.name for path in (tmp_path / "dist").iterdir()] == ["squeezenet1_1-random"]


def _alive(group: int) -> bool:
    """Whether a process of the group lives that is more than a zombie."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(int(line.split()[0]) == group and not line.split()[1].startswith("Z") for line in listed.splitlines())
