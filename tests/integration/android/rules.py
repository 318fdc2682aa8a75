"""What a rendered Android project must be, seen from outside: its build files are read as text, by rules of their own."""

from __future__ import annotations

import json
import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

_PINNED = re.compile(r"\d+(\.\d+)*")
_ANDROID = "{http://schemas.android.com/apk/res/android}"
_WRAPPER_SHA256 = "20f1b1176237254a6fc204d8434196fa11a4cfb387567519c61556e8710aed78"


def problems(project: Path) -> list[str]:
    """Every rule that the project breaks, in words."""
    found: list[str] = []
    build = _text(project, "app/build.gradle.kts")
    catalog = tomllib.loads(_text(project, "gradle/libs.versions.toml"))
    versions = catalog["versions"]
    found += [
        f"version of {name} is {version}, not pinned" for name, version in versions.items() if not _PINNED.fullmatch(version)
    ]
    for kind in ("libraries", "plugins"):
        for name, entry in catalog[kind].items():
            version = entry.get("version")
            if not isinstance(version, dict) or version.get("ref") not in versions:
                found.append(f"{kind}.{name} takes no version of the catalog")
    expected = {"agp": "8.13.2", "kotlin": "2.2.21"}
    found += [
        f"{name} is {versions.get(name)}, not {version}" for name, version in expected.items() if versions.get(name) != version
    ]
    for path in ("build.gradle.kts", "settings.gradle.kts", "app/build.gradle.kts"):
        if re.search(r'"[\w.-]+:[\w.-]+:[^"]*"', _text(project, path)):
            found.append(f"{path} names a dependency beside the catalog")
    wrapper = _text(project, "gradle/wrapper/gradle-wrapper.properties")
    if f"distributionSha256Sum={_WRAPPER_SHA256}\n" not in wrapper:
        found.append("the Gradle wrapper has no checksum, or another")
    root = _text(project, "build.gradle.kts")
    if 'gradleVersion = "8.13"\n' not in root or f'distributionSha256Sum = "{_WRAPPER_SHA256}"\n' not in root:
        found.append("the task `wrapper` would write another Gradle, or no checksum")
    if re.search(r"allWarningsAsErrors = true", build):
        found.append("a newer compiler's warnings would stop the user's build")
    if "/gradle-8.13-bin.zip\n" not in wrapper:
        found.append("the Gradle wrapper does not take Gradle 8.13")
    for setting, number in {"compileSdk": 36, "targetSdk": 36, "minSdk": 28}.items():
        if f"{setting} = {number}\n" not in build:
            found.append(f"{setting} is not {number}")
    model = json.loads(_text(project, "app/src/main/assets/contract.json"))["files"]["model"]["file"]
    uncompressed = re.findall(r'"([^"]+)"', "".join(re.findall(r"noCompress \+= (.*)", build)))
    if model.rpartition(".")[2] not in uncompressed:
        found.append(f"{model} would be compressed in the APK, so it cannot be mapped")
    if "checkModel" not in build or f'"{model}"' not in build or "dependsOn(checkModel)" not in build:
        found.append("a build without the model would not be stopped")
    found += _manifest(ET.fromstring(_text(project, "app/src/main/AndroidManifest.xml")))
    main = "".join(path.read_text(encoding="utf-8") for path in sorted((project / "app/src/main").rglob("*.kt")))
    if "androidx." in main or "import java.net." in main:
        found.append("the app uses AndroidX or the network")
    return found


def _manifest(root: ET.Element) -> list[str]:
    found = [f"the manifest asks for {entry.get(f'{_ANDROID}name')}" for entry in root.iter("uses-permission")]
    exported = {
        entry.get(f"{_ANDROID}name"): entry.get(f"{_ANDROID}exported")
        for kind in ("activity", "provider", "service", "receiver")
        for entry in root.iter(kind)
    }
    expected = {".MainActivity": "true", ".SelfCheckActivity": "false", ".PhotoProvider": "false"}
    if exported != expected:
        found.append(f"the manifest exports {exported}")
    return found


def _text(project: Path, relative: str) -> str:
    return (project / relative).read_text(encoding="utf-8")
