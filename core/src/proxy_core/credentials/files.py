"""Private files that are whole or not there: written beside, synced, renamed."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

_ABANDONED_S = 60.0
#: Bytes as they are, and through no symbolic link that somebody put there; where the system knows these.
SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def private_folder(path: Path) -> None:
    """Make it, and those above it that are missing, 0700. Raises ``OSError``."""
    # With ``parents=True`` those above would get the usual mode.
    for folder in reversed([path, *path.parents]):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file's content, all or nothing, and on disk when this returns. Raises ``OSError``."""
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, mode)
    try:
        with open(descriptor, "wb") as out:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            out.write(data)
            out.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in it durable, where the system knows how."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does: time, inode, size."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_ino, about.st_size


def _sweep(path: Path) -> None:
    """Take away what killed writers left: it holds tokens."""
    for left in path.parent.glob(f".{path.name}.*-????????.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                left.unlink()
