# The project's commands, by group. `just` lists them. Every recipe uses the environment that `just setup` makes.

set shell := ["bash", "-euo", "pipefail", "-c"]

bin := ".venv/bin"

# List the recipes.
[private]
default:
    @just --list

# Make the environment: the tool, its SDKs and everything that the tests need (about 4 GB).
[group('use')]
setup:
    python3 -m venv .venv
    {{bin}}/pip install -e '.[test]'

# Export with any options, such as: just export --target all --output dist
[group('use')]
export *options='--target all':
    {{bin}}/squeeze-export {{options}}

# Run the tests (all of them, or those that pytest is told: just test tests/unit -k parity).
[group('work')]
test *options:
    {{bin}}/pytest {{options}}

# Lint, format check, types, import rules: what the test suite holds the code to, without the tests.
[group('work')]
check:
    {{bin}}/ruff check .
    {{bin}}/ruff format --check .
    {{bin}}/mypy
    {{bin}}/lint-imports

# Mend what ruff can mend, and format.
[group('work')]
fix:
    {{bin}}/ruff check --fix .
    {{bin}}/ruff format .

# Rewrite the generated tables of the docs and the committed JSON schemas; takes seconds.
[group('work')]
generate:
    {{bin}}/python -m tests.generate

# The same, and what the pages' commands print: takes minutes, needs every extra, and writes this machine's numbers.
[group('work')]
generate-outputs:
    {{bin}}/python -m tests.generate --readme

# Build the site of docs/ into site/.
[group('work')]
docs:
    {{bin}}/zensical build --clean --strict

# Measure: `--target all` against one after another, and the time of --help.
[group('release')]
bench:
    {{bin}}/python benchmarks/export_all.py

# Measure `evaluate` on the first TFLite artifact of a bundle against a plain loop: just bench-evaluate dist/NAME photos
[group('release')]
bench-evaluate bundle images:
    {{bin}}/python benchmarks/evaluate.py {{bundle}} --images {{images}}

# Measure a run of the Core ML executor against eager PyTorch: just bench-coreml dist/NAME
[group('release')]
bench-coreml bundle:
    {{bin}}/python -m benchmarks.mil_reference {{bundle}}

# Measure the Android preprocessing of a 12-megapixel picture on the JVM against Pillow.
[group('release')]
bench-android:
    {{bin}}/python -m benchmarks.android_preprocess

# Build sdist and wheel into dist-packages/.
[group('release')]
build:
    {{bin}}/python -m build --outdir dist-packages

# Install what the checks of the starters need beyond pip (Debian, as root): the Kotlin compiler, ktlint, a JDK, Swift.
[group('work')]
starter-tools:
    .ci/install-starter-tools
    .ci/install-swift

# Check rendered Android projects: compiled with -Werror, ktlint, JUnit, resources.
[group('work')]
check-android *options:
    {{bin}}/pytest tests/integration/android {{options}}

# Check rendered iOS projects: swift test, the app's types in Swift 5 and 6, swift-format, the project file. Fails without Swift.
[group('work')]
check-ios *options:
    SQUEEZE_EXPORT_REQUIRE_SWIFT=1 {{bin}}/pytest tests/integration/ios/test_ios_starter.py tests/unit/starters/test_ios_project.py {{options}}

# Put a rendered Android project into a signed APK with Debian's tools and verify it: just check-apk dist/NAME/android-tflite
[group('release')]
check-apk project:
    {{bin}}/python -m tests.integration.android.check_apk {{project}}
