"""All configured credentials, with their origin and state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from msgspec import Struct
from msgspec.structs import replace

from proxy_core import CredentialRefresher, Provider, SettingsError, repr_without
from proxy_core.cli.api import (
    Catalog,
    Fingerprints,
    LoadedSettings,
    LockedFile,
    StoredCredential,
    Vault,
    VaultProblem,
    catalog_of,
    check_storing,
    digest,
    environment_name,
    fingerprints_of,
    from_environment,
    lines_of,
    load,
    read_settings,
    vault_of,
)

API_KEY = "api_key"


class Account(Struct, frozen=True, kw_only=True):
    """One credential from any source. ``place`` is its file or the setting that defines it; ``state`` is a keyword."""

    __repr__ = repr_without("stored")

    provider: str
    name: str
    id: str
    kind: str
    place: str
    source: str
    state: str = "ok"
    why: str = ""
    stored: StoredCredential | None = None
    same_as: str = ""


class Accounts(Struct, frozen=True, kw_only=True):
    """Settings, the plugins' catalog, and the vault."""

    loaded: LoadedSettings
    catalog: Catalog
    vault: Vault
    fingerprint: Fingerprints

    def provider(self, wanted: str, also: Sequence[str] = ()) -> Provider:
        """Find a provider by name (``-`` and ``_`` are equivalent) or by credential kind. Raises ``UsageError``, which
        names the ones that there are, and ``also``."""
        spelled = environment_name(wanted)
        providers = self.catalog.providers
        found = [p for n, p in providers.items() if n == wanted] or [
            p for n, p in providers.items() if environment_name(n) == spelled
        ]
        found = found or [p for p in providers.values() if environment_name(p.credential_kind) == spelled]
        if len(found) == 1:
            return found[0]
        names = ", ".join(p.name for p in found) or ", ".join(sorted({*providers, *also})) or "none"
        what = "matches several providers, choose one" if found else "is not a known provider; the providers are"
        raise click.UsageError(f"{wanted!r} {what}: {names} (`proxy-core plugins` shows why one is missing)")

    def taking_keys(self, wanted: str) -> str:
        """The name of a provider that takes keys, also of one that only a key brings about. Raises ``UsageError``."""
        active = (plugin.info for plugin in self.catalog.plugins if plugin.state == "active")
        presets = [preset for info in active if info is not None for preset in info.presets]
        for name in presets:
            if environment_name(name) == environment_name(wanted) and name not in self.catalog.providers:
                return name
        found = self.provider(wanted, presets)
        if found.credential_kind != API_KEY and not found.accepts_api_keys:
            raise click.UsageError(f"{found.name} takes a login, not an API key: proxy-core login {found.name}")
        return found.name

    def refresher(self, provider: Provider) -> CredentialRefresher | None:
        return self.catalog.refreshers.get(provider.credential_kind)

    def names(self) -> list[str]:
        """All active providers, and those that only the vault knows."""
        return sorted({*self.catalog.providers, *self.vault.providers()})

    def of(self, provider: str, now: datetime | None = None) -> list[Account]:
        """All credentials of one provider from every source, with duplicates marked."""
        now = now or datetime.now(UTC)
        contents = self.vault.load(provider)
        found = [self._stored(stored, now) for stored in contents.credentials]
        known = {path for s in contents.credentials for path in (s.path, s.link.path if s.link else None)}
        found += [_damaged(provider, p) for p in contents.problems if p.path not in known]
        found += [self._stored(stored, now) for stored in self.environment(provider)]
        found += self._keys(provider)
        return _marked(found)

    def environment(self, provider: str) -> list[StoredCredential]:
        """Logins from variables, with refreshed tokens where the vault has them. Writes nothing."""
        known = self.catalog.providers.get(provider)
        refresher = self.refresher(known) if known else None
        if refresher is None or not refresher.environment:
            return []
        variables = {name: v.value for name, v in self.loaded.sources.variables.items()}
        given = from_environment(refresher.environment, variables, provider=provider, kind=refresher.kind)
        return [self._kept(stored) for stored in given]

    def _kept(self, given: StoredCredential) -> StoredCredential:
        path = self.vault.folder / given.provider / "environment" / f"{given.name}.json"
        try:
            kept = self.vault.read(replace(given, path=path))
        except VaultProblem:
            return given
        return kept if kept.seed == digest(given.refresh_token) else given

    def _keys(self, provider: str) -> Iterator[Account]:
        settings = self.loaded.provider(provider, self.catalog.rotations)
        sources = self.loaded.sources
        variables = sources.variables_by_key(provider)
        elsewhere = sources.nested(("providers", provider, "api_keys"))
        for index, entry in enumerate(settings.api_keys):
            variable = variables.get(entry.key.get_secret_value())
            name = variable.label if variable else f"providers.{provider}.api_keys[{index}]"
            setter = variable or elsewhere
            stored = StoredCredential(
                provider=provider,
                name=entry.label or name,
                kind=API_KEY,
                access_token=entry.key,
                tier=entry.tier,
                priority=entry.priority,
                origin=name,
            )
            yield Account(
                provider=provider,
                name=stored.name,
                id=self.fingerprint(entry.key.get_secret_value()),
                kind=API_KEY,
                place=str(setter or sources.file or "settings"),
                source="environment" if setter else "settings",
                stored=stored,
            )

    def _stored(self, stored: StoredCredential, now: datetime) -> Account:
        if not stored.is_in_vault:
            place, source = stored.origin, "environment"
        elif stored.link is not None:
            place, source = str(stored.link.path), "link"
        else:
            place, source = str(stored.path), "file"
        state, why = self._state(stored, now)
        return Account(
            provider=stored.provider,
            name=stored.name,
            id=stored.credential(self.fingerprint).id,
            kind=stored.kind,
            place=place,
            source=source,
            state=state,
            why=why,
            stored=stored,
        )

    def _state(self, stored: StoredCredential, now: datetime) -> tuple[str, str]:
        if stored.disabled:
            return "disabled", ""
        if stored.problem:
            return "unreadable", stored.problem
        if stored.needs_login is not None:
            return "needs login", stored.needs_login.why
        refresher = self.catalog.refreshers.get(stored.kind)
        if stored.kind != API_KEY and refresher is None:
            return "unknown kind", f"no active plugin refreshes {stored.kind!r}"
        if stored.expires_at is None:
            return "ok", ""
        if stored.expires_at <= now:
            return (
                "expired",
                "a running proxy refreshes it" if stored.refresh_token else "it cannot be refreshed: log in again",
            )
        if refresher is not None and stored.due(now, refresher.refresh_margin_s):
            return "expires soon", "a running proxy refreshes it" if stored.refresh_token else "log in again"
        return "ok", ""

    def matching(self, provider: str, name: str | None) -> list[Account]:
        """Find credentials by name or id; without a name, all. Raises ``UsageError`` if there is no such credential."""
        found = [a for a in self.of(provider) if name in (None, a.name, a.id)]
        if not found and name is not None:
            there = ", ".join(a.name for a in self.of(provider)) or "none"
            raise click.UsageError(f"{provider} has no credential {name!r}; it has: {there}")
        return found

    def in_vault(self, provider: str, name: str) -> StoredCredential:
        """A credential that commands may change. Raises ``ClickException`` for one from a variable or the settings."""
        account = next((a for a in self.matching(provider, name) if a.source in ("file", "link")), None)
        if account is None:
            account = self.matching(provider, name)[0]
            raise click.ClickException(f"{name} is set by {account.place}; change it there")
        if account.stored is None:
            raise click.ClickException(f"{account.place}: {account.why}; repair or delete that file")
        return account.stored


def _damaged(provider: str, problem: VaultProblem) -> Account:
    return Account(
        provider=provider,
        name=problem.path.stem,
        id="-",
        kind="-",
        place=str(problem.path),
        source="file",
        state="locked" if isinstance(problem, LockedFile) else "damaged",
        why=problem.why,
    )


def _marked(found: Sequence[Account]) -> list[Account]:
    first: dict[str, str] = {}
    marked = []
    for account in found:
        if account.stored is None:
            marked.append(account)
            continue
        identity = account.stored.identity or digest(account.stored.refresh_token) or account.id
        other = first.setdefault(identity, account.name)
        marked.append(replace(account, same_as=other) if other != account.name else account)
    return marked


def open_accounts(
    config: Path | None, disable_plugin: Sequence[str] = (), providers: Mapping[str, Any] | None = None
) -> Accounts:
    """Read settings and open the vault. ``providers``: as if they were in the settings. Raises ``SetupError``."""
    loaded = read_settings(config, disable_plugin)
    if providers:
        loaded = load(config, overrides={**loaded.overrides, "providers": providers})
    return accounts_of(loaded)


def accounts_of(loaded: LoadedSettings) -> Accounts:
    """The accounts of an installation whose settings have been read. Raises ``SetupError``."""
    catalog = catalog_of(loaded, _HOOKS)
    vault = vault_of(loaded, catalog)
    return Accounts(loaded=loaded, catalog=catalog, vault=vault, fingerprint=fingerprints_of(loaded))


_HOOKS = ("proxy_dialects", "proxy_credential_refreshers", "proxy_providers")


def checked_name(vault: Vault, provider: str, name: str | None) -> str | None:
    """Check a name from the command line. Raises ``UsageError``."""
    if name is not None:
        try:
            vault.path_of(provider, name)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    return name


def check_keys(vault: Vault) -> None:
    """What can be stored only beside files of another key is not worth asking for. Raises ``ClickException``."""
    try:
        vault.check_keys()
    except VaultProblem as error:
        raise file_error(error) from error


def check_storing_for(accounts: Accounts, provider: str) -> None:
    """What would stop the next start is not stored. Raises ``ClickException``."""
    try:
        check_storing(accounts.loaded, accounts.catalog, provider)
    except SettingsError as error:
        raise click.ClickException(f"{'; '.join(lines_of(error))}; nothing was saved") from error


def file_error(error: OSError | VaultProblem | SettingsError) -> click.ClickException:
    """A failed file operation as a one-line error."""
    if isinstance(error, OSError):
        return click.ClickException(f"{error.filename or 'a file'}: {error.strerror or error}")
    return click.ClickException(str(error))
