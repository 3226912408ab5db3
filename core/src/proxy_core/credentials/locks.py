"""Locks across processes: our own, together with the one that another program uses for its file."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from proxy_core.interfaces import ForeignLock

if TYPE_CHECKING:
    from filelock import FileLock

_POLL_S = 0.02
_MAX_POLL_S = 0.25
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
    """The lock for a whole refresh. ``foreign`` is the lock of another program that uses the same tokens.

    Our own lock is released when its process ends. ``release`` may be called twice.
    A ``str`` instead of a path is a name among this process's own tasks.
    """

    def __init__(self, path: Path | str, foreign: ForeignLock | None = None, *, wait_s: float = 60.0) -> None:
        self._path = path
        self._holds = False
        self._foreign = foreign
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
