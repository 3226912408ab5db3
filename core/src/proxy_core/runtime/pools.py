"""Each provider's credentials, from settings and the vault; how they are rotated, and which need refreshing."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core.credentials.environment import from_environment
from proxy_core.credentials.fingerprint import Fingerprints
from proxy_core.credentials.login import LoginSpec
from proxy_core.credentials.stored import LockedFile, StoredCredential, VaultProblem
from proxy_core.credentials.vault import Vault
from proxy_core.errors import SettingsError
from proxy_core.interfaces import Credential, Provider
from proxy_core.plugins.registry import Catalog
from proxy_core.rotation.policy import Policy
from proxy_core.rotation.pool import Pool
from proxy_core.settings.loading import LoadedSettings
from proxy_core.settings.rotation import DEFAULT_PRIORITY, RotationSettings
from proxy_core.settings.schema import ProviderSettings

log = logging.getLogger("proxy_core.credentials")


class PoolPlan(Struct, frozen=True, kw_only=True):
    """The credentials of a provider's pool, and the policy for using them."""

    credentials: Sequence[Credential]
    policy: Policy


Stored = Mapping[str, Sequence[StoredCredential]]


def stored_credentials(catalog: Catalog, loaded: LoadedSettings, vault: Vault, *, adopt: bool = True) -> Stored:
    """Each provider's enabled credentials; otherwise like ``all_stored``.

    Raises ``SettingsError`` if there are some that cannot be decrypted.
    """
    locked: list[VaultProblem] = []
    found = all_stored(catalog, loaded, vault, adopt=adopt, locked=locked)
    if locked:
        raise SettingsError([str(problem) for problem in locked])
    return {name: [one for one in stored if not one.disabled] for name, stored in found.items()}


def all_stored(
    catalog: Catalog, loaded: LoadedSettings, vault: Vault, *, adopt: bool, locked: list[VaultProblem] | None = None
) -> Stored:
    """Each provider's credentials, from the vault and from environment variables.

    ``adopt``: give tokens from variables a file in which refreshed tokens are stored. ``locked`` receives the problems
    of those that cannot be decrypted; without it, they are like any other that cannot be read.
    """
    variables = {name: variable.value for name, variable in loaded.sources.variables.items()}
    found: dict[str, Sequence[StoredCredential]] = {}
    for name, provider in catalog.providers.items():
        contents = vault.load(name)
        if locked is not None:
            locked += [problem for problem in contents.problems if isinstance(problem, LockedFile)]
        for problem in contents.problems if adopt else ():
            log.warning("a credential of %s: %s", name, problem)
        stored = list(contents.credentials)
        refresher = catalog.refreshers.get(provider.credential_kind)
        if refresher is not None and refresher.environment is not None:
            given = from_environment(refresher.environment, variables, provider=name, kind=refresher.kind)
            stored += vault.adopt(given) if adopt else given
        found[name] = stored
    return found


def pool_plans(
    catalog: Catalog,
    settings: Mapping[str, ProviderSettings],
    loaded: LoadedSettings,
    stored: Stored,
    fingerprint: Fingerprints,
) -> dict[str, PoolPlan]:
    """A plan per provider. Raises ``SettingsError``."""
    routing = loaded.settings.routing
    rotations = {name: settings[name].rotation.over(p.rotation) for name, p in catalog.providers.items()}
    problems = _unknown(catalog, routing.selector, "routing.selector")
    for name, rotation in rotations.items():
        problems += _unknown(catalog, rotation.selector, f"providers.{name}.rotation.selector")
        problems += _wrong_names(rotation, f"providers.{name}.rotation", loaded.settings.clients or ("default",))
    if problems:
        raise SettingsError(problems)
    plans = {}
    for name, provider in catalog.providers.items():
        rotation = rotations[name]
        selector = catalog.selectors[rotation.selector or routing.selector]
        credentials = _credentials(provider, settings[name], loaded, stored[name], fingerprint)
        plans[name] = PoolPlan(credentials=credentials, policy=Policy(selector, rotation, routing))
    return plans


def login_specs(
    catalog: Catalog,
    plans: Mapping[str, PoolPlan],
    pools: Mapping[str, Pool],
    stored: Stored,
    read_at: float,
    fingerprint: Fingerprints,
) -> Iterator[LoginSpec]:
    """Every credential that has a refresher. ``read_at``: when credentials were read, monotonic seconds."""
    for provider, credentials in stored.items():
        left = {credential.id for credential in plans[provider].credentials}
        for one in credentials:
            refresher, name = catalog.refreshers.get(one.kind), one.credential(fingerprint).id
            if refresher is not None and name in left:
                left.discard(name)  # of two files for one account, the first counts
                yield LoginSpec(
                    id=name,
                    stored=one,
                    read_at=read_at,
                    refresher=refresher,
                    pool=pools[provider],
                )


def _unknown(catalog: Catalog, selector: str | None, key: str) -> list[str]:
    if selector is None or selector in catalog.selectors:
        return []
    return [f"{key}: {selector!r} is not one of {', '.join(sorted(catalog.selectors))}"]


def _wrong_names(rotation: RotationSettings, key: str, clients: Collection[str]) -> list[str]:
    names = [window.name for window in rotation.windows]
    problems = [f"{key}.windows: {name!r} is defined twice" for name in sorted(set(names)) if names.count(name) > 1]
    known = f"is not one of {', '.join(names)}" if names else f"is not defined: {key}.windows is empty"
    wanted: dict[str, str | None] = {f"caps[{n}]": cap.window for n, cap in enumerate(rotation.caps)}
    wanted |= {f"reserves[{n}]": reserve.window for n, reserve in enumerate(rotation.reserves)}
    problems += [f"{key}.{at}.window: {name!r} {known}" for at, name in wanted.items() if name and name not in names]
    for n, reserve in enumerate(rotation.reserves):
        missing = [glob for glob in reserve.clients if not any(fnmatchcase(name, glob) for name in clients)]
        problems += [f"{key}.reserves[{n}].clients: {glob!r} is none of {', '.join(clients)}" for glob in missing]
    return problems


def _credentials(
    provider: Provider,
    settings: ProviderSettings,
    loaded: LoadedSettings,
    stored: Sequence[StoredCredential],
    fingerprint: Fingerprints,
) -> list[Credential]:
    """API keys from settings and stored logins, each secret or account once; a placeholder if none is needed."""
    variables = loaded.sources.variables_by_key(provider.name)
    tiers = settings.rotation.over(provider.rotation).tiers
    found: dict[str, Credential] = {}
    for index, entry in enumerate(settings.api_keys):
        variable = variables.get(entry.key.get_secret_value())
        place = variable.label if variable is not None else f"providers.{provider.name}.api_keys[{index}]"
        priority = entry.priority if entry.priority is not None else tiers.get(entry.tier or "", DEFAULT_PRIORITY)
        credential = Credential(
            id=fingerprint(entry.key.get_secret_value()),
            provider=provider.name,
            kind="api_key",
            secret=entry.key,
            label=entry.label or place,
            tier=entry.tier,
            priority=priority,
        )
        found.setdefault(credential.id, credential)
    for one in stored:
        credential = one.credential(fingerprint)
        if one.priority is None:
            credential = replace(credential, priority=tiers.get(one.tier or "", DEFAULT_PRIORITY))
        found.setdefault(credential.id, credential)
    if not found and provider.credential_optional:
        blank = SecretStr("")
        return [Credential(id="anonymous", provider=provider.name, kind="none", secret=blank, label="none needed")]
    return list(found.values())
