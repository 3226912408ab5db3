"""The vault: stored credentials, each in a private file, or linked to another program's file.

All methods access files and may take milliseconds, so call them in a thread. Reading and
replacing a credential's file happens under a short lock per provider. A refresh also holds
:meth:`Vault.lock`, from reading the old token to saving the new one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core.credentials.encryption import PLAIN, Encryption
from proxy_core.credentials.journal import Journal
from proxy_core.credentials.linked_files import beside, check_owner, read_foreign, write_foreign
from proxy_core.credentials.locks import CredentialLock, short_lock
from proxy_core.credentials.own_files import check_keys, looks, own_files, prepare, read_own, write_anew
from proxy_core.credentials.stored import Link, LockedFile, NeedsLogin, StoredCredential, VaultProblem, digest, to_json
from proxy_core.files import files_in, stamp, write_private
from proxy_core.interfaces import TokenFile, Tokens

_NAME = re.compile(r"[A-Za-z0-9_@+][A-Za-z0-9._@+-]{0,99}")
_ENVIRONMENT = "environment"


class Stale(Exception):
    """The stored refresh token has changed in the meantime. ``current`` is what is stored now."""

    def __init__(self, current: StoredCredential) -> None:
        super().__init__("newer tokens are stored already")
        self.current = current


class Contents(Struct, frozen=True):
    """A provider's credentials, sorted by name, and the problems of its files, readable or not."""

    credentials: Sequence[StoredCredential]
    problems: Sequence[VaultProblem] = ()


class _Unsaved(Struct, frozen=True):
    tokens: Tokens
    expected: str
    lock: CredentialLock | None


class Vault:
    """The credentials folder. ``files`` are the formats of other programs' logins, from the refreshers."""

    def __init__(self, folder: Path, files: Iterable[TokenFile] = (), encryption: Encryption = PLAIN) -> None:
        self.folder = folder
        self._encryption = encryption
        self._formats: dict[str, TokenFile] = {}
        self._unsaved: dict[Path, _Unsaved] = {}
        #: What was last read of credentials that are linked to a file of another program.
        self._whole: dict[Path, StoredCredential] = {}
        #: The current state of credentials without a file.
        self._memory: dict[str, StoredCredential] = {}
        self.know(files)

    def know(self, files: Iterable[TokenFile]) -> None:
        """Add formats."""
        self._formats |= {file.name: file for file in files}

    # --- Reading -------------------------------------------------------------------------

    def providers(self) -> list[str]:
        """Names of the providers that have a folder, sorted."""
        entries = files_in(self.folder, "*")
        return [entry.name for entry in entries if entry.is_dir() and _NAME.fullmatch(entry.name)]

    def all(self, provider: str) -> list[StoredCredential]:
        """All readable credentials, by name. :meth:`load` also reports problems."""
        return list(self.load(provider).credentials)

    def load(self, provider: str) -> Contents:
        """All credentials of a provider. A damaged file is reported as a problem; the others load.

        A linked file may be in the middle of being written: its credential stays, with the tokens last read.
        """
        found, problems = [], []
        for path in own_files(self.folder / provider):
            try:
                found.append(self._read(path, provider))
            except VaultProblem as problem:
                problems.append(problem)
                found += self._last_whole(path, provider, problem.why)
                continue
            problems += looks(path, self._encryption)
        return Contents(found, problems)

    def read(self, stored: StoredCredential) -> StoredCredential:
        """The current version of the credential. Raises ``VaultProblem``."""
        if stored.path is None:
            kept = self._memory.get(_key(stored))
            return kept if kept is not None and kept.seed == stored.seed else stored
        return self._read(stored.path, stored.provider)

    def changed(self, stored: StoredCredential) -> bool:
        """Whether a process or the other program has written since it was read. Costs one or two ``stat`` calls."""
        if stored.path is None:
            return self.read(stored) is not stored
        return bool(stored.problem) or self._stamp(stored.path, stored.link) != stored.stamp

    def _read(self, path: Path, provider: str) -> StoredCredential:
        """Read its file, then the linked file, then tokens that could not be saved yet."""
        stored = read_own(path, provider, self._encryption)
        seen = self._stamp(path, stored.link)
        if stored.link is not None:
            stored = self._follow(stored, stored.link)
        stored = self._with_unsaved(replace(stored, stamp=seen))
        needs = stored.needs_login
        if needs is not None and needs.token != digest(stored.refresh_token):
            # A user has logged in again since.
            stored = replace(stored, needs_login=None)
        if stored.link is not None:
            self._whole[path] = stored
        return stored

    def _last_whole(self, path: Path, provider: str, problem: str) -> list[StoredCredential]:
        """A linked credential whose file cannot be read now, as it was last read; none if its own file is damaged."""
        try:
            own = read_own(path, provider, self._encryption)
        except VaultProblem:
            return []
        if own.link is None:
            return []
        whole = self._whole.get(path)
        if whole is None or whole.link != own.link:
            whole = own
        return [replace(whole, disabled=own.disabled, problem=problem)]

    def _follow(self, stored: StoredCredential, link: Link) -> StoredCredential:
        form = self._formats.get(link.format)
        if form is None:
            raise VaultProblem(
                link.path, f"no active plugin reads files of format {link.format!r}; is its plugin active?"
            )
        needs, found = stored.needs_login, read_foreign(link.path, form)
        if stored.of_another_account(found):
            stored = replace(stored, tier=None, details={})  # they describe the account that was there before
        return replace(stored.with_tokens(found), needs_login=needs)

    def _with_unsaved(self, stored: StoredCredential) -> StoredCredential:
        assert stored.path is not None
        unsaved = self._unsaved.get(stored.path)
        if unsaved is None:
            return stored
        if digest(stored.refresh_token) != unsaved.expected:
            self._forget_unsaved(stored.path)
            return stored
        return stored.with_tokens(unsaved.tokens)

    def _stamp(self, path: Path, link: Link | None) -> tuple[tuple[int, int, int] | None, ...]:
        return (stamp(path),) if link is None else (stamp(path), stamp(link.path))

    # --- Writing -------------------------------------------------------------------------

    def add(self, stored: StoredCredential, *, replace_it: bool = False) -> StoredCredential:
        """Store a new credential under its name. Raises ``FileExistsError``, ``ValueError`` (the name), ``OSError``,
        ``VaultProblem``.
        """
        path = self.path_of(stored.provider, stored.name)
        self.check_keys()
        prepare(path.parent, self.folder)
        with self._writing(path):
            if path.exists() and not replace_it:
                raise FileExistsError(f"{stored.provider} already has a credential {stored.name!r}")
            self._write(replace(stored, path=path))
            self._forget_unsaved(path)
        return self._read(path, stored.provider)

    def remove(self, stored: StoredCredential) -> None:
        """Delete the credential. A linked file is kept, because it is not ours. Raises ``OSError``."""
        assert stored.path is not None
        with self._writing(stored.path):
            stored.path.unlink(missing_ok=True)
            self._forget_unsaved(stored.path)
            for path in (self.journal_path(stored), beside(stored, "lock")):
                if path is not None and stored.link is None:
                    path.unlink(missing_ok=True)

    def set_disabled(self, stored: StoredCredential, disabled: bool) -> StoredCredential:
        """Raises ``VaultProblem``, ``OSError``."""
        return self._change(stored, lambda now: replace(now, disabled=disabled))

    def mark_needs_login(self, stored: StoredCredential, why: str, since: datetime) -> StoredCredential:
        """Take it out of rotation until its refresh token changes. Raises ``VaultProblem``, ``OSError``."""
        mark = NeedsLogin(why=why, since=since, token=digest(stored.refresh_token))
        if stored.path is None:
            self._memory[_key(stored)] = marked = replace(self.read(stored), needs_login=mark)
            return marked
        return self._change(stored, lambda now: replace(now, needs_login=mark))

    def save_tokens(self, stored: StoredCredential, tokens: Tokens, expected: SecretStr | None) -> StoredCredential:
        """Replace the tokens if the stored refresh token is still ``expected``, so that a late writer changes nothing.

        The result is durable when this returns. Raises ``Stale``, ``VaultProblem``, ``OSError``.
        """
        if stored.path is None:
            now = self.read(stored)
            if digest(now.refresh_token) != digest(expected):
                raise Stale(now)
            self._memory[_key(stored)] = new = now.with_tokens(tokens)
            return new
        with self._writing(stored.path):
            now = self._read(stored.path, stored.provider)
            if digest(now.refresh_token) != digest(expected):
                raise Stale(now)
            new = now.with_tokens(tokens)
            if new.link is not None:
                write_foreign(new, new.link, self._formats[new.link.format])
            if new.link is None or to_json(new) != to_json(now):
                self._write(new)
        return self._read(stored.path, stored.provider)

    def login(self, stored: StoredCredential, tokens: Tokens) -> StoredCredential:
        """Replace the tokens unconditionally, after a user logged in again. Raises ``VaultProblem``, ``OSError``."""
        return self.save_tokens(stored, tokens, self.read(stored).refresh_token)

    def path_of(self, provider: str, name: str) -> Path:
        """Raises ``ValueError`` for an invalid name."""
        for word in (provider, name):
            if not _NAME.fullmatch(word):
                raise ValueError(
                    f"{word!r} is not a valid name: use letters (A-Z), digits and _ @ + and, not first, . -"
                )
        return self.folder / provider / f"{name}.json"

    def free_name(self, provider: str, wanted: str | None) -> str:
        """``wanted`` (for example an address) as a valid name, or the first free number."""
        base = re.sub(r"[^A-Za-z0-9._@+-]+", "-", wanted or "").strip(".-")[:80] or "1"
        name, number = base, 2
        while self.path_of(provider, name).exists():
            name = str(number) if base == "1" else f"{base}-{number}"
            number += 1
        return name

    def _change(
        self, stored: StoredCredential, change: Callable[[StoredCredential], StoredCredential]
    ) -> StoredCredential:
        assert stored.path is not None
        with self._writing(stored.path):
            self._write(change(self._read(stored.path, stored.provider)))
        return self._read(stored.path, stored.provider)

    def _writing(self, path: Path) -> AbstractContextManager[None]:
        return short_lock(path.parent / ".lock")

    def _write(self, stored: StoredCredential) -> None:
        assert stored.path is not None
        write_private(stored.path, self._encryption.encrypted(to_json(stored)))

    def check_keys(self) -> None:
        """Raises :class:`LockedFile` if a file has another key: what is written beside it could not be used with it."""
        check_keys(self.folder, self._encryption)

    def encrypt(self, *, undo: bool = False) -> int:
        """Write all credentials anew, encrypted with the first key or, to ``undo`` that, plainly; returns how many.

        If one of them cannot be read, none is written. Raises ``VaultProblem``.
        """
        return write_anew(self.folder, self._encryption, PLAIN if undo else self._encryption)

    # --- Importing -----------------------------------------------------------------------

    def import_tokens(
        self, provider: str, kind: str, found: Tokens, origin: str, *, name: str | None = None
    ) -> StoredCredential:
        """Copy another program's tokens. If they rotate, that program must stop using them. Raises as ``add`` does."""
        name = name or self.free_name(provider, found.identity)
        blank = StoredCredential(provider=provider, name=name, kind=kind, origin=origin)
        return self.add(blank.with_tokens(found))

    def import_link(
        self, provider: str, kind: str, path: Path, form: TokenFile, *, name: str | None = None
    ) -> StoredCredential:
        """Link another program's file: read it whenever it changes, write new tokens to it. Raises as ``add`` does."""
        if form.write is None:
            raise VaultProblem(path, f"files of {form.name!r} can only be copied")
        self._formats.setdefault(form.name, form)
        path = Path(os.path.abspath(path))
        found = read_foreign(path, form)
        check_owner(path)
        link = Link(path=path, format=form.name)
        name = name or self.free_name(provider, found.identity)
        blank = StoredCredential(provider=provider, name=name, kind=kind, link=link, origin=f"linked to {path}")
        return self.add(replace(blank, identity=found.identity))

    # --- Credentials from the environment ------------------------------------------------

    def adopt(self, given: Iterable[StoredCredential]) -> list[StoredCredential]:
        """Credentials from the environment, with the tokens that have replaced theirs.

        A rotated token cannot be written back into a variable, so the vault keeps it until the variable
        contains a different one. If the folder is not writable, each process keeps its tokens in memory.
        """
        return [self._adopt(stored) for stored in given]

    def _adopt(self, given: StoredCredential) -> StoredCredential:
        path = self.folder / given.provider / _ENVIRONMENT / f"{given.name}.json"
        given = replace(given, path=path, seed=digest(given.refresh_token))
        if given.refresh_token is None:
            return replace(given, path=None)
        try:
            prepare(path.parent, self.folder)
            with self._writing(path):
                try:
                    kept = self._read(path, given.provider)
                except LockedFile:
                    raise
                except VaultProblem:
                    kept = None
                if kept is None or kept.seed != given.seed:
                    self.check_keys()
                    self._write(given)
            return self._read(path, given.provider)
        except (OSError, VaultProblem):
            return replace(given, path=None)

    # --- Refreshing ----------------------------------------------------------------------

    def lock(self, stored: StoredCredential, *, wait_s: float = 60.0) -> CredentialLock:
        """The lock, with the other program's, to hold from reading the refresh token to saving the next one."""
        path, foreign = beside(stored, "lock"), None
        if stored.link is not None:
            form = self._formats.get(stored.link.format)
            foreign = form.lock(stored.link.path) if form is not None and form.lock else None
        return CredentialLock(path or _key(stored), foreign, wait_s=wait_s)

    def journal(self, stored: StoredCredential) -> Journal | None:
        """The credential's journal; use it only while holding the lock."""
        path = self.journal_path(stored)
        # Next to a linked file, proxies with other keys have to read it, too.
        return Journal(path, PLAIN if stored.link else self._encryption) if path else None

    def journal_path(self, stored: StoredCredential) -> Path | None:
        """The journal's path; the file exists during a refresh, or after one that was interrupted."""
        return beside(stored, "journal")

    def interrupted(self, provider: str) -> list[StoredCredential]:
        """Credentials with a journal: a refresh is in progress in some process, or was interrupted. Read at startup."""
        return [stored for stored in self.all(provider) if (path := self.journal_path(stored)) and path.exists()]

    def keep_unsaved(
        self, stored: StoredCredential, tokens: Tokens, lock: CredentialLock | None = None
    ) -> StoredCredential:
        """Keep tokens that could not be written in memory; :meth:`read` returns them until they are written.

        ``lock`` is kept too if no other process could find out that the old token has been used.
        """
        assert stored.path is not None
        self._unsaved[stored.path] = _Unsaved(tokens, digest(stored.refresh_token), lock)
        return stored.with_tokens(tokens)

    def unsaved(self) -> Sequence[Path]:
        """Credentials whose latest tokens are only in memory."""
        return list(self._unsaved)

    def is_unsaved(self, stored: StoredCredential) -> bool:
        return stored.path in self._unsaved

    def holds_lock(self, stored: StoredCredential) -> bool:
        """Whether this process kept the lock together with unsaved tokens."""
        unsaved = self._unsaved.get(stored.path) if stored.path else None
        return unsaved is not None and unsaved.lock is not None

    def save_unsaved(self, stored: StoredCredential) -> StoredCredential:
        """Try again to save them. Raises ``VaultProblem``, ``OSError`` if that fails again."""
        assert stored.path is not None
        unsaved = self._unsaved.pop(stored.path, None)
        if unsaved is None:
            return self.read(stored)
        try:
            on_disk = self._read(stored.path, stored.provider)
            if digest(on_disk.refresh_token) == unsaved.expected:
                on_disk = self.save_tokens(on_disk, unsaved.tokens, on_disk.refresh_token)
        except (OSError, VaultProblem):
            self._unsaved[stored.path] = unsaved
            raise
        if unsaved.lock is not None:
            unsaved.lock.release()
        return on_disk

    def _forget_unsaved(self, path: Path) -> None:
        unsaved = self._unsaved.pop(path, None)
        if unsaved is not None and unsaved.lock is not None:
            unsaved.lock.release()


def _key(stored: StoredCredential) -> str:
    return f"{stored.provider}/{stored.name}"
