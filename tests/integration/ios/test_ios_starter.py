"""The rendered iOS projects and a Swift compiler: the package's tests run, the app type-checks, what is broken is refused."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from squeeze_export.starters import projects as starters
from tests.hard_pictures import specs
from tests.integration.ios.toolchain import Shell, require_swift
from tests.integration.ios.vectors import write_vectors
from tests.starter_bundles import GREY, THREE_MODELS, make_bundle

HERE = Path(__file__).resolve().parent
# In the order of their imports. Library evolution makes their enums what Apple's are: open to new cases.
STUBS = ("CoreGraphics", "ImageIO", "CoreVideo", "CoreML", "CryptoKit", "AVFoundation", "UIKit", "SwiftUI", "PhotosUI", "XCTest")
BUILD = "swift build --build-tests -c release -Xswiftc -enable-testing -Xswiftc -warnings-as-errors --disable-sandbox"
TEST = "swift test --skip-build -c release -Xswiftc -enable-testing --disable-sandbox"
BUILT = ".build/release/ClassifierCorePackageTests.xctest"
# One worker for all of these: they share one build.
pytestmark = pytest.mark.timeout(1200)


@dataclass(frozen=True)
class Workshop:
    """A folder with the projects of the three models, one built package (`Core`) and the vectors; and the shell to work in it."""

    folder: Path
    shell: Shell

    def sh(self, script: str) -> tuple[int, str]:
        done = self.shell(self.folder, script)
        return done.returncode, done.stdout + done.stderr

    def test_package(self, project: str, only: str = "") -> tuple[int, str]:
        chosen = f"--filter '{only}'" if only else "--skip VectorTests"
        return self._in_core(project, f"{TEST} {chosen}")

    def run_built(self, project: str, only: str) -> tuple[int, str]:
        """The same without SwiftPM, which takes longer to begin than such tests take: what it built is a program on Linux."""
        if not (self.folder / "Core" / BUILT).is_file():
            return self.test_package(project, only)
        code, listed = self._in_core(project, f"{BUILT} --list-tests")
        names = [name for name in listed.split() if re.search(only, name) and "/" in name]
        assert code == 0 and names, listed
        return self._in_core(project, f"{BUILT} {','.join(names)}")

    def _in_core(self, project: str, command: str) -> tuple[int, str]:
        return self.sh(f'cd Core && STARTER_PROJECT="$PWD/../{project}" STARTER_VECTORS="$PWD/../vectors" {command}')


@pytest.fixture(scope="module")
def shell() -> Shell:
    return require_swift()


@pytest.fixture(scope="module")
def projects(shell, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ios")
    for kind in (*THREE_MODELS, GREY):
        bundle, _ = make_bundle(root / "bundles" / kind, kind, targets=("coreml",))
        starters.render_bundle(bundle, template="ios", target=None, app_id=None, app_name=None, destination=root / kind)
    return root


@pytest.fixture(scope="module")
def workshop(shell, projects) -> Workshop:
    """The package of one project, built once with the vector test beside its own: every project's package is the same."""
    write_vectors(projects / "vectors")
    shutil.copytree(projects / THREE_MODELS[0] / "Core", projects / "Core")
    shutil.copy(HERE / "VectorTests.swift", projects / "Core/Tests/ClassifierCoreTests")
    made = Workshop(projects, shell)
    code, output = made.sh(f"cd Core && {BUILD}")
    assert code == 0, output[-4000:]
    return made


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_project_has_the_same_swift_files(projects):
    first, *others = ({**tree(projects / kind / "Core"), **swift_of(projects / kind / "App")} for kind in THREE_MODELS)
    assert all(first == other for other in others)
    assert len(first) > 20


def swift_of(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if name.endswith(".swift")}


@pytest.mark.parametrize("kind", [*THREE_MODELS, GREY])
def test_the_package_tests_pass(workshop, kind):
    if kind == THREE_MODELS[0]:  # as a user runs them
        code, output = workshop.test_package(kind)
    else:
        code, output = workshop.run_built(kind, r"\.(?!VectorTests)")
    assert code == 0, output[-4000:]
    assert "Executed 36 tests, with 0 failures" in output
    for name in ("testPreprocessingOfTheGoldenPackIsExact", "testModelFileIsTheOneThatWasProven", "testRightAnswersPass"):
        assert re.search(rf"{name}' passed", output), output[-4000:]


def test_preprocessing_equals_pillow_in_every_byte(workshop):
    code, output = workshop.run_built(THREE_MODELS[0], "VectorTests")
    differences = re.findall(r"^VECTOR (\S+) difference (\d+)", output, re.MULTILINE)
    assert code == 0, output[-4000:]
    assert len(differences) >= 50
    assert {difference for _, difference in differences} == {"0"}
    pictures = {name.rsplit("-", 1)[0] for name, _ in differences}
    assert {"odd", "tall", "wide", "one_pixel", "tiny", "twelve_megapixels", "grey", "alpha", "screenshot"} <= pictures
    ways = re.findall(r"^WAY (\S+) difference (\d+)", output, re.MULTILINE)
    assert dict(ways) == dict.fromkeys(specs(), "0")


def flip_last_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


CHANGED = [
    ("App/Resources/Classifier.mlpackage/Data/weight.bin", "testModelFileIsTheOneThatWasProven"),
    ("App/Resources/labels.txt", "testLabelsAreThoseOfTheModel"),
    ("App/Resources/golden/pixels.bin", "testPreprocessingOfTheGoldenPackIsExact"),
    ("App/Resources/golden/logits.bin", "testRightAnswersPass"),
    ("App/Resources/golden/golden.json", "testGoldenPackIsComplete"),
    ("App/Resources/golden/images/1-picture-1.png", "testGoldenPackIsComplete"),
]


@pytest.mark.parametrize(("file", "named"), CHANGED, ids=[Path(file).name for file, _ in CHANGED])
def test_one_changed_bit_fails_by_name(workshop, file, named):
    project = workshop.folder / "changed"
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(workshop.folder / "seven_caffe", project)
    flip_last_bit(project / file)
    code, output = workshop.run_built("changed", named)
    assert code != 0
    assert re.search(rf"{named}' failed", output), output[-4000:]


def test_one_changed_line_of_the_resize_fails_by_name(workshop):
    package, kept = workshop.folder / "Core", workshop.folder / "CoreUnchanged"
    shutil.copytree(package, kept, symlinks=True)
    source = package / "Sources/ClassifierCore/Taps.swift"
    line = "Int32(share * Taps.one + half)"  # a weight is rounded: to a 4,194,304th
    text = source.read_text()
    assert text.count(line) == 1
    try:  # in its own place, where only this module is built again
        source.write_text(text.replace(line, "Int32(share * Taps.one + 0 * half)"))
        code, output = workshop.sh(f"cd Core && {BUILD}")
        assert code == 0, output[-4000:]
        code, output = workshop.run_built("characters", "ProjectTests|VectorTests")
    finally:
        shutil.rmtree(package)
        kept.rename(package)
    assert code != 0
    for named in ("testPreprocessingOfTheGoldenPackIsExact", "testPreprocessingEqualsPillow", "testEveryWayToResizeEqualsPillow"):
        assert re.search(rf"{named}' failed", output), output[-4000:]


@pytest.fixture(scope="module")
def app(shell, projects) -> Workshop:
    """The sources of the app beside modules that stand in for Apple's."""
    shutil.copytree(HERE / "stubs", projects / "stubs")
    (projects / "modules").mkdir()
    made = Workshop(projects, shell)
    code, output = made.sh(
        "set -e\n"
        + "".join(
            f"swiftc -emit-module -module-name {name} -parse-as-library -swift-version 5 -suppress-warnings "
            f"-enable-library-evolution -I modules -emit-module-path modules/{name}.swiftmodule stubs/{name}.swift\n"
            for name in STUBS
        )
    )
    assert code == 0, output[-4000:]
    return made


def type_check(app: Workshop, project: str, mode: str) -> tuple[int, str]:
    """The app as one module, as Xcode compiles it, then the tests that import it; every warning is an error.

    Not with -typecheck alone: what passes from one thread to another is only looked at in the step behind it.
    """
    strict = "-strict-concurrency=complete" if mode == "5" else ""
    options = f"-parse-as-library -swift-version {mode} {strict} -warnings-as-errors -I modules -I built"
    return app.sh(
        f"set -e; rm -rf built; mkdir built\n"
        f"swiftc -wmo -emit-module -enable-testing -module-name ClassifierStarter {options} "
        f"-emit-module-path built/ClassifierStarter.swiftmodule "
        f"{project}/App/*.swift {project}/Core/Sources/ClassifierCore/*.swift\n"
        f"swiftc -emit-module -module-name ClassifierStarterTests {options} "
        f"-emit-module-path built/ClassifierStarterTests.swiftmodule {project}/AppTests/*.swift\n"
    )


@pytest.mark.parametrize("mode", ["5", "6"])
def test_the_app_and_its_tests_type_check(app, mode):
    code, output = type_check(app, "characters", mode)
    assert code == 0, output[-6000:]
    assert "warning" not in output


RACE = "func race() {\n let a = NSMutableArray()\n Task.detached { a.add(1) }\n a.add(2)\n}\nenum Device {"
# What one step of the compiler refuses stands together: file, old and new text, and what is said of it. First an unknown call, a
# warning and a picture that changes threads; then a race, which is only looked for where all types are right; then a wrong test.
REFUSED = {
    "the types": [
        ("App/ContentView.swift", ".navigationTitle(", ".navigationHeading(", "navigationHeading"),
        ("App/Engine.swift", "let start = clock.now", "let start = clock.now; let unused = 1", "never used"),
        ("App/CameraPicker.swift", "@unchecked Sendable", "Sendable", "Sendable"),
    ],
    "a race": [("App/Engine.swift", "enum Device {", RACE, "could race")],
    "a wrong test": [("AppTests/DeviceSelfCheckTests.swift", ".selfCheck()", ".selfChecks()", "selfChecks")],
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_an_app_that_does_not_compile_is_refused(app, changes):
    project = app.folder / "refused"
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(app.folder / "characters", project)
    for file, old, new, _ in changes:
        text = (project / file).read_text()
        assert old in text
        (project / file).write_text(text.replace(old, new, 1))
    code, output = type_check(app, "refused", "6")
    assert code != 0
    for file, _, _, message in changes:
        assert re.search(rf"{file}:\d+:\d+: error:.*{message}", output), output[-4000:]


def test_the_sources_are_formatted(shell, projects):
    work = Workshop(projects, shell)
    lint = "swift format lint --strict --recursive characters/App characters/AppTests characters/Core"
    code, output = work.sh(lint)
    assert (code, output.strip()) == (0, "")
    unformatted = projects / "unformatted.swift"
    unformatted.write_text("let a=1;let b = 2\n")
    code, output = work.sh("swift format lint --strict unformatted.swift")
    assert code != 0
    assert "Spacing" in output
