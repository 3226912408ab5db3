"""The checks of ``proxy-core doctor``: file modes, credentials, sockets, the store."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

from msgspec import Struct

from proxy_core import Check, SetupError, private_folder
from proxy_core.cli.api import LoadedSettings, open_store, printable
from proxy_plugin_accounts import Account, Accounts

_STORE_S = 10.0
#: No refresh takes this long, so the process that wrote the journal must have died.
_JOURNAL_S = 300.0
_ABANDONED_S = 60.0
#: States of credentials with which requests can be served, at the latest after a refresh.
_USABLE = ("ok", "expires soon", "expired")


class Finding(Struct, frozen=True, kw_only=True):
    """``what`` was found and what to ``do`` about it. A ``note`` needs no action. ``fix`` performs the action."""

    area: str
    what: str
    do: str = ""
    note: bool = False
    fix: Callable[[], None] | None = None


# --- Files -------------------------------------------------------------------------------


def of_files(accounts: Accounts) -> Iterator[Finding]:
    """File modes of the data folder and of the private files in it."""
    folder, vault = accounts.loaded.data_dir, accounts.vault.folder
    try:
        private_folder(folder)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        words = f"nothing can be written in the data folder {folder} ({error.strerror})"
        yield Finding(area="files", what=words, do="make it writable for the proxy's user, or set PROXY_DATA_DIR")
    if not _is_open(folder):
        return
    yield from _mode(folder, 0o700)
    yield from (f for name in ("client.key", "admin.key", "state.key", "state.db") for f in _mode(folder / name, 0o600))
    for path in sorted([vault, *vault.rglob("*")]) if vault.is_dir() else ():
        if path.is_symlink():
            continue
        yield from _mode(path, 0o700 if path.is_dir() else 0o600)
        if path.name.endswith(".tmp"):
            yield _left_behind(path)
    file = accounts.loaded.sources.file
    for path in dict.fromkeys(p for p in (file, *_dotenvs(accounts.loaded)) if p is not None):
        if path.stat().st_mode & 0o077:
            words = f"other users may read {path} (mode {_octal(path)})"
            yield Finding(area="files", what=words, do=f"if it contains keys: chmod 600 {path}", note=True)


def _left_behind(path: Path) -> Finding:
    if _age_s(path) > _ABANDONED_S:
        what = f"{path} was left behind by a killed process and contains tokens"
        return Finding(area="files", what=what, do="delete it", fix=path.unlink)
    what = f"{path} contains tokens, and is being written or was left behind by a killed process"
    return Finding(area="files", what=what, do=f"if it is there after {_ABANDONED_S:.0f} s: doctor --fix", note=True)


def _is_open(folder: Path) -> bool:
    """Whether it is a folder that can be listed, on a system where modes and sockets are looked at."""
    with suppress(OSError):
        return hasattr(os, "getuid") and folder.is_dir() and bool([*folder.iterdir(), folder])
    return False


def _mode(path: Path, wanted: int) -> Iterator[Finding]:
    with suppress(OSError):
        if path.stat().st_mode & 0o077:
            yield Finding(
                area="files",
                what=f"other users may {'enter' if path.is_dir() else 'read'} {path} (mode {_octal(path)})",
                do=f"chmod {wanted:o} {path}",
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
    """Control sockets of processes that no longer run."""
    for path in sorted(loaded.runtime_dir.glob("*.sock")) if _is_open(loaded.runtime_dir) else ():
        if path.stem.isdigit() and not _lives(int(path.stem)):
            yield Finding(
                area="sockets", what=f"{path} was left behind by a dead process", do="delete it", fix=path.unlink
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
    """Damaged files, expired logins, duplicates, interrupted refreshes."""
    for provider in accounts.names():
        for account in accounts.of(provider):
            yield from _of_account(account)
            if account.source == "link" and hasattr(os, "getuid"):
                yield from _mode(Path(account.place), 0o600)
        for stored in accounts.vault.interrupted(provider):
            path = accounts.vault.journal_path(stored)
            if path is not None and _age_s(path) > _JOURNAL_S:
                words = f"{provider} {stored.name}: a token refresh was interrupted"
                yield Finding(area="credentials", what=words, do="the next refresh resumes it", note=True)


def _of_account(account: Account) -> Iterator[Finding]:
    called = f"{account.provider} {account.name}"
    if account.state == "damaged":
        yield Finding(
            area="credentials",
            what=f"{called}: {account.why}",
            do=f"repair or delete {account.place}, then log in again",
        )
    elif account.state == "locked":
        do = "add its key to credentials.vault_keys; nothing writes to the file meanwhile"
        yield Finding(area="credentials", what=f"{called}: {account.why}", do=do)
    elif account.state == "unreadable":
        do = f"log in again with the program that owns it, or: proxy-core credentials remove {called}"
        yield Finding(area="credentials", what=f"{called}: {account.place} {account.why}", do=do)
    elif account.state == "needs login":
        login = f"proxy-core login {account.provider}"
        do = "" if login in account.why else login
        yield Finding(area="credentials", what=f"{called}: {account.why}", do=do)
    elif account.state in ("expired", "expires soon"):
        refreshable = account.stored is not None and account.stored.refresh_token is not None
        do = account.why if refreshable else f"proxy-core login {account.provider}"
        yield Finding(area="credentials", what=f"{called}: {account.state}", do=do, note=refreshable)
    elif account.state == "unknown kind":
        yield Finding(area="credentials", what=f"{called}: {account.why}", do="install or enable its plugin")
    elif account.state == "disabled":
        yield Finding(area="credentials", what=f"{called} is disabled", note=True)
    if account.same_as:
        words = f"{called} is the same account as {account.same_as}"
        yield Finding(area="credentials", what=words, do="remove one of them")


# --- Providers ---------------------------------------------------------------------------


def of_providers(accounts: Accounts) -> Iterator[Finding]:
    """Whether any provider could serve a request."""
    for name, provider in accounts.catalog.providers.items():
        there = provider.credential_optional or any(account.state in _USABLE for account in accounts.of(name))
        if there and provider.lifecycle.status != "ended":
            return
    yield Finding(
        area="providers",
        what="no provider has a key or login that works, so no request can be served",
        do="proxy-core init sets one up, and proxy-core providers says what each needs",
    )


# --- Serving -----------------------------------------------------------------------------


def of_serving(loaded: LoadedSettings) -> Iterator[Finding]:
    """Exposure to the network, and state that workers do not share."""
    server, url = loaded.settings.server, loaded.settings.state.url
    if not server.is_loopback and not server.tls_certificate:
        yield Finding(
            area="server",
            what=f"the proxy listens on {server.host} without TLS: keys and prompts are sent in plain text",
            do="set server.tls_certificate and tls_key, or listen on loopback behind a TLS-terminating reverse proxy",
        )
    if server.workers > 1 and url is not None and url.get_secret_value().startswith("memory:"):
        yield Finding(
            area="state",
            what=f"{server.workers} workers with state.url = memory: each worker counts and limits separately",
            do="leave state.url unset, or use one worker",
        )


def of_store(loaded: LoadedSettings) -> Iterator[Finding]:
    """Whether the store can be opened and read."""
    if loaded.settings.state.url is None and not os.path.exists(loaded.data_dir / "state.db"):
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
        yield Finding(area="state", what=printable(str(error)), do="correct state.url")
    except Exception as error:  # a store may fail in any way; its message may contain the URL's password
        yield Finding(area="state", what=f"the store cannot be read: {type(error).__name__}", do="see the program log")


def of_checks(checks: Sequence[Check]) -> Iterator[Finding]:
    """The checks that plugins provide."""
    for check in checks:
        try:
            problem = check.run()
        except Exception as error:  # a plugin's check may fail in any way
            problem = f"the check failed: {type(error).__name__}"
        if problem:
            yield Finding(area=check.name, what=printable(problem))
