"""API keys on their way into the vault: read from a file, a pipe or a terminal, and stored without duplicates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from pydantic import SecretStr, ValidationError

from proxy_core import FoundKey, Provider, ProviderSettings
from proxy_core.cli.api import StoredCredential, VaultProblem, decoded, printable
from proxy_plugin_accounts.accounts import API_KEY, Accounts, check_storing_for, checked_name, file_error
from proxy_plugin_accounts.terminal import TerminalPrompt, hidden

_MOST_READ = 100_000
_STDIN = Path("-")
_NOTHING = "no key was given; nothing was saved"


class NoKey(click.ClickException):
    """There was none, so nothing that could be wrong."""


# --- Reading -----------------------------------------------------------------------------


def keys_in(text: str) -> list[SecretStr]:
    """One key a line, in the form that settings accept; lines that are empty or begin with ``#`` are none.

    Raises ``ClickException``, also if there is no key at all.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise NoKey(_NOTHING)
    keys: dict[str, SecretStr] = {}
    for number, line in lines:
        try:
            [entry] = ProviderSettings.model_validate({"api_keys": [line]}).api_keys
        except ValidationError as error:
            where = f"line {number}: " if len(lines) > 1 else ""
            why = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
            raise click.ClickException(f"{where}{why}; nothing was saved") from None
        keys.setdefault(entry.key.get_secret_value(), entry.key)
    return list(keys.values())


def keys_from(file: Path) -> list[SecretStr]:
    """The keys in a file; ``-`` is the standard input. Raises ``ClickException``."""
    try:
        text = decoded(sys.stdin.buffer.read(_MOST_READ)) if file == _STDIN else _content(file)
    except KeyboardInterrupt:
        raise NoKey(_NOTHING) from None
    except UnicodeDecodeError:
        what = "the standard input" if file == _STDIN else file
        raise click.ClickException(f"{what} is not a text; nothing was saved") from None
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}; nothing was saved") from None
    return keys_in(text)


def _content(file: Path) -> str:
    """Also of a pipe, such as ``<(command)`` is one."""
    with file.open("rb") as content:
        return decoded(content.read(_MOST_READ))


async def typed_keys(prompt: TerminalPrompt, provider: str, *, optional: bool = False) -> list[SecretStr]:
    """Keys that are typed in or pasted, of which none is shown. Raises ``ClickException``, ``EOFError``.

    It reads until an empty line: what is left of several pasted lines would otherwise become the shell's next
    commands, and show.
    """
    none = "; Enter if it needs none" if optional else ""
    with hidden():  # also between the questions
        lines = [await prompt.ask(f"API key for {provider} (not shown{none})", secret=True)]
        while lines[-1].strip():
            lines.append(await prompt.ask("Another key, or Enter (not shown)", secret=True))
    return [] if optional and not any(lines) else keys_in("\n".join(lines))


# --- Storing -----------------------------------------------------------------------------


def new_key(
    provider: str,
    key: SecretStr,
    name: str = "",
    *,
    tier: str | None = None,
    priority: int | None = None,
    origin: str = "proxy-core credentials add",
) -> StoredCredential:
    return StoredCredential(
        provider=provider,
        name=name,
        kind=API_KEY,
        access_token=key,
        tier=tier,
        priority=priority,
        origin=origin,
        added_at=datetime.now(UTC),
    )


def store_keys(
    accounts: Accounts,
    provider: str,
    keys: Sequence[SecretStr],
    *,
    name: str | None = None,
    tier: str | None = None,
    priority: int | None = None,
    say: Callable[[str], object] = click.echo,
) -> int:
    """Store those that are new, report each, and return how many. Raises ``ClickException``."""
    checked_name(accounts.vault, provider, name)
    check_storing_for(accounts, provider)
    there = {account.id: account for account in accounts.of(provider)}
    new = 0
    for number, key in enumerate(keys):
        chosen = name if name is not None and not number else accounts.vault.free_name(provider, name)
        added = new_key(provider, key, chosen, tier=tier, priority=priority)
        same = there.get(added.credential(accounts.fingerprint).id)
        if same is not None:
            say(f"{provider}: this key already exists: {same.name} ({same.place})")
            continue
        try:
            stored = accounts.vault.add(added)
        except FileExistsError as error:
            raise click.ClickException(f"{error}; remove it first, or choose another --name") from error
        except (OSError, VaultProblem) as error:
            raise file_error(error) from error
        say(f"{provider}: {stored.name} was saved in {stored.path}")
        new += 1
    return new


def copy_keys(accounts: Accounts, provider: Provider, path: Path, keys: Sequence[FoundKey], name: str | None) -> None:
    """Copy new keys and report each one. Raises ``ClickException`` if none is new, ``OSError``, ``VaultProblem``."""
    check_storing_for(accounts, provider.name)
    there = {account.id: account for account in accounts.of(provider.name)}
    new = 0
    for found in keys:
        free = accounts.vault.free_name(provider.name, name or found.name)
        key = new_key(provider.name, found.key, free, tier=found.tier, origin=f"copied from {path}")
        same = there.get(key.credential(accounts.fingerprint).id)
        if same is not None:
            click.echo(f"{provider.name}: {printable(found.name)} already exists: {same.name} ({same.place})")
            continue
        stored = accounts.vault.add(key)
        click.echo(f"{provider.name}: {stored.name} was copied from {path} to {stored.path}")
        new += 1
    if not new:
        raise click.ClickException(f"{path} has no new keys; nothing was saved")
