"""The real Android template, rendered for three models: it compiles, lints, passes its own unit tests, and packs into an APK.

And each of these checks is fed something broken, and seen to refuse it. Nothing here needs the Android SDK; a phone is
needed for what is left, the app's own self-check.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from squeeze_export.bundle.manifest import read_manifest
from squeeze_export.contracts.heads import log_probabilities
from squeeze_export.contracts.parity import Tolerance
from squeeze_export.contracts.source import Scores
from squeeze_export.golden.files import read_golden
from squeeze_export.validation.parity import judge
from tests.hard_pictures import specs
from tests.integration.android import check_apk, toolchain
from tests.integration.android.rendered import APP_IDS, APP_NAME, NAMES, PROJECTS
from tests.integration.android.rules import problems
from tests.integration.android.vectors import CASES
from tests.starter_bundles import GREY


def copy(project: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(project, tmp_path / "copy"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8")


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def failures(said: str) -> set[str]:
    """The names of the unit tests that JUnit reports as failed."""
    return {f"{name}.{test}" for test, name in re.findall(r"^\d+\) (\w+)\((?:[\w.]+\.)?(\w+)\)", said, re.MULTILINE)}


# --- the build files


@pytest.mark.parametrize(("kind", "target"), PROJECTS, ids=NAMES)
def test_a_project_keeps_the_rules(projects, kind, target):
    assert problems(projects[kind, target]) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        ("gradle/libs.versions.toml", 'litert = "1.4.2"', 'litert = "1.+"', "version of litert is 1.+, not pinned"),
        ("gradle/libs.versions.toml", 'agp = "8.13.2"', 'agp = "8.13.1"', "agp is 8.13.1, not 8.13.2"),
        (
            "gradle/libs.versions.toml",
            'version.ref = "junit"',
            'version = "4.13"',
            "libraries.junit takes no version of the catalog",
        ),
        (
            "gradle/wrapper/gradle-wrapper.properties",
            "Sha256Sum=20f1",
            "Sha256Sum=10f1",
            "the Gradle wrapper has no checksum, or another",
        ),
        (
            "app/build.gradle.kts",
            'noCompress += listOf("tflite")',
            'noCompress += listOf("bin")',
            "model.tflite would be compressed in the APK, so it cannot be mapped",
        ),
        ("app/build.gradle.kts", "dependsOn(checkModel)", "", "a build without the model would not be stopped"),
        ("app/build.gradle.kts", "libs.runtime", '"a.b:c:1.0"', "app/build.gradle.kts names a dependency beside the catalog"),
        ("app/build.gradle.kts", "minSdk = 28", "minSdk = 21", "minSdk is not 28"),
        ("build.gradle.kts", 'Sum = "20f1', 'Sum = "10f1', "the task `wrapper` would write another Gradle, or no checksum"),
        (
            "app/build.gradle.kts",
            'providers.gradleProperty("warningsAsErrors").isPresent',
            "true",
            "a newer compiler's warnings would stop the user's build",
        ),
        (
            "app/src/main/AndroidManifest.xml",
            "    <application\n",
            '    <uses-permission android:name="android.permission.INTERNET" />\n    <application\n',
            "the manifest asks for android.permission.INTERNET",
        ),
    ],
)
def test_a_broken_build_file_is_seen(projects, tmp_path, path, old, new, told):
    project = copy(projects["characters", "tflite"], tmp_path)
    edit(project / path, old, new)
    assert told in problems(project)


def test_no_template_mark_is_left(projects):
    for project in projects.values():
        for path in project.rglob("*"):
            if path.is_file() and path.suffix not in (".png", ".bin", ".tflite", ".ptl"):
                assert not re.search("[«»]", path.read_text(encoding="utf-8")), path


def test_the_readme_of_the_old_runtime_warns(projects):
    warning = "16 KB"
    assert warning in (projects["characters", "torchscript"] / "README.md").read_text(encoding="utf-8")
    assert warning not in (projects["characters", "tflite"] / "README.md").read_text(encoding="utf-8")


# --- Kotlin


@pytest.mark.parametrize("target", APP_IDS)
def test_app_and_tests_compile_without_a_warning(compiled, target):
    done = compiled("characters", target).done
    assert done.code == 0, done.said


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('val text: String = "x"; if (text is String) println(text)', "always 'true'"),
        ("android.app.Activity().setTitleColour(1)", "setTitleColour"),
    ],
    ids=["warning", "unknown-api"],
)
def test_the_compiler_refuses(compiled, tmp_path, body, told):
    made = compiled("characters", "tflite")
    (tmp_path / "Broken.kt").write_text(f"fun broken() {{\n    {body}\n}}\n")
    done = toolchain.kotlinc([tmp_path / "Broken.kt"], toolchain.classpath(made.out), tmp_path / "out")
    assert done.code != 0
    assert told in done.said


def lint(folder: Path) -> toolchain.Done:
    return toolchain.run(toolchain.KTLINT, "--relative", "**/*.kt", "**/*.kts", cwd=folder)


def linted(project: Path) -> frozenset[tuple[str, bytes]]:
    files = [*project.rglob("*.kt"), *project.rglob("*.kts"), *project.rglob(".editorconfig")]
    return frozenset((path.relative_to(project).as_posix(), path.read_bytes()) for path in files)


def test_ktlint_has_nothing_to_say_but_of_a_badly_formatted_file(tools, projects, tmp_path):
    """One run for all: the linter takes seconds to begin. Each project brings its own rules."""
    distinct = {linted(project): project for project in projects.values()}  # the three models of one target share their code
    assert len(distinct) >= 2
    for name, project in {**{each.name: each for each in distinct.values()}, "broken": projects["characters", "tflite"]}.items():
        shutil.copytree(project, tmp_path / name)
    (path,) = (tmp_path / "broken").rglob("TopK.kt")
    edit(path, "object TopK {", "object TopK{")
    done = lint(tmp_path)
    assert done.code != 0
    files = set(re.findall(r"^(\S+\.kts?):\d+:\d+: ", done.said, re.MULTILINE))
    assert files == {path.relative_to(tmp_path).as_posix()}, done.said


# --- the project's own unit tests, and Pillow's pictures


# The three models in one runtime; in the other the code of core/ is the same, but the output is logits.
@pytest.mark.parametrize(("kind", "target"), [*PROJECTS[:3], PROJECTS[-1], (GREY, "tflite")], ids=[*NAMES[:3], NAMES[-1], GREY])
def test_the_projects_unit_tests_pass(compiled, projects, kind, target):
    made, project = compiled(kind, target), projects[kind, target]
    classes = toolchain.unit_tests(project)
    assert len(classes) == 8
    done = toolchain.junit(project, toolchain.classpath(made.out), classes)
    assert done.code == 0, done.said
    assert "OK (48 tests)" in done.said


def vectors_test(project: Path, path: str, vectors: Path) -> toolchain.Done:
    name = f"{toolchain.app_id(project)}.core.VectorsTest"
    return toolchain.junit(project, path, [name], f"-Dvectors={vectors}", "-Xmx1500m")


def test_preprocessing_has_difference_zero_from_pillow(compiled, projects, vectors):
    assert len(CASES) >= 12
    made, project = compiled("characters", "tflite"), projects["characters", "tflite"]
    done = vectors_test(project, toolchain.classpath(made.out), vectors)
    assert done.code == 0, done.said
    shown = re.search(r"differences: \{(.*)\}", done.said)
    assert shown is not None
    assert dict(pair.split("=") for pair in shown.group(1).split(", ")) == dict.fromkeys(CASES, "0")
    ways = re.search(r"ways: \{(.*)\}", done.said)
    assert ways is not None
    assert dict(pair.split("=") for pair in ways.group(1).split(", ")) == dict.fromkeys(specs(), "0")


MUTANTS = {
    "weightsCutOff": ("Resampling.kt", "(half + weight * (1 shl BITS))", "(0 * half + weight * (1 shl BITS))"),
    "negativeWeightsRoundedUp": ("Resampling.kt", "if (weight < 0) -0.5 else 0.5", "0.5"),
    "levelsNotCutOff": ("Resampling.kt", "(sum shr BITS).coerceIn(0, 255)", "(sum shr BITS) and 255"),
    "anotherCubic": ("Resampling.kt", "(1.5 * x - 2.5) * x * x + 1", "(1.25 * x - 2.25) * x * x + 1"),
    "shorterLanczos": ("Resampling.kt", "if (-3.0 <= x && x < 3.0)", "if (-2.0 <= x && x < 2.0)"),
    "nearestCorner": ("Resampling.kt", "var place = scale * 0.5", "var place = 0.0"),
    "paddingAtTheEnd": ("Preprocess.kt", "spec.resizeWidth - width) else 0", "(spec.resizeWidth - width) / 2) else 0"),
    "greyByTheMean": ("Preprocess.kt", "(pixel and 0xFF) * 7_471", "(pixel and 0xFF) * 7_571"),
    "windowTooShort": ("Resampling.kt", "(center + support + 0.5).toInt()", "(center + support).toInt()"),
    "sumsCutOff": ("Resampling.kt", "const val HALF = 1 shl (BITS - 1)", "const val HALF = 0"),
    "offsetHalfDown": ("Preprocess.kt", "if (spare and 1 == 1 && half and 1 == 1) half + 1 else half", "half"),
    "columnsAlwaysFirst": ("Preprocess.kt", "height > newHeight && height", "height < 0 && height"),
    "whiteForgotten": ("Preprocess.kt", "if (!source.opaque) overWhite(pixels)", "check(pixels.isNotEmpty())"),
}
CHANGED_LINE = ("Resampling.kt", "Preprocess.kt")


@pytest.fixture(scope="module")
def mutants(compiled, projects, tmp_path_factory):
    """Classes: each mutant in a package of its own, beside the rest of the app, and one in the app's own; of one compilation."""
    folder = tmp_path_factory.mktemp("mutants")
    made, project = compiled("characters", "tflite"), projects["characters", "tflite"]
    quoted = ".".join(f"`{part}`" for part in toolchain.app_id(project).split("."))
    others = ("CropSpec", "Interpolation", "PixelSource", "PngPixels", "ResizeMode")
    imports = "".join(f"import {quoted}.core.{name}\n" for name in others)
    sources = [*(next((project / "app/src/main").rglob(name)) for name in CHANGED_LINE), made.out / "extra" / "VectorsTest.kt"]
    for mutant, (name, old, new) in {"none": ("Resampling.kt", "BITS = 22", "BITS = 22"), **MUTANTS}.items():
        (folder / "sources" / mutant).mkdir(parents=True)
        for source in sources:
            text = re.sub(r"^package .*\n", f"package {mutant}\n\n{imports}", source.read_text(encoding="utf-8"))
            (folder / "sources" / mutant / source.name).write_text(text, encoding="utf-8")
        edit(folder / "sources" / mutant / name, old, new)
    (folder / "sources" / "own").mkdir()
    for source in sources[:2]:
        shutil.copy(source, folder / "sources" / "own")
    edit(folder / "sources" / "own" / "Resampling.kt", *MUTANTS["weightsCutOff"][1:])
    done = toolchain.kotlinc([folder / "sources"], toolchain.classpath(made.out), folder / "classes")
    assert done.code == 0, done.said
    return folder / "classes"


def test_one_changed_line_of_the_preprocessing_is_seen(compiled, projects, vectors, mutants, tmp_path):
    small = tmp_path / "vectors"
    for case in CASES:
        if "12-megapixels" not in case and case != "very-wide":
            shutil.copytree(vectors / case, small / case)
    shutil.copytree(vectors / "hard", small / "hard", ignore=shutil.ignore_patterns("huge.*", "*.samples"))
    path = toolchain.java_path(mutants, Path(toolchain.classpath(compiled("characters", "tflite").out)))
    names = [f"{mutant}.VectorsTest" for mutant in ("none", *MUTANTS)]
    said = toolchain.junit(projects["characters", "tflite"], path, names, f"-Dvectors={small}", "-Dstop").said
    assert set(re.findall(r"every\w+HasDifferenceZeroFromPillow\((\w+)\.VectorsTest\)", said)) == set(MUTANTS), said


def test_one_changed_line_makes_named_unit_tests_of_the_project_fail(compiled, projects, mutants):
    project = projects["characters", "tflite"]
    path = toolchain.java_path(mutants, Path(toolchain.classpath(compiled("characters", "tflite").out)))
    found = failures(toolchain.junit(project, path, toolchain.unit_tests(project)).said)
    assert found == {"PreprocessTest.goldenPicturesGiveTheReferencesPixels", *SELF_CHECKS}


# Of the project's own tests of the self-check, those that have it pass, or fail for one reason only.
SELF_CHECKS = {
    "SelfCheckTest.theReferencesOwnAnswersPass",
    "SelfCheckTest.anotherByteInTheModelIsNamed",
    "SelfCheckTest.scoresBeyondTheToleranceFail",
    "SelfCheckTest.theResultIsSharedAsJson",
    "SelfCheckTest.aRuntimeThatDoesNotLoadFailsAndTheAppGoesOn",
}


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("model.tflite", {"ModelContractTest.thePackedModelIsTheExportedOne", "SelfCheckTest.theReferencesOwnAnswersPass"}),
        ("labels.txt", {"LabelsTest.thePackedLabelsAreTheExportedOnes", "SelfCheckTest.theReferencesOwnAnswersPass"}),
        ("golden/pixels.bin", {"PreprocessTest.goldenPicturesGiveTheReferencesPixels"}),
        ("golden/logits.bin", {"TopKTest.goldenScoresGiveTheReferencesTop5"}),
    ],
)
def test_one_changed_byte_makes_a_named_unit_test_fail(compiled, projects, tmp_path, file, named):
    made = compiled("characters", "tflite")
    project = copy(projects["characters", "tflite"], tmp_path)
    flip_byte(project / "app/src/main/assets" / file)
    asked = {test.partition(".")[0] for test in named}
    classes = [name for name in toolchain.unit_tests(project) if name.rpartition(".")[2] in asked]
    done = toolchain.junit(project, toolchain.classpath(made.out), classes)
    assert len(classes) == len(asked) and named <= failures(done.said), done.said


# --- the app's judge is the export's: the same scores give the same numbers and the same verdict in Kotlin and in Python


class Replay:
    """A runner that gives prepared scores, picture after picture, and for the negative of the first something else."""

    executor = "replay"

    def __init__(self, name, scores):
        self._name, self._rows = name, [*scores, scores[0][::-1]]

    def run(self, inputs):
        return {self._name: self._rows.pop(0)[None]}

    def stored_weights(self):
        return None


# How wrong the scores are made: not at all, as other kernels round, near the bar, far beyond it, and in another order.
DAMAGES = {"none": 0.0, "rounding": 1e-7, "near": 1e-5, "far": 1e-2, "order": None}


@pytest.mark.parametrize(
    ("kind", "target"),  # many classes; few, which are judged by probability; independent ones
    [*((kind, target) for kind in ("characters", "seven_caffe") for target in APP_IDS), (GREY, "tflite")],
)
def test_the_app_measures_and_judges_as_the_export_does(compiled, projects, tmp_path, kind, target):
    made, project = compiled(kind, target), projects[kind, target]
    folder = project.parent / "bundles" / kind
    pack = read_golden(folder / "golden")
    assert isinstance(pack.reference, Scores)
    reference = pack.reference.logits
    (record,) = (record for record in read_manifest(folder).artifacts if record.target == target)
    assert isinstance(record.parity.tolerance, Tolerance)
    noise = np.random.default_rng(1).uniform(-1, 1, reference.shape) * np.abs(reference).max()
    reports = {}
    for damage, error in DAMAGES.items():
        logits = reference[:, ::-1] if error is None else reference + error * noise
        wanted = logits if target == "torchscript" else np.exp(log_probabilities(logits, pack.reference.activation))
        scores = np.ascontiguousarray(wanted, np.float32)
        runner = Replay(record.signature.outputs[0].name, scores)
        reports[damage] = judge(runner, record.signature, pack, record.parity.tolerance, "fp32")
        scores.astype("<f4").tofile(tmp_path / damage)
    dump = f"{toolchain.app_id(project)}.core.ParityDump"
    files = [tmp_path / damage for damage in DAMAGES]
    said = toolchain.must("java", "-cp", toolchain.classpath(made.out), dump, *files, cwd=project / "app")
    of_files = dict(part.split("\n", 1) for part in said.split("file ")[1:])
    assert list(of_files) == list(map(str, files))
    for (damage, report), dumped in zip(reports.items(), of_files.values(), strict=True):
        lines = [line.split(";") for line in dumped.splitlines()]
        assert [line[0] for line in lines] == [output.observed for output in report.outputs]
        for line, output in zip(lines, report.outputs, strict=True):
            largest, allowed, snr, centred = map(float, line[1:5])
            assert largest == pytest.approx(output.max_abs_error, rel=1e-9, abs=1e-15)
            assert pack.names[int(line[5])] == output.worst_image
            for found, expected in ((snr, output.snr_db), (centred, output.centred_snr_db)):
                assert (None if found == float("inf") else pytest.approx(found, abs=1e-6)) == expected
            share = output.smallest_passing_error_of_peak
            if output.observed == "probabilities" and kind == "seven_caffe":
                assert share is None and allowed == record.parity.tolerance.max_probability_error
            else:
                assert (largest <= allowed) == (share <= record.parity.tolerance.max_error_of_peak)
            assert int(line[7]) == len(output.problems)
        if damage != "near":  # on either side of the bar, as long as both judges see it there
            assert (report.verdict == "PASSED") == (damage in ("none", "rounding")), report.reason


# --- resources, manifest, APK


@pytest.fixture(scope="session")
def apk(tools, projects, tmp_path_factory):
    return check_apk.build(projects["seven_caffe", "tflite"], tmp_path_factory.mktemp("apk"))


def test_the_manifest_in_the_apk_has_what_is_declared(apk):
    said = toolchain.must("aapt2", "dump", "badging", apk)
    assert "package: name='in.shop.app' versionCode='1' versionName='1.0'" in said
    assert "sdkVersion:'28'" in said
    assert "targetSdkVersion:'36'" in said
    assert "launchable-activity: name='in.shop.app.MainActivity'" in said
    assert "uses-permission" not in said
    tree = toolchain.must("aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", apk)
    assert '"in.shop.app.photos"' in tree


def test_the_apps_name_arrives_unharmed(apk):
    said = toolchain.must("aapt2", "dump", "resources", apk)
    names = re.findall(r'string/app_name\s*\n\s*\(\) "(.*)"', said)
    assert names == [APP_NAME]


def test_the_apk_is_signed_and_its_model_uncompressed(apk):
    done = check_apk.verify(apk)
    assert done.code == 0, done.said
    entries = check_apk.entries(apk)
    assert entries["assets/model.tflite"].compress_type == zipfile.ZIP_STORED
    assert entries["assets/golden/golden.json"].compress_type == zipfile.ZIP_DEFLATED  # it is not the whole that is left as it is
    assert json.loads(zipfile.ZipFile(apk).read("assets/contract.json"))["num_classes"] == 7


def test_a_changed_apk_is_refused(apk, tmp_path):
    data = bytearray(apk.read_bytes())
    at = data.find(b"TFL3")
    data[at] ^= 1
    (tmp_path / "changed.apk").write_bytes(data)
    assert check_apk.verify(tmp_path / "changed.apk").code != 0


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("app/src/main/res/layout/activity_main.xml", "@string/pick", "@string/no_such"),
        ("app/src/main/AndroidManifest.xml", "@style/Theme.Starter", "@style/Theme.Missing"),
        ("app/src/main/res/values/strings.xml", "</resources>", ""),
        ("app/src/main/res/values/strings.xml", ' formatted="false"', ""),  # the name has two conversions
    ],
    ids=["string", "theme", "xml", "conversions"],
)
def test_broken_resources_are_refused(tools, projects, tmp_path, path, old, new):
    project = copy(projects["characters", "tflite"], tmp_path)
    edit(project / path, old, new)
    assert toolchain.link(project, tmp_path / "out").code != 0
