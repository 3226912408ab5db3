"""The database file: it is created, opened, migrated, and set aside if damaged.

Only one process at a time opens it or sets it aside, under ``<name>.lock``, so that no process
opens a file that is being renamed. The lock is a transaction on an empty database, which ends with
its process on every operating system.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from proxy_core.files import private_folder
from proxy_core.interfaces import StateLost

#: How long to wait for another process; ``sync`` has to return within seconds.
BUSY_S = 2.0
_LOG_LIMIT = 16 * 1024 * 1024

#: Each step migrates a file to the next schema version, which ``PRAGMA user_version`` stores.
#: Released steps never change.
STEPS: Sequence[Sequence[str]] = (
    (
        "CREATE TABLE cursor (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL)",
        # Higher than any cursor of a previous file, unless that one had 1000 writes per second.
        "INSERT INTO cursor VALUES (1, CAST(strftime('%s', 'now') AS INTEGER) * 1000)",
        "CREATE TABLE notes (name TEXT PRIMARY KEY, value BLOB, expires_at REAL NOT NULL, writer TEXT NOT NULL,"
        " version INTEGER NOT NULL, kept_until REAL NOT NULL) WITHOUT ROWID",
        "CREATE INDEX notes_by_version ON notes (version)",
        "CREATE TABLE counts (name TEXT PRIMARY KEY, total REAL NOT NULL, expires_at REAL NOT NULL,"
        " version INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX counts_by_version ON counts (version)",
        "CREATE TABLE holders (holder TEXT PRIMARY KEY, number INTEGER NOT NULL, dies_at REAL NOT NULL) WITHOUT ROWID",
        "CREATE TABLE usage (day TEXT, client TEXT, provider TEXT, credential TEXT, model TEXT,"
        " requests INTEGER NOT NULL, attempts INTEGER NOT NULL, failures INTEGER NOT NULL, prompt INTEGER NOT NULL,"
        " cached INTEGER NOT NULL, cache_write INTEGER NOT NULL, completion INTEGER NOT NULL,"
        " reasoning INTEGER NOT NULL, cost REAL NOT NULL, priced INTEGER NOT NULL,"
        " PRIMARY KEY (day, client, provider, credential, model)) WITHOUT ROWID",
    ),
    (
        "CREATE TABLE claims (name TEXT, holder TEXT, want INTEGER NOT NULL, kept INTEGER NOT NULL,"
        " PRIMARY KEY (name, holder)) WITHOUT ROWID",
    ),
    (
        "CREATE TABLE kept (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, name TEXT NOT NULL,"
        " value BLOB NOT NULL, expires_at REAL NOT NULL)",
        "CREATE UNIQUE INDEX kept_by_name ON kept (owner, name)",
        "CREATE INDEX kept_by_expiry ON kept (expires_at)",
    ),
)


class DatabaseFile:
    """``path``, and the identity of the file that was found there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: tuple[int, int] | None = None

    def connect(self) -> sqlite3.Connection:
        """Open the file, create it if it does not exist, and migrate its schema.

        Raises ``StateLost`` if the file is not the one that was opened before, or not a state database.
        """
        private_folder(self.path.parent)
        with self._alone():
            if not self.path.exists():
                for suffix in ("-wal", "-shm"):  # of a deleted file; they must not be read into the new one
                    self._beside(suffix).unlink(missing_ok=True)
            _private(self.path)
            for suffix in ("-wal", "-shm"):
                _check_own(self._beside(suffix))
            here = self._here()
            if self._found not in (None, here):
                raise StateLost(f"{self.path} was deleted or replaced")
            self._found = here
            db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            try:
                _prepare(db, self.path)
            except BaseException:
                db.close()
                raise
            return db

    @property
    def moved(self) -> bool:
        """Whether the file at ``path`` is no longer the one that was opened."""
        return self._here() != self._found

    def set_aside(self) -> Path | None:
        """Rename the file that was found, unless another process has done so; returns the new name."""
        with self._alone():
            if self.moved:
                return None
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            target = self._beside(f".damaged-{stamp}")
            if target.exists():
                target = self._beside(f".damaged-{stamp}-{time.time_ns() % 1_000_000_000}")
            for suffix in ("-wal", "-shm", ""):
                with suppress(FileNotFoundError):
                    self._beside(suffix).rename(target.with_name(target.name + suffix))
            return target

    def _here(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self._beside(".lock")
        _private(lock)
        with closing(sqlite3.connect(lock, timeout=BUSY_S, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            yield


def _private(path: Path) -> None:
    """Create the file if it does not exist. An existing one is not opened, as closing it would drop SQLite's locks."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        _check_own(path)
        if path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _check_own(path: Path) -> None:
    """Raises ``StateLost`` for what others may have put there: SQLite would follow a link and write to its target."""
    with suppress(FileNotFoundError):
        about = path.lstat()
        if stat.S_ISLNK(about.st_mode):
            raise StateLost(f"{path} is a link: delete it, or set the file that it leads to in state.url")
        if hasattr(os, "geteuid") and about.st_uid != os.geteuid():
            raise StateLost(f"{path} belongs to another user: delete it, or set another file in state.url")


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    schema = _schema(db)
    if schema > len(STEPS):
        raise StateLost(
            f"{path} was written by a newer proxy-core (schema {schema}, supported up to {len(STEPS)}): "
            "upgrade, or set another file in state.url"
        )
    if schema == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StateLost(f"{path} is the database of another program")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
    while (schema := _schema(db)) < len(STEPS):
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in STEPS[schema]:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {schema + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def _schema(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
