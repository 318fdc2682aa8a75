"""The renderer: what it refuses, what it escapes, and that its projects follow from the bundle alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from squeeze_export.bundle import manifest
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.errors import ArtifactError, ParityError, TargetUnavailableError, UsageError
from squeeze_export.pipeline.plan import plan, starters_of
from squeeze_export.starters import names as starter_names
from squeeze_export.starters import projects
from squeeze_export.starters import template as starter_template
from tests.starter_bundles import GREY, LABELS_7, make_bundle

TOML = """
schema_version = 1
verbatim = ["*.bin"]
[values]
colour = "blue"
[copies]
model = "app/__model_file__"
labels = "app/labels.txt"
golden = "app/golden"
contract = "app/contract.json"
[[variants]]
target = "tflite"
folder = "small-tflite"
model_file = "model.tflite"
[[variants]]
target = "torchscript"
folder = "small-torchscript"
model_file = "model.ptl"
values = { runtime = "old" }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("starters") / "net", "seven_caffe", targets=("tflite", "torchscript"), name="net")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A template of five files in place of the real ones: the renderer's own rules, not those of one platform."""
    root = tmp_path / "templates"
    project = root / "android" / "project"
    (project / "src" / "__app_path__").mkdir(parents=True)
    (project / "src" / "__app_path__" / "Main.kt").write_text(
        "package «app_id | kotlin_package»\nval name = «app_name | kotlin_string»\n"
    )
    (project / "strings.xml").write_text('<string name="a">«app_name | android_string»</string>\n')
    (project / "run.sh").write_text("#!/bin/sh\necho «colour»\n")
    (project / "raw.bin").write_bytes("«untouched»".encode() + b"\xff")
    (root / "android" / "variants" / "torchscript").mkdir(parents=True)
    (root / "android" / "variants" / "torchscript" / "OLD.txt").write_text("«runtime»\n")
    (root / "android" / "template.toml").write_text(TOML)
    monkeypatch.setattr(starter_template, "_root", lambda: root)
    return root


def render(made, destination: Path, **changed):
    bundle, record = made
    options = {
        "template": "android",
        "target": "tflite",
        "app_id": "com.example.app",
        "app_name": "My app",
        "destination": destination,
    }
    return projects.render(bundle, changed.pop("manifest", record), **{**options, **changed})


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_values_reach_files_and_paths_and_the_bundles_parts_are_copied(made, small, tmp_path):
    project = render(made, tmp_path / "out", app_id="in.shop.app")
    assert (project / "src/in/shop/app/Main.kt").read_text() == 'package `in`.shop.app\nval name = "My app"\n'
    assert (project / "raw.bin").read_bytes() == "«untouched»".encode() + b"\xff"
    assert (project / "app/model.tflite").read_bytes() == (made[0] / "tflite/net.tflite").read_bytes()
    assert manifest.digest(project / "app/golden") == manifest.digest(made[0] / "golden")
    assert (project / "app/labels.txt").read_bytes() == (made[0] / "labels.txt").read_bytes()
    assert not (project / "OLD.txt").exists()


def test_a_variant_adds_its_own_files_and_values(made, small, tmp_path):
    project = render(made, tmp_path / "out", target="torchscript")
    assert (project / "OLD.txt").read_text() == "old\n"
    assert (project / "app/model.ptl").is_file()


def test_the_contract_says_what_the_app_must_do(made, small, tmp_path):
    contract = json.loads((render(made, tmp_path / "out") / "app/contract.json").read_text())
    assert contract["preprocessing"] == {"resize": 180, "height": 160, "width": 160}
    assert contract["schema_version"] == 1
    assert contract["input"]["color_order"] == "BGR"
    assert contract["input"]["bias"] == [-104.0, -117.0, -123.0]
    assert contract["num_classes"] == len(LABELS_7) == contract["files"]["labels"]["count"]
    assert contract["outputs"][0]["kind"] == "probabilities"


def test_an_older_app_must_not_pass_over_another_way_to_resize(small, tmp_path):
    made = make_bundle(tmp_path / "net", GREY, targets=("tflite",))
    contract = json.loads((render(made, tmp_path / "out") / "app/contract.json").read_text())
    assert contract["schema_version"] == 2
    assert contract["preprocessing"] == {
        "resize": 100,
        "height": 96,
        "width": 160,
        "color_order": "GRAY",
        "resize_mode": "pad",
        "interpolation": "lanczos",
        "resize_width": 170,
        "pad_color": [128, 128, 128],
    }
    assert contract["input"]["shape"] == [1, 96, 160, 1] and contract["input"]["color_order"] == "GRAY"


@pytest.mark.parametrize(("template", "target"), [("android", "tflite"), ("ios", "coreml")])
def test_the_apps_readme_tells_how_a_picture_is_prepared(tmp_path, template, target):
    told = {
        "characters": "short side resized to 256 (bilinear, antialiased), then 224 x 224 cropped from the centre",
        GREY: "made grey (ITU-R 601-2), resized to fit into 170 x 100 (lanczos, antialiased), the rest filled evenly with the "
        "colour (128, 128, 128), then 160 x 96 cropped from the centre",
    }
    for kind, words in told.items():
        made = make_bundle(tmp_path / kind, kind, targets=(target,))
        project = render(made, tmp_path / f"{kind}-app", template=template, target=target, app_id="org.example.app")
        assert words in (project / "README.md").read_text()


def test_a_model_without_labels_gets_numbered_ones(small, tmp_path):
    made = make_bundle(tmp_path / "net", "imagenet_like", targets=("tflite",))
    lines = (render(made, tmp_path / "out") / "app/labels.txt").read_text().splitlines()
    assert lines[0] == "class 0"
    assert lines[-1] == "class 999"
    assert len(lines) == 1000


def test_the_same_bundle_gives_the_same_bytes_and_scripts_are_executable(made, small, tmp_path):
    first = tree(render(made, tmp_path / "one"))
    assert first == tree(render(made, tmp_path / "two"))
    assert {name for name, (_, mode) in first.items() if mode == 0o755} == {"run.sh"}


def test_a_missing_value_is_an_error_and_leaves_nothing(made, small, tmp_path):
    (small / "android" / "project" / "strings.xml").write_text("«no_such_value»")
    (tmp_path / "place").mkdir()
    with pytest.raises(ValueError, match=r"strings\.xml cannot be rendered: 'no_such_value' is undefined"):
        render(made, tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []


def test_an_unknown_value_in_a_path_is_an_error(made, small, tmp_path):
    (small / "android" / "project" / "__nothing__.txt").write_text("x")
    with pytest.raises(ValueError, match="unknown value __nothing__"):
        render(made, tmp_path / "out")


def with_verdict(made, verdict, where="parity"):
    _, record = made
    artifact = record.artifacts[0]
    report = replace(artifact.parity, verdict=verdict, reason="because.")
    changed = replace(artifact, parity=report) if where == "parity" else replace(artifact, witnesses=(report,))
    return replace(record, artifacts=(changed, *record.artifacts[1:]))


@pytest.mark.parametrize("where", ["parity", "witness"])
def test_a_failed_artifact_is_refused_even_if_unproven_ones_are_allowed(made, small, tmp_path, where):
    with pytest.raises(ParityError, match="FAILED") as caught:
        render(made, tmp_path / "out", manifest=with_verdict(made, "FAILED", where), allow_unproven=True)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "out").exists()


def test_a_verdict_without_a_reason_is_told_without_one(made, small, tmp_path):
    record = made[1].artifacts[0]
    for verdict, told in (("FAILED", r"FAILED in the test executor 1\.0\. Export"), ("NOT_RUN", r"is NOT_RUN, so nothing")):
        changed = replace(record, parity=replace(record.parity, verdict=verdict, reason=None))
        with pytest.raises(ParityError, match=told):
            render(made, tmp_path / "out", manifest=replace(made[1], artifacts=(changed,)))


@pytest.mark.parametrize(("template", "target"), [("android", "tflite"), ("ios", "coreml")])
def test_the_readme_says_where_nothing_is_proven(tmp_path, template, target):
    """The real templates."""
    made = make_bundle(tmp_path / "net", "characters", targets=(target,), verdict="NOT_RUN")
    options = {"template": template, "target": target, "allow_unproven": True}
    text = (render(made, tmp_path / "told", **options) / "README.md").read_text()
    assert "Nothing is proven of this model yet** (NOT_RUN: made NOT_RUN by the test.)" in text
    for verdict, expected in (("NOT_RUN", True), ("PASSED", False)):
        record = made[1].artifacts[0]
        report = replace(record.parity, verdict=verdict, reason=None)
        changed = replace(made[1], artifacts=(replace(record, parity=report),))
        text = (render(made, tmp_path / verdict, **options, manifest=changed) / "README.md").read_text()
        assert ("Nothing is proven of this model yet** (NOT_RUN)" in text) is expected
        assert ("executed by test executor 1.0;" in text or "(test executor 1.0)" in text) is not expected
        assert "None)" not in text


def test_a_model_that_the_app_cannot_take_is_refused(made, small, tmp_path):
    record = made[1].artifacts[0]
    given, taken = record.signature.outputs[0], record.signature.input
    wrong = {
        r"one output .* features \(features, 1 x 512\)": {
            "outputs": (replace(given, name="features", kind="features", shape=(1, 512)),)
        },
        r"one output .* \(probabilities, 1 x 6\)": {"outputs": (replace(given, shape=(1, 6)),)},
        "one output .* are none": {"outputs": ()},
        "feeds float32 .* is float16": {"input": replace(taken, dtype="float16")},
        "feeds float32 .* 1 x 3 x 160 x 160 in NHWC": {"input": replace(taken, shape=(1, 3, 160, 160))},
    }
    for told, change in wrong.items():
        changed = replace(record, signature=replace(record.signature, **change))
        with pytest.raises(UsageError, match=told):
            render(made, tmp_path / "out", manifest=replace(made[1], artifacts=(changed,)))
    features = replace(made[1], source=replace(made[1].source, head="features"))
    with pytest.raises(UsageError, match="--head features has none"):
        render(made, tmp_path / "out", manifest=features)
    with pytest.raises(UsageError, match="--head features has none"):
        render(made, tmp_path / "out", manifest=features, target="torchscript")
    assert not (tmp_path / "out").exists()


def test_an_artifact_that_could_not_be_run_is_refused_unless_allowed(made, small, tmp_path):
    record = with_verdict(made, "NOT_RUN")
    with pytest.raises(ParityError, match="--allow-unproven"):
        render(made, tmp_path / "out", manifest=record)
    render(made, tmp_path / "out", manifest=record, allow_unproven=True)
    assert json.loads((tmp_path / "out/app/contract.json").read_text())["parity"]["verdict"] == "NOT_RUN"


@pytest.mark.parametrize("part", ["tflite/net.tflite", "labels.txt", "golden/logits.bin"])
def test_one_changed_byte_of_the_bundle_is_refused(made, small, tmp_path, part):
    bundle = Path(shutil.copytree(made[0], tmp_path / "net"))
    data = bytearray((bundle / part).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / part).write_bytes(data)
    with pytest.raises(ArtifactError, match="not those that were proven"):
        render((bundle, made[1]), tmp_path / "out")


def test_a_missing_artifact_or_variant_is_refused(made, small, tmp_path):
    bundle, record = made
    with pytest.raises(TargetUnavailableError, match="no android starter for coreml"):
        render(made, tmp_path / "out", target="coreml")
    without = replace(record, artifacts=record.artifacts[1:])
    with pytest.raises(TargetUnavailableError, match="has no tflite artifact; it has torchscript"):
        render((bundle, without), tmp_path / "out")


def test_a_destination_that_is_not_empty_is_refused(made, small, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(UsageError, match="is not empty"):
        render(made, tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="not a folder"):
        render(made, tmp_path / "file")


def test_an_empty_destination_is_filled(made, small, tmp_path):
    (tmp_path / "out").mkdir()
    render(made, tmp_path / "out")
    assert (tmp_path / "out" / "run.sh").is_file()


def test_a_bundle_takes_every_starter_that_its_targets_allow(made, small, tmp_path):
    bundle = Path(shutil.copytree(made[0], tmp_path / "net"))
    folders = projects.add_starters(bundle, made[1], ["android"])
    assert [folder.name for folder in folders] == ["small-tflite", "small-torchscript"]
    assert (bundle / "small-torchscript/src/com/example/net/torchscript/Main.kt").is_file()
    only = replace(made[1], artifacts=made[1].artifacts[:1])
    shutil.rmtree(bundle / "small-tflite")
    assert [folder.name for folder in projects.add_starters(bundle, only, ["android"])] == ["small-tflite"]


def test_the_first_target_that_bundle_and_template_share_is_taken(made, small, tmp_path):
    options = {"template": "android", "target": None, "app_id": None, "app_name": None}
    projects.render_bundle(made[0], **options, destination=tmp_path / "out")
    assert (tmp_path / "out/app/model.tflite").is_file()


def test_a_bundle_without_a_fitting_artifact_says_which_is_needed(small, tmp_path):
    bundle, _ = make_bundle(tmp_path / "net", targets=("coreml",))
    options = {"template": "android", "target": None, "app_id": None, "app_name": None}
    with pytest.raises(TargetUnavailableError, match="needs tflite or torchscript, the bundle has coreml"):
        projects.render_bundle(bundle, **options, destination=tmp_path / "out")


def test_a_template_toml_with_an_unknown_key_is_refused(made, small, tmp_path):
    path = small / "android" / "template.toml"
    path.write_text(path.read_text().replace("schema_version = 1", 'schema_version = 1\nsurprise = "x"'))
    with pytest.raises(Exception, match="surprise"):
        render(made, tmp_path / "out")


@pytest.mark.parametrize("app_id", ["com.example.app", "a.b", "in.shop.app", "com.Example.My_App2", "de.when.it"])
def test_app_ids(app_id):
    starter_names.check_android_id(app_id)


@pytest.mark.parametrize(
    ("app_id", "why"),
    [
        ("app", "no dot"),
        ("", "no dot"),
        ("com..app", "part ''"),
        ("com.example.", "part ''"),
        ("com.1app.x", "'1app'"),
        ("com.my-app.x", "'my-app'"),
        ("com.exämple.x", "'exämple'"),
        ("com.example.new", "Java"),
        ("com.int.app", "Java"),
        ("com.true.app", "Java"),
        ("com._.app", "'_'"),
        ("java.app", "platform"),
        ("com.example.app\n", "part 'app\\\\n'"),
        ("../../x.y", "part ''"),
        ("com." + "a" * 230, "223"),
    ],
)
def test_what_is_no_app_id(app_id, why, made, tmp_path):
    with pytest.raises(UsageError, match=why):
        render(made, tmp_path / "out", app_id=app_id)


@pytest.mark.parametrize("app_id", ["com.example.app", "com.my-company.App2", "com.example.new"])
def test_bundle_identifiers(app_id):
    starter_names.check_ios_id(app_id)


@pytest.mark.parametrize("app_id", ["app", "com.my_app.x", "com.-x.y", "com.x-.y", "com..x", "com.é.x", "com.x\n"])
def test_what_is_no_bundle_identifier(app_id):
    with pytest.raises(UsageError, match="is not an app id"):
        starter_names.check_ios_id(app_id)


@pytest.mark.parametrize("name", ["", "   ", " x", "x ", "a\nb", "a\tb", "a\u202eb", "x" * 51])
def test_what_is_no_app_name(name, made, tmp_path):
    with pytest.raises(UsageError, match="app's name"):
        render(made, tmp_path / "out", app_name=name)


@pytest.mark.parametrize(
    ("name", "kotlin", "swift", "android", "xml", "pbx", "project"),
    [
        ("My app", '"My app"', '"My app"', "My app", "My app", '"My app"', "My-app"),
        ("Bob's $5", '"Bob\'s \\$5"', '"Bob\'s $5"', "Bob\\'s $5", "Bob&apos;s $5", '"Bob\'s $5"', "Bob-s-5"),
        ('a"b\\c', '"a\\"b\\\\c"', '"a\\"b\\\\c"', 'a\\"b\\\\c', "a&quot;b\\c", '"a\\"b\\\\c"', "a-b-c"),
        ("@<&>", '"@<&>"', '"@<&>"', "\\@&lt;&amp;&gt;", "@&lt;&amp;&gt;", '"@<&>"', "App"),
        ("Käse 3", '"Käse 3"', '"Käse 3"', "Käse 3", "Käse 3", '"Käse 3"', "Kase-3"),
        ("a  b", '"a  b"', '"a  b"', "a\\u0020 b", "a  b", '"a  b"', "a-b"),
        ("3D", '"3D"', '"3D"', "3D", "3D", '"3D"', "App-3D"),
    ],
)
def test_names_are_escaped_for_each_language(name, kotlin, swift, android, xml, pbx, project):
    filters = starter_names.FILTERS
    assert filters["kotlin_string"](name) == kotlin
    assert filters["swift_string"](name) == swift
    assert filters["android_string"](name) == android
    assert filters["xml"](name) == xml
    assert filters["pbx_string"](name) == pbx
    assert starter_names.project_name(name) == project


@pytest.mark.parametrize("name", ["squeezenet1_1-demo", "1.0", "日本", "x" * 100])
def test_default_names_are_valid(name):
    for target in ("coreml", "tflite", "torchscript"):
        starter_names.check_android_id(starter_names.default_id(name, target))
        starter_names.check_ios_id(starter_names.default_id(name, target))
    starter_names.check_app_name(starter_names.default_name(name))


def test_of_several_precisions_the_default_one_is_taken_or_else_the_first_asked_for(made):
    record = made[1].artifacts[0]
    fp16, fp32 = (replace(record, precision=precision, path=f"tflite/net-{precision}.tflite") for precision in ("fp16", "fp32"))
    chosen = partial(projects.proven, target="tflite", allow_unproven=False)
    assert chosen(replace(made[1], artifacts=(fp16, fp32))) == fp32
    assert chosen(replace(made[1], artifacts=(fp16,))) == fp16
    assert chosen(replace(made[1], artifacts=(fp16, fp32)), precision="fp16") == fp16
    with pytest.raises(TargetUnavailableError, match="has no tflite fp16; it has tflite fp32"):
        chosen(replace(made[1], artifacts=(fp32,)), precision="fp16")
    small, large = (replace(record, precision="auto", size_budget=size) for size in (450_000, 490_000))
    sizes = replace(made[1], artifacts=(small, large))
    assert chosen(sizes) == chosen(sizes, precision="auto:450KB") == small
    assert chosen(sizes, precision="auto:490KB") == chosen(replace(sizes, artifacts=(large,)), precision="auto") == large
    with pytest.raises(UsageError, match="tflite auto in several sizes: name one of auto:450KB, auto:490KB"):
        chosen(sizes, precision="auto")
    with pytest.raises(TargetUnavailableError, match="has no tflite auto:460KB; it has tflite auto:450KB"):
        chosen(sizes, precision="auto:460KB")


def test_an_artifact_that_takes_uint8_is_no_apps(made, tmp_path):
    record = made[1].artifacts[0]
    spec = replace(record.signature.input, dtype="uint8", scale=(1.0,) * 3, bias=(0.0,) * 3)
    pixels, int8, lite = (
        replace(record, precision="int8-uint8", signature=replace(record.signature, input=spec)),
        replace(record, precision="int8"),
        replace(record, target="torchscript"),
    )
    alone, both, other = (replace(made[1], artifacts=(pixels, *more)) for more in ((), (int8,), (lite,)))
    assert projects.proven(both, "tflite", allow_unproven=False) == int8
    assert [projects.variants(bundle, "android") for bundle in (alone, both, other)] == [(), ("tflite",), ("torchscript",)]
    with pytest.raises(UsageError, match=r"feeds float32 .* is uint8, 1 x .* Choose another artifact with --precision"):
        render(made, tmp_path / "out", manifest=alone, precision="int8-uint8")
    (tmp_path / "manifest.json").write_bytes(manifest.encode(alone))
    write = partial(
        projects.render_bundle, tmp_path, template="android", target=None, app_id=None, app_name=None, destination=tmp_path / "x"
    )
    with pytest.raises(TargetUnavailableError, match=r"bundle has tflite int8-uint8.* the apps feed float32"):
        write()
    with pytest.raises(UsageError, match="No starter is made for int8-uint8: the apps feed float32"):
        write(precision="int8-uint8")
    assert not (tmp_path / "x").exists()
    asked = {"targets": ("tflite", "torchscript"), "precisions": {"tflite": ("int8-uint8",)}}
    assert starters_of(ExportRequest(**asked)) == ("android",)  # with TorchScript's file
    assert starters_of(ExportRequest(**asked | {"targets": ("tflite",)})) == ()
    with pytest.raises(UsageError, match="feeds float32, and int8-uint8 takes uint8"):
        plan(ExportRequest(**asked | {"targets": ("tflite",)}, starters=("android",)))
    with pytest.raises(UsageError, match="--input-kind tensor what an app has normalised"):
        plan(ExportRequest(**asked, input_kind="tensor"))
