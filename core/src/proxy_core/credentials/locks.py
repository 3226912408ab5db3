"""Locks across processes: our own, and the one that another program uses for its file."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from filelock import FileLock

_POLL_S = 0.02
_MAX_POLL_S = 0.25
#: Same value as a vendor's program that shares its files: a lock file not touched for this long is stale.
_STALE_S = 35.0
_BEAT_S = 10.0
_HELD: set[str] = set()


class LockBusy(Exception):
    """Another process held the lock for longer than the wait; the message names the file."""


@contextmanager
def short_lock(path: Path, wait_s: float = 10.0) -> Iterator[None]:
    """A lock for a read followed by a write, held for milliseconds. It blocks, so call it in a thread.

    Raises ``OSError`` if the lock cannot be created.
    """
    from filelock import Timeout

    try:
        lock = _file_lock(path)
        lock.acquire(timeout=wait_s, poll_interval=0.01)
    except Timeout:
        raise OSError(f"{path} is locked by another process") from None
    try:
        yield
    finally:
        lock.release()


class CredentialLock:
    """The lock for a whole refresh. ``foreign`` is the lock file of another program that uses the same tokens.

    Our own lock is released when its process ends. A foreign lock file is touched regularly while it is held.
    It is taken over when it has not been touched for 35 seconds, or at once if a killed process of ours
    left it. ``release`` may be called twice.
    A ``str`` instead of a path is a name among this process's own tasks.
    """

    def __init__(self, path: Path | str, foreign: Path | None = None, *, wait_s: float = 60.0) -> None:
        self._path = path
        self._holds = False
        self._foreign = ForeignLock(foreign, guarded=True) if foreign else None
        self._wait_s = wait_s
        self._lock: FileLock | None = None

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def acquire(self) -> None:
        """Raises ``LockBusy`` after ``wait_s``, ``OSError`` if a lock cannot be created. Cancelling it is safe."""
        end = time.monotonic() + self._wait_s
        try:
            await _until(self._try_own, end, self._path)
            if self._foreign is not None:
                await _until(self._foreign.try_acquire, end, self._foreign.path)
        except BaseException:
            self.release()
            raise

    def _try_own(self) -> bool:
        from filelock import Timeout

        if isinstance(self._path, str):
            self._holds = self._path not in _HELD
            _HELD.add(self._path)
            return self._holds
        lock = _file_lock(self._path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        self._lock = lock
        return True

    def release(self) -> None:
        if self._foreign is not None:
            self._foreign.release()
        if self._holds:
            _HELD.discard(str(self._path))
            self._holds = False
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


class ForeignLock:
    """A lock file that exists while it is held and contains the holder's id, a UUID.

    ``guarded``: the caller also holds our own lock. Then an id of ours in an existing lock file
    belongs to a dead process of this machine, and the lock is taken over without waiting.
    """

    def __init__(self, path: Path, *, guarded: bool = False) -> None:
        self.path = path
        self._guarded = guarded
        word = str(uuid.uuid4())
        self._word = _ours() + word[len(_ours()) :] if guarded else word
        self._beat: threading.Event | None = None

    def try_acquire(self) -> bool:
        try:
            self._write(self.path)
        except FileExistsError:
            if not self._take_over():
                self._break_stale()
                return False
        self._beat = threading.Event()
        threading.Thread(target=_touch, args=(self.path, self._beat), daemon=True, name="lock").start()
        return True

    def _write(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as out:
            out.write(self._word)

    def _take_over(self) -> bool:
        """Replace the id of a dead process of ours with our own.

        There must be no gap: in it, the other program could take the lock and send the refresh token
        whose successor is in the journal.
        """
        if not self._guarded:
            return False
        beside = self.path.with_name(f"{self.path.name}.{self._word}")
        try:
            if not self.path.read_text("ascii", "replace").startswith(_ours()):
                return False
            self._write(beside)
            os.replace(beside, self.path)
        except OSError:
            return False
        return True

    def release(self) -> None:
        if self._beat is None:
            return
        self._beat.set()
        self._beat = None
        with suppress(OSError):
            if self.path.read_text("ascii", "replace") == self._word:
                self.path.unlink()

    def _break_stale(self) -> None:
        aside = self.path.with_name(f"{self.path.name}.stale.{uuid.uuid4()}")
        with suppress(OSError):
            if time.time() - self.path.stat().st_mtime <= _STALE_S:
                return
            self.path.rename(aside)
            if time.time() - aside.stat().st_mtime <= _STALE_S:
                # Another process has taken it over first; this file belongs to the new holder, so restore it.
                os.link(aside, self.path)
            aside.unlink()


def _ours() -> str:
    """The prefix of our ids on this machine; the remaining digits are as random as those of a UUID."""
    return f"70726f78-{zlib.crc32(socket.gethostname().encode()) & 0xFFFF:04x}-"


def _touch(path: Path, ended: threading.Event) -> None:
    while not ended.wait(_BEAT_S):
        with suppress(OSError):
            os.utime(path)


async def _until(attempt: Callable[[], bool], end: float, path: Path | str) -> None:
    """Poll, because a thread that blocks in the system call could not be cancelled."""
    pause = _POLL_S
    while not attempt():
        if time.monotonic() >= end:
            raise LockBusy(f"{path} is held by another process")
        await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # spreads the askers
        pause = min(pause * 1.5, _MAX_POLL_S)


def _file_lock(path: Path) -> FileLock:
    from filelock import FileLock

    return FileLock(path, mode=0o600, thread_local=False)
