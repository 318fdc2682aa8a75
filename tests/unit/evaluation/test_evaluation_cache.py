"""The cache of answers: what was put is there again, whatever happened in between; what is damaged is not believed."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from pathlib import Path

import pytest

from squeeze_export.evaluation.cache import AnswerCache, answer_key, default_path, subject_key

KEYS = [answer_key(subject_key("artifact"), bytes([place])) for place in range(20)]


def fill(path: Path, keys=KEYS) -> None:
    said: list[str] = []
    cache = AnswerCache(path, said.append)
    for place, key in enumerate(keys):
        cache.put(key, (place, 999, 0, 65_535, 70_000))
    cache.close()
    assert said == []


def read(path: Path) -> tuple[list[tuple[int, ...] | None], list[str]]:
    said: list[str] = []
    cache = AnswerCache(path, said.append)
    found = cache.get(KEYS)
    cache.close()
    return found, said


def test_what_was_put_is_there_again(tmp_path):
    path = tmp_path / "deep" / "answers.sqlite3"
    fill(path, KEYS[:10])
    found, said = read(path)
    assert found == [(place, 999, 0, 65_535, 70_000) for place in range(10)] + [None] * 10
    assert said == []


def test_without_a_path_nothing_is_kept(tmp_path):
    cache = AnswerCache(None, lambda text: pytest.fail(text))
    cache.put(KEYS[0], (1,))
    assert cache.get(KEYS[:1]) == [None]
    cache.close()


def test_every_part_changes_the_key():
    parts = [("a", {"x": 1}), ("b", {"x": 1}), ("a", {"x": 2}), ("a", {"y": 1}), ("a",), ("a", {"x": "1"})]
    assert len({subject_key(*part) for part in parts}) == len(parts)
    assert subject_key({"x": 1, "y": 2}) == subject_key({"y": 2, "x": 1})


def test_a_file_that_is_no_database_is_put_aside(tmp_path):
    path = tmp_path / "answers.sqlite3"
    path.write_bytes(b"not a database, but longer than the header of one" * 40)
    fill_said: list[str] = []
    cache = AnswerCache(path, fill_said.append)
    cache.put(KEYS[0], (3,))
    cache.close()
    (told,) = fill_said
    assert "was damaged" in told
    assert (tmp_path / "answers.sqlite3.damaged").is_file()
    assert read(path)[0][0] == (3,)


def test_a_database_with_another_table_is_put_aside(tmp_path):
    path = tmp_path / "answers.sqlite3"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE answers (something TEXT)")
    connection.close()
    found, said = read(path)
    assert found == [None] * 20
    assert len(said) == 1


def test_a_damaged_row_is_not_believed_and_the_others_are(tmp_path):
    path = tmp_path / "answers.sqlite3"
    fill(path)
    connection = sqlite3.connect(path)
    with connection:
        (stored,) = connection.execute("SELECT answer FROM answers WHERE key = ?", [KEYS[4]]).fetchone()
        changed = stored[:-20] + bytes([stored[-20] ^ 1]) + stored[-19:]
        connection.execute("UPDATE answers SET answer = ? WHERE key = ?", [changed, KEYS[4]])
        connection.execute("UPDATE answers SET answer = 'text' WHERE key = ?", [KEYS[5]])
        # A good row under another key, as a broken index would give it.
        connection.execute(
            "UPDATE answers SET answer = (SELECT answer FROM answers WHERE key = ?) WHERE key = ?", [KEYS[7], KEYS[6]]
        )
    connection.close()
    found, said = read(path)
    assert [place for place, answer in enumerate(found) if answer is None] == [4, 5, 6]
    assert len(said) == 1
    assert "3 damaged entries" in said[0]


@pytest.mark.parametrize("place", [0, 20, 100, 4096, 5000, 6000, 9000])
def test_no_flipped_or_lost_bytes_give_a_wrong_answer(tmp_path, place):
    path = tmp_path / "answers.sqlite3"
    fill(path, [answer_key(subject_key("artifact"), place.to_bytes(2, "big")) for place in range(2000)])
    fill(path)
    whole = path.read_bytes()
    flipped = whole[:place] + bytes(byte ^ 0xA5 for byte in whole[place : place + 200]) + whole[place + 200 :]
    for damaged in (flipped, whole[:-3000], whole[: place + 1]):
        path.write_bytes(damaged)
        found, _ = read(path)
        assert all(answer in (None, (number, 999, 0, 65_535, 70_000)) for number, answer in enumerate(found))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere, so permissions refuse nothing")
def test_a_folder_that_cannot_be_written_costs_the_cache_only(tmp_path):
    tmp_path.chmod(0o500)
    found, said = read(tmp_path / "deep" / "answers.sqlite3")
    assert found == [None] * 20
    assert len(said) == 1


def test_a_cache_folder_that_is_a_file_costs_the_cache_only(tmp_path):
    (tmp_path / "file").write_text("")
    found, said = read(tmp_path / "file" / "answers.sqlite3")
    assert found == [None] * 20
    assert "cannot be used" in said[0]


def _write(path: Path, first: int) -> None:
    cache = AnswerCache(path, lambda text: (_ for _ in ()).throw(AssertionError(text)))
    for round_ in range(30):
        for place in range(40):
            cache.put(answer_key(subject_key(first), (round_ * 40 + place).to_bytes(2, "big")), (first, round_, place))
        cache.flush()
    cache.close()


def test_several_processes_may_write_at_once(tmp_path):
    path = tmp_path / "answers.sqlite3"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(path, first)) for first in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    cache = AnswerCache(path, pytest.fail)
    for first in range(3):
        keys = [answer_key(subject_key(first), number.to_bytes(2, "big")) for number in range(1200)]
        assert cache.get(keys) == [(first, number // 40, number % 40) for number in range(1200)]
    cache.close()


def test_the_place_follows_the_xdg_rule(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "squeeze-export" / "evaluations.sqlite3"
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_path() == tmp_path / ".cache" / "squeeze-export" / "evaluations.sqlite3"


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert default_path() is None
