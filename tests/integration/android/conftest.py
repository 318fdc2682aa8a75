"""Rendered projects and their compilations, made once per test process."""

from __future__ import annotations

import pytest

from squeeze_export.starters import projects as starters
from tests.integration.android import toolchain
from tests.integration.android.rendered import APP_IDS, APP_NAME, Compiled
from tests.integration.android.vectors import write_vectors
from tests.starter_bundles import GREY, THREE_MODELS, make_bundle


@pytest.fixture(scope="session")
def projects(tmp_path_factory):
    """Every project, by (model, target), from bundles whose golden packs are real."""
    folder = tmp_path_factory.mktemp("android")
    made = {}
    for kind in (*THREE_MODELS, GREY):
        bundle, manifest = make_bundle(folder / "bundles" / kind, kind, targets=("tflite", "torchscript"))
        for target, app_id in APP_IDS.items():
            made[kind, target] = starters.render(
                bundle,
                manifest,
                template="android",
                target=target,
                app_id=app_id,
                app_name=APP_NAME,
                destination=folder / f"{kind}-{target}",
            )
    return made


@pytest.fixture(scope="session")
def tools():
    """Skip, loudly, where the tools are not installed."""
    absent = toolchain.missing()
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}; .ci/install-starter-tools brings them")


@pytest.fixture(scope="session")
def compiled(tools, projects, tmp_path_factory):
    """Compile on demand, once per distinct code: the three models of one target share theirs."""
    cache: dict[str, Compiled] = {}

    def compile_once(kind: str, target: str) -> Compiled:
        project = projects[kind, target]
        digest = toolchain.kotlin_digest(project)
        if digest not in cache:
            out = tmp_path_factory.mktemp(f"compiled-{target}")
            extra = [toolchain.HERE / name for name in ("VectorsTest.kt", "ParityDump.kt", "Bench.kt")]
            cache[digest] = Compiled(out, toolchain.compile_project(project, out, extra))
        return cache[digest]

    return compile_once


@pytest.fixture(scope="session")
def vectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    write_vectors(folder)
    return folder
