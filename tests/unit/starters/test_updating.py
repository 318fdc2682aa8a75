"""A project in which a developer has worked takes a newer bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from squeeze_export.errors import UsageError
from squeeze_export.files.written import LIST, changed
from squeeze_export.starters import projects, updating
from tests.starter_bundles import make_bundle

MODEL = "app/src/main/assets/model.tflite"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> tuple[Path, Path]:
    """One of 34 classes at 224 pixels, and one of seven at 160 the Caffe way."""
    root = tmp_path_factory.mktemp("bundles")
    return tuple(make_bundle(root / kind, kind, targets=("tflite",))[0] for kind in ("characters", "seven_caffe"))


def made(bundle: Path, project: Path, **given) -> Path:
    options = {"template": "android", "target": None, "app_id": None, "app_name": None, "destination": project, **given}
    return projects.render_bundle(bundle, **options)


@pytest.fixture
def project(bundles, tmp_path) -> Path:
    return made(bundles[0], tmp_path / "app", app_id="com.example.mine", app_name="Mine")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main_activity(project: Path) -> Path:
    return next(path for path in project.rglob("*.kt") if "mine" in path.as_posix() and "Activity" in path.name)


def test_what_is_new_comes_and_what_the_developer_changed_stays(bundles, project, tmp_path):
    mine = main_activity(project)
    mine.write_text(mine.read_text() + "// mine\n")
    (project / "app/src/main/My.kt").write_text("// new\n")
    (project / "build").mkdir()
    (project / "build/out.apk").write_text("built")
    made(bundles[1], project, update=True)
    fresh = made(bundles[1], tmp_path / "fresh", app_id="com.example.mine", app_name="Mine")
    wanted, found = files(fresh), files(project)
    kept = {mine.relative_to(project).as_posix(), "app/src/main/My.kt", "build/out.apk"}
    assert {name: found[name] for name in found if name not in kept} == {n: wanted[n] for n in wanted if n not in kept}
    assert mine.read_text().endswith("// mine\n")
    assert changed(project) == tuple(sorted(kept - {"build/out.apk"}))
    assert files(project) == found and made(bundles[1], project, update=True) == project
    assert files(project) == found, "a second update changes nothing"


def test_a_file_that_both_changed_is_named_and_nothing_is_touched(bundles, project):
    readme = project / "README.md"
    readme.write_text("mine")
    before = files(project)
    with pytest.raises(UsageError, match=r"^Nothing was updated: .* another README\.md, which you changed too"):
        made(bundles[1], project, update=True)
    assert files(project) == before


def test_an_interrupted_update_goes_on(bundles, project, tmp_path, monkeypatch):
    fresh = made(bundles[1], tmp_path / "fresh", app_id="com.example.mine", app_name="Mine")
    real, done = updating._replace, []

    def full(new: Path, path: Path) -> None:
        if len(done) == 5:
            raise OSError(28, "No space left on device")
        done.append(path)
        real(new, path)

    monkeypatch.setattr(updating, "_replace", full)
    with pytest.raises(OSError, match="No space"):
        made(bundles[1], project, update=True)
    monkeypatch.undo()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "the new project is not left behind"
    made(bundles[1], project, update=True)
    assert files(project) == files(fresh)


def test_what_is_no_project_of_ours_or_of_another_platform_is_refused(bundles, project, tmp_path):
    with pytest.raises(UsageError, match="did not write this project"):
        made(bundles[1], tmp_path / "none", update=True)
    with pytest.raises(UsageError, match="is a project for android, not for ios"):
        made(bundles[1], project, template="ios", update=True)
    lines = (project / LIST).read_text().splitlines(keepends=True)
    (project / LIST).write_text("".join(lines[1:]))
    with pytest.raises(UsageError, match="does not say how the project was made"):
        made(bundles[1], project, update=True)
    other = Path(shutil.copytree(project, tmp_path / "link"))
    with pytest.raises(UsageError, match=r"is not empty.*--update puts"):
        made(bundles[1], other)


def test_a_list_never_leads_out_of_its_project(bundles, project, tmp_path):
    (tmp_path / "out.txt").write_text("x")
    listed = (project / LIST).read_text()
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of "x"
    (project / LIST).write_text(f"{listed}{digest}  ../out.txt\n")
    made(bundles[1], project, update=True)
    assert (tmp_path / "out.txt").exists()
