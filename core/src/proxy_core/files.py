"""Private files that are written atomically: to a temporary file, synced, renamed."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

_ABANDONED_S = 60.0
#: Binary mode, and no following of symbolic links that another user may have created; where available.
SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def private_folder(path: Path) -> None:
    """Create the folder and its missing parents with mode 0700. Raises ``OSError``."""
    # ``parents=True`` would create the parents with the default mode.
    for folder in reversed([path, *path.parents]):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)


def files_in(folder: Path, pattern: str) -> list[Path]:
    """The matching files, sorted; none where the folder cannot be entered, which the start reports."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file's content atomically and durably. Raises ``OSError``."""
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
    """Make the names in the folder durable, where the operating system supports that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file is replaced or written: time, inode, size."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_ino, about.st_size


def _sweep(path: Path) -> None:
    """Delete temporary files of killed writers: they contain tokens."""
    for left in path.parent.glob(f".{path.name}.*-????????.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                left.unlink()
