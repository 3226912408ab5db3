"""The vault's own files: which there are, what they say, and what is wrong with them on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from proxy_core.credentials.encryption import Encryption, Locked
from proxy_core.credentials.locks import short_lock
from proxy_core.credentials.stored import LockedFile, StoredCredential, VaultProblem, from_json, to_json
from proxy_core.files import files_in, private_folder, read_small, write_private


def own_files(folder: Path) -> list[Path]:
    """Those of a provider's credentials, sorted."""
    return [path for path in files_in(folder, "*.json") if not path.name.startswith(".")]


def all_files(folder: Path) -> list[Path]:
    """Those of all providers, with what the vault keeps for variables."""
    found = files_in(folder, "*/*.json") + files_in(folder, "*/environment/*.json")
    return [path for path in found if not path.name.startswith(".")]


def check_keys(folder: Path, encryption: Encryption) -> None:
    """Raises :class:`LockedFile` if there is a file that the keys cannot decrypt."""
    for path in all_files(folder):
        with suppress(OSError):  # what cannot be read at all, no key would open
            try:
                encryption.decrypted(read_small(path))
            except Locked as error:
                advice = "add its key to credentials.vault_keys, or move the file away; nothing was changed"
                raise LockedFile(path, f"{error}: {advice}") from error


def prepare(folder: Path, vault: Path) -> None:
    """Create a folder of the vault that only its owner can enter. Raises ``OSError``."""
    private_folder(folder)
    for path in (folder, *folder.parents):
        if path.is_relative_to(vault) and path.stat().st_mode & 0o077:
            path.chmod(0o700)


def read_own(path: Path, provider: str, encryption: Encryption) -> StoredCredential:
    """What its own file says. Raises ``VaultProblem``, :class:`LockedFile` if it cannot be decrypted."""
    try:
        return from_json(encryption.decrypted(read_small(path)), provider, path.stem, path)
    except Locked as error:
        raise LockedFile(path, str(error)) from error
    except FileNotFoundError:
        raise VaultProblem(path, "the file no longer exists") from None
    except OSError as error:
        raise VaultProblem(path, str(error.strerror)) from error
    except ValueError as error:
        raise VaultProblem(path, str(error)) from error


def looks(path: Path, encryption: Encryption) -> Iterator[VaultProblem]:
    """What is wrong with a file that can be read."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0
    if mode & 0o077 and hasattr(os, "getuid"):
        yield VaultProblem(path, f"other users may read it (mode {mode:04o}): chmod 600 {path}")
    if encryption.has_keys and path.exists() and not encryption.covers(read_small(path)):
        yield VaultProblem(path, "it is not encrypted yet: proxy-core credentials encrypt")


def write_anew(folder: Path, old: Encryption, new: Encryption) -> int:
    """Encrypt all files of the vault differently; returns how many. If one cannot be read, none is written.

    Raises ``VaultProblem``.
    """
    check_keys(folder, old)
    paths = all_files(folder)

    def content(path: Path) -> bytes:
        return to_json(read_own(path, path.relative_to(folder).parts[0], old))

    for path in paths:
        try:
            content(path)
        except VaultProblem as problem:
            raise VaultProblem(path, f"{problem.why}: mend it, or move the file away; nothing was changed") from problem
    for done, path in enumerate(paths):
        try:
            with short_lock(path.parent / ".lock"):
                write_private(path, new.encrypted(content(path)))
        except OSError as error:
            how = f"{done} of {len(paths)} files were written anew, the others are as they were"
            raise VaultProblem(path, f"{error.strerror}: {how}") from error
    return len(paths)
