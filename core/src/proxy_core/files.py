"""Private files that are written atomically: to a temporary file, synced, renamed."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from errno import EFBIG, EINVAL
from pathlib import Path
from stat import S_ISREG

_ABANDONED_S = 60.0
#: Many times the size of any file with credentials.
_MOST_BYTES = 1_000_000
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


def read_small(path: Path, most_bytes: int = _MOST_BYTES) -> bytes:
    """The content of a file, if it is one: not of a pipe, which might never end, nor of anything huge.

    Raises ``OSError``.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(EINVAL, "it is not a regular file")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(EFBIG, f"it is larger than {most_bytes} bytes")
    return data


def write_private(path: Path, data: bytes, mode: int = 0o600, *, owner: tuple[int, int] | None = None) -> None:
    """Replace the file's content atomically and durably; ``owner`` is the user and the group it is to belong to.

    Raises ``OSError``.
    """
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, mode)
    try:
        with open(descriptor, "wb") as out:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            if owner is not None and hasattr(os, "fchown") and owner[0] != os.geteuid():
                os.fchown(descriptor, *owner)
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
