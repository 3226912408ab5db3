"""``proxy-core providers``: which providers there are, what each needs, and a new one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import click
from msgspec import Struct, to_builtins
from pydantic import SecretStr

from proxy_core import Provider
from proxy_core.cli.api import address, environment_name, notify_running_proxy, settings_options, table
from proxy_plugin_accounts.accounts import API_KEY, Accounts, check_keys, check_storing_for, checked_name, open_accounts
from proxy_plugin_accounts.check import Tried, tried
from proxy_plugin_accounts.keys import keys_from, new_key, store_keys
from proxy_plugin_accounts.settings_file import Tables, add, existing, target_of

_USABLE = ("ok", "expired", "expires soon")


# --- list --------------------------------------------------------------------------------


class Known(Struct, frozen=True, kw_only=True):
    """A provider that installed plugins have. ``missing`` is empty if it can serve."""

    provider: str
    plugin: str
    needs: str
    has: str = ""
    missing: str = ""
    #: Another name of this provider, under which it is listed.
    same_as: str = ""


@click.group("providers", invoke_without_command=True)
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.pass_context
def command(ctx: click.Context, config: Path | None, disable_plugin: tuple[str, ...], as_json: bool) -> None:
    """List the providers that installed plugins have, what each of them needs, and what is missing."""
    if ctx.invoked_subcommand is not None:
        return
    accounts = open_accounts(config, disable_plugin)
    found = sorted(known(accounts, config, disable_plugin), key=lambda row: (bool(row.missing), row.provider))
    if as_json:
        click.echo(json.dumps([to_builtins(row) for row in found], indent=2))
        return
    others = {row.same_as: row for row in found if row.same_as}
    rows = [
        (row.provider, row.plugin, _needs(row, others.get(row.provider)), row.has or f"missing: {row.missing}")
        for row in found
        if not row.same_as
    ]
    click.echo(table(("provider", "plugin", "needs", "state"), rows))
    click.echo("\n" + "\n".join(_advice(accounts, {row.provider for row in found})))


def _needs(row: Known, other: Known | None) -> str:
    return f"{row.needs}, or {other.needs} as {other.provider}" if other is not None else row.needs


def known(accounts: Accounts, config: Path | None, disable_plugin: Sequence[str]) -> Iterator[Known]:
    """All providers: those in use, and those that a key, a login or a line in the settings would bring about."""
    catalog = accounts.catalog
    owners = {name: plugin for (hook, name), plugin in catalog.owners.items() if hook == "proxy_providers"}
    presets = {
        name: plugin.name
        for plugin in catalog.plugins
        if plugin.state == "active" and plugin.info is not None
        for name in plugin.info.presets
        if name not in catalog.providers
    }
    possible = open_accounts(config, disable_plugin, {name: {} for name in presets}).catalog if presets else catalog
    for name, provider in catalog.providers.items():
        yield _state(accounts, provider, owners.get(name, "-"))
    places = {(owners.get(name), address(provider)): name for name, provider in catalog.providers.items()}
    for name, plugin in presets.items():
        made = possible.providers.get(name)
        other = places.setdefault((plugin, address(made)), name) if made is not None else name
        if made is not None and made.credential_optional:
            needed = f"proxy-core providers add {name}"
            yield Known(provider=name, plugin=plugin, needs=needed, missing="a line in the settings")
        else:
            same_as = other if other != name else ""
            yield Known(provider=name, plugin=plugin, needs=variable(name), missing="a key", same_as=same_as)
    for left_out in catalog.plugins:
        for name in left_out.info.providers if left_out.info is not None and left_out.state != "active" else ():
            yield Known(provider=name, plugin=left_out.name, needs="-", missing=f"its plugin is {left_out.state}")


def variable(provider: str) -> str:
    """The one that holds a key for it."""
    return f"{environment_name(provider)}_API_KEY"


def needs(accounts: Accounts, provider: Provider) -> str:
    if provider.credential_kind == API_KEY:
        return "nothing" if provider.credential_optional else variable(provider.name)
    refresher = accounts.refresher(provider)
    able = refresher is not None and refresher.login is not None
    login = f"proxy-core {'login' if able else 'credentials import'} {provider.name}"
    return f"{login}, or {variable(provider.name)}" if provider.accepts_api_keys else login


def _state(accounts: Accounts, provider: Provider, plugin: str) -> Known:
    row = {"provider": provider.name, "plugin": plugin, "needs": needs(accounts, provider)}
    if provider.lifecycle.status == "ended":
        return Known(**row, missing=f"it {provider.lifecycle.end_in_words()}")
    there = accounts.of(provider.name)
    usable = [account for account in there if account.state in _USABLE and not account.same_as]
    keys = sum(account.kind == API_KEY for account in usable)
    words = [_count(keys, "key"), _count(len(usable) - keys, "login")]
    if usable:
        return Known(**row, has=", ".join(filter(None, words)))
    if provider.credential_optional:
        return Known(**row, has="in the settings")
    what = "a key" if provider.credential_kind == API_KEY else "a login"
    return Known(**row, missing=f"{what} that works: proxy-core credentials list" if there else what)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number > 1 else ''}" if number else ""


def _advice(accounts: Accounts, there: Set[str]) -> Iterator[str]:
    yield "A key: in the variable, or proxy-core credentials add PROVIDER. Another server: proxy-core providers add."
    packages: dict[str, list[str]] = {}
    for name, package in accounts.catalog.packages.items():
        if name not in there:
            packages.setdefault(package, []).append(name)
    for package, names in packages.items():
        yield f"With pip install {package}: {', '.join(names)}"


# --- add ---------------------------------------------------------------------------------


class Candidate(Struct, frozen=True, kw_only=True):
    """A provider as it would be with new settings. ``accounts``: what a start would find, with those."""

    accounts: Accounts
    provider: Provider
    table: Mapping[str, Any]

    @property
    def tables(self) -> Tables:
        return {("providers", self.provider.name): self.table}


def candidate(
    config: Path | None,
    disable_plugin: Sequence[str],
    name: str,
    given: Mapping[str, Any],
    keys: Sequence[SecretStr] = (),
) -> Candidate:
    """Raises ``UsageError`` if no plugin serves it, ``SettingsError`` if the settings are wrong."""
    as_if = {**given, "api_keys": [key.get_secret_value() for key in keys]} if keys else given
    accounts = open_accounts(config, disable_plugin, {name: as_if})
    provider = accounts.catalog.providers.get(name)
    if provider is None:
        reasons = [p.reason for p in accounts.catalog.plugins if p.reason and f"providers.{name}" in p.reason]
        package = accounts.catalog.packages.get(name)
        why = reasons[0] if reasons else f"pip install {package}" if package else ""
        why = why or "it is no preset of an installed plugin (`proxy-core providers` lists them); give its --base-url"
        raise click.UsageError(f"no plugin serves {name!r}: {why}")
    return Candidate(accounts=accounts, provider=provider, table=given)


def check_place(target: Path, accounts: Accounts, given: Mapping[str, Any]) -> None:
    """A start refuses to send stored keys to an address in a file that is merely in the working directory."""
    if given and target.absolute() in {file.absolute() for file in accounts.loaded.sources.found_here}:
        raise click.UsageError(
            f"{target} was only found in the working directory, and may not decide where stored keys are sent: "
            f"give --config {target}, here and to `proxy-core serve`"
        )


async def answers(new: Candidate, keys: Sequence[SecretStr]) -> list[Tried]:
    """What the provider says to each key; to a request without one, if there are none."""
    name = new.provider.name
    stored = [new_key(name, key, str(number)) for number, key in enumerate(keys, 1)]
    return [await tried(new.accounts, new.provider, one) for one in stored or (None,)]


def verdicts(name: str, found: Sequence[Tried]) -> Iterator[str]:
    for number, answer in enumerate(found, 1):
        which = f" key {number}" if len(found) > 1 else ""
        yield f"{name}{which}: {'ok' if answer.good else 'FAILED'}: {answer.words}"


@command.command("add")
@settings_options
@click.argument("name")
@click.option("--base-url", metavar="URL", help="Upstream URL up to and including the API version.")
@click.option("--preset", metavar="NAME", help="The vendor behind it, if NAME is a name of your own.")
@click.option("--key-file", type=click.Path(path_type=Path), help="A file with its keys, one a line; - reads stdin.")
@click.option("--no-test", is_flag=True, help="Do not ask the provider whether it accepts the keys.")
def add_command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    name: str,
    base_url: str | None,
    preset: str | None,
    key_file: Path | None,
    no_test: bool,
) -> None:
    """Add the provider NAME to the settings file: a preset, or with --base-url any server that speaks OpenAI's dialect.

    It is tested first, unless you give --no-test. Its keys go to the vault, never to the settings file.
    """
    given = {k: v for k, v in (("preset", preset), ("base_url", base_url)) if v is not None}
    keys = keys_from(key_file) if key_file is not None else []
    with existing(config) as file:
        accounts = open_accounts(file, disable_plugin)
        checked_name(accounts.vault, name, "1")
        if keys:
            check_keys(accounts.vault)
        if name in accounts.loaded.provider_names:
            advice = f"add keys with proxy-core credentials add {name}, or change it there"
            raise click.ClickException(f"{name} is configured already; {advice}")
        target = target_of(config, accounts.loaded)
        check_place(target, accounts, given)
        if keys:
            check_storing_for(accounts, name)
        new = candidate(file, disable_plugin, name, given, keys)
        if not no_test and (keys or new.provider.credential_optional):
            _test(new, keys)
        add(target, new.tables)
        if keys:
            store_keys(accounts, name, keys)
        elif not new.provider.credential_optional:
            click.echo(f"it still needs {needs(new.accounts, new.provider)}, or proxy-core credentials add {name}")
    notify_running_proxy(accounts.loaded)


def _test(new: Candidate, keys: Sequence[SecretStr]) -> None:
    name, found = new.provider.name, asyncio.run(answers(new, keys))
    for line in verdicts(name, found):
        click.echo(line)
    if not all(answer.good for answer in found):
        raise click.ClickException("nothing was saved; --no-test saves it without a test")
