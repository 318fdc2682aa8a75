"""What Gradle does with a rendered Android project, as far as it can be done without the Android SDK.

Resources are compiled and linked by aapt2 against Debian's framework of Android 10; Kotlin is compiled, warnings being errors,
against the R class that comes of that and stubs of exactly the Android and runtime API that the app uses; the unit
tests run on the JVM. `.ci/install-starter-tools` brings the tools.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NODE_MODULES = Path(os.environ.get("STARTER_TOOLS", ROOT / ".starter-tools")) / "node_modules"
KOTLIN = NODE_MODULES / "kotlin-compiler" / "lib"
KTLINT = NODE_MODULES / "@naturalcycles" / "ktlint" / "resources" / "ktlint"
DEBIAN_JARS = Path("/usr/share/java")
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")

# The compiler runs for seconds: the second tier of the JIT and a parallel collector cost more than they give.
_SHORT_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g")
# Nor is the compiler's own byte code checked again whenever it starts, which takes over a second; that of the app is.
_TRUSTED = ("-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote")
_COMPILER_JARS = ("kotlin-compiler", "kotlin-stdlib", "kotlin-reflect", "kotlin-script-runtime", "kotlinx-coroutines-core-jvm")
_LIBRARY_JARS = (DEBIAN_JARS / "com.android.json.jar", DEBIAN_JARS / "junit4.jar", DEBIAN_JARS / "hamcrest-all.jar")


def missing() -> list[str]:
    """What is not installed of the tools, by name; empty where everything can be checked."""
    found = {name: shutil.which(name) is not None for name in ("java", "javac", "aapt2", "zipalign", "apksigner", "keytool")}
    found |= {path.name: path.is_file() for path in (*_LIBRARY_JARS, FRAMEWORK, KTLINT, KOTLIN / "kotlin-compiler.jar")}
    return sorted(name for name, there in found.items() if not there)


@dataclass(frozen=True)
class Done:
    """How a tool ended; `said` is stdout and stderr together."""

    code: int
    said: str


def run(*command: str | Path, cwd: Path | None = None) -> Done:
    """Run a tool to its end."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    return Done(done.returncode, done.stdout)


def must(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a tool that has to succeed; what it said."""
    done = run(*command, cwd=cwd)
    if done.code:
        raise AssertionError(f"{' '.join(map(str, command[:3]))} ... ended with {done.code}:\n{done.said}")
    return done.said


def app_id(project: Path) -> str:
    """The application id that the project's build file names."""
    found = re.search(r'applicationId = "([^"]+)"', (project / "app/build.gradle.kts").read_text(encoding="utf-8"))
    assert found is not None, "app/build.gradle.kts names no applicationId"
    return found.group(1)


def link(project: Path, out: Path) -> Done:
    """Compile and link the resources and the manifest as Gradle does: out/app.apk (unsigned, without code), out/gen/**/R.java."""
    (out / "gen").mkdir(parents=True, exist_ok=True)
    build = (project / "app/build.gradle.kts").read_text(encoding="utf-8")
    numbers = dict(re.findall(r"(minSdk|targetSdk) = (\d+)", build))
    extensions = re.findall(r'"([^"]+)"', re.findall(r"noCompress \+= listOf\((.*)\)", build)[0])
    name = app_id(project)
    # What Gradle's manifest merger does: the namespace becomes the package, placeholders are filled.
    manifest = (project / "app/src/main/AndroidManifest.xml").read_text(encoding="utf-8")
    merged = manifest.replace("${applicationId}", name).replace("<manifest ", f'<manifest package="{name}" ')
    (out / "AndroidManifest.xml").write_text(merged, encoding="utf-8")
    compiled = run("aapt2", "compile", "--dir", project / "app/src/main/res", "-o", out / "resources.zip")
    if compiled.code:
        return compiled
    return run(
        *("aapt2", "link", "-I", FRAMEWORK, "--manifest", out / "AndroidManifest.xml", "--java", out / "gen"),
        *("--min-sdk-version", numbers["minSdk"], "--target-sdk-version", numbers["targetSdk"]),
        *("--version-code", "1", "--version-name", "1.0", "-A", project / "app/src/main/assets"),
        *(part for extension in extensions for part in ("-0", extension)),
        *("-o", out / "app.apk", out / "resources.zip"),
    )


def java_path(*entries: Path) -> str:
    """A class path."""
    return os.pathsep.join(map(str, entries))


def kotlinc(sources: Sequence[Path], classpath: str, out: Path) -> Done:
    """Compile Kotlin, warnings being errors."""
    compiler = java_path(*(KOTLIN / f"{name}.jar" for name in _COMPILER_JARS))
    options = ("-no-stdlib", "-no-reflect", "-jvm-target", "17", "-Wextra", "-Werror", "-classpath", classpath, "-d", str(out))
    return run("java", *_SHORT_JVM, *_TRUSTED, "-cp", compiler, "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", *options, *sources)


def classpath(out: Path) -> str:
    """What a compiled project runs with."""
    return java_path(out / "classes", out / "stubs", KOTLIN / "kotlin-stdlib.jar", *_LIBRARY_JARS)


def compile_project(project: Path, out: Path, extra: Sequence[Path] = ()) -> Done:
    """Link the resources, then compile app, unit tests, instrumented test and `extra` files (PACKAGE stands for the app id)."""
    linked = link(project, out)
    if linked.code:
        return linked
    annotations = KOTLIN / "annotations-13.0.jar"
    (out / "classes").mkdir(exist_ok=True)
    stubs = [*sorted((HERE / "stubs").rglob("*.java")), *sorted((out / "gen").rglob("*.java"))]
    must("javac", "-nowarn", "-d", out / "stubs", "-cp", annotations, *stubs)
    (out / "extra").mkdir(exist_ok=True)
    package = ".".join(f"`{part}`" for part in app_id(project).split("."))
    for path in extra:
        (out / "extra" / path.name).write_text(path.read_text(encoding="utf-8").replace("package PACKAGE", f"package {package}"))
    folders = [project / "app/src" / kind / "kotlin" for kind in ("main", "test", "androidTest")]
    return kotlinc([*folders, out / "extra"], f"{classpath(out)}{os.pathsep}{annotations}", out / "classes")


def kotlin_digest(project: Path) -> str:
    """The same for projects whose code is the same: they need one compilation."""
    hasher = hashlib.sha256()
    for path in sorted([*project.rglob("*.kt"), *(project / "app/src/main/res").rglob("*.xml")]):
        hasher.update(f"{path.relative_to(project)}\0".encode() + path.read_bytes() + b"\0")
    return hasher.hexdigest()


def unit_tests(project: Path) -> list[str]:
    """The class names of the project's unit tests."""
    folder = project / "app/src/test/kotlin"
    return sorted(".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("*Test.kt"))


def junit(project: Path, path: str, classes: Sequence[str], *properties: str) -> Done:
    """Run JUnit 4 in the folder of the module, as Gradle does."""
    return run(
        "java", *_SHORT_JVM, *properties, "-cp", path, "org.junit.runner.JUnitCore", *classes, cwd=project / "app"
    )  # fmt: skip
