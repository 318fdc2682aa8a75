"""Which files of a written folder a person has changed."""

from __future__ import annotations

import pytest

from squeeze_export.files.written import LIST, changed, write_list


@pytest.fixture
def project(tmp_path):
    for name in ("README.md", "app/Main.kt", "app/gone.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    write_list(tmp_path)
    return tmp_path


def test_an_untouched_folder_is_unchanged_also_after_tools_have_worked_in_it(project):
    assert changed(project) == ()
    for name in ("app/build/x.class", ".gradle/a", ".idea/b.xml", "local.properties", "gradlew", ".DS_Store", "a.iml"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("x")
    assert changed(project) == ()


def test_files_that_were_changed_added_or_removed_are_named(project):
    (project / "app/Main.kt").write_text("mine")
    (project / "app/gone.xml").unlink()
    (project / "app/New.kt").write_text("new")
    assert changed(project) == ("app/Main.kt", "app/New.kt", "app/gone.xml")


def test_a_folder_without_a_list_is_unknown_and_the_list_is_one_for_sha256sum(project):
    lines = (project / LIST).read_text().splitlines()
    assert [line[64:] for line in lines] == ["  README.md", "  app/Main.kt", "  app/gone.xml"]
    (project / LIST).unlink()
    assert changed(project) == ()
