"""The rendered Xcode projects are held to rules, and each rule refuses a project that breaks it."""

from __future__ import annotations

import json
import plistlib
import re
import shutil
from dataclasses import replace

import pytest

from squeeze_export.bundle import manifest
from squeeze_export.errors import TargetUnavailableError, UsageError
from squeeze_export.starters import projects
from tests.ios_project import parse, problems
from tests.starter_bundles import THREE_MODELS, make_bundle

PROJECT = "Names.xcodeproj/project.pbxproj"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    root = tmp_path_factory.mktemp("ios-bundles")
    return {kind: make_bundle(root / kind, kind, targets=("coreml",))[0] for kind in THREE_MODELS}


def render(bundle, destination, app_name="Names", app_id="com.example.names"):
    return projects.render_bundle(bundle, template="ios", target=None, app_id=app_id, app_name=app_name, destination=destination)


@pytest.mark.parametrize("kind", THREE_MODELS)
def test_a_rendered_project_breaks_no_rule(bundles, tmp_path, kind):
    project = render(bundles[kind], tmp_path / "out")
    assert problems(project) == []
    assert "«" not in (project / PROJECT).read_text()


@pytest.mark.parametrize("name", ['Tom\'s "best" <app> & more', "日本語", "Swift", "CoreML", "App", "a$ (B)c$", "3 D"])
def test_any_app_name_gives_a_project(bundles, tmp_path, name):
    project = render(bundles["characters"], tmp_path / "out", app_name=name, app_id="com.example.my-app")
    assert problems(project) == []
    assert plistlib.loads((project / "App/Info.plist").read_bytes())["CFBundleDisplayName"] == name
    (file,) = project.glob("*.xcodeproj/project.pbxproj")
    settings = [entry["buildSettings"] for entry in parse(file.read_text())["objects"].values() if "buildSettings" in entry]
    ids = {entry["PRODUCT_BUNDLE_IDENTIFIER"] for entry in settings if "PRODUCT_BUNDLE_IDENTIFIER" in entry}
    assert ids == {"com.example.my-app", "com.example.my-app.tests"}
    # A module named like one of the system's could not be built: the modules have names of their own.
    modules = {entry["PRODUCT_MODULE_NAME"] for entry in settings if "PRODUCT_MODULE_NAME" in entry}
    assert modules == {"ClassifierStarter", "ClassifierStarterTests"}


def test_the_readme_knows_the_model(bundles, tmp_path):
    text = (render(bundles["seven_caffe"], tmp_path / "out") / "README.md").read_text()
    assert "160 x 160" in text
    assert "7 classes" in text
    # The stand-ins that the app is compiled against have the isolation of Xcode 16's SDK: no earlier one is promised.
    assert re.findall(r"Xcode (\d+)", text) == ["16"]
    assert "«" not in text


def test_nothing_is_hard_coded_to_one_model(bundles, tmp_path):
    project = render(bundles["seven_caffe"], tmp_path / "out")
    sources = [*project.rglob("*.swift"), project / "README.md", *project.glob("*.xcodeproj/project.pbxproj")]
    for path in sources:
        if path.parent.name != "ClassifierCoreTests":
            assert not re.search(r"\b(224|227|1000|0\.485|0\.229)\b", path.read_text()), path


@pytest.mark.parametrize(("declared", "needed"), [("iOS15", "16.0"), ("iOS18", "18.0")])
def test_the_app_asks_for_the_system_that_the_package_needs(bundles, tmp_path, declared, needed):
    record = manifest.read_manifest(bundles["characters"])
    changed = replace(record, artifacts=tuple(replace(one, deployment_target=declared) for one in record.artifacts))
    project = projects.render(
        bundles["characters"],
        changed,
        template="ios",
        target="coreml",
        app_id="com.example.names",
        app_name="Names",
        destination=tmp_path / "out",
    )
    assert problems(project) == []
    assert f"IPHONEOS_DEPLOYMENT_TARGET = {needed};" in (project / PROJECT).read_text()
    assert f"iOS {needed.removesuffix('.0')} or later" in (project / "README.md").read_text()


def test_a_bundle_without_a_core_ml_package_is_refused(tmp_path):
    bundle, _ = make_bundle(tmp_path / "net", "characters", targets=("tflite",))
    with pytest.raises(TargetUnavailableError, match="needs coreml"):
        render(bundle, tmp_path / "out")


@pytest.mark.parametrize("name", ["a$(B)c", "${HOME}"])
def test_a_name_that_xcode_would_expand_is_refused(bundles, tmp_path, name):
    with pytest.raises(UsageError, match="build setting"):
        render(bundles["characters"], tmp_path / "out", app_name=name)


def test_a_feature_extractor_is_refused(tmp_path):
    bundle, made = make_bundle(tmp_path / "net", "characters", targets=("coreml",))
    features = replace(made, source=replace(made.source, head="features"))
    (bundle / manifest.MANIFEST).write_bytes(manifest.encode(features))
    with pytest.raises(UsageError, match="--head features has none"):
        render(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()


BROKEN = [
    ("a dangling id", PROJECT, "fileRef = 5E0100000000000000000001 /*", "fileRef = 5E01000000000000000000FF /*", "dangling"),
    ("an unused object", PROJECT, "objects = {", "objects = { 5E02000000000000000000FE = {isa = X; };", "used by nothing"),
    ("a missing semicolon", PROJECT, "objectVersion = 56;", "objectVersion = 56", "does not parse"),
    ("another object version", PROJECT, "objectVersion = 56;", "objectVersion = 77;", "objectVersion is 77"),
    ("a wrong path", PROJECT, 'path = "TopK.swift"', 'path = "TopX.swift"', "TopX.swift does not exist"),
    ("the model as a resource folder", PROJECT, "folder.mlpackage", "folder", "not in \\['Sources as folder.mlpackage'\\]"),
    ("code generation", PROJECT, "COREML_CODEGEN_LANGUAGE = None;", "COREML_CODEGEN_LANGUAGE = Swift;", "COREML_CODEGEN"),
    ("compressed golden pictures", PROJECT, "COMPRESS_PNG_FILES = NO;", "COMPRESS_PNG_FILES = YES;", "COMPRESS_PNG_FILES"),
    ("another system", PROJECT, "IPHONEOS_DEPLOYMENT_TARGET = 16.0;", "IPHONEOS_DEPLOYMENT_TARGET = 15.0;", "DEPLOYMENT_TARGET"),
    ("an absolute path", PROJECT, '"$(TEST_HOST)"', '"/Users/me/host"', "absolute path"),
    ("a scheme of another project", "Names.xcodeproj/xcshareddata/xcschemes/Names.xcscheme", "5E05", "5E0F", "unknown target"),
    ("no camera text", "App/Info.plist", "NSCameraUsageDescription", "NSNothing", "NSCameraUsageDescription"),
    ("a broken privacy manifest", "App/PrivacyInfo.xcprivacy", "</dict>", "", "does not parse"),
    ("a broken asset catalog", "App/Assets.xcassets/AppIcon.appiconset/Contents.json", "]", "", "Contents.json"),
    ("an icon that is not there", "App/Assets.xcassets/AppIcon.appiconset/Contents.json", "AppIcon.png", "Other.png", "not both"),
    ("a package without systems", "Core/Package.swift", ".macOS(.v13)", ".macOS(.v10_14)", "Package.swift .* macOS"),
    ("a package without iOS", "Core/Package.swift", "platforms:", "// platforms:", "Package.swift .* iOS"),
    ("an API that needs a reason", "App/Engine.swift", "Foundation", "Foundation\nlet x = UserDefaults()", "UserDefaults"),
]  # fmt: skip


@pytest.fixture(scope="module")
def rendered(bundles, tmp_path_factory):
    return render(bundles["characters"], tmp_path_factory.mktemp("ios-rendered") / "names")


@pytest.mark.parametrize(("what", "file", "old", "new", "message"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_broken_project_is_refused(rendered, tmp_path, what, file, old, new, message):
    project = shutil.copytree(rendered, tmp_path / "project")
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    found = "; ".join(problems(project))
    assert re.search(message, found), found


def test_a_source_that_no_target_builds_is_refused(rendered, tmp_path):
    project = shutil.copytree(rendered, tmp_path / "project")
    (project / "App" / "New.swift").write_text("let new = 1\n")
    assert problems(project) == ["App/New.swift is built by no target"]


def test_a_missing_golden_pack_is_refused(rendered, tmp_path):
    project = shutil.copytree(rendered, tmp_path / "project")
    shutil.rmtree(project / "App/Resources/golden")
    assert problems(project) == ["App/Resources/golden does not exist"]


def test_the_parser_reads_what_xcode_writes_and_refuses_the_rest():
    assert parse('// !$*UTF8*$!\n{a = (1, "b\\"c" /* x */, ); "d e" = {f = "$(g)"; }; }') == {
        "a": ["1", 'b"c'],
        "d e": {"f": "$(g)"},
    }
    for text in ("{a = 1}", "{a = (1 2);}", "{a = 1; a = 2;}", "{", "{} {}", "{a = \x00;}", "(1)"):
        with pytest.raises(ValueError):
            parse(text)


def test_the_contract_stands_beside_the_model(rendered):
    contract = json.loads((rendered / "App/Resources/contract.json").read_text())
    assert contract["target"] == "coreml"
    assert (rendered / "App/Resources" / contract["files"]["model"]["file"]).is_dir()
