"""Put a rendered Android project into a signed APK with Debian's tools, and verify the signature.

    python -m tests.integration.android.check_apk PROJECT

The APK holds what aapt2 made of resources, manifest and assets, with the model uncompressed and aligned. It holds no code:
Debian has no compiler to Android's bytecode any more, so it proves the packaging and cannot be started.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from tests.integration.android import toolchain

_PASSWORD = "not-a-secret"  # of a key that lives as long as the folder it is in


def build(project: Path, out: Path) -> Path:
    """Link, align and sign; the path of the APK. AssertionError says what a tool refused."""
    linked = toolchain.link(project, out)
    if linked.code:
        raise AssertionError(linked.said)
    toolchain.must("zipalign", "-f", "-p", "4", out / "app.apk", out / "aligned.apk")
    key = out / "key.p12"
    toolchain.must(
        *("keytool", "-genkeypair", "-keystore", key, "-storetype", "PKCS12", "-storepass", _PASSWORD, "-alias", "check"),
        *("-keyalg", "RSA", "-keysize", "2048", "-validity", "2", "-dname", "CN=check"),
    )
    signed = out / "signed.apk"
    toolchain.must(
        *("apksigner", "sign", "--ks", key, "--ks-pass", f"pass:{_PASSWORD}", "--min-sdk-version", "28"),
        *("--out", signed, out / "aligned.apk"),
    )
    return signed


def verify(apk: Path) -> toolchain.Done:
    """Ask apksigner whether the signature holds."""
    return toolchain.run("apksigner", "verify", "--verbose", "--min-sdk-version", "28", apk)


def entries(apk: Path) -> dict[str, zipfile.ZipInfo]:
    """What is in the APK, by path."""
    with zipfile.ZipFile(apk) as opened:
        return {entry.filename: entry for entry in opened.infolist()}


def main() -> None:
    """Check one project."""
    absent = toolchain.missing()
    if absent or len(sys.argv) != 2:
        sys.exit(f"missing: {', '.join(absent)}; see .ci/install-starter-tools" if absent else "give the folder of one project")
    with tempfile.TemporaryDirectory() as folder:
        apk = build(Path(sys.argv[1]), Path(folder))
        done = verify(apk)
        print(done.said, end="")
        print(f"{len(entries(apk))} entries, {apk.stat().st_size} bytes, no code")
        sys.exit(done.code)


if __name__ == "__main__":
    main()
