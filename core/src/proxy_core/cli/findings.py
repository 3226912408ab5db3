"""What is wrong on this machine: files and their modes, credentials, sockets, the store."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from proxy_core.cli.accounts import Account, Accounts
from proxy_core.cli.common import printable
from proxy_core.errors import SetupError
from proxy_core.interfaces import Check
from proxy_core.runtime.stores import open_store
from proxy_core.server.serve import is_loopback
from proxy_core.settings.loading import LoadedSettings

_STORE_S = 10.0
#: No refresh takes this long, so who wrote the journal is gone.
_JOURNAL_S = 300.0
_ABANDONED_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``what`` is the matter and what to ``do``. A ``note`` needs nothing done. ``fix`` does it."""

    area: str
    what: str
    do: str = ""
    note: bool = False
    fix: Callable[[], None] | None = None


# --- Files -------------------------------------------------------------------------------


def of_files(accounts: Accounts) -> Iterator[Finding]:
    """Modes of the data folder and of what is private in it."""
    if not hasattr(os, "getuid"):
        return
    folder, vault = accounts.loaded.data_dir, accounts.vault.folder
    if not folder.is_dir():
        return
    yield from _mode(folder, 0o700)
    yield from (f for name in ("client.key", "admin.key", "state.key", "state.db") for f in _mode(folder / name, 0o600))
    for path in sorted([vault, *vault.rglob("*")]) if vault.is_dir() else ():
        if path.is_symlink():
            continue
        yield from _mode(path, 0o700 if path.is_dir() else 0o600)
        if path.name.endswith(".tmp") and _age_s(path) > _ABANDONED_S:
            yield Finding(
                area="files",
                what=f"{path} was left by a killed process and holds tokens",
                do="delete it",
                fix=path.unlink,
            )
    file = accounts.loaded.sources.file
    for path in dict.fromkeys(p for p in (file, *_dotenvs(accounts.loaded)) if p is not None):
        if path.stat().st_mode & 0o077:
            words = f"others may read {path} (mode {_octal(path)})"
            yield Finding(area="files", what=words, do=f"if it holds keys: chmod 600 {path}", note=True)


def _mode(path: Path, wanted: int) -> Iterator[Finding]:
    with suppress(OSError):
        if path.stat().st_mode & 0o077:
            yield Finding(
                area="files",
                what=f"others may enter {path}" if path.is_dir() else f"others may read {path}",
                do=f"it has mode {_octal(path)}: chmod {wanted:o} {path}",
                fix=lambda: path.chmod(wanted),
            )


def _octal(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:04o}"


def _dotenvs(loaded: LoadedSettings) -> list[Path]:
    return sorted({v.file for v in loaded.sources.variables.values() if v.file is not None})


def _age_s(path: Path) -> float:
    with suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0


def of_sockets(loaded: LoadedSettings) -> Iterator[Finding]:
    """Sockets of processes that are gone."""
    for path in sorted(loaded.runtime_dir.glob("*.sock")) if hasattr(os, "getuid") else ():
        if path.stem.isdigit() and not _lives(int(path.stem)):
            yield Finding(
                area="sockets", what=f"{path} was left by a process that is gone", do="delete it", fix=path.unlink
            )


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


# --- Credentials -------------------------------------------------------------------------


def of_credentials(accounts: Accounts) -> Iterator[Finding]:
    """Damaged, ended, doubled, interrupted."""
    for provider in accounts.names():
        for account in accounts.of(provider):
            yield from _of_account(account)
            if account.source == "link" and hasattr(os, "getuid"):
                yield from _mode(Path(account.place), 0o600)
        for stored in accounts.vault.interrupted(provider):
            path = accounts.vault.journal_path(stored)
            if path is not None and _age_s(path) > _JOURNAL_S:
                words = f"{provider} {stored.name}: a renewal was interrupted"
                yield Finding(area="credentials", what=words, do="the next one carries it on", note=True)


def _of_account(account: Account) -> Iterator[Finding]:
    called = f"{account.provider} {account.name}"
    if account.state == "damaged":
        yield Finding(
            area="credentials", what=f"{called}: {account.why}", do=f"mend or delete {account.place}, then log in again"
        )
    elif account.state == "needs login":
        yield Finding(area="credentials", what=f"{called}: {account.why}", do=f"proxy-core login {account.provider}")
    elif account.state in ("expired", "expires soon"):
        renews = account.stored is not None and account.stored.refresh_token is not None
        do = account.why if renews else f"proxy-core login {account.provider}"
        yield Finding(area="credentials", what=f"{called}: {account.state}", do=do, note=renews)
    elif account.state == "unknown kind":
        yield Finding(area="credentials", what=f"{called}: {account.why}", do="install or enable its plugin")
    elif account.state == "disabled":
        yield Finding(area="credentials", what=f"{called} is disabled", note=True)
    if account.same_as:
        words = f"{called} is the same account as {account.same_as}"
        yield Finding(area="credentials", what=words, do="remove one of them")


# --- Serving -----------------------------------------------------------------------------


def of_serving(loaded: LoadedSettings) -> Iterator[Finding]:
    """Who can reach it, and what its workers share."""
    server, url = loaded.settings.server, loaded.settings.state.url
    if not is_loopback(server.host) and not server.tls_certificate:
        yield Finding(
            area="server",
            what=f"it listens on {server.host} without TLS: keys and prompts pass in plain text",
            do="set server.tls_certificate and tls_key, or listen on loopback behind something that speaks TLS",
        )
    if server.workers > 1 and url is not None and url.get_secret_value().startswith("memory:"):
        yield Finding(
            area="state",
            what=f"{server.workers} workers with state.url = memory: each counts and limits for itself",
            do="leave state.url unset, or use one worker",
        )


def of_store(loaded: LoadedSettings) -> Iterator[Finding]:
    """The store opens, and can be read."""
    if loaded.settings.state.url is None and not (loaded.data_dir / "state.db").exists():
        return

    async def look() -> None:
        async with asyncio.timeout(_STORE_S):
            backend = await open_store(loaded)
            try:
                today = datetime.now(UTC).date()
                await backend.usage(today, today)
            finally:
                await backend.close()

    try:
        asyncio.run(look())
    except SetupError as error:
        yield Finding(area="state", what=printable(str(error)), do="mend state.url")
    except Exception as error:  # a store may fail in any way; its words may hold the URL's password
        yield Finding(area="state", what=f"the store cannot be read: {type(error).__name__}", do="see the program log")


def of_checks(checks: Sequence[Check]) -> Iterator[Finding]:
    """What plugins found themselves."""
    for check in checks:
        try:
            problem = check.run()
        except Exception as error:  # a plugin's check may fail in any way
            problem = f"the check failed: {type(error).__name__}"
        if problem:
            yield Finding(area=check.name, what=printable(problem))
