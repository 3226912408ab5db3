"""A lock file, as some vendors' programs use it to take turns in refreshing the tokens in a file."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
import zlib
from contextlib import suppress
from pathlib import Path

#: A lock file not touched for this long is stale; the same value as in the programs that use one.
_STALE_S = 35.0
_BEAT_S = 10.0


class LockFile:
    """A lock file that exists while it is held and contains the holder's id, a UUID; for ``TokenFile.lock``.

    It is touched regularly while it is held, and taken over when it has not been touched for 35 seconds.
    ``guarded``: no other process of ours on this machine holds it, as the core sees to that. Then an id of ours in an
    existing lock file belongs to a dead one, and the lock is taken over without waiting.
    """

    def __init__(self, path: Path, *, guarded: bool = True) -> None:
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
