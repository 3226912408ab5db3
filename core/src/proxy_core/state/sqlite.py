"""The default store: one SQLite file that all processes of a machine share.

A write holds the file's only lock for a few milliseconds (``BEGIN IMMEDIATE``), so the version number
that each writing sync gives its rows orders them for all processes. A sync without changes on either
side reads a single counter.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from proxy_core.interfaces import (
    KeptValue,
    PermitRequest,
    SharedValue,
    StateBackend,
    StateLost,
    StateStore,
    SyncRequest,
    SyncResponse,
    UsageRow,
)
from proxy_core.state.sharing import share
from proxy_core.state.sqlite_file import DatabaseFile

T = TypeVar("T")

#: A holder's lifetime is stored this much longer, so that not every sync has to write.
_SLACK = 1.25
#: How often expired rows are deleted, and how long a silent holder's number is remembered.
_PURGE_EVERY_S = 60.0
_NUMBER_KEPT_S = 7 * 86_400.0

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
#: After any other error the file is reopened, in case the connection is broken.
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}

_PUT_VALUE = """
    INSERT INTO notes (name, value, expires_at, writer, version, kept_until) VALUES (?1, ?2, ?3, ?4, ?5, ?3)
    ON CONFLICT DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at, writer = excluded.writer,
        version = excluded.version, kept_until = max(kept_until, excluded.kept_until)"""
_ADD_COUNT = """
    INSERT INTO counts (name, total, expires_at, version) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET total = excluded.total + iif(expires_at > ?, total, 0),
        expires_at = max(expires_at, excluded.expires_at), version = excluded.version"""
_ADD_USAGE = """
    INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, attempts = attempts + excluded.attempts,
        failures = failures + excluded.failures, prompt = prompt + excluded.prompt, cached = cached + excluded.cached,
        cache_write = cache_write + excluded.cache_write, completion = completion + excluded.completion,
        reasoning = reasoning + excluded.reasoning, cost = cost + excluded.cost, priced = priced + excluded.priced"""
_OTHERS_CLAIMS = """
    SELECT want, kept FROM claims JOIN holders USING (holder) WHERE name = ? AND holder != ? AND dies_at > ?"""
_CHANGED_VALUES = "SELECT name, value, expires_at FROM notes WHERE version > ? AND writer != ?"
_ALL_VALUES = "SELECT name, value, expires_at FROM notes WHERE expires_at > ? AND value IS NOT NULL"
_USAGE = "SELECT * FROM usage WHERE day BETWEEN ? AND ? ORDER BY day, client, provider, credential, model"
_KEEP = "INSERT OR REPLACE INTO kept (owner, name, value, expires_at) VALUES (?, ?, ?, ?)"
#: The length of a value is known without reading it.
_FORGET_EXCESS = """
    DELETE FROM kept WHERE id IN (
        SELECT id FROM (
            SELECT id, count(*) OVER newer AS place, sum(length(value)) OVER newer AS bytes
            FROM kept WHERE owner = ? WINDOW newer AS (ORDER BY id DESC)
        ) WHERE place > ? OR bytes > ?)"""
_KEPT = "SELECT value FROM kept WHERE owner = ? AND name = ? AND expires_at > ?"
_FORGET = "DELETE FROM kept WHERE owner = ? AND name = ? RETURNING expires_at"
_USAGE_FIELDS = UsageRow.__struct_fields__
_AFTER_DAY = attrgetter(*_USAGE_FIELDS[1:])


def sqlite_store() -> StateStore:
    """``sqlite:///absolute/path``."""
    return StateStore(scheme="sqlite", open=_open)


async def _open(url: str) -> StateBackend:
    path = Path(url.removeprefix("sqlite://"))
    if not path.is_absolute():
        path = Path(url.removeprefix("sqlite:///"))  # sqlite:///C:/state.db
    if not (path.is_absolute() and path.name):
        raise StateLost("state.url must be sqlite:///absolute/path")
    state = SqliteState(path)
    try:
        await state.connect()
    except BaseException:
        await state.close()
        raise
    return state


class _Seen(Struct, frozen=True):
    """The database at the time ``data_version`` was read: the newest version, and when holders expire."""

    data_version: int
    version: int
    lives: Sequence[float]


class SqliteState:
    """A ``StateBackend``. All file access happens in one thread."""

    def __init__(self, path: Path) -> None:
        self._file = DatabaseFile(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._open: sqlite3.Connection | None = None
        self._closed = False
        self._seen: _Seen | None = None
        self._lives: dict[str, float] = {}
        self._purge_at = 0.0

    async def connect(self) -> None:
        await self._run(lambda db: None)

    async def sync(self, request: SyncRequest) -> SyncResponse:
        return await self._run(lambda db: self._sync(db, request, time.time()))

    async def usage(self, since: date, until: date) -> Sequence[UsageRow]:
        rows = await self._run(lambda db: db.execute(_USAGE, (since.isoformat(), until.isoformat())).fetchall())
        return [
            UsageRow(**{**dict(zip(_USAGE_FIELDS, row, strict=True)), "day": date.fromisoformat(row[0])})
            for row in rows
        ]

    async def forget_usage(self, before: date) -> None:
        await self._run(lambda db: db.execute("DELETE FROM usage WHERE day < ?", (before.isoformat(),)).close())

    async def keep(self, kept: KeptValue) -> None:
        await self._run(lambda db: _keep(db, kept))

    async def kept(self, owner: str, name: str) -> bytes | None:
        found = await self._run(lambda db: db.execute(_KEPT, (owner, name, time.time())).fetchone())
        return None if found is None else bytes(found[0])

    async def forget(self, owner: str, name: str) -> bool:
        found = await self._run(lambda db: db.execute(_FORGET, (owner, name)).fetchall())
        return any(expires_at > time.time() for (expires_at,) in found)

    async def close(self) -> None:
        """Move everything from the write-ahead log into the main file, unless other processes still use it."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
            self._thread.shutdown(wait=False)

    # --- In the thread

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._open is None:
                self._open = self._file.connect()
            done = work(self._open)
        except BaseException as error:
            self._recover(error)
            raise
        if self._file.moved:  # the data written so far is lost with it
            self._disconnect()
            raise StateLost(f"{self._file.path} was deleted or replaced")
        return done

    def _recover(self, error: BaseException) -> None:
        """Return to a state in which the work can be repeated. Raises ``StateLost`` if that is impossible."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        self._seen = None
        self._lives.clear()
        if self._open is not None and self._open.in_transaction:
            with suppress(sqlite3.Error):
                self._open.execute("ROLLBACK")
        if code in _DAMAGED:
            self._disconnect()
            target = self._file.set_aside()
            what = f"was damaged ({error})" + (f" and is now {target.name}" if target else "")
            raise StateLost(f"{self._file.path} {what}: starting a new one") from error
        if code not in _PASSING:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._open is not None:
            with suppress(sqlite3.Error):
                self._open.execute("PRAGMA wal_checkpoint(PASSIVE)")
            with suppress(sqlite3.Error):
                self._open.close()
        self._open = self._seen = None
        self._lives.clear()

    def _sync(self, db: sqlite3.Connection, request: SyncRequest, now: float) -> SyncResponse:
        if request.values or request.counts or request.usage or request.permits or self._life(request, now) is not None:
            return self._write(db, request, now)
        data_version = db.execute("PRAGMA data_version").fetchone()[0]
        if self._seen is None or (self._seen.data_version, self._seen.version) != (data_version, request.seen):
            db.execute("BEGIN")
            response = self._response(db, request, now, data_version, {})
            db.execute("COMMIT")
            return response
        return SyncResponse(cursor=request.seen, holders=sum(dies_at > now for dies_at in self._seen.lives))

    def _write(self, db: sqlite3.Connection, request: SyncRequest, now: float) -> SyncResponse:
        data_version = db.execute("PRAGMA data_version").fetchone()[0]
        db.execute("BEGIN IMMEDIATE")
        me = db.execute("SELECT number, dies_at FROM holders WHERE holder = ?", (request.holder,)).fetchone()
        number, dies_at = me or (0, 0.0)
        if dies_at <= now:
            db.execute("DELETE FROM claims WHERE holder = ?", (request.holder,))
        fresh = request.number > number and bool(request.values or request.counts or request.usage)
        life = self._life(request, now) or self._lives[request.holder]
        if fresh or life != dies_at:
            row = (request.holder, request.number if fresh else number, life)
            db.execute("INSERT OR REPLACE INTO holders VALUES (?, ?, ?)", row)
        if fresh:
            _apply(db, request, now)
        held = {name: _grant(db, request.holder, name, permit, now) for name, permit in request.permits.items()}
        if now >= self._purge_at:
            self._purge_at = now + _PURGE_EVERY_S
            _purge(db, now)
        response = self._response(db, request, now, data_version, held)
        db.execute("COMMIT")
        self._lives[request.holder] = life
        return response

    def _life(self, request: SyncRequest, now: float) -> float | None:
        """The holder's new expiry, if it has to be written."""
        known = self._lives.get(request.holder, 0.0)
        enough = now + request.lives_s <= known <= now + request.lives_s * _SLACK
        return None if enough else now + request.lives_s * _SLACK

    def _response(
        self, db: sqlite3.Connection, request: SyncRequest, now: float, data_version: int, held: dict[str, int]
    ) -> SyncResponse:
        version = db.execute("SELECT version FROM cursor").fetchone()[0]
        seen = request.seen if request.seen <= version else 0
        values = db.execute(_CHANGED_VALUES, (seen, request.holder)) if seen else db.execute(_ALL_VALUES, (now,))
        counts = db.execute("SELECT name, total FROM counts WHERE version > ? AND expires_at > ?", (seen, now))
        lives = [row[0] for row in db.execute("SELECT dies_at FROM holders WHERE dies_at > ?", (now,))]
        response = SyncResponse(
            cursor=version,
            values={name: SharedValue(value=value, expires_at=expires_at) for name, value, expires_at in values},
            counts=dict(counts.fetchall()),
            held=held,
            holders=len(lives),
        )
        self._seen = _Seen(data_version, version, lives)
        return response


def _apply(db: sqlite3.Connection, request: SyncRequest, now: float) -> None:
    version = db.execute("UPDATE cursor SET version = version + 1 RETURNING version").fetchone()[0]
    values = [(name, n.value, n.expires_at, request.holder, version) for name, n in request.values.items()]
    counts = [(name, c.add, c.expires_at, version, now) for name, c in request.counts.items() if c.expires_at > now]
    db.executemany(_PUT_VALUE, values)
    db.executemany(_ADD_COUNT, counts)
    db.executemany(_ADD_USAGE, [(row.day.isoformat(), *_AFTER_DAY(row)) for row in request.usage])


def _keep(db: sqlite3.Connection, kept: KeptValue) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.execute(_KEEP, (kept.owner, kept.name, kept.value, kept.expires_at))
    db.execute(_FORGET_EXCESS, (kept.owner, kept.most, kept.most_bytes))
    db.execute("COMMIT")


def _grant(db: sqlite3.Connection, holder: str, name: str, permit: PermitRequest, now: float) -> int:
    mine = db.execute("SELECT want, kept FROM claims WHERE name = ? AND holder = ?", (name, holder)).fetchone()
    others = db.execute(_OTHERS_CLAIMS, (name, holder, now)).fetchall()
    granted, kept = share(permit, mine[1] if mine else 0, others)
    if not permit.want and not kept:
        db.execute("DELETE FROM claims WHERE name = ? AND holder = ?", (name, holder))
    elif mine != (permit.want, kept):
        db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", (name, holder, permit.want, kept))
    return granted


def _purge(db: sqlite3.Connection, now: float) -> None:
    db.execute("DELETE FROM kept WHERE expires_at <= ?", (now,))
    db.execute("DELETE FROM notes WHERE kept_until <= ?", (now,))
    db.execute("DELETE FROM counts WHERE expires_at <= ?", (now,))
    db.execute("DELETE FROM claims WHERE holder NOT IN (SELECT holder FROM holders WHERE dies_at > ?)", (now,))
    db.execute("DELETE FROM holders WHERE dies_at <= ?", (now - _NUMBER_KEPT_S,))
