"""Reads an Xcode project file (the OpenStep property list format) and holds a rendered iOS project to rules.

Xcode is not here to say what it thinks of a project; these are the things it refuses, or silently leaves out, most often.
"""

from __future__ import annotations

import json
import plistlib
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

_TOKEN = re.compile(
    r'\s+|//[^\n]*|/\*.*?\*/|(?P<mark>[{}()=;,])|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[A-Za-z0-9_./$:-]+)', re.DOTALL
)


def parse(text: str) -> dict[str, Any]:
    """Parse an OpenStep property list: dictionaries, arrays and strings; ValueError names the place of an error."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"line {text.count(chr(10), 0, at) + 1}: {text[at : at + 20]!r} is no token")
        at = match.end()
        if match["mark"]:
            tokens.append(("mark", match["mark"]))
        elif match["quoted"] is not None:
            tokens.append(("string", re.sub(r"\\(.)", r"\1", match["quoted"])))
        elif match["word"]:
            tokens.append(("string", match["word"]))
    value, end = _value(tokens, 0)
    if end != len(tokens) or not isinstance(value, dict):
        raise ValueError("the file holds something behind its one dictionary, or none")
    return value


def _value(tokens: list[tuple[str, str]], at: int) -> tuple[Any, int]:
    kind, text = _token(tokens, at)
    if kind == "string":
        return text, at + 1
    if text == "(":
        items: list[Any] = []
        at += 1
        while _token(tokens, at) != ("mark", ")"):
            item, at = _value(tokens, at)
            items.append(item)
            if _token(tokens, at) == ("mark", ","):
                at += 1
            elif _token(tokens, at) != ("mark", ")"):
                raise ValueError(f"an array lacks a comma behind {item!r}")
        return items, at + 1
    if text == "{":
        entries: dict[str, Any] = {}
        at += 1
        while _token(tokens, at) != ("mark", "}"):
            key_kind, key = _token(tokens, at)
            if key_kind != "string" or _token(tokens, at + 1) != ("mark", "="):
                raise ValueError(f"a dictionary has {key!r} where `key =` is needed")
            if key in entries:
                raise ValueError(f"the key {key!r} stands twice in a dictionary")
            entries[key], at = _value(tokens, at + 2)
            if _token(tokens, at) != ("mark", ";"):
                raise ValueError(f"the entry {key!r} does not end with a semicolon")
            at += 1
        return entries, at + 1
    raise ValueError(f"{text!r} begins no value")


def _token(tokens: list[tuple[str, str]], at: int) -> tuple[str, str]:
    if at >= len(tokens):
        raise ValueError("the file ends in the middle of a value")
    return tokens[at]


_ID = re.compile(r"[0-9A-F]{24}")
_SETTINGS = {
    "COREML_CODEGEN_LANGUAGE": "None",  # a class named after the file could meet a type of the app
    "COMPRESS_PNG_FILES": "NO",  # the golden pictures must stay as they are
    "STRIP_PNG_TEXT": "NO",
    "ASSETCATALOG_COMPILER_APPICON_NAME": "AppIcon",
    "ASSETCATALOG_COMPILER_GLOBAL_ACCENT_COLOR_NAME": "AccentColor",
    "INFOPLIST_FILE": "App/Info.plist",
    "SWIFT_STRICT_CONCURRENCY": "complete",
}
_CHOICES = {"SWIFT_VERSION": ("5.0", "6.0"), "IPHONEOS_DEPLOYMENT_TARGET": ("16.0", "17.0", "18.0")}


def problems(project: Path) -> list[str]:
    """Everything that is wrong with the rendered project in this folder, as far as it can be told without Xcode."""
    bundles = sorted(project.glob("*.xcodeproj"))
    if len(bundles) != 1:
        return [f"there are {len(bundles)} project files"]
    text = (bundles[0] / "project.pbxproj").read_text(encoding="utf-8")
    try:
        document = parse(text)
    except ValueError as error:
        return [f"the project file does not parse: {error}"]
    objects: dict[str, dict[str, Any]] = document["objects"]
    found = [] if document["objectVersion"] == "56" else [f"objectVersion is {document['objectVersion']}"]
    found += _ids(document, objects)
    if found:
        return found
    found += _files(project, document, objects)
    found += _phases(project, objects)
    found += _settings(objects)
    found += _scheme(bundles[0], objects)
    found += _package(project)
    return found + _resources(project)


def _ids(document: dict[str, Any], objects: dict[str, dict[str, Any]]) -> list[str]:
    """Ids that lead nowhere, and objects that nothing leads to."""
    found = [f"{key} is no id of 24 hexadecimal digits" for key in objects if not _ID.fullmatch(key)]
    used: set[str] = {document["rootObject"]}

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(key)
                visit(inner)
        elif isinstance(value, list):
            for inner in value:
                visit(inner)
        elif _ID.fullmatch(value):
            used.add(value)

    for entry in objects.values():
        visit(entry)
    found += [f"the id {key} is dangling: there is no such object" for key in sorted(used - set(objects))]
    found += [f"{objects[key]['isa']} {key} is used by nothing" for key in sorted(set(objects) - used)]
    return found + [f"{key} is a synchronized folder" for key, entry in objects.items() if "Synchronized" in entry["isa"]]


def _places(document: dict[str, Any], objects: dict[str, dict[str, Any]]) -> dict[str, Path]:
    """The path of every file reference, through the groups it stands in."""
    places: dict[str, Path] = {}

    def walk(key: str, folder: Path) -> None:
        entry = objects[key]
        place = folder / entry["path"] if "path" in entry else folder
        if entry["isa"] == "PBXGroup":
            for child in entry["children"]:
                walk(child, place)
        else:
            places[key] = place

    walk(objects[document["rootObject"]]["mainGroup"], Path())
    return places


def _files(project: Path, document: dict[str, Any], objects: dict[str, dict[str, Any]]) -> list[str]:
    places = _places(document, objects)
    found = []
    for key, entry in objects.items():
        if entry["isa"] != "PBXFileReference":
            continue
        if key not in places:
            found.append(f"{entry['path']} stands in no group")
        elif entry["sourceTree"] == "<group>" and not (project / places[key]).exists():
            found.append(f"{places[key]} does not exist")
        elif entry["sourceTree"] not in ("<group>", "BUILT_PRODUCTS_DIR"):
            found.append(f"{entry['path']} hangs on {entry['sourceTree']}")
    built = {
        places[objects[file]["fileRef"]].as_posix()
        for phase in objects.values()
        if phase["isa"] == "PBXSourcesBuildPhase"
        for file in phase["files"]
    }
    wanted = [*project.glob("App/**/*.swift"), *project.glob("Core/Sources/**/*.swift"), *project.glob("AppTests/**/*.swift")]
    sources = {path.relative_to(project).as_posix() for path in wanted}
    found += [f"{path} is built by no target" for path in sorted(sources - built)]
    model = json.loads((project / "App/Resources/contract.json").read_text())["files"]["model"]["file"]
    return found + [f"{path} is built, but no source" for path in sorted(built - sources - {f"App/Resources/{model}"})]


def _phases(project: Path, objects: dict[str, dict[str, Any]]) -> list[str]:
    """Each part of the model in the phase that puts it into the app, and nothing twice."""
    contract = json.loads((project / "App/Resources/contract.json").read_text())
    named: dict[str, list[str]] = {}
    for phase in objects.values():
        if phase["isa"] in ("PBXSourcesBuildPhase", "PBXResourcesBuildPhase"):
            kind = phase["isa"].removeprefix("PBX").removesuffix("BuildPhase")
            for file in phase["files"]:
                reference = objects[objects[file]["fileRef"]]
                kept = f"{kind} as {reference['lastKnownFileType']}"
                named.setdefault(reference["path"], []).append(kept)
    wanted = {
        contract["files"]["model"]["file"]: ["Sources as folder.mlpackage"],
        "labels.txt": ["Resources as text"],
        "contract.json": ["Resources as text.json"],
        "golden": ["Resources as folder"],
        "Assets.xcassets": ["Resources as folder.assetcatalog"],
        "PrivacyInfo.xcprivacy": ["Resources as text.xml"],
    }
    found = [f"{name} is in {named.get(name)}, not in {place}" for name, place in wanted.items() if named.get(name) != place]
    return found + [f"{name} is built twice" for name, places in named.items() if len(places) > 1]


def _settings(objects: dict[str, dict[str, Any]]) -> list[str]:
    found = []
    merged: dict[str, set[str]] = {}
    for entry in objects.values():
        if entry["isa"] == "XCBuildConfiguration":
            for key, value in entry["buildSettings"].items():
                merged.setdefault(key, set()).add(str(value))
                if re.search(r"(^|[\s\"'])/[A-Za-z]", str(value)):
                    found.append(f"{key} has an absolute path: {value}")
        if entry["isa"].startswith(("XCRemoteSwiftPackage", "XCLocalSwiftPackage")):
            found.append("the project needs a package")
    found += [f"{key} is {merged.get(key)}, not {value}" for key, value in _SETTINGS.items() if merged.get(key) != {value}]
    found += [
        f"{key} is {merged.get(key)}, not one of {', '.join(allowed)}"
        for key, allowed in _CHOICES.items()
        if len(merged.get(key, ())) != 1 or not merged[key] <= set(allowed)
    ]
    return found


def _scheme(bundle: Path, objects: dict[str, dict[str, Any]]) -> list[str]:
    schemes = sorted((bundle / "xcshareddata/xcschemes").glob("*.xcscheme"))
    if len(schemes) != 1:
        return [f"there are {len(schemes)} shared schemes"]
    found = []
    references = list(ElementTree.parse(schemes[0]).iter("BuildableReference"))
    for reference in references:
        target = objects.get(reference.attrib["BlueprintIdentifier"])
        if target is None or target["isa"] != "PBXNativeTarget":
            found.append(f"the scheme names the unknown target {reference.attrib['BlueprintIdentifier']}")
        elif target["name"] != reference.attrib["BlueprintName"]:
            found.append(f"the scheme calls the target {target['name']} {reference.attrib['BlueprintName']}")
        if reference.attrib["ReferencedContainer"] != f"container:{bundle.name}":
            found.append(f"the scheme refers to {reference.attrib['ReferencedContainer']}")
    named = {reference.attrib["BlueprintIdentifier"] for reference in references}
    targets = [key for key, entry in objects.items() if entry["isa"] == "PBXNativeTarget"]
    return found + [f"the scheme leaves {objects[key]['name']} out" for key in targets if key not in named]


# The first systems that have what the package's sources use: SHA256 of CryptoKit, and concurrency.
_SYSTEMS = {"macOS": 11, "iOS": 16}


def _package(project: Path) -> list[str]:
    """Where Package.swift names no system, SwiftPM assumes macOS 10.13 on a Mac, and the package does not compile."""
    text = re.sub(r"//[^\n]*", "", (project / "Core/Package.swift").read_text(encoding="utf-8"))
    declared = re.search(r"platforms:\s*\[([^\]]*)\]", text)
    named = dict(re.findall(r"\.(\w+)\(\.v(\d+)\)", declared[1] if declared else ""))
    return [
        f"Package.swift does not ask for {system} {least} or later"
        for system, least in _SYSTEMS.items()
        if int(named.get(system, 0)) < least
    ]


def _resources(project: Path) -> list[str]:
    """Asset catalogs, Info.plist and privacy manifest."""
    found = []
    for catalog in (project / "App").glob("*.xcassets"):
        for folder in (catalog, *(path for path in catalog.rglob("*") if path.is_dir())):
            try:
                contents = json.loads((folder / "Contents.json").read_text())
            except (OSError, ValueError) as error:
                found.append(f"{folder.name}/Contents.json: {error}")
                continue
            named = {image["filename"] for image in contents.get("images", ()) if "filename" in image}
            there = {path.name for path in folder.iterdir() if path.is_file()} - {"Contents.json"}
            found += [f"{folder.name}: {name} is named or there, not both" for name in sorted(named ^ there)]
            if contents.get("info", {}).get("version") != 1:
                found.append(f"{folder.name}/Contents.json has no version 1")
    try:
        info = plistlib.loads((project / "App/Info.plist").read_bytes())
        privacy = plistlib.loads((project / "App/PrivacyInfo.xcprivacy").read_bytes())
    except Exception as error:
        return [*found, f"a property list does not parse: {error}"]
    found += [
        f"Info.plist has no {key}"
        for key in ("NSCameraUsageDescription", "UILaunchScreen", "CFBundleDisplayName")
        if key not in info
    ]
    if privacy.get("NSPrivacyTracking") is not False or privacy.get("NSPrivacyCollectedDataTypes") != []:
        found.append("the privacy manifest says that something is tracked or collected")
    # Apple wants a reason for each of these; the manifest gives none, so the app must use none.
    reasons = re.compile(
        r"UserDefaults|AppStorage|systemUptime|mach_absolute_time|creationDate|modificationDate|NSFileSystemFreeSize"
    )
    for path in sorted(project.glob("App/**/*.swift")) + sorted(project.glob("Core/Sources/**/*.swift")):
        match = reasons.search(path.read_text(encoding="utf-8"))
        if match:
            found.append(f"{path.name} uses {match.group()}, for which the privacy manifest must give a reason")
    return found
