"""Copies other programs' API keys into the vault, without duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from proxy_core import FoundKey, Provider
from proxy_core.cli.api import StoredCredential, printable
from proxy_plugin_accounts.accounts import API_KEY, Accounts


def copy_keys(accounts: Accounts, provider: Provider, path: Path, keys: Sequence[FoundKey], name: str | None) -> None:
    """Copy new keys and report each one. Raises ``ClickException`` if none is new, ``OSError``, ``VaultProblem``."""
    there = {account.id: account for account in accounts.of(provider.name)}
    new = 0
    for found in keys:
        key = StoredCredential(
            provider=provider.name,
            name=accounts.vault.free_name(provider.name, name or found.name),
            kind=API_KEY,
            access_token=found.key,
            tier=found.tier,
            origin=f"copied from {path}",
            added_at=datetime.now(UTC),
        )
        same = there.get(key.credential(accounts.fingerprint).id)
        if same is not None:
            click.echo(f"{provider.name}: {printable(found.name)} already exists: {same.name} ({same.place})")
            continue
        stored = accounts.vault.add(key)
        click.echo(f"{provider.name}: {stored.name} was copied from {path} to {stored.path}")
        new += 1
    if not new:
        raise click.ClickException(f"{path} has no new keys; nothing was saved")
