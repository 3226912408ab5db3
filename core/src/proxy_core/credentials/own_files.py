"""The vault's own files: which there are, what they say, and what is wrong with them on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from proxy_core.credentials.encryption import Encryption, Locked
from proxy_core.credentials.stored import LockedFile, StoredCredential, VaultProblem, from_json
from proxy_core.files import files_in, read_small


def own_files(folder: Path) -> list[Path]:
    """Those of a provider's credentials, sorted."""
    return [path for path in files_in(folder, "*.json") if not path.name.startswith(".")]


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
