"""The output folder: one rename, a lock, and nothing left behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from squeeze_export.bundle import folder as bundle
from squeeze_export.bundle.manifest import MANIFEST
from squeeze_export.errors import UsageError
from squeeze_export.files.written import write_list

not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere, so permissions refuse nothing")


def finished(folder: Path, text: str = "old") -> Path:
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(text)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_bundle_appears_and_the_staging_folder_is_gone(tmp_path):
    with bundle.staging(tmp_path / "dist", "net") as stage:
        finished(stage / "bundle", "new")
        placed = bundle.publish(stage / "bundle", tmp_path / "dist", "net")
    assert placed == tmp_path / "dist" / "net"
    assert (placed / MANIFEST).read_text() == "new"
    assert names(tmp_path / "dist") == ["net"]


def test_a_failed_run_leaves_nothing_and_takes_back_the_folders_it_made(tmp_path):
    with pytest.raises(RuntimeError), bundle.staging(tmp_path / "a" / "b", "net") as stage:
        (stage / "half").write_text("written")
        raise RuntimeError
    assert names(tmp_path) == []


def test_a_failed_run_does_not_touch_the_bundle_that_stands(tmp_path):
    finished(tmp_path / "net")
    with pytest.raises(RuntimeError), bundle.staging(tmp_path, "net"):
        raise RuntimeError
    assert (tmp_path / "net" / MANIFEST).read_text() == "old"
    assert names(tmp_path) == ["net"]


def test_publish_replaces_the_old_bundle_wholly(tmp_path):
    (finished(tmp_path / "net") / "stale.bin").write_text("stale")
    with bundle.staging(tmp_path, "net") as stage:
        bundle.publish(finished(stage / "bundle", "new"), tmp_path, "net")
    assert names(tmp_path / "net") == [MANIFEST]
    assert (tmp_path / "net" / MANIFEST).read_text() == "new"
    assert names(tmp_path) == ["net"]


def test_publish_brings_the_old_bundle_back_when_the_rename_fails(tmp_path, monkeypatch):
    finished(tmp_path / "net")
    real = Path.rename

    def refuse(self, target):
        if self.name == "bundle":
            raise OSError(errno.EIO, "Input/output error", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UsageError, match="Input/output error"), bundle.staging(tmp_path, "net") as stage:
        bundle.publish(finished(stage / "bundle", "new"), tmp_path, "net")
    assert (tmp_path / "net" / MANIFEST).read_text() == "old"
    assert names(tmp_path) == ["net"]


def test_a_run_killed_between_the_two_renames_is_repaired_by_the_next(tmp_path):
    finished(tmp_path / ".net.replaced")
    with bundle.staging(tmp_path, "net"):
        pass
    assert (tmp_path / "net" / MANIFEST).read_text() == "old"
    assert names(tmp_path) == ["net"]


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    (tmp_path / ".net.partial" / "job").mkdir(parents=True)
    (tmp_path / ".net.partial" / "file").write_text("left")
    with bundle.staging(tmp_path, "net") as stage:
        assert names(stage) == []
    assert names(tmp_path) == []


HOLDER = """
import sys
from pathlib import Path
from squeeze_export.bundle import folder as bundle
with bundle.staging(Path(sys.argv[1]), "net"):
    print("entered", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process inside `staging`; it leaves when its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "entered\n"
    yield process
    process.communicate(timeout=30)


def test_a_second_run_into_the_same_place_is_refused_and_another_name_is_not(tmp_path, holder):
    with (
        pytest.raises(UsageError, match=r"Another squeeze-export is writing .*net right now"),
        bundle.staging(tmp_path, "net"),
    ):
        pass
    with bundle.staging(tmp_path, "other"):
        pass
    holder.communicate(timeout=30)
    assert holder.returncode == 0
    assert names(tmp_path) == []


def test_a_lock_is_free_again_after_its_holder_was_killed(tmp_path, holder):
    holder.kill()
    holder.wait(30)
    with bundle.staging(tmp_path, "net"):
        pass
    assert names(tmp_path) == []


def test_an_existing_bundle_is_refused_without_force(tmp_path):
    finished(tmp_path / "net")
    with pytest.raises(UsageError, match="--force"):
        bundle.check_destination(tmp_path, "net", force=False)
    bundle.check_destination(tmp_path, "net", force=True)


def test_force_does_not_delete_an_app_project_that_was_changed(tmp_path):
    project = finished(tmp_path / "net") / "android-tflite"
    project.mkdir()
    (project / "Main.kt").write_text("theirs")
    write_list(project)
    bundle.check_destination(tmp_path, "net", force=True)
    (project / "Main.kt").write_text("mine")
    (project / "New.kt").write_text("mine")
    with pytest.raises(UsageError, match=r"android-tflite was changed since it was made \(Main\.kt, New\.kt\)"):
        bundle.check_destination(tmp_path, "net", force=True)


def test_force_does_not_replace_a_folder_that_is_no_bundle(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is not a bundle"):
        bundle.check_destination(tmp_path, "net", force=True)


@pytest.mark.parametrize("output", ["file", "file/below"])
def test_an_output_that_is_a_file_is_refused(tmp_path, output):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        bundle.check_destination(tmp_path / output, "net", force=False)


def test_a_file_or_link_in_the_bundles_place_is_refused(tmp_path):
    (tmp_path / "net").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("net", "link"):
        with pytest.raises(UsageError, match="is not a folder"):
            bundle.check_destination(tmp_path, name, force=True)


@not_root
def test_an_output_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="no permission"):
        bundle.check_destination(tmp_path, "net", force=False)


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, "No space is left"), (errno.EROFS, "cannot be written"), (errno.EIO, "Input/output")]
)
def test_what_the_file_system_refuses_is_said_in_words(tmp_path, number, told):
    with pytest.raises(UsageError, match=told), bundle.staging(tmp_path, "net"):
        raise OSError(number, os.strerror(number), "somewhere")
    assert names(tmp_path) == []


def test_a_write_that_numpy_found_cut_short_is_said_in_words(tmp_path):
    with pytest.raises(UsageError, match=r"to the end.*disk full"), bundle.staging(tmp_path, "net"):
        raise OSError("10235904 requested and 630656 written")
    assert names(tmp_path) == []


def test_the_lock_is_taken_at_once(tmp_path):
    began = time.monotonic()
    with bundle.staging(tmp_path, "net"), pytest.raises(UsageError, match="right now"), bundle.staging(tmp_path, "net"):
        pass
    assert time.monotonic() - began < 60  # and not for ever
