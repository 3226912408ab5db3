"""Other programs' credential files: read according to their format, written with unknown fields preserved."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from msgspec.structs import replace

from proxy_core.credentials.given import check_tokens
from proxy_core.credentials.stored import Link, StoredCredential, VaultProblem
from proxy_core.files import read_small, write_private
from proxy_core.interfaces import TokenFile, Tokens

log = logging.getLogger("proxy_core.credentials")

_LOOKS = 5
_MOMENT_S = 0.02


def read_foreign(path: Path, form: TokenFile) -> Tokens:
    """Read the tokens from another program's file. Raises ``VaultProblem``."""
    try:
        found = form.read(_read(path))
        check_tokens(found.access_token, found.refresh_token)
        if found.identity is None and form.owner is not None:
            found = replace(found, identity=form.owner(path))
        return found
    except OSError as error:
        raise VaultProblem(path, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise VaultProblem(path, f"is not a file of {form.name!r}: {error}") from error
    except BaseException as error:  # a plugin's reader may fail in any way; only this file is affected
        log.error("the plugin cannot read %s as %r", path, form.name, exc_info=error)
        raise VaultProblem(path, f"cannot be read as a file of {form.name!r} ({type(error).__name__})") from error


def write_foreign(stored: StoredCredential, link: Link, form: TokenFile) -> None:
    """Write new tokens to the file, if it is intact. Raises ``VaultProblem``, ``OSError``."""
    if form.write is None:
        raise VaultProblem(link.path, f"files of {form.name!r} can only be copied")
    target = real(link)
    old = _read(target)
    if not old.strip():
        # The other program's own fields would be lost.
        raise VaultProblem(link.path, "is empty; the other program may be writing it")
    try:
        data = form.write(old, stored.credential(lambda account: account))
    except ValueError as error:
        raise VaultProblem(link.path, f"is not a file of {form.name!r}: {error}") from error
    except BaseException as error:  # a plugin's writer may fail in any way
        log.error("the plugin cannot write %s as %r", link.path, form.name, exc_info=error)
        raise VaultProblem(link.path, f"cannot be written as {form.name!r} ({type(error).__name__})") from error
    about = target.stat()
    write_private(target, data, about.st_mode & 0o700, owner=(about.st_uid, about.st_gid))


def check_owner(path: Path) -> None:
    """A file that is replaced has to stay its owner's. Raises ``VaultProblem`` if we cannot see to that."""
    if hasattr(os, "geteuid") and os.geteuid() not in (0, path.stat().st_uid):
        raise VaultProblem(path, "belongs to another user, and can only be copied")


def _read(path: Path) -> bytes:
    """Read the file. A program that writes in place truncates it first, so an empty file is read again for a moment."""
    for _ in range(_LOOKS):
        data = read_small(path)
        if data.strip():
            return data
        time.sleep(_MOMENT_S)
    return read_small(path)


def real(link: Link) -> Path:
    """The target of a symbolic link: the target is replaced and locked, not the link."""
    return Path(os.path.realpath(link.path))


def beside(stored: StoredCredential, what: str) -> Path | None:
    """A credential's lock and journal. Those of a linked file are next to it, for all proxies that share it."""
    if stored.link is not None:
        target = real(stored.link)
        return target.with_name(f".{target.name}.proxy-core.{what}")
    return stored.path.with_name(f".{stored.path.name}.{what}") if stored.path else None
