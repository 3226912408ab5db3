"""``proxy-core init``: from nothing to a provider that answers and a client that knows the proxy."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import click
from msgspec import Struct
from pydantic import SecretStr, ValidationError

from proxy_core import Provider, ProviderSettings, Tokens
from proxy_core.cli.api import (
    LoadedSettings,
    VaultProblem,
    environment_name,
    notify_running_proxy,
    printable,
    read_settings,
    settings_options,
)
from proxy_plugin_accounts.accounts import (
    API_KEY,
    Accounts,
    check_keys,
    check_storing_for,
    checked_name,
    file_error,
    open_accounts,
)
from proxy_plugin_accounts.check import Tried
from proxy_plugin_accounts.keys import NoKey, keys_from, store_keys, typed_keys
from proxy_plugin_accounts.login import log_in, save
from proxy_plugin_accounts.providers import Candidate, answers, candidate, check_place, known, verdicts
from proxy_plugin_accounts.settings_file import Tables, add, existing, target_of
from proxy_plugin_accounts.terminal import TerminalPrompt, confirmed, is_headless
from proxy_plugin_clients import client_names, recipe

_INTERRUPTED = 130
_SHOWN = 20
#: What clients may request without knowing any provider's models.
_NAME = "fast"


class Given(Struct, frozen=True, kw_only=True):
    """The flags."""

    provider: str | None
    base_url: str | None
    key_file: Path | None
    model: str | None
    client: str | None
    no_test: bool


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that was asked and tested, before any of it is written."""

    new: Candidate
    keys: Sequence[SecretStr] = ()
    tokens: Tokens | None = None
    model: str | None = None
    client: str | None = None

    @property
    def deployment(self) -> str:
        """The model under the name that it always has; empty if none was chosen."""
        return f"{self.new.provider.prefix or self.new.provider.name}/{self.model}" if self.model else ""

    @property
    def there(self) -> Sequence[str]:
        """What clients get as ``_NAME`` already."""
        route = self.new.accounts.loaded.settings.models.get(_NAME)
        return list(route.deployments) if route is not None else ()

    @property
    def requested(self) -> list[str]:
        """What the client has to request to get the model."""
        return [] if not self.model else [_NAME] if self.there in ((), [self.deployment]) else [self.deployment]

    @property
    def tables(self) -> Tables:
        route = {_NAME: [self.deployment]} if self.model and not self.there else {}
        return {**self.new.tables, **({("models",): route} if route else {})}


@click.command("init")
@settings_options
@click.option("--provider", metavar="NAME", help="A provider that `proxy-core providers` lists, or a name of your own.")
@click.option("--base-url", metavar="URL", help="Its URL, for a name of your own: any server of OpenAI's dialect.")
@click.option("--key-file", type=click.Path(path_type=Path), help="A file with its keys, one a line; - reads stdin.")
@click.option("--model", metavar="NAME", help=f"The provider's model that clients get as `{_NAME}`.")
@click.option("--client", metavar="NAME", help="A client that `proxy-core setup` lists.")
@click.option("--no-test", is_flag=True, help="Do not ask the provider whether it accepts the keys.")
def command(config: Path | None, disable_plugin: tuple[str, ...], **flags: Any) -> None:
    """Set up a provider and a client: asks for what the flags do not say, tests it, and writes the settings file.

    Nothing is written before all is known. Keys are typed in without being shown, or read from a file.
    """
    given = Given(**flags)
    if given.client is not None and given.client not in client_names():
        raise click.UsageError(f"no client {given.client!r}; the known ones are {', '.join(client_names())}")
    with existing(config) as file:
        accounts = open_accounts(file, disable_plugin)
        check_keys(accounts.vault)
        target = target_of(config, accounts.loaded)
        try:
            plan = asyncio.run(_Dialogue(accounts, file, disable_plugin, target, given).plan())
        except KeyboardInterrupt:
            click.echo("\ncancelled; nothing was saved", err=True)
            raise SystemExit(_INTERRUPTED) from None
        except EOFError:
            raise click.ClickException("the standard input ended; nothing was saved") from None
        _save(plan, target)
    notify_running_proxy(accounts.loaded)
    _finish(plan, config, disable_plugin)


class _Dialogue:
    """Asks on a terminal; elsewhere, the flags have to say everything."""

    def __init__(
        self, accounts: Accounts, file: Path | None, disable_plugin: Sequence[str], target: Path, given: Given
    ) -> None:
        self._accounts = accounts
        self._file = file
        self._disabled = disable_plugin
        self._target = target
        self._given = given
        self._asks = sys.stdin.isatty()
        self._prompt = TerminalPrompt(headless=is_headless(accounts.loaded))

    async def plan(self) -> Plan:
        if self._asks:
            click.echo(f"Settings go to {self._target}, keys to {self._accounts.vault.folder}. Ctrl-C cancels.\n")
        name, table = await self._provider()
        new = candidate(self._file, self._disabled, name, table)
        keys: Sequence[SecretStr] = ()
        tokens = None
        found: Sequence[Tried] = [Tried(good=True, words="", models=[m.id for m in new.provider.models])]
        there = self._accounts.of(name)
        if new.provider.credential_kind != API_KEY and not self._given.key_file:
            tokens = None if there else await self._login(new)
        else:
            keys, found = await self._keys(new, there=bool(there))
        models = [model for answer in found for model in answer.models]
        return Plan(
            new=new,
            keys=keys,
            tokens=tokens,
            model=await self._model(models, new.provider),
            client=await self._client(),
        )

    async def _provider(self) -> tuple[str, dict[str, str]]:
        """Its name and its table in the settings."""
        name, url = await self._named()
        self._check_name(name, url)
        if name in self._accounts.loaded.provider_names:
            return name, {}
        table = {} if url is None else {"base_url": url}
        check_place(self._target, self._accounts, table)
        return name, table

    def _check_name(self, name: str, url: str | None) -> None:
        """Raises ``UsageError``."""
        checked_name(self._accounts.vault, name, "1")
        if url is not None and name in self._accounts.loaded.provider_names:
            raise click.UsageError(f"{name} is configured already: choose another name, or leave out the URL")

    async def _named(self) -> tuple[str, str | None]:
        """A provider's name, and the URL of one that is not known yet."""
        given, rows = self._given, list(known(self._accounts, self._file, self._disabled))
        names = {environment_name(row.provider): row.provider for row in rows if row.needs != "-"}
        if given.provider is not None:
            name = given.provider.strip()
            return (name if given.base_url else names.get(environment_name(name), name)), given.base_url
        if not self._asks:
            raise click.UsageError(
                "without a terminal, say --provider NAME (`proxy-core providers` lists them) and --key-file FILE or -"
            )
        if given.base_url is None:
            shown = sorted(row.provider for row in rows if row.needs != "-" and not row.same_as)
            click.echo(_wrapped(f"Providers: {', '.join(shown)}") + "\n")
        url = given.base_url
        while url is None:
            answer = (await self._prompt.ask("Provider, or the URL of a server that speaks OpenAI's dialect")).strip()
            if "://" in answer:
                problem = _wrong_url(answer)
                url = None if problem else answer
                click.echo(problem, nl=bool(problem))
            elif name := names.get(environment_name(answer), ""):
                return name, None
            elif re.match(r"localhost\b|[^/]*[.:]", answer):
                click.echo("a URL begins with https:// or, on your own machine or network, with http://")
            elif answer:
                package = self._accounts.catalog.packages.get(answer)
                click.echo(f"no provider {printable(answer)}" + (f": pip install {package}" if package else ""))
        while True:
            name = (await self._prompt.ask("A name for it [home]")).strip() or "home"
            try:
                self._check_name(name, url)
            except click.UsageError as error:
                click.echo(printable(error.format_message()))
            else:
                return name, url

    async def _login(self, new: Candidate) -> Tokens:
        refresher = new.accounts.refresher(new.provider)
        name = new.provider.name
        if refresher is None or refresher.login is None or not self._asks:
            raise click.UsageError(f"{name} takes a login: proxy-core login {name}, then this again")
        tokens = await log_in(new.accounts, new.provider, refresher, self._prompt, yes=False)
        if tokens is None:
            raise click.ClickException("not logged in; nothing was saved")
        return tokens

    async def _keys(self, new: Candidate, *, there: bool) -> tuple[Sequence[SecretStr], Sequence[Tried]]:
        """Keys that the provider accepts, with what it said to them."""
        name, given = new.provider.name, self._given
        optional = there or new.provider.credential_optional
        while True:
            keys: Sequence[SecretStr] = []
            if given.key_file is not None:
                keys = keys_from(given.key_file)
            elif self._asks and not there:
                keys = await self._typed(name, optional)
            elif not optional:
                raise click.UsageError(f"{name} needs a key: --key-file FILE, or - for the standard input")
            if keys:
                check_storing_for(new.accounts, name)
            found = await self._tested(new, keys, there)
            if all(answer.good for answer in found):
                return keys, found
            if not self._asks or given.key_file is not None:
                raise click.ClickException("nothing was saved; --no-test saves it without a test")
            refused = any(answer.refused for answer in found)
            if not refused and await confirmed(self._prompt, "Keep it all the same?"):
                return keys, found
            if not refused:
                raise click.ClickException("nothing was saved")
            there = False  # what is there is refused, too

    async def _typed(self, name: str, optional: bool) -> Sequence[SecretStr]:
        while True:
            try:
                return await typed_keys(self._prompt, name, optional=optional)
            except NoKey:
                raise
            except click.ClickException as error:
                click.echo(error.format_message().removesuffix("; nothing was saved"))

    async def _tested(self, new: Candidate, keys: Sequence[SecretStr], there: bool) -> Sequence[Tried]:
        """What the provider says to new keys, or else to the first one that is there."""
        if self._given.no_test:
            return []
        if keys:
            new = candidate(self._file, self._disabled, new.provider.name, new.table, keys)
        found = await answers(new, keys or self._present(new) if there else keys)
        for line in verdicts(new.provider.name, found):
            click.echo(printable(line))
        return found

    def _present(self, new: Candidate) -> list[SecretStr]:
        usable = (a.stored for a in self._accounts.of(new.provider.name) if a.kind == API_KEY and a.state == "ok")
        return [stored.access_token for stored in usable if stored is not None][:1]

    async def _model(self, models: Sequence[str], provider: Provider) -> str | None:
        """Which one clients get under a name that stays the same."""
        there = _NAME in self._accounts.loaded.settings.models
        if self._given.model is not None or not self._asks or not models or there:
            given = _own_name(self._given.model, models, provider) if self._given.model is not None else None
            if given is not None and models and given not in models:
                raise click.UsageError(f"the provider has no model {given!r}; nothing was saved")
            return given
        more = f", and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
        click.echo("\n" + _wrapped(f"Models: {', '.join(map(printable, models[:_SHOWN]))}{more}"))
        while True:
            name = (await self._prompt.ask(f"Model that clients get as `{_NAME}` (Enter: none)")).strip()
            name = _own_name(name, models, provider)
            if not name or name in models:
                return name or None
            near = [model for model in models if name.lower() in model.lower()][:_SHOWN]
            click.echo(f"there is no model {printable(name)}" + (f"; did you mean {', '.join(near)}?" if near else ""))

    async def _client(self) -> str | None:
        if self._given.client is not None or not self._asks:
            return self._given.client
        click.echo("\n" + _wrapped(f"Clients: {', '.join(client_names())}"))
        while True:
            name = (await self._prompt.ask("Client to set up (Enter: none)")).strip()
            if not name or name in client_names():
                return name or None
            click.echo(f"no client {printable(name)}")


def _own_name(model: str, models: Sequence[str], provider: Provider) -> str:
    """The provider's name of a model, which may be given as clients request it."""
    return model if model in models else model.removeprefix(f"{provider.prefix or provider.name}/")


def _wrong_url(url: str) -> str:
    """What is wrong with it; empty if nothing is."""
    try:
        ProviderSettings.model_validate({"base_url": url})
    except ValidationError as error:
        return error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
    return ""


def _wrapped(text: str) -> str:
    return click.wrap_text(text, min(get_terminal_size().columns, 100), subsequent_indent="  ")


def _save(plan: Plan, target: Path) -> None:
    """The settings first: where they cannot be written, no key is stored either. Raises ``ClickException``."""
    name, accounts = plan.new.provider.name, plan.new.accounts
    click.echo()
    if not add(target, plan.tables):
        click.echo(f"{target} has all of that already")
    if plan.requested == [plan.deployment]:
        there = ", ".join(map(printable, plan.there))
        click.echo(f"`{_NAME}` stays what it is ({there}): clients get this model as {printable(plan.deployment)}")
    try:
        if plan.tokens is not None:
            save(accounts, plan.new.provider, plan.tokens, None)
        store_keys(accounts, name, plan.keys)
    except (OSError, VaultProblem) as error:
        raise file_error(error) from error


def _finish(plan: Plan, config: Path | None, disable_plugin: tuple[str, ...]) -> None:
    """The client's recipe, and how to start."""
    if plan.client is not None:
        try:
            click.echo()
            click.echo(_recipe(read_settings(config, disable_plugin), plan, config))
        except click.ClickException as error:
            click.echo(f"proxy-core setup {plan.client}: {error.format_message()}", err=True)
    click.echo(f"\nStart the proxy:  proxy-core serve{f' --config {config}' if config is not None else ''}")


def _recipe(loaded: LoadedSettings, plan: Plan, config: Path | None) -> str:
    """With several keys for clients, the user has to say whose this one gets. Raises ``ClickException``."""
    assert plan.client is not None
    names = sorted(loaded.settings.clients)
    if len(names) < 2:
        return recipe(loaded, plan.client, plan.requested)
    file = ["--config", str(config)] if config is not None else []
    chosen = [word for model in plan.requested for word in ("--model", model)]
    lines = [shlex.join(["proxy-core", "setup", plan.client, *file, "--client", name, *chosen]) for name in names]
    return "\n  ".join([f"For {plan.client}, with the key of one of your clients:", *lines])
