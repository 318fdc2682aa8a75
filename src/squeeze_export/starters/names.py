"""Names given by a user, on their way into projects: app ids and app names, checked; and the escapes of each file format."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final
from xml.sax.saxutils import escape

from squeeze_export.contracts.artifact import Target
from squeeze_export.errors import UsageError

# An app id becomes a Java package (R and BuildConfig are generated into it): no segment may be a word of the language.
_JAVA_WORDS: Final = (
    "abstract assert boolean break byte case catch char class const continue default do double else enum extends final "
    "finally float for goto if implements import instanceof int interface long native new package private protected public "
    "return short static strictfp super switch synchronized this throw throws transient try void volatile while true false "
    "null _"
)
# Kotlin's hard keywords; a segment such as `in` (as in in.company.app) is legal there between backticks.
_KOTLIN_WORDS: Final = (
    "as break class continue do else false for fun if in interface is null object package return super this throw true try "
    "typealias typeof val var when while"
)
_ANDROID_SEGMENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_IOS_SEGMENT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")
_LONGEST_ANDROID_ID: Final = 223  # Android installs no package with a longer name
_LONGEST_IOS_ID: Final = 155
_LONGEST_APP_NAME: Final = 50


def check_android_id(app_id: str) -> None:
    """Refuse (UsageError) what is not an Android application id that can also be the package of the code."""
    segments = app_id.split(".")
    if len(segments) < 2:
        raise _bad_id(app_id, "it has no dot: an id has at least two parts, such as com.example.app")
    for segment in segments:
        if not _ANDROID_SEGMENT.fullmatch(segment):
            raise _bad_id(app_id, f"its part {segment!r} must be a letter A-Z followed by letters, digits or _")
        if segment in _JAVA_WORDS.split():
            raise _bad_id(app_id, f"its part {segment!r} is a word of the Java language")
    if segments[0] in ("java", "javax", "android", "kotlin"):
        raise _bad_id(app_id, f"{segments[0]}.* belongs to the platform")
    if len(app_id) > _LONGEST_ANDROID_ID:
        raise _bad_id(app_id, f"it has {len(app_id)} characters, Android allows {_LONGEST_ANDROID_ID}")


def check_ios_id(app_id: str) -> None:
    """Refuse (UsageError) what is not a bundle identifier."""
    segments = app_id.split(".")
    if len(segments) < 2:
        raise _bad_id(app_id, "it has no dot: an id has at least two parts, such as com.example.app")
    for segment in segments:
        if not _IOS_SEGMENT.fullmatch(segment):
            raise _bad_id(app_id, f"its part {segment!r} must be letters A-Z, digits or hyphens, without a hyphen at its ends")
    if len(app_id) > _LONGEST_IOS_ID:
        raise _bad_id(app_id, f"it has {len(app_id)} characters, the App Store allows {_LONGEST_IOS_ID}")


def _bad_id(app_id: str, why: str) -> UsageError:
    return UsageError(f"{app_id!r} is not an app id: {why}. Give --app-id one such as com.example.app.")


def check_app_name(app_name: str) -> None:
    """Refuse (UsageError) a name that no home screen could show: empty, too long, or with control characters."""
    if not app_name.strip():
        raise UsageError("The app's name is empty. Give --app-name one, such as 'My app'.")
    if app_name != app_name.strip():
        raise UsageError(f"The app's name {app_name!r} begins or ends with a blank. Leave it out.")
    if len(app_name) > _LONGEST_APP_NAME:
        raise UsageError(f"The app's name has {len(app_name)} characters; at most {_LONGEST_APP_NAME} are sensible.")
    for character in app_name:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            raise UsageError(f"The app's name {app_name!r} has the invisible character U+{ord(character):04X}. Leave it out.")


def check_ios_name(app_name: str) -> None:
    """Refuse (UsageError) a name that Xcode would read as a build setting: it expands $(X) and ${X} in an Info.plist."""
    found = re.search(r"\$[({]", app_name)
    if found:
        raise UsageError(
            f"The app's name {app_name!r} has {found.group()!r}, which Xcode takes for the beginning of a build setting. "
            "Leave the bracket or the dollar out."
        )


def default_id(bundle_name: str, target: Target) -> str:
    """An app id for a bundle's own starters, one per target so that they install side by side; good for both platforms."""
    plain = re.sub(r"[^a-z0-9]", "", bundle_name.lower())[:60] or "model"
    return f"com.example.{plain if plain[0].isalpha() else f'm{plain}'}.{target}"


def default_name(bundle_name: str) -> str:
    """An app name for a bundle's own starters: that of the bundle, as far as a home screen can show it."""
    shown = "".join(character for character in bundle_name if unicodedata.category(character)[0] != "C").strip()
    return shown[:_LONGEST_APP_NAME].strip() or "Classifier"


def project_name(app_name: str) -> str:
    """A name for folders and project files: ASCII letters, digits, hyphens and underscores, beginning with a letter."""
    ascii_only = unicodedata.normalize("NFKD", app_name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", ascii_only).strip("-_")
    return plain if plain[:1].isalpha() else f"App-{plain}" if plain else "App"


def kotlin_package(app_id: str) -> str:
    """An app id as Kotlin names the package: its own keywords between backticks."""
    return ".".join(f"`{segment}`" if segment in _KOTLIN_WORDS.split() else segment for segment in app_id.split("."))


def xml(text: str) -> str:
    """Text for XML, in an element or between either kind of quotes."""
    return escape(text, {'"': "&quot;", "'": "&apos;"})


def android_string(text: str) -> str:
    """Text for a <string> resource: aapt reads \\, quotes, and a leading @ or ? in its own way, and shrinks runs of blanks."""
    escaped = re.sub(r"([\\'\"])", r"\\\1", text)
    escaped = re.sub(r"^([@?])", r"\\\1", escaped)
    escaped = re.sub(r" (?= )", r"\\u0020", escaped)
    return escape(escaped)


def kotlin_string(text: str) -> str:
    """A Kotlin (and Gradle Kotlin DSL) string literal, with its quotes."""
    return _quoted(text, special='\\"$', unicode="\\u{:04x}")


def swift_string(text: str) -> str:
    """A Swift string literal, with its quotes."""
    return _quoted(text, special='\\"', unicode="\\u{{{:x}}}")


def _quoted(text: str, *, special: str, unicode: str) -> str:
    written = []
    for character in text:
        if character in special:
            written.append("\\" + character)
        else:
            written.append(character if character.isprintable() else unicode.format(ord(character)))
    return f'"{"".join(written)}"'


def pbx_string(text: str) -> str:
    """A quoted string of an Xcode project file."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


FILTERS: Final[Mapping[str, Callable[[str], str]]] = {
    "kotlin_package": kotlin_package,
    "xml": xml,
    "android_string": android_string,
    "kotlin_string": kotlin_string,
    "swift_string": swift_string,
    "pbx_string": pbx_string,
}
