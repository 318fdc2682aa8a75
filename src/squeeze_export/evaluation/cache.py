"""What was computed before, so that a stopped evaluation goes on where it ended: one SQLite file in the user's cache folder.

A row is the best classes of one image by one artifact (or the reference). Its key is a digest over everything that they
depend on, so a row is never out of date, and the file can be deleted at any time. SQLite's own locking lets several
evaluations share it; each row carries a checksum, so a damaged one is computed again instead of believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer BLOB NOT NULL) WITHOUT ROWID"
_FORMAT: Final = 1
_FLUSH_SECONDS: Final = 0.5  # at most this much work is lost where the machine itself stops
_WAIT_SECONDS: Final = 30
_CHECK_BYTES: Final = 8
_BATCH: Final = 500


def default_path() -> Path | None:
    """$XDG_CACHE_HOME/squeeze-export/evaluations.sqlite3, by default below ~/.cache; None for a user without a home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rule: a relative path in the variable is to be ignored.
    base = Path(given) if Path(given).is_absolute() else Path("~/.cache")
    try:
        return base.expanduser() / "squeeze-export" / "evaluations.sqlite3"
    except RuntimeError:  # a container's user without a name
        return None


def subject_key(*parts: object) -> bytes:
    """Digest of everything but the image that an answer depends on; the parts must be JSON."""
    return hashlib.sha256(json.dumps([_FORMAT, *parts], sort_keys=True).encode()).digest()


def answer_key(subject: bytes, image: bytes) -> bytes:
    """Digest of a subject's key with an image's."""
    return hashlib.sha256(subject + image).digest()


class AnswerCache:
    """Answers by key. It never fails: what cannot be read is missing, what cannot be written is let go, and `notice` is told."""

    def __init__(self, path: Path | None, notice: Callable[[str], None]) -> None:
        self._path = path
        self._notice = notice
        self._pending: dict[bytes, bytes] = {}
        self._flushed = time.monotonic()
        self._connection = self._open() if path is not None else None

    def _open(self) -> sqlite3.Connection | None:
        assert self._path is not None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(self._path)
        except sqlite3.OperationalError as error:
            self._notice(f"the cache {self._path} cannot be used ({error}): nothing is kept for a next run")
        except sqlite3.DatabaseError as error:
            return self._replace(error)
        except OSError as error:
            self._notice(f"the cache {self._path} cannot be used ({error.strerror}): nothing is kept for a next run")
        return None

    def _replace(self, why: sqlite3.DatabaseError) -> sqlite3.Connection | None:
        """Put a file that is no database aside, and begin a new one."""
        assert self._path is not None
        aside = self._path.with_name(self._path.name + ".damaged")
        try:
            self._path.replace(aside)
            connection = _connect(self._path)
        except (OSError, sqlite3.Error) as error:
            self._notice(f"the cache {self._path} is damaged ({why}) and cannot be replaced ({error}): it is not used")
            return None
        self._notice(f"the cache {self._path} was damaged ({why}): it is not used; it was moved to {aside.name}")
        return connection

    def get(self, keys: Sequence[bytes]) -> list[tuple[int, ...] | None]:
        """The answers for `keys`, None where there is none."""
        if self._connection is None:
            return [None] * len(keys)
        found: dict[bytes, bytes] = {}
        try:
            for start in range(0, len(keys), _BATCH):
                some = list(keys[start : start + _BATCH])
                marks = ",".join("?" * len(some))
                found |= dict(self._connection.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", some))
        except sqlite3.Error as error:
            self._fail("read", error)
        answers = [_unpack(key, found[key]) if key in found else None for key in keys]
        damaged = sum(1 for key, answer in zip(keys, answers, strict=True) if key in found and answer is None)
        if damaged:
            self._notice(f"the cache {self._path} has {damaged} damaged entries: they are not used but computed again")
        return answers

    def put(self, key: bytes, answer: Sequence[int]) -> None:
        """Keep an answer; it is on disk within half a second, or after flush()."""
        if self._connection is None:
            return
        self._pending[key] = _pack(key, answer)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is pending, in one transaction."""
        if self._connection is None or not self._pending:
            return
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", list(self._pending.items()))
            self._pending.clear()
        except sqlite3.Error as error:
            self._fail("written", error)
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is pending and close the file."""
        self.flush()
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _fail(self, what: str, error: sqlite3.Error) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            self._connection = self._replace(error)
            return
        self._notice(f"the cache {self._path} cannot be {what} ({error}): it is not used any further")
        self._connection = None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS)
    try:
        with connection:
            connection.execute(_SCHEMA)
        columns = [row[1] for row in connection.execute("PRAGMA table_info(answers)")]
        if columns != ["key", "answer"]:
            raise sqlite3.DatabaseError(f"its table has the columns {columns}")
    except BaseException:
        connection.close()
        raise
    return connection


def _pack(key: bytes, answer: Sequence[int]) -> bytes:
    data = b"".join(value.to_bytes(4, "little") for value in answer)
    return hashlib.sha256(key + data).digest()[:_CHECK_BYTES] + data


def _unpack(key: bytes, stored: object) -> tuple[int, ...] | None:
    if not isinstance(stored, bytes) or len(stored) % 4:
        return None
    check, data = stored[:_CHECK_BYTES], stored[_CHECK_BYTES:]
    if not data or hashlib.sha256(key + data).digest()[:_CHECK_BYTES] != check:
        return None
    return tuple(int.from_bytes(data[place : place + 4], "little") for place in range(0, len(data), 4))
